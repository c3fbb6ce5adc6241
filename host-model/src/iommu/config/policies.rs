//! Open questions: what public sources answer differently or not at all.

use super::super::spec::dte::DteRevision;

/// Questions to which public implementations give different answers or none. The defaults say why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policies {
    /// Does DTE.V govern interrupts?
    pub dte_valid: DteValid,
    /// Which bits of a DTE are reserved?
    pub dte_revision: DteRevision,
    /// A requester ID beyond the device table.
    pub out_of_range_device: OutOfRangeDevice,
    /// SMI messages.
    pub smi: Smi,
    /// Interrupts that DTE.IntCtl 0 aborts.
    pub int_ctl_abort: IntCtlAbort,
    /// An interrupt remapping table entry that can't be read.
    pub irte_read_failure: IrteReadFailure,
    /// A vAPIC backing page that can't be written.
    pub backing_page_failure: BackingPageFailure,
    /// Reserved bits in an IRTE.
    pub irte_reserved_bits: IrteReservedBits,
    /// Is an IRTE with RemapEn 0 cached?
    pub cache_remap_en_clear: CacheRemapEnClear,
    /// Does INVALIDATE_DEVTAB_ENTRY drop IRTEs?
    pub devtab_invalidation: DevtabInvalidation,
    /// The address in events for interrupts.
    pub event_address: EventAddress,
    /// Does Control.IRTCacheDis exist? No feature bit says so: software writes 1 and reads it back.
    pub irt_cache_dis: IrtCacheDis,
    /// What does the IRT cache hold once Control.IRTCacheDis is 0 again?
    pub irt_cache_enabled_again: IrtCacheEnabledAgain,
    /// Page faults of a device whose DTE has SE.
    pub repeated_page_faults: RepeatedPageFaults,
    /// When does an event set Status.EventLogInt?
    pub event_log_int: EventLogInt,
    /// When does a status bit raise its interrupt?
    pub status_interrupts: StatusInterrupts,
    /// What if a status bit is cleared just when an entry is written?
    pub interrupt_clear: InterruptClear,
    /// The GA log's tail in memory.
    pub ga_tail_store: GaTailStore,
    /// What do caches hold after a loss of power?
    pub power_on_caches: PowerOnCaches,
}

/// Does DTE.V govern interrupts?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DteValid {
    /// IV alone governs (VirtualBox, QEMU). Linux sets IV long before V.
    #[default]
    IvGoverns,
    /// V=0 forwards everything (openvmm).
    VGoverns,
}

/// A requester ID beyond the device table gives...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfRangeDevice {
    /// IO_PAGE_FAULT (VirtualBox, which cites the specification).
    #[default]
    IoPageFault,
    /// ILLEGAL_DEV_TABLE_ENTRY (openvmm).
    IllegalDevTableEntry,
    /// An entry read from beyond the end (QEMU).
    Unchecked,
}

/// SMI messages are...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Smi {
    /// Forwarded (VirtualBox).
    #[default]
    Forward,
    /// Target-aborted (QEMU).
    Abort,
}

/// A fixed or arbitrated interrupt that DTE.IntCtl 0 aborts gives...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IntCtlAbort {
    /// No event (VirtualBox): the device sees the abort.
    #[default]
    NoEvent,
    /// INVALID_DEVICE_REQUEST of type 5, whatever IG says: what that type is to illumos (`get_illegal_req`). VirtualBox
    /// has a reserved interrupt range in its place.
    InvalidDeviceRequest,
}

/// An interrupt remapping table entry that can't be read gives...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IrteReadFailure {
    /// PAGE_TAB_HARDWARE_ERROR (openvmm): the only event for a failed table read below the DTE.
    #[default]
    PageTabHardwareError,
    /// No event (VirtualBox).
    NoEvent,
}

