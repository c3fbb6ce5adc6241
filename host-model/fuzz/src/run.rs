//! Does what an input says, and watches the IOMMU.

use std::ops::Range;
use std::sync::Arc;

use host_model::driver::MsiMessage;
use host_model::iommu::spec::Pasid;
use host_model::iommu::translate::{
    Access, AddressType, Addressing, MemoryRequest, TranslationResponse, TranslationToken,
};
use host_model::iommu::{
    FillToken, InterruptRequest, Iommu, IotlbResponse, Outcome, PageRequest, PasidPrefix, Response,
};
use sim_bridge::RequesterId;

use crate::input::{Command, Input, Irte, Operation};
use crate::memory::{Memory, Ram};

/// Where the software that has started it put things.
const DEVICE_TABLE: u64 = 0;
const COMMANDS: u64 = 0x1000;
const EVENTS: u64 = 0x2000;
const PPRS: u64 = 0x3000;
const GA_LOG: u64 = 0x4000;
pub(crate) const INTERRUPT_TABLE: u64 = 0x5000;
/// Four pages.
pub(crate) const PAGE_TABLES: u64 = 0x8000;

/// IommuEn, EventLogEn, EventIntEn, ComWaitIntEn, CmdBufEn, PPRLogEn, PPRIntEn, PPREn, GAEn, GAMEn 1, GALogEn, GAIntEn.
pub(crate) const CONTROL: u64 = 1 | 7 << 2 | 0xf << 12 | 1 << 17 | 1 << 25 | 3 << 28;

/// IR and IW of a DTE or page table entry.
const READ_WRITE: u64 = 3 << 61;

/// No ring that lies in this memory has so much work in it.
const MOST_STEPS: usize = 20_000;
/// Nor has any request to read so many table entries.
const MOST_FILLS: usize = 16;

/// Does it all. Panics where the IOMMU does what it must not.
pub fn run(input: &Input) {
    let memory = Memory::new();
    let iommu = Iommu::new(input.setup.config.clone(), Arc::clone(memory.ram()));
    let mut machine = Machine {
        iommu: &iommu,
        memory,
        unanswered: vec![],
        head: 0,
        stores: vec![],
    };
    if input.setup.started {
        machine.start();
    }
    for operation in &input.operations {
        machine.perform(operation);
    }
    machine.finish();
}

/// Mostly untranslated.
const KINDS: [AddressType; 4] = [
    AddressType::Untranslated,
    AddressType::Untranslated,
    AddressType::TranslationRequest,
    AddressType::Translated,
];

/// A request that waits for a table entry.
enum Token<'a> {
    Interrupt(FillToken<'a>),
    Memory(TranslationToken<'a>),
}

impl<'a> Token<'a> {
    fn complete(self, iommu: &'a Iommu<Ram>) -> Progress<'a> {
        match self {
            Self::Interrupt(token) => Progress::of_interrupt(iommu.complete(token)),
            Self::Memory(token) => Progress::of_translation(iommu.complete_translation(token)),
        }
    }
}

/// How far a request is.
#[derive(Default)]
struct Progress<'a> {
    unanswered: Option<Token<'a>>,
    /// What was written in a vAPIC backing page.
    posted: Option<Range<u64>>,
}

impl<'a> Progress<'a> {
    fn of_interrupt(response: Response<'a>) -> Self {
        match response {
            Response::Answer(Outcome::Posted(posted)) => {
                // IRR (AMD APM volume 2, 16.3.2).
                let register = posted.backing_page + 0x200 + 0x10 * (u64::from(posted.vector) / 32);
                Self {
                    unanswered: None,
                    posted: Some(register..register + 4),
                }
            }
            Response::Answer(_) => Self::default(),
            Response::Fill(token) => Self {
                unanswered: Some(Token::Interrupt(token)),
                posted: None,
            },
        }
    }

    fn of_translation(response: TranslationResponse<'a>) -> Self {
        match response {
            TranslationResponse::Answer(_) => Self::default(),
            TranslationResponse::Fill(token) => Self {
                unanswered: Some(Token::Memory(token)),
                posted: None,
            },
        }
    }
}

struct Machine<'a> {
    iommu: &'a Iommu<Ram>,
    memory: Memory,
    unanswered: Vec<Token<'a>>,
    /// Where the command is that `stores` are of.
    head: u64,
    /// Of each COMPLETION_WAIT that was at the head since.
    stores: Vec<Range<u64>>,
}

