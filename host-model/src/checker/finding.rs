use std::fmt;
use std::ops::Range;

use sim_bridge::{RequesterId, SimTime};

use super::locks::Held;
use crate::iommu::BlockReason;
use crate::iommu::spec::command::Command;
use crate::iommu::translate::{Access, TranslationError};
use crate::trace::{Ending, Lock, Loss};

/// What is wrong. The order is from bad to worse: what only takes long, what has not hurt yet, interrupts that are not
/// served, interrupts that somebody else gets, and at last what makes hardware or kernel act on what is gone, kills
/// the kernel's task, or writes memory that is another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// A lock was held too long with interrupts off.
    Held,
    /// An entry is cached that the driver has freed, and nobody has used it yet.
    Left,
    /// An interrupt reached a CPU and vector without a handler, with fresh tables.
    Spurious,
    /// An interrupt that the operating system has requested, or an access to memory that it has given to the device, was
    /// refused, by fresh tables.
    Blocked,
    /// An interrupt arrived nowhere.
    Lost,
    /// An interrupt reached another's handler, with fresh tables.
    Misrouted,
    /// An interrupt was remapped by an entry that another device owns, with fresh tables.
    Stolen,
    /// A request was answered by a cached entry or translation that memory no longer holds.
    Stale,
    /// The driver used what it knew of a function that is gone.
    UseAfterRelease,
    /// The driver dereferenced a NULL pointer.
    Oops,
    /// The driver stored a device table entry outside of the device table.
    Overrun,
}

impl FindingKind {
    /// All of them, from bad to worse.
    pub const ALL: [Self; 11] = [
        Self::Held,
        Self::Left,
        Self::Spurious,
        Self::Blocked,
        Self::Lost,
        Self::Misrouted,
        Self::Stolen,
        Self::Stale,
        Self::UseAfterRelease,
        Self::Oops,
        Self::Overrun,
    ];

    /// In results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Left => "left",
            Self::Spurious => "spurious",
            Self::Blocked => "blocked",
            Self::Lost => "lost",
            Self::Misrouted => "misrouted",
            Self::Stolen => "stolen",
            Self::Stale => "stale",
            Self::UseAfterRelease => "use-after-release",
            Self::Oops => "oops",
            Self::Overrun => "overrun",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The worst kind of finding of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// No finding.
    Coherent,
    /// The worst finding is of this kind.
    Bad(FindingKind),
}

impl Verdict {
    /// Of these findings.
    pub fn of(findings: &[Finding]) -> Self {
        findings
            .iter()
            .map(|finding| finding.kind)
            .max()
            .map_or(Self::Coherent, Self::Bad)
    }

    /// In results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coherent => "coherent",
            Self::Bad(kind) => kind.name(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where an interrupt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// APIC ID, which is the CPU's number.
    pub cpu: u32,
    /// Vector.
    pub vector: u8,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {} vector {:#04x}", self.cpu, self.vector)
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Interrupts under a requester ID that select an entry of its remapping table.
    Entry {
        /// Under which ID the device sent.
        requester: RequesterId,
        /// Index in the remapping table.
        index: u16,
    },
    /// A requester ID as a whole: its device table entry, and what the driver knows of it.
    Device(RequesterId),
    /// Memory requests under a requester ID to a page.
    Page {
        /// Under which ID the device sent.
        requester: RequesterId,
        /// Of its first byte, as the device sees it; a multiple of 4 KiB.
        address: u64,
    },
    /// A spinlock and who held it.
    Lock {
        /// Which.
        lock: Lock,
        /// Its holder.
        cpu: u32,
    },
}

impl Subject {
    /// The requester ID, if it is about one.
    pub fn requester(&self) -> Option<RequesterId> {
        match *self {
            Self::Entry { requester, .. } | Self::Device(requester) | Self::Page { requester, .. } => {
                Some(requester)
            }
            Self::Lock { .. } => None,
        }
    }

    /// Index in the remapping table, if it is about an entry.
    pub fn index(&self) -> Option<u16> {
        match *self {
            Self::Entry { index, .. } => Some(index),
            _ => None,
        }
    }

    /// The same of another requester ID.
    pub fn under(self, other: RequesterId) -> Self {
        match self {
            Self::Entry { index, .. } => Self::Entry {
                requester: other,
                index,
            },
            Self::Device(_) => Self::Device(other),
            Self::Page { address, .. } => Self::Page {
                requester: other,
                address,
            },
            Self::Lock { .. } => self,
        }
    }
}

/// Easy to type: `41:00.1:0`, `41:00.1`, `41:00.1:0x1000`, `iommu-lock:cpu1`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { requester, index } => write!(f, "{requester}:{index}"),
            Self::Device(requester) => write!(f, "{requester}"),
            Self::Page { requester, address } => write!(f, "{requester}:{address:#x}"),
            Self::Lock { lock, cpu } => {
                let name = lock.to_string().replace("->", "-").replace(' ', "-");
                write!(f, "{name}:cpu{cpu}")
            }
        }
    }
}