/// A vAPIC backing page that can't be written gives...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackingPageFailure {
    /// PAGE_TAB_HARDWARE_ERROR, as an IRTE that can't be read. No public model posts interrupts.
    #[default]
    PageTabHardwareError,
    /// No event.
    NoEvent,
}

/// Reserved bits in an IRTE...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IrteReservedBits {
    /// Fault, as a reserved IntType does.
    #[default]
    Fault,
    /// Are not looked at (VirtualBox, openvmm).
    Ignore,
}

/// An IRTE with RemapEn 0 is...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheRemapEnClear {
    /// Not cached: Linux writes its reserved marker without an invalidation.
    #[default]
    No,
    /// Cached.
    Yes,
}

/// INVALIDATE_DEVTAB_ENTRY drops...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DevtabInvalidation {
    /// The DTE only: Linux sends it alone just for a table that nobody has used yet.
    #[default]
    DteOnly,
    /// The requester ID's IRTEs too.
    DteAndIrtes,
}

/// Events for interrupts carry...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventAddress {
    /// `0xffff_fffd_f8vv_0000`, the HyperTransport form, `vv` the low byte of the data: what silicon logs.
    #[default]
    HyperTransport,
    /// The message's own address.
    Message,
}

/// Control.IRTCacheDis...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IrtCacheDis {
    /// Reads back 1 and disables the IRT cache: Linux (`iommu_enable_irtcachedis`) then sends no
    /// INVALIDATE_INTERRUPT_TABLE.
    #[default]
    Sticky,
    /// Reads back 0, and Linux goes on with the cache.
    Ignored,
}

/// Once Control.IRTCacheDis goes from 1 to 0, the IRT cache holds...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IrtCacheEnabledAgain {
    /// What it held before the bit was 1: only invalidations drop entries. Linux does with either, as it clears the bit
    /// (`iommu_disable`) before it invalidates everything (`early_enable_iommu`).
    #[default]
    WhatItHeld,
    /// Nothing.
    Nothing,
}

/// With DTE.SE, page faults of memory requests are not reported...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RepeatedPageFaults {
    /// After the first, until INVALIDATE_DEVTAB_ENTRY or INVALIDATE_IOMMU_ALL (VirtualBox, which keeps it with its
    /// cached DTE).
    #[default]
    UntilInvalidated,
    /// They all are: SE has no effect (QEMU).
    Reported,
}

/// An event in the log sets Status.EventLogInt...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventLogInt {
    /// Always (VirtualBox), as COMPLETION_WAIT sets ComWaitInt: EventIntEn is for the interrupt only.
    #[default]
    Always,
    /// If Control.EventIntEn is 1 (QEMU, openvmm): what was logged before it is 1 never interrupts.
    IfEnabled,
}

/// A status bit raises its interrupt...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatusInterrupts {
    /// When it and its enable bit become 1 together: Linux clears the bit to get the next interrupt.
    #[default]
    RisingEdge,
    /// With every entry, even while the bit is 1 (VirtualBox).
    EveryEntry,
}

/// A write that clears EventLogInt or PPRInt...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InterruptClear {
    /// Clears it.
    #[default]
    Clears,
    /// Leaves it 1 if an entry is waiting to be written, whose interrupt then never comes: AMD's erratum 1312, for
    /// which Linux reads the bit back and clears it again.
    RacesWithEntries,
}

/// After each GA log entry, the log's tail is...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GaTailStore {
    /// Stored at the address in the GA Log Tail Address register too, unless that is 0: Linux sets it to a page of
    /// its own. Nothing else could be its use.
    #[default]
    Store,
    /// In its register only, where Linux reads it.
    Never,
}

/// After a loss of power the caches hold...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PowerOnCaches {
    /// Nothing: Linux (`early_enable_iommu`) sets IommuEn before it invalidates, as only then are commands executed, and
    /// would hit anything else in between.
    #[default]
    Empty,
    /// What they held before: why Linux invalidates all the same.
    Kept,
}
