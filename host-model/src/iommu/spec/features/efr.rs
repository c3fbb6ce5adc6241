//! The registers that say what an IOMMU can do.

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
    /// Hardware event registers.
    pub he_sup: bool,
    /// Performance counters.
    pub pc_sup: bool,
    /// Host page table levels, see [`Efr::host_levels`].
    #[bits(2)]
    pub hats: u8,
    /// Guest page table levels, minus 4.
    #[bits(2)]
    pub gats: u8,
    /// Guest CR3 levels, minus 1.
    #[bits(2)]
    pub glx_sup: u8,
    /// SMI filter.
    #[bits(2)]
    pub smif_sup: u8,
    /// SMI filter registers, log2.
    #[bits(3)]
    pub smif_rc: u8,
    /// Guest virtual APIC modes: 1 is IRTEs with GuestMode.
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
    __: bool,
    /// Secure ATS.
    pub sats_sup: bool,
    /// Largest PASID, bits minus one.
    #[bits(5)]
    pub pas_max: u8,
    /// User/supervisor page protection.
    pub us_sup: bool,
    /// Device table segments, see [`Efr::device_table_segments`].
    #[bits(2)]
    pub dev_tbl_seg_sup: u8,
    /// PPR log overflow early warning.
    pub ppr_ovrflw_early_sup: bool,
    /// PPR automatic response.
    pub ppr_auto_rsp_sup: bool,
    /// Memory access routing and control.
    #[bits(2)]
    pub marc_sup: u8,
    /// Blocking of StopMark messages.
    pub blk_stop_mrk_sup: bool,
    /// Performance optimization.
    pub perf_opt_sup: bool,
    /// MSI capability registers in MMIO.
    pub msi_cap_mmio_sup: bool,
    __: bool,
    /// Guest I/O protection.
    pub gio_sup: bool,
    /// Accessed bits in host page tables.
    pub ha_sup: bool,
    /// Enhanced PPR handling.
    pub eph_sup: bool,
    /// Attribute forwarding.
    pub attr_fw_sup: bool,
    /// Dirty bits in host page tables.
    pub hd_sup: bool,
    __: bool,
    /// Type of INVALIDATE_IOTLB_PAGES.
    pub inv_iotlb_type_sup: bool,
    /// Virtual IOMMU.
    pub viommu_sup: bool,
    #[bits(5)]
    __: u8,
    /// Control.GAUpdateDis.
    pub ga_update_dis_sup: bool,
    /// Physical destination mode forced on remapped interrupts.
    pub force_phy_dest_sup: bool,
    /// Secure nested paging.
    pub snp_sup: bool,
}

impl Efr {
    /// Most levels of a host page table, 4 to 6, or `None` where there is no host translation.
    ///
    /// HATS 3 was reserved; Linux 7.2 reads it as no host translation (`amd_iommu_hatdis`).
    pub const fn host_levels(self) -> Option<u8> {
        match self.hats() {
            3 => None,
            hats => Some(4 + hats),
        }
    }

    /// Most segments of the device table: 1, 2, 4 or 8.
    pub const fn device_table_segments(self) -> u8 {
        1 << self.dev_tbl_seg_sup()
    }
}

