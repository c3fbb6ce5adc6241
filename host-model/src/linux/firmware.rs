use std::collections::BTreeMap;

use sim_bridge::RequesterId;

use super::rlookup::{Owner, RlookupTable};
use crate::iommu::spec::features::{Efr, Efr2};

/// What firmware tells of the IOMMU: the ACPI IVRS table, as far as the driver uses it.
#[derive(Debug, Clone)]
pub struct Ivrs {
    /// The kind of IVHD block.
    pub ivhd: Ivhd,
    /// The highest device ID listed; the device table and the loops over all devices end there.
    pub last_bdf: RequesterId,
    /// Those up to `last_bdf` that are not listed for this IOMMU, and for which if any. All others are.
    pub not_ours: BTreeMap<RequesterId, Option<Owner>>,
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

    /// `rlookup_table` as the device entries fill it. Those of type alias list both of their IDs.
    pub(super) fn rlookup_table(&self) -> RlookupTable {
        let mut table: RlookupTable = vec![None; 1 << 16].into();
        table[..=usize::from(self.last_bdf.0)].fill(Some(Owner::This));
        for (id, owner) in &self.not_ours {
            table[usize::from(id.0)] = *owner;
        }
        for id in self.aliases.iter().flat_map(|(device, alias)| [device, alias]) {
            table[usize::from(id.0)].get_or_insert(Owner::This);
        }
        table
    }
}
