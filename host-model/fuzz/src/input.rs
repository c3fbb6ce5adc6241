//! What software and devices do, as a fuzzer makes it up: anything, but likely to mean something.

use arbitrary::{Arbitrary, Unstructured};

use crate::run::{CONTROL, INTERRUPT_TABLE, PAGE_TABLES};
use crate::setup::Setup;

/// One run.
#[derive(Debug)]
pub struct Input {
    pub(crate) setup: Setup,
    pub(crate) operations: Vec<Operation>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let setup = u.arbitrary()?;
        // As many as there are bytes for: `Vec`'s own way is to toss a coin after each.
        let mut operations = vec![];
        while !u.is_empty() {
            operations.push(u.arbitrary()?);
        }
        Ok(Self { setup, operations })
    }
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Operation {
    /// A register, by name or by any offset.
    Write {
        offset: Offset,
        size: Size,
        value: Value,
    },
    Read {
        offset: Offset,
        size: Size,
    },
    Store {
        to: Place,
        value: u64,
    },
    /// Page tables and interrupt remapping table.
    StoreDte {
        device: Device,
        mode: u8,
        root: PageTable,
        table: InterruptTable,
        length: u8,
        flip: Option<u8>,
    },
    /// Of a page table.
    StorePte {
        table: PageTable,
        index: Index,
        next_level: u8,
        next: PageTable,
        flip: Option<u8>,
    },
    StoreIrte {
        table: InterruptTable,
        index: Index,
        entry: Irte,
        flip: Option<u8>,
    },
    /// At the tail, which then moves on.
    Queue {
        command: Command,
        flip: Option<u8>,
    },
    Interrupt {
        device: Device,
        message: Message,
        data: Data,
        completed: u8,
    },
    Memory {
        device: Device,
        address: Address,
        access: u8,
        kind: u8,
        pasid: Option<u8>,
        completed: u8,
    },
    PageRequest {
        device: Device,
        address: u64,
        group: u16,
        last: bool,
        pasid: Option<u8>,
    },
    /// A device's answer to INVALIDATE_IOTLB_PAGES.
    IotlbResponse {
        device: Device,
        timed_out: bool,
    },
    /// In configuration space.
    SetMsi(Option<u16>),
    /// Which of the unanswered requests; a new one may have been completed so many times at once.
    Complete(u8),
    Abandon(u8),
    Step(u8),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Offset {
    Named(u8),
    Any(u16),
}

impl Offset {
    const NAMED: [u64; 34] = [
        0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0x40, 0x48, 0x50, 0xe0, 0xe8, 0x100, 0x108, 0x130,
        0x138, 0x150, 0x158, 0x160, 0x168, 0x170, 0x178, 0x180, 0x1a0, 0x2000, 0x2008, 0x2010, 0x2018,
        0x2020, 0x2030, 0x2038, 0x2040, 0x2048,
    ];

    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Named(n) => Self::NAMED[usize::from(n) % Self::NAMED.len()],
            Self::Any(offset) => offset.into(),
        }
    }
}

/// Bytes of an access: mostly what the IOMMU takes.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) struct Size(u8);

impl Size {
    pub(crate) fn bytes(self) -> usize {
        match self.0 {
            0..160 => 8,
            160..240 => 4,
            other => usize::from(other % 16),
        }
    }
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Value {
    Any(u64),
    /// Of a table or ring.
    Base {
        page: Page,
        length: u8,
        low: u16,
    },
    /// Of a ring.
    Pointer(u16),
    /// Control, with everything on that is not flipped.
    Control {
        flip: u8,
        also: u8,
    },
}

impl Value {
    pub(crate) fn bits(self) -> u64 {
        match self {
            Self::Any(bits) => bits,
            Self::Base { page, length, low } => {
                page.address() | u64::from(length) << 56 | u64::from(low & 0xfff)
            }
            Self::Pointer(pointer) => u64::from(pointer) << 4,
            Self::Control { flip, also } => CONTROL ^ 1 << (flip % 64) ^ 1 << (also % 64),
        }
    }
}

/// 4 KiB of address space: in memory, in its hole, or beyond.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) struct Page(u8);

impl Page {
    pub(crate) fn address(self) -> u64 {
        match self.0 {
            u8::MAX => 0x000f_ffff_ffff_f000,
            page => u64::from(page % 24) << 12,
        }
    }
}

/// A page for it, or any.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) struct InterruptTable(u8);

impl InterruptTable {
    pub(crate) fn address(self) -> u64 {
        match self.0 {
            0..192 => INTERRUPT_TABLE,
            page => Page(page).address(),
        }
    }
}

/// One of four pages for them, or any.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) struct PageTable(u8);

impl PageTable {
    pub(crate) fn address(self) -> u64 {
        match self.0 {
            n @ 0..192 => PAGE_TABLES + (u64::from(n % 4) << 12),
            page => Page(page).address(),
        }
    }
}

/// Of an entry: few, so that what is stored is used.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) struct Index(u8);

impl Index {
    pub(crate) fn number(self) -> u64 {
        match self.0 {
            n @ 0..192 => (n % 4).into(),
            n => n.into(),
        }
    }
}

/// Of a message.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Data {
    Index(Index),
    Any(u16),
}