/// Extended Feature 2 register (EFR2).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Efr2 {
    #[bits(2)]
    __: u8,
    /// Tiered memory page migration.
    pub tmpm_sup: bool,
    /// Guest CR3 table root pointer mode.
    pub gcr3_trp_mode_sup: bool,
    /// Masking of the GA physical processor interrupt.
    pub gappi_dis_sup: bool,
    /// Guest virtual APIC modes with secure nested paging.
    #[bits(3)]
    pub snp_avic_sup: u8,
    /// 1: up to 2048 interrupts per table.
    #[bits(2)]
    pub num_int_remap_sup: u8,
    __: bool,
    /// The HyperTransport range is ordinary guest memory.
    pub ht_range_ignore: bool,
    #[bits(52)]
    __: u64,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// EFRs of real machines, and what Linux printed of them.
    pub(in super::super) const SILICON: [(u64, &str); 2] = [
        (0x206d_73ef_2225_4ade, "PPR X2APIC NX GT IA GA PC GA_vAPIC"),
        (0x004f_77ef_2229_4ada, "PPR NX GT IA GA PC GA_vAPIC"),
    ];

    #[test]
    fn silicon_has_the_features_that_linux_printed() {
        for (bits, printed) in SILICON {
            let efr = Efr::from_bits(bits);
            let features = [
                (efr.pref_sup(), "PreF"),
                (efr.ppr_sup(), "PPR"),
                (efr.xt_sup(), "X2APIC"),
                (efr.nx_sup(), "NX"),
                (efr.gt_sup(), "GT"),
                (efr.gappi_sup(), "[5]"),
                (efr.ia_sup(), "IA"),
                (efr.ga_sup(), "GA"),
                (efr.he_sup(), "HE"),
                (efr.pc_sup(), "PC"),
                (efr.gam_sup() & 1 != 0, "GA_vAPIC"),
            ];
            let names = features.into_iter().filter_map(|(has, name)| has.then_some(name));
            assert_eq!(names.collect::<Vec<_>>().join(" "), printed);
            // 16-bit PASIDs, 8 device table segments and MSI registers: what those machines have in common.
            assert_eq!((efr.pas_max(), efr.device_table_segments()), (15, 8));
            assert!(efr.msi_cap_mmio_sup());
        }
    }

    #[test]
    fn bits_are_where_linux_reads_them() {
        // linux drivers/iommu/amd/amd_iommu_types.h FEATURE_*.
        let golden = [
            (Efr::new().with_pref_sup(true), 0),
            (Efr::new().with_ppr_sup(true), 1),
            (Efr::new().with_xt_sup(true), 2),
            (Efr::new().with_nx_sup(true), 3),
            (Efr::new().with_gt_sup(true), 4),
            (Efr::new().with_gappi_sup(true), 5),
            (Efr::new().with_ia_sup(true), 6),
            (Efr::new().with_ga_sup(true), 7),
            (Efr::new().with_he_sup(true), 8),
            (Efr::new().with_pc_sup(true), 9),
            (Efr::new().with_hats(1), 10),
            (Efr::new().with_gats(1), 12),
            (Efr::new().with_glx_sup(1), 14),
            (Efr::new().with_gam_sup(1), 21),
            (Efr::new().with_pas_max(1), 32),
            (Efr::new().with_dev_tbl_seg_sup(1), 38),
            (Efr::new().with_msi_cap_mmio_sup(true), 46),
            (Efr::new().with_gio_sup(true), 48),
            (Efr::new().with_ha_sup(true), 49),
            (Efr::new().with_eph_sup(true), 50),
            (Efr::new().with_hd_sup(true), 52),
            (Efr::new().with_snp_sup(true), 63),
        ];
        for (efr, bit) in golden {
            assert_eq!(efr.into_bits(), 1 << bit);
        }
        assert_eq!(Efr2::new().with_snp_avic_sup(1).into_bits(), 1 << 5);
        assert_eq!(Efr2::new().with_num_int_remap_sup(1).into_bits(), 1 << 8);
    }

    #[test]
    fn bits_that_linux_does_not_read_are_where_virtualbox_and_freebsd_have_them() {
        let golden = [
            (Efr::new().with_smif_sup(1), 16),
            (Efr::new().with_smif_rc(1), 18),
            (Efr::new().with_dual_ppr_log_sup(1), 24),
            (Efr::new().with_dual_event_log_sup(1), 28),
            (Efr::new().with_us_sup(true), 37),
            (Efr::new().with_ppr_ovrflw_early_sup(true), 40),
            (Efr::new().with_ppr_auto_rsp_sup(true), 41),
            (Efr::new().with_marc_sup(1), 42),
            (Efr::new().with_blk_stop_mrk_sup(true), 44),
            (Efr::new().with_perf_opt_sup(true), 45),
            (Efr::new().with_attr_fw_sup(true), 51),
            (Efr::new().with_inv_iotlb_type_sup(true), 54),
            (Efr::new().with_ga_update_dis_sup(true), 61),
            (Efr::new().with_force_phy_dest_sup(true), 62),
        ];
        for (efr, bit) in golden {
            assert_eq!(efr.into_bits(), 1 << bit);
        }
        let golden = [
            (Efr2::new().with_tmpm_sup(true), 0x4),
            (Efr2::new().with_gcr3_trp_mode_sup(true), 0x8),
            (Efr2::new().with_gappi_dis_sup(true), 0x10),
            (Efr2::new().with_ht_range_ignore(true), 0x800),
        ];
        for (efr2, bits) in golden {
            assert_eq!(efr2.into_bits(), bits);
        }
    }

    #[test]
    fn host_levels_are_4_to_6_or_none() {
        let levels = [0, 1, 2, 3].map(|hats| Efr::new().with_hats(hats).host_levels());
        assert_eq!(levels, [Some(4), Some(5), Some(6), None]);
    }

    #[test]
    fn unknown_bits_survive_a_round_trip() {
        assert_eq!(Efr::from_bits(u64::MAX).into_bits(), u64::MAX);
        assert_eq!(Efr2::from_bits(u64::MAX).into_bits(), u64::MAX);
    }
}
