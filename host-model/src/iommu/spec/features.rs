//! Extended Feature registers (AMD IOMMU spec 3.4.9).

use bitfield_struct::bitfield;

/// Extended Feature register (EFR).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Efr {
    /// PREFETCH_IOMMU_PAGES.
    pub pref_sup: bool,
    /// Peripheral page requests.
    pub ppr_sup: bool,
    /// 32-bit interrupt destinations.
    pub xt_sup: bool,
    /// No-execute.
    pub nx_sup: bool,
    /// Guest translation.
    pub gt_sup: bool,
    /// GA physical processor interrupt.
    pub gappi_sup: bool,
    /// INVALIDATE_IOMMU_ALL.
    pub ia_sup: bool,
    /// 128-bit interrupt remapping table entries.
    pub ga_sup: bool,
    /// Hardware error registers.
    pub he_sup: bool,
    /// Performance counters.
    pub pc_sup: bool,
    /// Host page table levels.
    #[bits(2)]
    pub hats: u8,
    /// Guest page table levels.
    #[bits(2)]
    pub gats: u8,
    /// Guest CR3 levels.
    #[bits(2)]
    pub glx_sup: u8,
    /// SMI filter.
    #[bits(2)]
    pub smif_sup: u8,
    /// SMI filter registers.
    #[bits(3)]
    pub smif_rc: u8,
    /// Guest virtual APIC modes.
    #[bits(3)]
    pub gam_sup: u8,
    /// Dual PPR log.
    #[bits(2)]
    pub dual_ppr_log_sup: u8,
    #[bits(2)]
    __: u8,
    /// Dual event log.
    #[bits(2)]
    pub dual_event_log_sup: u8,
    #[bits(2)]
    __: u8,
    /// Largest PASID, bits minus one.
    #[bits(5)]
    pub pas_max: u8,
    /// User/supervisor page protection.
    pub us_sup: bool,
    /// Device table segments.
    #[bits(2)]
    pub dev_tbl_seg_sup: u8,
    /// PPR auto-response and overflow early warning, and what follows them.
    #[bits(6)]
    pub ppr_extensions: u8,
    /// MSI capability registers in MMIO.
    pub msi_cap_mmio_sup: bool,
    #[bits(3)]
    __: u8,
    /// Enhanced PPR handling.
    pub eph_sup: bool,
    /// Attribute forwarding, dirty tracking and what follows them.
    #[bits(12)]
    pub memory_extensions: u16,
    /// Secure nested paging.
    pub snp_sup: bool,
}

/// Extended Feature 2 register (EFR2).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Efr2 {
    #[bits(3)]
    __: u8,
    /// Guest CR3 table root pointer mode.
    pub gcr3_trp_mode_sup: bool,
    #[bits(4)]
    __: u8,
    /// 1: up to 2048 interrupts per table.
    #[bits(2)]
    pub num_int_remap_sup: u8,
    #[bits(54)]
    __: u64,
}

/// What an IOMMU says of itself in EFR and EFR2, within what this model does.
///
/// The default is INVALIDATE_IOMMU_ALL and 128-bit entries: the least that Linux uses both with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    efr: Efr,
    efr2: Efr2,
}

/// A feature bit that this model does not implement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{register} bits {bits:#x} name features that are not implemented")]
pub struct UnsupportedFeature {
    /// `EFR` or `EFR2`.
    pub register: &'static str,
    /// The offending bits.
    pub bits: u64,
}

impl Features {
    /// Bits of EFR that can be set. Those of the memory half (NX, GT, HATS, GATS, GLX, PASmax, US) are said, not used.
    const EFR: u64 = Efr::new()
        .with_xt_sup(true)
        .with_nx_sup(true)
        .with_gt_sup(true)
        .with_ia_sup(true)
        .with_ga_sup(true)
        .with_hats(3)
        .with_gats(3)
        .with_glx_sup(3)
        .with_pas_max(0x1f)
        .with_us_sup(true)
        .into_bits();
    const EFR2: u64 = Efr2::new()
        .with_gcr3_trp_mode_sup(true)
        .with_num_int_remap_sup(1)
        .into_bits();

    /// Refuses bits of features that are not implemented.
    pub const fn new(efr: Efr, efr2: Efr2) -> Result<Self, UnsupportedFeature> {
        let bits = efr.into_bits() & !Self::EFR;
        if bits != 0 {
            return Err(UnsupportedFeature {
                register: "EFR",
                bits,
            });
        }
        let bits = efr2.into_bits() & !Self::EFR2;
        if bits != 0 {
            return Err(UnsupportedFeature {
                register: "EFR2",
                bits,
            });
        }
        Ok(Self { efr, efr2 })
    }

    /// Extended Feature register.
    pub const fn efr(&self) -> Efr {
        self.efr
    }

    /// Extended Feature 2 register.
    pub const fn efr2(&self) -> Efr2 {
        self.efr2
    }
}

impl Default for Features {
    fn default() -> Self {
        Self {
            efr: Efr::new().with_ia_sup(true).with_ga_sup(true),
            efr2: Efr2::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_bits_are_where_linux_reads_them() {
        assert_eq!(Features::default().efr().into_bits(), 0xc0);
        // linux drivers/iommu/amd/amd_iommu_types.h FEATURE_*.
        assert_eq!(Efr::new().with_xt_sup(true).into_bits(), 1 << 2);
        assert_eq!(Efr::new().with_gam_sup(1).into_bits(), 1 << 21);
        assert_eq!(Efr::new().with_pas_max(1).into_bits(), 1 << 32);
        assert_eq!(Efr::new().with_dev_tbl_seg_sup(1).into_bits(), 1 << 38);
        assert_eq!(Efr::new().with_msi_cap_mmio_sup(true).into_bits(), 1 << 46);
        assert_eq!(Efr::new().with_eph_sup(true).into_bits(), 1 << 50);
        assert_eq!(Efr2::new().with_num_int_remap_sup(1).into_bits(), 1 << 8);
    }

    #[test]
    fn features_not_implemented_are_refused() {
        let refused = Features::new(Efr::new().with_ppr_sup(true), Efr2::new());
        assert_eq!(
            refused,
            Err(UnsupportedFeature {
                register: "EFR",
                bits: 2
            })
        );
        let refused = Features::new(Efr::new(), Efr2::new().with_num_int_remap_sup(2));
        assert_eq!(
            refused,
            Err(UnsupportedFeature {
                register: "EFR2",
                bits: 0x200
            })
        );
    }
}