impl<'a> Machine<'a> {
    fn start(&mut self) {
        let rings = [
            (0x00, DEVICE_TABLE),
            (0x08, COMMANDS | 8 << 56),
            (0x10, EVENTS | 8 << 56),
            (0x38, PPRS | 8 << 56),
            (0xe0, GA_LOG | 8 << 56),
            (0x18, CONTROL),
        ];
        for (offset, value) in rings {
            self.iommu.write(offset, 8, value);
        }
        let empty = [0; 512];
        self.memory.store_words(DEVICE_TABLE, &empty);
        self.memory.store_words(INTERRUPT_TABLE, &empty);
        for page in 0..4 {
            self.memory.store_words(PAGE_TABLES + page * 0x1000, &empty);
        }
        for device in 0..4 {
            let tables = READ_WRITE | 3 << 9 | PAGE_TABLES | 3;
            let dte = [tables, 0x5e, 2 << 60 | INTERRUPT_TABLE | 8 << 1 | 1, 0];
            self.memory.store_words(DEVICE_TABLE + device * 32, &dte);
        }
    }

    fn perform(&mut self, operation: &Operation) {
        match *operation {
            Operation::Write { offset, size, value } => {
                self.iommu.write(offset.bytes(), size.bytes(), value.bits());
                self.memory.check_writes(&[]);
            }
            Operation::Read { offset, size } => {
                self.iommu.read(offset.bytes(), size.bytes());
                self.memory.check_writes(&[]);
            }
            Operation::Store { to, value } => self.memory.store_words(to.address(), &[value]),
            Operation::StoreDte {
                device,
                mode,
                root,
                table,
                length,
                flip,
            } => {
                let dte = [
                    READ_WRITE | u64::from(mode % 8) << 9 | root.address() | 3,
                    0x5e,
                    2 << 60 | table.address() | u64::from(length % 16) << 1 | 1,
                    0,
                ];
                let address = DEVICE_TABLE + u64::from(device.id()) * 32;
                self.memory.store_words(address, &flipped(dte, flip));
            }
            Operation::StorePte {
                table,
                index,
                next_level,
                next,
                flip,
            } => {
                let entry = READ_WRITE | u64::from(next_level % 8) << 9 | next.address() | 1;
                let address = table.address() + index.number() * 8;
                self.memory.store_words(address, &flipped([entry], flip));
            }
            Operation::StoreIrte {
                table,
                index,
                entry,
                flip,
            } => self.store_irte(table.address(), index.number(), entry, flip),
            Operation::Queue { command, flip } => self.queue(command, flip),
            Operation::Interrupt {
                device,
                message,
                data,
                completed,
            } => {
                let request = InterruptRequest {
                    requester: RequesterId(device.id()),
                    address: message.address(),
                    data: data.bits(),
                };
                let response = if completed == u8::MAX {
                    Response::Answer(self.iommu.remap(&request))
                } else {
                    self.iommu.request(&request)
                };
                self.go_on(Progress::of_interrupt(response), completed);
            }
            Operation::Memory {
                device,
                address,
                access,
                kind,
                pasid,
                completed,
            } => {
                let progress = Progress::of_translation(self.iommu.translate(&MemoryRequest {
                    requester: RequesterId(device.id()),
                    address: address.bits(),
                    access: [Access::Read, Access::Write, Access::Atomic][usize::from(access % 3)],
                    addressing: Addressing::new(
                        KINDS[usize::from(kind) % KINDS.len()],
                        pasid.and_then(|pasid| Pasid::new(pasid.into())),
                    ),
                }));
                self.go_on(progress, completed);
            }
            Operation::PageRequest {
                device,
                address,
                group,
                last,
                pasid,
            } => {
                self.iommu.page_request(&PageRequest {
                    requester: RequesterId(device.id()),
                    address,
                    group,
                    last,
                    read: true,
                    write: last,
                    pasid: pasid
                        .and_then(|pasid| Pasid::new(pasid.into()))
                        .map(|pasid| PasidPrefix {
                            pasid,
                            execute: last,
                            privileged: !last,
                        }),
                });
                self.memory.check_writes(&[]);
            }
            Operation::IotlbResponse { device, timed_out } => {
                let response = if timed_out {
                    IotlbResponse::TimedOut
                } else {
                    IotlbResponse::Completed
                };
                self.iommu.iotlb_response(RequesterId(device.id()), response);
                self.memory.check_writes(&[]);
            }
            Operation::SetMsi(data) => self.iommu.set_msi(data.map(|data| MsiMessage {
                address: 0xfee0_0000,
                data: data.into(),
            })),
            Operation::Complete(n) => {
                if let Some(token) = self.take_token(n) {
                    self.go_on(token.complete(self.iommu), 0);
                }
            }
            Operation::Abandon(n) => drop(self.take_token(n)),
            Operation::Step(n) => {
                for _ in 0..n {
                    self.step();
                }
            }
        }
    }