impl Data {
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Index(index) => index.number() as u32,
            Self::Any(data) => data.into(),
        }
    }
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) struct Place {
    page: Page,
    word: u16,
}

impl Place {
    pub(crate) fn address(self) -> u64 {
        self.page.address() | u64::from(self.word % 512) << 3
    }
}

/// Requester ID: few, so that they meet.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Device {
    Low(u8),
    Any(u16),
}

impl Device {
    pub(crate) fn id(self) -> u16 {
        match self {
            Self::Low(n) => (n % 4).into(),
            Self::Any(id) => id,
        }
    }
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Irte {
    Bits32(u32),
    /// RemapEn 1, GuestMode 0.
    Bits128 {
        destination: u8,
        vector: u8,
    },
    /// RemapEn 1, GuestMode 1.
    Guest {
        fields: u32,
        tag: u32,
        root: Page,
        vector: u8,
    },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Message {
    Fee { low: u16 },
    Any(u64),
}

impl Message {
    pub(crate) fn address(self) -> u64 {
        match self {
            Self::Fee { low } => 0xfee0_0000 | u64::from(low) << 2,
            Self::Any(address) => address,
        }
    }
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Command {
    Any([u64; 2]),
    CompletionWait {
        flags: u8,
        to: Place,
        data: u64,
    },
    InvalidateDevtabEntry(Device),
    InvalidatePages {
        domain: u8,
        address: u64,
    },
    InvalidateIotlbPages {
        device: Device,
        pending: u8,
        address: u64,
    },
    InvalidateInterruptTable(Device),
    Prefetch {
        device: Device,
        address: u64,
    },
    CompletePpr {
        device: Device,
        tag: u16,
    },
    InvalidateAll,
}

impl Command {
    pub(crate) fn words(self) -> [u64; 2] {
        let of = |opcode: u64, device: Device| opcode << 60 | u64::from(device.id());
        match self {
            Self::Any(words) => words,
            Self::CompletionWait { flags, to, data } => [1 << 60 | to.address() | u64::from(flags & 7), data],
            Self::InvalidateDevtabEntry(device) => [of(2, device), 0],
            Self::InvalidatePages { domain, address } => {
                [3 << 60 | u64::from(domain) << 32, address & !0xff8]
            }
            Self::InvalidateIotlbPages {
                device,
                pending,
                address,
            } => [of(4, device) | u64::from(pending) << 24, address & !0xffe],
            Self::InvalidateInterruptTable(device) => [of(5, device), 0],
            Self::Prefetch { device, address } => [of(6, device), address & !0xfff],
            Self::CompletePpr { device, tag } => [of(7, device), u64::from(tag)],
            Self::InvalidateAll => [8 << 60, 0],
        }
    }
}

/// Of a memory request.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Address {
    /// By the index in each page table.
    Page {
        indices: [Index; 3],
        offset: u16,
    },
    Any(u64),
}

impl Address {
    pub(crate) fn bits(self) -> u64 {
        match self {
            Self::Page { indices, offset } => {
                let page = indices.iter().fold(0, |page, index| page << 9 | index.number());
                page << 12 | u64::from(offset & 0xfff)
            }
            Self::Any(address) => address,
        }
    }
}
