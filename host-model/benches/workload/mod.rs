//! An IOMMU under 257 requester IDs that share a table of 16 interrupts and page tables, as a PLX NTB's aliases do.

pub mod bare;

use std::hint::spin_loop;
use std::sync::Arc;

use host_model::iommu::translate::{Access, Addressing, MemoryRequest, TranslationOutcome};
use host_model::iommu::{CacheShape, Config, Interrupt, InterruptRequest, Iommu, Outcome, Response, Step};
use sim_bridge::RequesterId;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

pub const REQUESTERS: u16 = 257;
pub const ENTRIES: u16 = 16;

const DEVICE_TABLE: u64 = 0x10_0000;
const COMMANDS: u64 = 0x40_0000;
const RING: u64 = 8192;
const SEMAPHORE: u64 = 0x42_0000;
const TABLE: u64 = 0x50_0000;
/// A page directory, and behind it page tables for all of [`translations`].
const PAGE_DIRECTORY: u64 = 0x60_0000;
/// IR and IW of a DTE or page table entry.
const READ_WRITE: u64 = 3 << 61;
const DOMAIN: u64 = 0x5e;

/// With room for all that is looked up.
pub fn roomy() -> Config {
    Config::default().with_caches(CacheShape::new(2048, 4).expect("a possible shape"))
}

pub struct Workload {
    pub memory: Arc<GuestMemoryMmap>,
    pub iommu: Iommu,
}

/// The requester IDs.
pub fn requesters() -> impl Iterator<Item = RequesterId> {
    (0..REQUESTERS).map(|n| RequesterId(0x4100 + n))
}

/// One request for each requester ID and entry, in an order that no prefetcher guesses.
pub fn requests() -> Vec<InterruptRequest> {
    let all = usize::from(REQUESTERS * ENTRIES);
    let mut requests: Vec<_> = requesters()
        .flat_map(|requester| (0..ENTRIES).map(move |index| (requester, index)))
        .map(|(requester, index)| InterruptRequest {
            requester,
            address: 0xfee0_0000,
            data: index.into(),
        })
        .collect();
    // A permutation: the factor is prime and no divisor of the number.
    requests = (0..all).map(|n| requests[n * 2_654_435_761 % all]).collect();
    requests
}

/// As many memory requests, each to a page of its own.
pub fn translations() -> Vec<MemoryRequest> {
    let of = |interrupt: &InterruptRequest| MemoryRequest {
        requester: interrupt.requester,
        address: (page(interrupt.requester, interrupt.data) << 12) + 0x40,
        access: Access::Write,
        addressing: Addressing::UNTRANSLATED,
    };
    requests().iter().map(of).collect()
}

fn page(requester: RequesterId, index: u32) -> u64 {
    u64::from(requester.0 - 0x4100) * u64::from(ENTRIES) + u64::from(index)
}

/// Guest physical addresses of the entries that a request goes by: DTE, IRTE.
pub fn entries_of(request: &InterruptRequest) -> [GuestAddress; 2] {
    [
        GuestAddress(DEVICE_TABLE + u64::from(request.requester.0) * 32),
        GuestAddress(TABLE + u64::from(request.data) * 16),
    ]
}

pub fn invalidate(requester: RequesterId) -> [u64; 2] {
    [5 << 60 | u64::from(requester.0), 0]
}

/// INVALIDATE_INTERRUPT_TABLE for every requester ID and a COMPLETION_WAIT that stores.
pub fn flush() -> Vec<[u64; 2]> {
    let wait = [1 << 60 | SEMAPHORE | 1, 0x5eed];
    requesters().map(invalidate).chain([wait]).collect()
}

/// INVALIDATE_IOMMU_PAGES for everything in the domain.
pub fn invalidate_pages() -> [u64; 2] {
    [3 << 60 | DOMAIN << 32, 0x7fff_ffff_ffff_f000 | 3]
}

