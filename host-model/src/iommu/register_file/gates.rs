//! Which registers there are, and which of their bits software can write.

use super::super::config::{Config, IrtCacheDis};
use super::super::own_interrupts::OwnInterrupts;
use super::super::spec::features::Features;
use super::super::spec::registers::{
    Control, DevTabBase, DevTabSegmentBase, ExclusionBase, ExclusionLimit, GaLogTailAddress,
    HardwareEventStatus, RingBase, RingPointer, Status, offset,
};

/// Control bits of features that the IOMMU has.
pub(super) fn control_writable(config: &Config) -> u64 {
    let (efr, efr2) = (config.features.efr(), config.features.efr2());
    let (ppr, gam) = (efr.ppr_sup(), efr.gam_sup() != 0);
    Control::new()
        .with_iommu_en(true)
        .with_ht_tun_en(true)
        .with_event_log_en(true)
        .with_event_int_en(true)
        .with_com_wait_int_en(true)
        .with_inv_timeout(7)
        .with_pass_pw(true)
        .with_res_pass_pw(true)
        .with_coherent(true)
        .with_isoc(true)
        .with_cmd_buf_en(true)
        .with_ppr_log_en(ppr)
        .with_ppr_int_en(ppr)
        .with_ppr_en(ppr)
        .with_gt_en(efr.gt_sup())
        .with_ga_en(efr.ga_sup())
        .with_gam_en(efr.gam_sup())
        .with_ga_log_en(gam)
        .with_ga_int_en(gam)
        // 2 segments need one bit, 4 and 8 two.
        .with_dev_tbl_seg_en(if efr.dev_tbl_seg_sup() > 1 {
            3
        } else {
            efr.dev_tbl_seg_sup()
        })
        .with_num_int_remap_mode(efr2.num_int_remap_sup())
        .with_eph_en(efr.eph_sup())
        .with_xt_en(efr.xt_sup())
        .with_int_cap_xt_en(efr.xt_sup())
        .with_gappi_en(efr.gappi_sup())
        .with_gcr3_trp_mode(efr2.gcr3_trp_mode_sup())
        .with_irt_cache_dis(config.policies.irt_cache_dis == IrtCacheDis::Sticky)
        .into_bits()
}

/// Bits that software can write, those that a written 1 clears included. `None`: there is no such register.
pub(super) fn writable(register: u64, features: &Features, control: u64) -> Option<u64> {
    let efr = features.efr();
    let (ppr, gam) = (efr.ppr_sup(), efr.gam_sup() != 0);
    let (exists, writable) = match register {
        offset::DEV_TAB_BASE => (true, DevTabBase::WRITABLE),
        offset::CMD_BUF_BASE | offset::EVT_LOG_BASE => (true, RingBase::WRITABLE),
        offset::CONTROL => (true, control),
        offset::EXCLUSION_BASE => (true, ExclusionBase::WRITABLE),
        offset::EXCLUSION_LIMIT => (true, ExclusionLimit::WRITABLE),
        offset::EFR | offset::EFR2 => (true, 0),
        offset::PPR_LOG_BASE => (ppr, RingBase::WRITABLE),
        offset::HW_EVENT_UPPER | offset::HW_EVENT_LOWER => (efr.he_sup(), u64::MAX),
        offset::HW_EVENT_STATUS => (efr.he_sup(), HardwareEventStatus::WRITE_1_TO_CLEAR),
        offset::GA_LOG_BASE => (gam, RingBase::WRITABLE),
        offset::GA_LOG_TAIL_ADDRESS => (gam, GaLogTailAddress::WRITABLE),
        offset::MSI_VECTOR_0 | offset::MSI_MAPPING_CAP => (efr.msi_cap_mmio_sup(), 0),
        offset::MSI_CAP_HEADER | offset::MSI_ADDRESS_HIGH => {
            (efr.msi_cap_mmio_sup(), OwnInterrupts::writable(register))
        }
        // All three with XT, as Linux writes all three.
        offset::XT_INT_CONTROL | offset::XT_PPR_INT_CONTROL | offset::XT_GA_INT_CONTROL => {
            (efr.xt_sup(), OwnInterrupts::writable(register))
        }
        offset::CMD_BUF_HEAD | offset::CMD_BUF_TAIL | offset::EVT_LOG_HEAD | offset::EVT_LOG_TAIL => {
            (true, RingPointer::WRITABLE)
        }
        offset::STATUS => (true, Status::WRITE_1_TO_CLEAR),
        offset::PPR_LOG_HEAD | offset::PPR_LOG_TAIL => (ppr, RingPointer::WRITABLE),
        offset::GA_LOG_HEAD | offset::GA_LOG_TAIL => (gam, RingPointer::GA_LOG_WRITABLE),
        _ => {
            let exists = offset::dev_tab_segment(register).is_some_and(|n| n < 1 << efr.dev_tbl_seg_sup());
            (exists, DevTabSegmentBase::WRITABLE)
        }
    };
    exists.then_some(writable)
}
