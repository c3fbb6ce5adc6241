use std::fmt;

use sim_bridge::{RequesterId, SimTime};

use crate::trace::Ending;

/// What is wrong with an interrupt. The order is from bad to worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// It reached a CPU and vector without a handler, with fresh tables.
    Spurious,
    /// It arrived nowhere.
    Lost,
    /// It reached another's handler, with fresh tables.
    Misrouted,
    /// It was remapped by a cached entry that memory no longer holds.
    Stale,
}

impl FindingKind {
    /// In results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spurious => "spurious",
            Self::Lost => "lost",
            Self::Misrouted => "misrouted",
            Self::Stale => "stale",
        }
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

/// Something wrong with the interrupts of one requester ID and index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// Under which ID the device sent.
    pub requester: RequesterId,
    /// Index in the remapping table.
    pub index: u16,
    /// Where the IOMMU sent the first of them.
    pub got: Option<Place>,
    /// Where memory said that it should go; `None` if nowhere.
    pub expected: Option<Place>,
    /// Requester IDs for which the cached entry should have been invalidated and was not.
    pub missing_invalidations: Vec<RequesterId>,
    /// How it came about, of a stale entry.
    pub history: Option<History>,
    /// Where each of the interrupts ended.
    pub endings: Vec<Ending>,
}

/// How a cached entry became stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// When it was read from memory.
    pub cached_at: SimTime,
    /// When memory changed first after that.
    pub changed_at: SimTime,
    /// The driver call that changed it.
    pub changed_by: &'static str,
    /// `IRTE` or `DTE`.
    pub entry: &'static str,
    /// Requester IDs that were invalidated between the change and the call's return.
    pub invalidated: Vec<RequesterId>,
    /// When the call returned.
    pub told_complete_at: Option<SimTime>,
    /// When the stale entry was first used.
    pub used_at: SimTime,
}
