use std::collections::BTreeMap;

use sim_bridge::RequesterId;

use crate::iommu::spec::features::{Efr, Efr2};

/// What firmware tells of the IOMMU: the ACPI IVRS table, as far as the driver uses it.
#[derive(Debug, Clone)]
pub struct Ivrs {
    /// The kind of IVHD block.
    pub ivhd: Ivhd,
    /// The highest device ID listed; the device table and the loops over all devices end there.
    pub last_bdf: RequesterId,
    /// IVHD device entries of type alias: from a device ID to the one it sends under.
    pub aliases: BTreeMap<RequesterId, RequesterId>,
}

/// The kind of IVHD block, which decides what Linux knows of the features before it reads registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ivhd {
    /// Without a copy of the feature registers: 32-bit remapping entries, and no INVALIDATE_IOMMU_ALL at first.
    Type10,
    /// With a copy of both, and IVinfo.EFRSup set.
    Type11(Efr, Efr2),
}

impl Ivhd {
    /// What Linux knows before it reads registers.
    pub(super) fn features(self) -> (Efr, Efr2) {
        match self {
            Self::Type10 => (Efr::new(), Efr2::new()),
            Self::Type11(efr, efr2) => (efr, efr2),
        }
    }
}

impl Ivrs {
    /// The ID that firmware says this one sends under; itself without an entry.
    pub fn alias(&self, id: RequesterId) -> RequesterId {
        self.aliases.get(&id).copied().unwrap_or(id)
    }
}
