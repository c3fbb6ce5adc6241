//! Interrupt requests and what the IOMMU makes of them.

use bitfield_struct::bitfield;
use sim_bridge::RequesterId;

use super::guest::Posted;
use super::remap::FillToken;
use super::spec::dte::{DteError, RawDte};
use super::spec::event::Event;
use super::spec::irte::{DestinationMode, IntType, IrteError, RawIrte};
use super::translate::{PageLookup, PteRead};

/// A memory write to 0xFEEx_xxxx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InterruptRequest {
    /// From the TLP.
    pub requester: RequesterId,
    /// Of the message.
    pub address: u64,
    /// Of the message.
    pub data: u32,
}

/// What a request or a fill leads to.
#[derive(Debug)]
#[must_use]
pub enum Response<'a> {
    /// The end of the request.
    Answer(Outcome),
    /// A table entry was read from memory: hand the token to [`Iommu::complete`](super::Iommu::complete) when the
    /// read's latency has passed.
    Fill(FillToken<'a>),
}

/// Gets to see the table entries that a request goes by, as it goes by them.
pub trait Observer {
    /// Whether it looks. If it does not, nothing is gathered for it.
    const LOOKS: bool = true;
    /// The device table entry.
    fn dte(&mut self, lookup: Lookup<RawDte>);
    /// The interrupt remapping table entry of an interrupt message.
    fn irte(&mut self, _lookup: Lookup<RawIrte>) {}
    /// An entry of a memory request's page tables.
    fn pte(&mut self, _read: PteRead) {}
    /// The page of a memory request.
    fn page(&mut self, _lookup: PageLookup) {}
}

/// Does not look.
impl Observer for () {
    const LOOKS: bool = false;
    fn dte(&mut self, _: Lookup<RawDte>) {}
}

/// Keeps what it sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observed {
    /// The device table entry, if one was used.
    pub dte: Option<Lookup<RawDte>>,
    /// The interrupt remapping table entry, if one was used.
    pub irte: Option<Lookup<RawIrte>>,
}

impl Observer for Observed {
    fn dte(&mut self, lookup: Lookup<RawDte>) {
        self.dte = Some(lookup);
    }

    fn irte(&mut self, lookup: Lookup<RawIrte>) {
        self.irte = Some(lookup);
    }
}

/// What became of a request, and by which table entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The request.
    pub request: InterruptRequest,
    /// Where it goes.
    pub outcome: Outcome,
    /// The device table entry that was used.
    pub dte: Option<Lookup<RawDte>>,
    /// The interrupt remapping table entry that was used.
    pub irte: Option<Lookup<RawIrte>>,
}

impl Answer {
    /// Of a request that was observed to its end.
    pub fn new(request: InterruptRequest, outcome: Outcome, Observed { dte, irte }: Observed) -> Self {
        Self {
            request,
            outcome,
            dte,
            irte,
        }
    }
}

/// A table entry and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup<T> {
    /// Cache or memory.
    pub from: LookupFrom,
    /// Guest physical address that it was read at.
    pub address: u64,
    /// As it was in memory then.
    pub raw: T,
}

/// Where a table entry came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LookupFrom {
    /// The cache.
    Hit,
    /// Memory, and it is cached now.
    Fill,
    /// Memory, and it is not cached: the cache is disabled, an invalidation came in between, or the entry is of a
    /// kind that is not cached.
    Uncached,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// On as it came.
    Forwarded {
        /// Of the request.
        address: u64,
        /// Of the request.
        data: u32,
    },
    /// To where its table entry says.
    Remapped(Interrupt),
    /// To a virtual CPU.
    Posted(Posted),
    /// Nowhere.
    Blocked {
        /// Why.
        reason: BlockReason,
        /// What is reported, or `None` where the event is suppressed or the specification has none. Whether it
        /// reaches the log is up to Control.EventLogEn; [`Step`](super::Step) tells.
        event: Option<Event>,
    },
}

/// A remapped interrupt.
#[bitfield(u64)]
#[derive(PartialEq, Eq, Hash)]
pub struct Interrupt {
    /// APIC ID, 8 bits unless Control.XTEn.
    #[inline]
    pub destination: u32,
    /// Vector.
    #[inline]
    pub vector: u8,
    /// Fixed or arbitrated.
    #[bits(1)]
    #[inline]
    pub int_type: IntType,
    // As far from each other as in table entries, which makes them cheap to copy.
    #[bits(2)]
    __: u8,
    /// RqEoi: level-triggered.
    #[inline]
    pub request_eoi: bool,
    /// Physical or logical.
    #[bits(1)]
    #[inline]
    pub destination_mode: DestinationMode,
    /// Of the table entry.
    #[bits(11)]
    #[inline]
    pub index: u16,
    __: u8,
}

/// Why a request goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockReason {
    /// Not a message to 0xFEEx_xxxx.
    #[error("address {0:#x} is not an interrupt message's")]
    NotAnInterrupt(u64),
    /// The requester ID is beyond the device table.
    #[error("the requester ID is beyond the device table")]
    DeviceOutOfRange,
    /// The DTE can't be read.
    #[error("the DTE at {0:#x} can't be read")]
    DteUnreadable(u64),
    /// The DTE is illegal.
    #[error(transparent)]
    IllegalDte(DteError),
    /// DTE.IntCtl is 0.
    #[error("DTE: IntCtl 0 aborts")]
    IntCtlAborted,
    /// A delivery mode whose pass bit in the DTE is 0, or SMI by policy.
    #[error("{0:?} is not passed")]
    NotPassed(DeliveryMode),
    /// A delivery mode that must have a physical destination.
    #[error("{0:?} with a logical destination")]
    LogicalDestination(DeliveryMode),
    /// Delivery mode 3 or 6.
    #[error("delivery mode {0} is reserved")]
    ReservedDeliveryMode(u8),
    /// The index is beyond the interrupt remapping table.
    #[error("index {index} is beyond the table of {entries} entries")]
    IndexOutOfRange {
        /// From the message's data.
        index: u16,
        /// From the DTE.
        entries: u16,
    },
    /// The IRTE can't be read.
    #[error("the IRTE at {0:#x} can't be read")]
    IrteUnreadable(u64),
    /// The request register at this address in a vAPIC backing page can't be written.
    #[error("the vAPIC backing page can't be written at {0:#x}")]
    BackingPageUnwritable(u64),
    /// RemapEn is 0, or the IRTE is illegal.
    #[error(transparent)]
    Irte(IrteError),
}

/// Delivery modes that the DTE passes or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryMode {
    /// 2.
    Smi,
    /// 4.
    Nmi,
    /// 5.
    Init,
    /// 7.
    ExtInt,
}
