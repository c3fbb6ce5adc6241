//! What an IOMMU is built with, and the choices that the public sources leave open.

use super::spec::dte::DteRevision;
use super::spec::features::Features;

/// What an IOMMU is built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Config {
    /// EFR and EFR2.
    pub features: Features,
    /// Cache of interrupt remapping table entries.
    pub irt_cache: CacheShape,
    /// Cache of device table entries.
    pub dte_cache: CacheShape,
    /// Open questions.
    pub policies: Policies,
}

/// Sets and ways of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    sets: usize,
    ways: usize,
}

/// A shape that no cache can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CacheShapeError {
    /// Sets are chosen by bits of a hash.
    #[error("{0} sets: a power of two from 1 to {max} is needed", max = CacheShape::MAX_SETS)]
    Sets(usize),
    /// The order of use of a set's ways is one 64-bit word.
    #[error("{0} ways: 1 to {max} are possible", max = CacheShape::MAX_WAYS)]
    Ways(usize),
}

impl CacheShape {
    /// Most sets.
    pub const MAX_SETS: usize = 1 << 16;
    /// Most ways.
    pub const MAX_WAYS: usize = 16;
    /// No cache: every lookup reads memory.
    pub const DISABLED: Self = Self { sets: 0, ways: 0 };
    /// Two entries in one set, which forces evictions.
    pub const TINY: Self = Self { sets: 1, ways: 2 };

    /// `sets` must be a power of two.
    pub const fn new(sets: usize, ways: usize) -> Result<Self, CacheShapeError> {
        if !sets.is_power_of_two() || sets > Self::MAX_SETS {
            return Err(CacheShapeError::Sets(sets));
        }
        if ways == 0 || ways > Self::MAX_WAYS {
            return Err(CacheShapeError::Ways(ways));
        }
        Ok(Self { sets, ways })
    }

    /// Number of sets, 0 if disabled.
    pub const fn sets(self) -> usize {
        self.sets
    }

    /// Entries of a set, 0 if disabled.
    pub const fn ways(self) -> usize {
        self.ways
    }
}

/// 256 sets of 4 ways.
impl Default for CacheShape {
    fn default() -> Self {
        Self { sets: 256, ways: 4 }
    }
}

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
    /// An interrupt remapping table entry that can't be read.
    pub irte_read_failure: IrteReadFailure,
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

/// An interrupt remapping table entry that can't be read gives...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IrteReadFailure {
    /// PAGE_TAB_HARDWARE_ERROR (openvmm): the only event for a failed table read below the DTE.
    #[default]
    PageTabHardwareError,
    /// No event (VirtualBox).
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
    /// Reads back 1 and disables the IRT cache.
    #[default]
    Sticky,
    /// Reads back 0.
    Ignored,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_cache_shapes_are_refused() {
        assert_eq!(CacheShape::new(0, 4), Err(CacheShapeError::Sets(0)));
        assert_eq!(CacheShape::new(48, 4), Err(CacheShapeError::Sets(48)));
        assert_eq!(CacheShape::new(1 << 17, 4), Err(CacheShapeError::Sets(1 << 17)));
        assert_eq!(CacheShape::new(16, 0), Err(CacheShapeError::Ways(0)));
        assert_eq!(CacheShape::new(16, 17), Err(CacheShapeError::Ways(17)));
        assert!(CacheShape::new(1 << 16, 16).is_ok());
    }
}
