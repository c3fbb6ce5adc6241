//! Features that are parts of others, and values that have no meaning.

use super::{Efr, Efr2, FeatureError};

/// The first rule that is broken. EFRs of real machines break none.
pub(super) const fn contradiction(efr: Efr, efr2: Efr2) -> Option<FeatureError> {
    let parts = [
        // Destination bits 31:8 and guest mode are in 128-bit entries only. (Linux without GASup uses neither:
        // AMD_IOMMU_GUEST_IR_LEGACY.)
        ("XTSup", efr.xt_sup(), "GASup", efr.ga_sup()),
        ("GAMSup", efr.gam_sup() != 0, "GASup", efr.ga_sup()),
        // Interrupts the processor in the place of a guest that an IRTE in guest mode names.
        ("GAPPISup", efr.gappi_sup(), "GAMSup", efr.gam_sup() != 0),
        ("GAPPIDisSup", efr2.gappi_dis_sup(), "GAPPISup", efr.gappi_sup()),
        // The guest mode that stays with secure nested paging (Linux FEATURE_SNPAVICSUP_GAM).
        ("SNPAVICSup", efr2.snp_avic_sup() != 0, "SNPSup", efr.snp_sup()),
        (
            "SNPAVICSup",
            efr2.snp_avic_sup() != 0,
            "GAMSup",
            efr.gam_sup() != 0,
        ),
        // Sizes and permissions of guest page tables: host entries have neither NX nor US.
        ("GATS", efr.gats() != 0, "GTSup", efr.gt_sup()),
        ("GLXSup", efr.glx_sup() != 0, "GTSup", efr.gt_sup()),
        ("PASmax", efr.pas_max() != 0, "GTSup", efr.gt_sup()),
        ("NXSup", efr.nx_sup(), "GTSup", efr.gt_sup()),
        ("USSup", efr.us_sup(), "GTSup", efr.gt_sup()),
        ("GIoSup", efr.gio_sup(), "GTSup", efr.gt_sup()),
        ("GCR3TRPMode", efr2.gcr3_trp_mode_sup(), "GTSup", efr.gt_sup()),
        // Of the PPR log and of answers to page requests.
        ("EPHSup", efr.eph_sup(), "PPRSup", efr.ppr_sup()),
        (
            "DualPprLogSup",
            efr.dual_ppr_log_sup() != 0,
            "PPRSup",
            efr.ppr_sup(),
        ),
        (
            "PprOvrflwEarlySup",
            efr.ppr_ovrflw_early_sup(),
            "PPRSup",
            efr.ppr_sup(),
        ),
        ("PprAutoRspSup", efr.ppr_auto_rsp_sup(), "PPRSup", efr.ppr_sup()),
        ("BlkStopMrkSup", efr.blk_stop_mrk_sup(), "PPRSup", efr.ppr_sup()),
        // A count of what is not there.
        ("SmiFRC", efr.smif_rc() != 0, "SmiFSup", efr.smif_sup() != 0),
        // DTE.HAD has no value for dirty bits without accessed bits (2 is reserved).
        ("HDSup", efr.hd_sup(), "HASup", efr.ha_sup()),
    ];
    let mut i = 0;
    while i < parts.len() {
        let (feature, has, needed, has_needed) = parts[i];
        if has && !has_needed {
            return Some(FeatureError::Needs { feature, needed });
        }
        i += 1;
    }
    // HATS 3 has a meaning, see Efr::host_levels.
    let values = [
        // 4, 5 or 6 levels.
        ("GATS", efr.gats(), 2),
        // 1, 2 or 3 levels (DTE.GLX, in which 3 is reserved too).
        ("GLXSup", efr.glx_sup(), 2),
        ("SmiFSup", efr.smif_sup(), 1),
        // vAPIC or not (Linux FEATURE_GAM_VAPIC).
        ("GAMSup", efr.gam_sup(), 1),
        // None, two logs, or two logs with automatic swap (Control.DualPprLogEn, in which 3 is reserved too).
        ("DualPprLogSup", efr.dual_ppr_log_sup(), 2),
        ("DualEventLogSup", efr.dual_event_log_sup(), 2),
        ("SNPAVICSup", efr2.snp_avic_sup(), 1),
        // 512 or 2048.
        ("NumIntRemapSup", efr2.num_int_remap_sup(), 1),
    ];
    let mut i = 0;
    while i < values.len() {
        let (feature, value, largest) = values[i];
        if value > largest {
            return Some(FeatureError::Reserved { feature, value });
        }
        i += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::efr::tests::SILICON;
    use super::*;

    #[test]
    fn silicon_breaks_no_rule() {
        for (bits, _) in SILICON {
            assert_eq!(contradiction(Efr::from_bits(bits), Efr2::new()), None);
        }
    }

    #[test]
    fn parts_of_absent_features_are_refused_by_both_names() {
        let (efr, efr2) = (Efr::new(), Efr2::new());
        let golden = [
            (efr.with_xt_sup(true), efr2, "XTSup needs GASup"),
            (efr.with_gam_sup(1), efr2, "GAMSup needs GASup"),
            (
                efr.with_ga_sup(true).with_gappi_sup(true),
                efr2,
                "GAPPISup needs GAMSup",
            ),
            (efr, efr2.with_gappi_dis_sup(true), "GAPPIDisSup needs GAPPISup"),
            (efr, efr2.with_snp_avic_sup(1), "SNPAVICSup needs SNPSup"),
            (
                efr.with_snp_sup(true),
                efr2.with_snp_avic_sup(1),
                "SNPAVICSup needs GAMSup",
            ),
            (efr.with_gats(1), efr2, "GATS needs GTSup"),
            (efr.with_glx_sup(1), efr2, "GLXSup needs GTSup"),
            (efr.with_pas_max(1), efr2, "PASmax needs GTSup"),
            (efr.with_nx_sup(true), efr2, "NXSup needs GTSup"),
            (efr.with_us_sup(true), efr2, "USSup needs GTSup"),
            (efr.with_gio_sup(true), efr2, "GIoSup needs GTSup"),
            (efr, efr2.with_gcr3_trp_mode_sup(true), "GCR3TRPMode needs GTSup"),
            (efr.with_eph_sup(true), efr2, "EPHSup needs PPRSup"),
            (efr.with_dual_ppr_log_sup(1), efr2, "DualPprLogSup needs PPRSup"),
            (
                efr.with_ppr_ovrflw_early_sup(true),
                efr2,
                "PprOvrflwEarlySup needs PPRSup",
            ),
            (
                efr.with_ppr_auto_rsp_sup(true),
                efr2,
                "PprAutoRspSup needs PPRSup",
            ),
            (
                efr.with_blk_stop_mrk_sup(true),
                efr2,
                "BlkStopMrkSup needs PPRSup",
            ),
            (efr.with_smif_rc(1), efr2, "SmiFRC needs SmiFSup"),
            (efr.with_hd_sup(true), efr2, "HDSup needs HASup"),
        ];
        for (efr, efr2, error) in golden {
            assert_eq!(
                contradiction(efr, efr2).map(|e| e.to_string()).as_deref(),
                Some(error)
            );
        }
    }

    #[test]
    fn reserved_values_are_refused_by_name() {
        let gt = Efr::new().with_gt_sup(true);
        let golden = [
            (gt.with_gats(3), Efr2::new(), "GATS 3 is reserved"),
            (gt.with_glx_sup(3), Efr2::new(), "GLXSup 3 is reserved"),
            (gt.with_smif_sup(2), Efr2::new(), "SmiFSup 2 is reserved"),
            (
                gt.with_ga_sup(true).with_gam_sup(2),
                Efr2::new(),
                "GAMSup 2 is reserved",
            ),
            (
                gt.with_ppr_sup(true).with_dual_ppr_log_sup(3),
                Efr2::new(),
                "DualPprLogSup 3 is reserved",
            ),
            (
                gt.with_dual_event_log_sup(3),
                Efr2::new(),
                "DualEventLogSup 3 is reserved",
            ),
            (
                gt.with_snp_sup(true).with_ga_sup(true).with_gam_sup(1),
                Efr2::new().with_snp_avic_sup(2),
                "SNPAVICSup 2 is reserved",
            ),
            (
                gt,
                Efr2::new().with_num_int_remap_sup(2),
                "NumIntRemapSup 2 is reserved",
            ),
        ];
        for (efr, efr2, error) in golden {
            assert_eq!(
                contradiction(efr, efr2).map(|e| e.to_string()).as_deref(),
                Some(error)
            );
        }
    }

    #[test]
    fn every_size_of_host_tables_and_device_table_is_possible() {
        for size in 0..4 {
            let efr = Efr::new().with_hats(size).with_dev_tbl_seg_sup(size);
            assert_eq!(contradiction(efr, Efr2::new()), None);
        }
    }
}
