//! Does what an input says, and watches the IOMMU.

use std::ops::Range;
use std::sync::Arc;

use host_model::iommu::translate::{
    Access, AddressType, MemoryRequest, TranslationResponse, TranslationToken,
};
use host_model::iommu::{FillToken, InterruptRequest, Iommu, Response};
use sim_bridge::RequesterId;

use crate::input::{Command, Input, Irte, Operation};
use crate::memory::{Memory, Ram};

/// Where the software that has started it put things.
const DEVICE_TABLE: u64 = 0;
const COMMANDS: u64 = 0x1000;
const EVENTS: u64 = 0x2000;
const PPRS: u64 = 0x3000;
const GA_LOG: u64 = 0x4000;

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
        head: (0, 0),
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
    /// `None` when it is answered.
    fn complete(self, iommu: &'a Iommu<Ram>) -> Option<Self> {
        match self {
            Self::Interrupt(token) => pending(iommu.complete(token)),
            Self::Memory(token) => pending_translation(iommu.complete_translation(token)),
        }
    }
}

fn pending(response: Response<'_>) -> Option<Token<'_>> {
    match response {
        Response::Answer(_) => None,
        Response::Fill(token) => Some(Token::Interrupt(token)),
    }
}

fn pending_translation(response: TranslationResponse<'_>) -> Option<Token<'_>> {
    match response {
        TranslationResponse::Answer(_) => None,
        TranslationResponse::Fill(token) => Some(Token::Memory(token)),
    }
}

struct Machine<'a> {
    iommu: &'a Iommu<Ram>,
    memory: Memory,
    unanswered: Vec<Token<'a>>,
    /// Command buffer base and head when `stores` began.
    head: (u64, u64),
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
                let address = table.address() + u64::from(index % 512) * 8;
                self.memory.store_words(address, &flipped([entry], flip));
            }
            Operation::StoreIrte {
                table,
                index,
                entry,
                flip,
            } => self.store_irte(table.address(), index.into(), entry, flip),
            Operation::Queue { command, flip } => self.queue(command, flip),
            Operation::Interrupt {
                device,
                message,
                data,
            } => {
                let token = pending(self.iommu.request(&InterruptRequest {
                    requester: RequesterId(device.id()),
                    address: message.address(),
                    data: data.into(),
                }));
                self.keep(token);
            }
            Operation::Memory {
                device,
                address,
                access,
                kind,
                pasid,
            } => {
                let token = pending_translation(self.iommu.translate(&MemoryRequest {
                    requester: RequesterId(device.id()),
                    address: address.bits(),
                    access: [Access::Read, Access::Write, Access::Atomic][usize::from(access % 3)],
                    kind: KINDS[usize::from(kind) % KINDS.len()],
                    pasid: pasid.map(u32::from),
                }));
                self.keep(token);
            }
            Operation::Complete(n) => {
                if let Some(token) = self.take_token(n) {
                    let token = token.complete(self.iommu);
                    self.keep(token);
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
        let (base, tail) = (self.iommu.read(0x08, 8), self.iommu.read(0x2008, 8));
        let (ring, length) = (base & 0x000f_ffff_ffff_f000, base >> 56 & 0xf);
        self.memory
            .store_words(ring + tail, &flipped(command.words(), flip));
        self.iommu.write(0x2008, 8, (tail + 16) & ((16 << length) - 1));
        self.memory.check_writes(&[]);
    }

    fn take_token(&mut self, n: u8) -> Option<Token<'a>> {
        let n = usize::from(n).checked_rem(self.unanswered.len())?;
        Some(self.unanswered.swap_remove(n))
    }

    fn keep(&mut self, token: Option<Token<'a>>) {
        self.unanswered.extend(token);
        self.memory.check_writes(&[]);
    }

    /// `false` if there was nothing to do.
    fn step(&mut self) -> bool {
        let mut allowed: Vec<_> = [(0x10, 0x2018, 16), (0x38, 0x2038, 16), (0xe0, 0x2048, 8)]
            .map(|(base, tail, bytes)| self.log_entry(base, tail, bytes))
            .into();
        self.look_at_head();
        allowed.extend_from_slice(&self.stores);
        let has_work = self.iommu.has_work();
        let step = self.iommu.step();
        assert_eq!(has_work, step.is_some(), "has_work against {step:?}");
        self.memory.check_writes(&allowed);
        has_work
    }

    /// Where the log's next entry goes.
    fn log_entry(&self, base: u64, tail: u64, bytes: u64) -> Range<u64> {
        let entry = (self.iommu.read(base, 8) & 0x000f_ffff_ffff_f000) + self.iommu.read(tail, 8);
        entry..entry + bytes
    }

    /// A COMPLETION_WAIT may be rewritten by software between fetch and store.
    fn look_at_head(&mut self) {
        let base = self.iommu.read(0x08, 8) & 0x000f_ffff_ffff_f000;
        let head = (base, self.iommu.read(0x2000, 8));
        if self.head != head {
            self.head = head;
            self.stores.clear();
        }
        let command = self.memory.load(head.0 + head.1).unwrap_or(0);
        let address = command & 0x000f_ffff_ffff_fff8;
        let store = address..address + 8;
        if command >> 60 == 1 && command & 1 != 0 && !self.stores.contains(&store) {
            self.stores.push(store);
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
                unanswered = unanswered.and_then(|token| token.complete(self.iommu));
                self.memory.check_writes(&[]);
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