    fn store_irte(&mut self, table: u64, index: u64, entry: Irte, flip: Option<u8>) {
        let words = match entry {
            Irte::Bits32(entry) => return self.memory.store(table + index * 4, &entry.to_le_bytes()),
            Irte::Bits128 { destination, vector } => [u64::from(destination) << 8 | 1, vector.into()],
            Irte::Guest {
                fields,
                tag,
                root,
                vector,
            } => [
                u64::from(tag) << 32 | u64::from(fields) & 0xffff_ff7e | 1 << 7 | 1,
                root.address() | u64::from(vector),
            ],
        };
        self.memory.store_words(table + index * 16, &flipped(words, flip));
    }

    fn queue(&mut self, command: Command, flip: Option<u8>) {
        let tail = self.ring_entry(0x08, 0x2008, 16);
        let words = flipped(command.words(), flip);
        self.memory.store_words(tail.start, &words);
        // A tail beyond the end wraps, this one too.
        self.iommu.write(0x2008, 8, self.iommu.read(0x2008, 8) + 16);
        self.memory.check_writes(&[]);
    }

    fn take_token(&mut self, n: u8) -> Option<Token<'a>> {
        let n = usize::from(n).checked_rem(self.unanswered.len())?;
        Some(self.unanswered.swap_remove(n))
    }

    /// Completes as many fills as it is told.
    fn go_on(&mut self, progress: Progress<'a>, fills: u8) {
        let mut unanswered = self.check(progress);
        for _ in 0..fills % 8 {
            let Some(token) = unanswered else { return };
            let progress = token.complete(self.iommu);
            unanswered = self.check(progress);
        }
        self.unanswered.extend(unanswered);
    }

    fn check(&mut self, progress: Progress<'a>) -> Option<Token<'a>> {
        self.memory.check_writes(progress.posted.as_slice());
        progress.unanswered
    }

    /// `false` if there was nothing to do.
    fn step(&mut self) -> bool {
        self.look_at_head();
        let ga_log_tail = self.iommu.read(0xe8, 8);
        let mut allowed = vec![
            self.ring_entry(0x10, 0x2018, 16),
            self.ring_entry(0x38, 0x2038, 16),
            self.ring_entry(0xe0, 0x2048, 8),
            ga_log_tail..ga_log_tail + 8,
        ];
        allowed.extend_from_slice(&self.stores);
        let has_work = self.iommu.has_work();
        let step = self.iommu.step();
        assert_eq!(has_work, step.is_some(), "has_work against {step:?}");
        self.memory.check_writes(&allowed);
        has_work
    }

    /// The entry that a pointer register names; a pointer beyond the end wraps.
    fn ring_entry(&self, base: u64, pointer: u64, bytes: u64) -> Range<u64> {
        let (base, pointer) = (self.iommu.read(base, 8), self.iommu.read(pointer, 8));
        let offset = pointer & ((16 << (base >> 56 & 0xf)) - bytes);
        let entry = (base & 0x000f_ffff_ffff_f000) + offset;
        entry..entry + bytes
    }

    /// A COMPLETION_WAIT may be rewritten by software between fetch and store.
    fn look_at_head(&mut self) {
        let ring = self.iommu.read(0x08, 8);
        let head = self.ring_entry(0x08, 0x2000, 16).start;
        // With this fault, one step fetches many commands and another completes the last of them.
        let fetches_many = self.iommu.config().faults.wait_before_invalidate;
        if self.head != head && !fetches_many {
            self.head = head;
            self.stores.clear();
        }
        let fetched_at_once = if fetches_many { 65 } else { 1 };
        let (start, bytes) = (ring & 0x000f_ffff_ffff_f000, 16 << (ring >> 56 & 0xf));
        for n in 0..fetched_at_once {
            let command = start + (head - start + n * 16) % bytes;
            let command = self.memory.load(command).unwrap_or(0);
            let address = command & 0x000f_ffff_ffff_fff8;
            let store = address..address + 8;
            if command >> 60 == 1 && command & 1 != 0 && !self.stores.contains(&store) {
                self.stores.push(store);
            }
        }
    }

    fn drain(&mut self) {
        let steps = (0..=MOST_STEPS).take_while(|_| self.step()).count();
        assert!(steps <= MOST_STEPS, "no end of work");
    }

    fn finish(&mut self) {
        self.drain();
        for token in std::mem::take(&mut self.unanswered) {
            let mut unanswered = Some(token);
            for _ in 0..MOST_FILLS {
                let Some(token) = unanswered else { break };
                let progress = token.complete(self.iommu);
                unanswered = self.check(progress);
            }
            assert!(unanswered.is_none(), "no end of reads");
        }
        self.drain();
        self.memory.check_content();
    }
}

/// With one bit flipped.
fn flipped<const N: usize>(mut words: [u64; N], bit: Option<u8>) -> [u64; N] {
    if let Some(bit) = bit.map(usize::from) {
        words[bit / 64 % N] ^= 1 << (bit % 64);
    }
    words
}
