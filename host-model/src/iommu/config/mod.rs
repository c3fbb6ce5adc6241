//! What an IOMMU is built with.

use super::cache::CacheShape;
use super::spec::features::Features;

mod faults;
mod policies;

pub use faults::{Faults, MemoryFault};
pub use policies::{
    BackingPageFailure, CacheRemapEnClear, DevtabInvalidation, DteValid, EventAddress, EventLogInt,
    GaTailStore, IntCtlAbort, InterruptClear, IrtCacheDis, IrtCacheEnabledAgain, IrteReadFailure,
    IrteReservedBits, OutOfRangeDevice, Policies, PowerOnCaches, RepeatedPageFaults, Smi, StatusInterrupts,
};

/// What an IOMMU is built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// EFR and EFR2.
    pub features: Features,
    /// Cache of interrupt remapping table entries.
    pub irt_cache: CacheShape,
    /// Cache of device table entries.
    pub dte_cache: CacheShape,
    /// Cache of translations.
    pub iotlb: CacheShape,
    /// Bits of the generation counters, 1 to 64. Whatever their width, nothing outlives its invalidation; a narrow
    /// one drops more now and then.
    pub generation_bits: u32,
    /// Open questions.
    pub policies: Policies,
    /// Deliberate faults.
    pub faults: Faults,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            features: Features::default(),
            irt_cache: CacheShape::default(),
            dte_cache: CacheShape::default(),
            iotlb: CacheShape::default(),
            generation_bits: 64,
            policies: Policies::default(),
            faults: Faults::default(),
        }
    }
}

impl Config {
    /// All three caches of the same shape.
    #[must_use]
    pub fn with_caches(self, shape: CacheShape) -> Self {
        Self {
            irt_cache: shape,
            dte_cache: shape,
            iotlb: shape,
            ..self
        }
    }
}