impl Workload {
    pub fn new(config: Config) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x80_0000)]).expect("memory");
        let memory = Arc::new(memory);
        for requester in requesters() {
            let tables = READ_WRITE | 2 << 9 | PAGE_DIRECTORY | 3;
            let dte = [tables, DOMAIN, 2 << 60 | TABLE | 4 << 1 | 1, 0];
            let address = GuestAddress(DEVICE_TABLE + u64::from(requester.0) * 32);
            memory.write_obj(dte, address).expect("DTE");
        }
        for index in 0..ENTRIES {
            let irte = [5 << 8 | 1, 0x30 + u64::from(index)];
            let address = GuestAddress(TABLE + u64::from(index) * 16);
            memory.write_obj(irte, address).expect("IRTE");
        }
        let page_table = |n| PAGE_DIRECTORY + 0x1000 * (n + 1);
        for n in 0..u64::from(REQUESTERS * ENTRIES).div_ceil(512) {
            let entry = READ_WRITE | 1 << 9 | page_table(n) | 1;
            let address = GuestAddress(PAGE_DIRECTORY + n * 8);
            memory.write_obj(entry, address).expect("page directory");
        }
        for page in 0..u64::from(REQUESTERS * ENTRIES) {
            let entry = READ_WRITE | (0x1_0000 + page) << 12 | 1;
            let address = GuestAddress(page_table(page / 512) + page % 512 * 8);
            memory.write_obj(entry, address).expect("page table");
        }
        let iommu = Iommu::new(config, Arc::clone(&memory));
        iommu.write(0x00, 8, DEVICE_TABLE | 0x1ff);
        iommu.write(0x08, 8, COMMANDS | 9 << 56);
        // IommuEn, CmdBufEn, GAEn.
        iommu.write(0x18, 8, 1 | 1 << 12 | 1 << 17);
        Self { memory, iommu }
    }

    /// A bare read by `vm-memory`.
    #[inline]
    pub fn read_16(&self, address: GuestAddress) -> [u64; 2] {
        self.memory.read_obj(address).expect("in memory")
    }

    /// Likewise.
    #[inline]
    pub fn read_32(&self, address: GuestAddress) -> [u64; 4] {
        self.memory.read_obj(address).expect("in memory")
    }

    /// Table reads take no time.
    #[inline(always)]
    pub fn ask(&self, request: &InterruptRequest) -> Outcome {
        self.iommu.remap(request)
    }

    /// Takes a token for every table read, and completes it at once.
    #[inline]
    pub fn ask_by_tokens(&self, request: &InterruptRequest) -> Outcome {
        let mut response = self.iommu.request(request);
        loop {
            response = match response {
                Response::Answer(outcome) => return outcome,
                Response::Fill(token) => self.iommu.complete(token),
            }
        }
    }

    /// Likewise.
    #[inline(always)]
    pub fn translate(&self, request: &MemoryRequest) -> TranslationOutcome {
        self.iommu.translate_at_once(request)
    }

    /// Where the interrupt goes: what a caller takes out of the outcome, and all of it that a bench may keep alive
    /// without a copy of the rest.
    #[inline]
    pub fn destination(outcome: Outcome) -> Interrupt {
        match outcome {
            Outcome::Remapped(interrupt) => interrupt,
            other => panic!("{other:?}"),
        }
    }

    /// Likewise, the physical address.
    #[inline]
    pub fn physical(outcome: TranslationOutcome) -> u64 {
        match outcome {
            TranslationOutcome::Translated(translation) => translation.address,
            other => panic!("{other:?}"),
        }
    }

    /// Brings all that is asked into the caches.
    pub fn warm(&self, requests: &[InterruptRequest]) {
        for request in requests {
            Self::destination(self.ask(request));
        }
    }

    /// Likewise.
    pub fn warm_translations(&self, requests: &[MemoryRequest]) {
        for request in requests {
            let translated = Self::physical(self.translate(request));
            assert_eq!(translated, request.address + (0x1_0000 << 12));
        }
    }

    /// Writes commands to the ring, from the tail on; the tail stays.
    pub fn write_commands(&self, commands: &[[u64; 2]]) {
        let tail = self.iommu.read(0x2008, 4);
        for (n, command) in (0..).zip(commands) {
            let offset = (tail + n * 16) % RING;
            let written = self.memory.write_obj(*command, GuestAddress(COMMANDS + offset));
            written.expect("ring");
        }
    }

    /// Lets the IOMMU execute that many of them: a write of the tail register for each, as Linux does.
    #[inline]
    pub fn execute(&self, commands: usize) {
        let mut tail = self.iommu.read(0x2008, 4);
        for _ in 0..commands {
            tail = (tail + 16) % RING;
            self.iommu.write(0x2008, 4, tail);
            loop {
                match self.iommu.step() {
                    Some(Step::CommandExecuted { retired: true, .. }) => break,
                    Some(Step::CommandRetired { .. } | Step::CompletionStored { .. }) => break,
                    // Another thread's lookup is not answered yet.
                    Some(Step::CommandExecuted { .. } | Step::Waiting { .. }) | None => spin_loop(),
                    Some(other) => panic!("{other:?}"),
                }
            }
        }
    }
}