/// Something wrong: one for each subject and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// About what.
    pub subject: Subject,
    /// Where the IOMMU sent the first interrupt.
    pub got: Option<Place>,
    /// Where memory said that it should go; `None` if nowhere.
    pub expected: Option<Place>,
    /// How it came about.
    pub mistake: Mistake,
    /// Commands that should have been executed and were not.
    pub missing: Vec<Command>,
    /// The driver's function that should have seen to it, as far as the driver says so.
    pub function: Option<&'static str>,
    /// Where each of the interrupts ended.
    pub endings: Vec<Ending>,
}

impl Finding {
    /// Requester IDs whose cached entries should have been invalidated and were not.
    pub fn missing_invalidations(&self) -> impl Iterator<Item = RequesterId> + '_ {
        self.missing.iter().filter_map(|command| match command {
            Command::InvalidateDevtabEntry(id) | Command::InvalidateInterruptTable(id) => Some(*id),
            _ => None,
        })
    }
}

/// How a finding came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    /// What was cached is not what memory holds.
    NotInvalidated(History),
    /// The tables in memory are wrong, or who asks has no business to.
    Tables(Tables),
    /// The tables in memory refuse a memory request that software has allowed.
    Refused(Refused),
    /// The device says that it sent more messages than have ended.
    NeverEnded,
    /// What the driver knew of a function was used when that was gone.
    UseAfterRelease {
        /// The driver's function that did.
        function: &'static str,
        /// When the function was released.
        released_at: SimTime,
        /// By which CPU.
        released_on: u32,
        /// When that was used.
        used_at: SimTime,
    },
    /// A pointer to an IOMMU was NULL.
    NullDereference(NullDereference),
    /// The driver stored a device table entry outside of the device table.
    Overrun(Overrun),
    /// A lock was held too long.
    Held(Held),
}

/// What the IOMMU caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cached {
    /// A device table entry, under its requester ID.
    Dte(RequesterId),
    /// An interrupt remapping table entry, under a requester ID, by its index.
    Irte(RequesterId, u16),
    /// A translation of a domain.
    Page {
        /// The domain.
        domain: u16,
        /// Of the first byte, as a device sees it.
        address: u64,
        /// log2 of the bytes that are translated likewise.
        log2: u8,
    },
}

