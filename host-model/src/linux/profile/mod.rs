//! How Linux versions differ, as data: one code path interprets it.

mod list;
mod name;

pub use name::UnknownProfile;

use std::fmt;

/// How one Linux version's AMD IOMMU driver behaves, or one that somebody might write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// As users name it, without a parameter.
    pub name: &'static str,
    /// The release whose code it follows.
    pub release: &'static str,
    /// What sets it apart.
    pub about: &'static str,
    /// `iommu_flush_irt_and_complete`.
    pub irt_flush: IrtFlush,
    /// `iommu_completion_wait`.
    pub completion_wait: CompletionWait,
    /// Whose DTEs point at a function's interrupt remapping table.
    pub table_ids: TableIds,
    /// `rlookup_table` and others are a PCI segment's, reached through the IOMMU of a function, and steps of
    /// `pci_for_each_dma_alias` that have none are skipped or end it: since 6.0.
    pub pci_segments: bool,
    /// Tables may have 2048 entries, and `IOMMU_PD_MODE_NONE` exists.
    pub tables_of_2048: bool,
    /// `set_dte_irq_entry` takes `dte_lock`.
    pub irq_entry_under_dte_lock: bool,
    /// `amd_iommu_update_ga` invalidates.
    pub guest_update_flushes: bool,
    /// `clone_alias`.
    pub clone_alias: CloneAlias,
    /// `attach_device`.
    pub attach: Attach,
    /// `early_enable_iommu` and what follows.
    pub boot: Boot,
}

/// What a change of a remapping entry sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IrtFlush {
    /// Invalidated under which IDs.
    pub ids: FlushedIds,
    /// With more IDs than this: one INVALIDATE_IOMMU_ALL, where the IOMMU has it.
    pub all_above: Option<u16>,
    /// When the tail register is written.
    pub tail: TailWrites,
    /// Under `iommu->lock`, how often taken.
    pub sections: LockSections,
    /// What `amd_iommu=irtcachedis` does.
    pub irtcachedis: IrtCacheDisable,
}

/// Under which requester IDs a change of a remapping entry is invalidated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushedIds {
    /// The one that the entry was allocated for.
    OwnId,
    /// All of `pci_for_each_dma_alias`, since "iommu/amd: Invalidate IRT cache for DMA aliases"; the one alone for what
    /// is no PCI function.
    DmaAliases,
    /// The same, each once.
    DistinctAliases,
}

/// When the tail register is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailWrites {
    /// After each command.
    EachCommand,
    /// Once all commands are in the ring, and where it is full.
    AtEnd,
}

/// How often `iommu->lock` is taken for a flush and its COMPLETION_WAIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockSections {
    /// For the invalidation, and for the wait: another CPU may come between.
    Two,
    /// Once.
    One,
}

/// What `amd_iommu=irtcachedis` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IrtCacheDisable {
    /// There is no such parameter.
    Unknown,
    /// Sets the control bit; flushes go on.
    NotHonoured,
    /// Sets the control bit; where the hardware keeps it there is no flush.
    Honoured,
    /// As if the parameter were always given.
    Always,
}

/// How COMPLETION_WAIT is numbered and waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletionWait {
    /// What it stores.
    pub number: WaitNumber,
    /// `iommu->lock` is held while the semaphore is polled.
    pub polls_under_lock: bool,
    /// With nothing queued since the last one.
    pub nothing_queued: NothingQueued,
    /// Which value in the semaphore ends the wait.
    pub satisfied_by: SatisfiedBy,
}

/// What a COMPLETION_WAIT stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitNumber {
    /// 1, into a semaphore that was cleared under `iommu->lock`.
    One,
    /// The next number, taken under `iommu->lock`.
    UnderLock,
    /// The next number, taken before `iommu->lock`: they can be queued out of order.
    BeforeLock,
}

/// What `iommu_completion_wait` does with nothing queued since the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NothingQueued {
    /// Nothing; `need_sync` is read without `iommu->lock`.
    Return,
    /// Waits for the last number.
    WaitForLast,
}

/// Which value in the semaphore ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SatisfiedBy {
    /// Any but 0.
    NotZero,
    /// The number alone.
    Equal,
    /// The number or a later one.
    AtLeast,
}

/// Whose DTEs point at a function's interrupt remapping table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableIds {
    /// The function's and that of its IVRS alias.
    OwnAndIvrs,
    /// Those of all DMA aliases and of the IVRS alias.
    AllAliases,
}

/// How the DTE of an alias follows the function's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloneAlias {
    /// Only one alias has it, the last of `pci_for_each_dma_alias` or the IVRS alias; attaching writes it like the
    /// function's own.
    OneAlias,
    /// All aliases; the whole entry is copied, with its interrupt half, and no command.
    CopiesEntry(CloneSource),
    /// All aliases, by `update_dte256`: the alias keeps its interrupt half, and has its own invalidation and wait.
    UpdatesEntry(CloneSource),
}

/// Whose DTE an alias gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloneSource {
    /// The function's, since "iommu/amd: Fix clone_alias() to use the original device's devid".
    Function,
    /// That of whom the alias is due to: at a bridge, the bridge's.
    Walked,
}

/// How attaching to a domain writes the function's own DTE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attach {
    /// The stores.
    pub stores: AttachStores,
    /// All of it is under `domain->lock`.
    pub under_domain_lock: bool,
    /// The wait for the DTEs' flush is one with that for a flush of the domain.
    pub flushes_domain: bool,
}

/// Stores to the function's own DTE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachStores {
    /// Two of 64 bits, and no command before the flush at the end.
    Plain,
    /// `update_dte256`: two of 128 bits under `dte_lock`, followed by their own invalidation.
    LockedAndFlushed,
}

/// Start-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    /// The event log is enabled in `early_enable_iommu`, not after the SNP checks.
    pub early_event_log: bool,
    /// Guest translation is enabled in `early_enable_iommu` and before the devices are probed, not after.
    pub early_guest_translation: bool,
    /// Loops over all devices end at the last one listed, not at 0xffff.
    pub loops_end_at_last_bdf: bool,
}

impl Profile {
    /// Which requester IDs a change of a remapping entry invalidates.
    pub fn flushes_aliases(&self) -> bool {
        self.irt_flush.ids != FlushedIds::OwnId
    }

    /// What it is, for a list.
    pub fn sentence(&self) -> String {
        format!("Linux {}: {}", self.release, self.about)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.irt_flush.all_above {
            Some(ids) => f.pad(&format!("{}:{ids}", self.name)),
            None => f.pad(self.name),
        }
    }
}
