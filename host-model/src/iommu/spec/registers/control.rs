//! What software has switched on.

use bitfield_struct::bitfield;

/// IOMMU Control register.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Control {
    /// IOMMU enable.
    pub iommu_en: bool,
    /// HyperTransport tunnel translation enable.
    pub ht_tun_en: bool,
    /// Event log enable.
    pub event_log_en: bool,
    /// Event log interrupt enable.
    pub event_int_en: bool,
    /// COMPLETION_WAIT interrupt enable.
    pub com_wait_int_en: bool,
    /// IOTLB invalidation timeout.
    #[bits(3)]
    pub inv_timeout: u8,
    /// Pass posted write.
    pub pass_pw: bool,
    /// Response pass posted write.
    pub res_pass_pw: bool,
    /// Coherent table reads.
    pub coherent: bool,
    /// Isochronous.
    pub isoc: bool,
    /// Command buffer enable.
    pub cmd_buf_en: bool,
    /// PPR log enable.
    pub ppr_log_en: bool,
    /// PPR interrupt enable.
    pub ppr_int_en: bool,
    /// PPR enable.
    pub ppr_en: bool,
    /// Guest translation enable.
    pub gt_en: bool,
    /// 128-bit interrupt remapping table entries.
    pub ga_en: bool,
    #[bits(4)]
    __: u8,
    /// SMI filter enable.
    pub smif_en: bool,
    /// Self write-back disable.
    pub slf_wb_dis: bool,
    /// SMI filter log enable.
    pub smif_log_en: bool,
    /// Guest virtual APIC mode: 1 allows IRTEs with GuestMode.
    #[bits(3)]
    pub gam_en: u8,
    /// GA log enable.
    pub ga_log_en: bool,
    /// GA log interrupt enable.
    pub ga_int_en: bool,
    /// Dual PPR log enable.
    #[bits(2)]
    pub dual_ppr_log_en: u8,
    /// Dual event log enable.
    #[bits(2)]
    pub dual_event_log_en: u8,
    /// Device table segments, log2; above 3 reserved.
    #[bits(3)]
    pub dev_tbl_seg_en: u8,
    /// Privilege abort enable.
    #[bits(2)]
    pub priv_abrt_en: u8,
    /// PPR automatic response enable.
    pub ppr_auto_rsp_en: bool,
    /// Memory access routing and control enable.
    pub marc_en: bool,
    /// Block StopMark messages.
    pub blk_stop_mrk_en: bool,
    /// PPR automatic response always on.
    pub ppr_auto_rsp_aon: bool,
    /// Interrupts per table: 1 allows 2048.
    #[bits(2)]
    pub num_int_remap_mode: u8,
    /// Enhanced PPR handling enable.
    pub eph_en: bool,
    /// Updates of accessed and dirty bits in host page tables.
    #[bits(2)]
    pub had_update: u8,
    /// No updates of dirty bits in guest page tables.
    pub gd_update_dis: bool,
    __: bool,
    /// 32-bit interrupt destinations.
    pub xt_en: bool,
    /// The IOMMU's own interrupts by the XT interrupt control registers.
    pub int_cap_xt_en: bool,
    /// Virtual command buffer processing enable.
    pub v_cmd_en: bool,
    /// Virtual IOMMU enable.
    pub v_iommu_en: bool,
    /// No updates of accessed bits in guest page tables.
    pub ga_update_dis: bool,
    /// GA physical processor interrupt enable.
    pub gappi_en: bool,
    /// Tiered memory page migration enable.
    pub tmpm_en: bool,
    __: bool,
    /// Guest CR3 table root pointer mode.
    pub gcr3_trp_mode: bool,
    /// Interrupt remapping table cache disable.
    pub irt_cache_dis: bool,
    /// Guest buffer table root pointer mode.
    pub gst_buffer_trp_mode: bool,
    /// SNP AVIC enable.
    #[bits(3)]
    pub snp_avic_en: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_started_iommu_has_the_value_of_linux() {
        // After Linux's enable with GT, GA and XT (linux 7.2 drivers/iommu/amd/init.c early_enable_iommu).
        let control = Control::new()
            .with_iommu_en(true)
            .with_inv_timeout(4)
            .with_coherent(true)
            .with_cmd_buf_en(true)
            .with_gt_en(true)
            .with_ga_en(true)
            .with_xt_en(true);
        assert_eq!(control.into_bits(), 0x4_0000_0003_1481);
    }

    #[test]
    fn bits_are_where_linux_writes_them() {
        // linux drivers/iommu/amd/amd_iommu_types.h CONTROL_*.
        let golden = [
            (Control::new().with_iommu_en(true), 0),
            (Control::new().with_ht_tun_en(true), 1),
            (Control::new().with_event_log_en(true), 2),
            (Control::new().with_event_int_en(true), 3),
            (Control::new().with_com_wait_int_en(true), 4),
            (Control::new().with_inv_timeout(1), 5),
            (Control::new().with_pass_pw(true), 8),
            (Control::new().with_res_pass_pw(true), 9),
            (Control::new().with_coherent(true), 10),
            (Control::new().with_isoc(true), 11),
            (Control::new().with_cmd_buf_en(true), 12),
            (Control::new().with_ppr_log_en(true), 13),
            (Control::new().with_ppr_int_en(true), 14),
            (Control::new().with_ppr_en(true), 15),
            (Control::new().with_gt_en(true), 16),
            (Control::new().with_ga_en(true), 17),
            (Control::new().with_gam_en(1), 25),
            (Control::new().with_ga_log_en(true), 28),
            (Control::new().with_ga_int_en(true), 29),
            (Control::new().with_num_int_remap_mode(1), 43),
            (Control::new().with_eph_en(true), 45),
            (Control::new().with_xt_en(true), 50),
            (Control::new().with_int_cap_xt_en(true), 51),
            (Control::new().with_gcr3_trp_mode(true), 58),
            (Control::new().with_irt_cache_dis(true), 59),
            (Control::new().with_snp_avic_en(1), 61),
        ];
        for (control, bit) in golden {
            assert_eq!(control.into_bits(), 1 << bit);
        }
    }

    #[test]
    fn bits_that_linux_leaves_alone_are_where_freebsd_has_them() {
        // freebsd sys/x86/iommu/amd_reg.h AMDIOMMU_CTRL_*.
        let golden = [
            (Control::new().with_smif_en(true), 0x40_0000),
            (Control::new().with_slf_wb_dis(true), 0x80_0000),
            (Control::new().with_smif_log_en(true), 0x100_0000),
            (Control::new().with_dual_ppr_log_en(3), 0xc000_0000),
            (Control::new().with_dual_event_log_en(3), 0x3_0000_0000),
            (Control::new().with_dev_tbl_seg_en(7), 0x1c_0000_0000),
            (Control::new().with_priv_abrt_en(3), 0x60_0000_0000),
            (Control::new().with_ppr_auto_rsp_en(true), 0x80_0000_0000),
            (Control::new().with_marc_en(true), 0x100_0000_0000),
            (Control::new().with_blk_stop_mrk_en(true), 0x200_0000_0000),
            (Control::new().with_ppr_auto_rsp_aon(true), 0x400_0000_0000),
            (Control::new().with_had_update(3), 0xc000_0000_0000),
            (Control::new().with_gd_update_dis(true), 0x1_0000_0000_0000),
            (Control::new().with_v_cmd_en(true), 0x10_0000_0000_0000),
            (Control::new().with_v_iommu_en(true), 0x20_0000_0000_0000),
            (Control::new().with_ga_update_dis(true), 0x40_0000_0000_0000),
            (Control::new().with_gappi_en(true), 0x80_0000_0000_0000),
            (Control::new().with_tmpm_en(true), 0x100_0000_0000_0000),
            (
                Control::new().with_gst_buffer_trp_mode(true),
                0x1000_0000_0000_0000,
            ),
        ];
        for (control, bits) in golden {
            assert_eq!(control.into_bits(), bits);
        }
    }

    #[test]
    fn unknown_bits_survive_a_round_trip() {
        assert_eq!(Control::from_bits(u64::MAX).into_bits(), u64::MAX);
    }
}