/// How a cached entry and memory came to differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// What is cached.
    pub cached: Cached,
    /// Of a remapping entry: for whom it was written.
    pub owner: Option<RequesterId>,
    /// When it was read from memory.
    pub cached_at: SimTime,
    /// What it was then, in words.
    pub was: String,
    /// What memory says now, in words.
    pub is: String,
    /// The first change of memory after that.
    pub changed: Written,
    /// The entry itself is as it was, but the device table entry points elsewhere.
    pub moved_away: bool,
    /// Commands on what is cached of this kind, from the change to the call's return.
    pub invalidated: Vec<Command>,
    /// When the first of them was executed.
    pub invalidated_at: Option<SimTime>,
    /// The right command, from the change to the call's return, but in the ring of another IOMMU.
    pub elsewhere: Option<Elsewhere>,
    /// When the last COMPLETION_WAIT before the call's return was executed.
    pub told_complete_at: Option<SimTime>,
    /// When the call returned.
    pub returned_at: Option<SimTime>,
    /// When what is cached was first used after that.
    pub used: Option<Used>,
}

/// A command in the ring of another IOMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elsewhere {
    /// When it was queued.
    pub at: SimTime,
    /// What.
    pub command: Command,
    /// The driver's function that did.
    pub function: &'static str,
    /// Where it has that IOMMU from.
    pub table: &'static str,
}

/// A use of what is cached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// When.
    pub at: SimTime,
    /// By whom.
    pub by: RequesterId,
    /// Where an interrupt went.
    pub place: Option<Place>,
    /// What came of it, in words.
    pub to: String,
}

/// A write to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// When; zero if nobody known made it.
    pub at: SimTime,
    /// The driver call that made it.
    pub by: Option<&'static str>,
    /// The CPU that the call ran on.
    pub cpu: Option<u32>,
    /// The driver's function that is called so.
    pub function: Option<&'static str>,
}

/// What tables in memory do to an interrupt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// When the interrupt was answered.
    pub at: SimTime,
    /// The function behind the requester ID.
    pub function: Option<RequesterId>,
    /// For whom the remapping entry was written.
    pub owner: Option<RequesterId>,
    /// The last write to the device table entry's interrupt half.
    pub dte: Option<Written>,
    /// The last write to the remapping entry.
    pub irte: Option<Written>,
    /// Why it was refused.
    pub refused: Option<BlockReason>,
    /// Why it arrived nowhere.
    pub loss: Option<Loss>,
    /// Entries of the table of the function behind the requester ID, if there is one.
    pub entries_of_function: Option<u32>,
}

/// What tables in memory do to a memory request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// When the first of them was answered.
    pub at: SimTime,
    /// The function that has been given the memory.
    pub function: RequesterId,
    /// What it was.
    pub access: Access,
    /// Why it was refused.
    pub reason: TranslationError,
    /// The last write to the memory half of the requester ID's DTE.
    pub dte: Option<Written>,
    /// Memory halves in words: of the requester ID's DTE, and of the function's.
    pub words: [String; 2],
}

/// A pointer to an IOMMU that was NULL, and followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NullDereference {
    /// When and in which call.
    pub died: Written,
    /// The driver's function that did.
    pub function: &'static str,
    /// Where the pointer is from.
    pub table: &'static str,
    /// The lock that nobody will unlock.
    pub lock: Lock,
    /// The last write to the requester ID's interrupt half, which was to be invalidated.
    pub dte: Option<Written>,
}

/// A device table entry outside of the device table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overrun {
    /// Where the entry begins.
    pub address: u64,
    /// The device table, as the IOMMU was told of it.
    pub table: Range<u64>,
    /// What the IOMMU uses that memory for, as far as it was told.
    pub over: Option<&'static str>,
    /// The first store to each half.
    pub stores: Vec<OverrunStore>,
}

/// A store to an entry outside of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverrunStore {
    /// To which half of the entry.
    pub half: Half,
    /// When and by whom.
    pub written: Written,
    /// The driver's function that writes that half.
    pub function: Option<&'static str>,
}

/// Of a device table entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Bits 127:0.
    Memory,
    /// Bits 255:128.
    Interrupts,
}

impl Half {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Interrupts => "interrupt",
        }
    }
}

/// Nobody known made it.
pub(super) const UNKNOWN: Written = Written {
    at: SimTime::ZERO,
    by: None,
    cpu: None,
    function: None,
};
