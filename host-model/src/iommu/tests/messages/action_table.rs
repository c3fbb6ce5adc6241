//! The MSI action table: delivery mode and DTE.

use super::*;

/// Delivery modes that are refused unless their bit of the DTE's quadword 2 is set.
const PASSED: [(u32, u64, DeliveryMode); 3] = [
    (NMI, 58, DeliveryMode::Nmi),
    (INIT, 56, DeliveryMode::Init),
    (EXT_INT, 57, DeliveryMode::ExtInt),
];

const ALL_PASS_BITS: u64 = 7 << 56;

const INT_CTL: [u64; 4] = [0, 1 << 60, 2 << 60, 3 << 60];

cases! {
    // The message and the IOMMU.
    iommu_disabled_forwards: Case { control: 0, ..Case::default() } => forwarded();
    iommu_disabled_forwards_what_is_no_interrupt:
        Case { control: 0, address: 0x1000, ..Case::default() } => forwarded();
    an_address_that_is_no_interrupts_is_refused:
        Case { address: 0xfef0_0000, ..Case::default() } => silent(BlockReason::NotAnInterrupt(0xfef0_0000));
    an_address_below_is_refused:
        Case { address: 0xfedf_fffc, ..Case::default() } => silent(BlockReason::NotAnInterrupt(0xfedf_fffc));
    an_address_above_4_gib_is_refused:
        Case { address: 0x1_fee0_0000, ..Case::default() } => silent(BlockReason::NotAnInterrupt(0x1_fee0_0000));
    the_messages_destination_does_not_matter: Case { address: 0xfeef_f008, ..Case::default() } => remapped("5:31");
    data_above_the_delivery_mode_does_not_matter: Case { data: 0xffff_f803, ..Case::default() } => remapped("5:31");

    // The DTE.
    v_0_leaves_interrupts_to_iv:
        Case { dte: [0, 0, dte_remap(TABLE, 9)[2], 0], ..Case::default() } => remapped("5:31");
    v_0_forwards_by_policy: {
        let case = Case { dte: [0, 0, dte_remap(TABLE, 9)[2], 0], ..Case::default() };
        case.policies(|p| p.dte_valid = DteValid::VGoverns)
    } => forwarded();
    reserved_bits_of_quadword_2_are_illegal: Case::dte2(1 | 1 << 53)
        => illegal_dte(DteError::ReservedBits { quadword: 2, bits: 1 << 53 }, "0x0088");
    reserved_bits_of_quadword_3_are_illegal: Case { dte: [3, 0, 1, 1 << 53], ..Case::default() }
        => illegal_dte(DteError::ReservedBits { quadword: 3, bits: 1 << 53 }, "0x0088");
    guest_paging_mode_is_legal: Case { dte: with(dte_remap(TABLE, 9), 1 << 54), ..Case::default() }
        => remapped("5:31");
    guest_paging_mode_is_illegal_before_revision_3_11: {
        let case = Case { dte: with(dte_remap(TABLE, 9), 1 << 54), ..Case::default() };
        case.policies(|p| p.dte_revision = spec::dte::DteRevision::Rev305)
    } => illegal_dte(DteError::ReservedBits { quadword: 2, bits: 1 << 54 }, "0x0088");
    ig_does_not_suppress_illegal_dtes: Case::dte2(1 | 1 << 5 | 3 << 60)
        => illegal_dte(DteError::ReservedIntCtl, "0x0088");

    // Fixed and arbitrated messages.
    int_ctl_0_aborts_without_event: Case::dte2(1) => silent(BlockReason::IntCtlAborted);
    int_ctl_0_aborts_arbitrated: Case { data: ARBITRATED, ..Case::dte2(1) } => silent(BlockReason::IntCtlAborted);
    int_ctl_0_is_an_invalid_device_request_of_type_5_by_policy_whatever_ig_says: {
        let case = Case { data: ARBITRATED | 3, ..Case::dte2(1 | 1 << 5) };
        case.policies(|p| p.int_ctl_abort = IntCtlAbort::InvalidDeviceRequest)
    } => reported(
        BlockReason::IntCtlAborted,
        "INVALID_DEVICE_REQUEST device=41:00.0 pasid=0x00000 address=0xfffffffdf8030000 flags=0x0a00",
    );
    int_ctl_0_lets_other_delivery_modes_pass_by_that_policy_too:
        Case { data: NMI, ..Case::dte2(1 | 1 << 58) }
            .policies(|p| p.int_ctl_abort = IntCtlAbort::InvalidDeviceRequest)
        => forwarded();
    int_ctl_1_forwards: Case::dte2(1 | 1 << 60) => forwarded();
    int_ctl_1_forwards_arbitrated: Case { data: ARBITRATED, ..Case::dte2(1 | 1 << 60) } => forwarded();
    int_ctl_1_forwards_logical:
        Case { address: 0xfee0_0000 | LOGICAL, ..Case::dte2(1 | 1 << 60) } => forwarded();
    int_ctl_2_remaps: Case::default() => remapped("5:31");
    int_ctl_2_remaps_arbitrated_by_index_bit_8: Case { data: ARBITRATED | 3, ..Case::default() } => remapped("5:31");
    int_ctl_2_remaps_logical: Case { address: 0xfee0_0000 | LOGICAL, ..Case::default() } => remapped("5:31");
    int_ctl_3_is_illegal: Case::dte2(1 | 3 << 60) => illegal_dte(DteError::ReservedIntCtl, "0x0088");
    int_ctl_3_is_illegal_for_arbitrated: Case { data: ARBITRATED | 3, ..Case::dte2(1 | 3 << 60) }
        => illegal_dte(DteError::ReservedIntCtl, "0x0088");

    // Other delivery modes.
    smi_is_forwarded: Case { data: SMI, ..Case::default() } => forwarded();
    smi_is_forwarded_whatever_its_destination_mode:
        Case { data: SMI, address: 0xfee0_0000 | LOGICAL, ..Case::default() } => forwarded();
    smi_is_refused_by_policy: Case { data: SMI, ..Case::default() }.policies(|p| p.smi = Smi::Abort)
        => silent(BlockReason::NotPassed(DeliveryMode::Smi));

    // The index.
    an_index_beyond_the_table_faults: Case { dte: dte_remap(TABLE, 1), ..Case::default() }
        => fault(BlockReason::IndexOutOfRange { index: 3, entries: 2 }, "0x0008");
    ig_suppresses_the_fault_of_an_index_beyond_the_table:
        Case { dte: with(dte_remap(TABLE, 1), 1 << 5), ..Case::default() }
        => silent(BlockReason::IndexOutOfRange { index: 3, entries: 2 });
    sup_iopf_does_not_suppress_the_fault_of_an_index_beyond_the_table:
        Case { dte: dte_remap(TABLE, 1), irte: 2, ..Case::default() }
        => fault(BlockReason::IndexOutOfRange { index: 3, entries: 2 }, "0x0008");

    // Tables of 2048 entries.
    a_wide_index_without_dm_is_a_delivery_mode:
        Case { address: 0xfee0_0000, data: 0x7ff, ..Case::wide(11) }
        => silent(BlockReason::NotPassed(DeliveryMode::ExtInt));
    dm_without_num_int_remap_mode_leaves_the_delivery_mode:
        Case { control: RUN, data: 0x7ff, ..Case::wide(11) }
        => silent(BlockReason::NotPassed(DeliveryMode::ExtInt));
    int_ctl_0_aborts_wide_indices: Case { dte: [3, 0x5e, 1, 0], data: NMI, ..Case::wide(11) }
        => silent(BlockReason::IntCtlAborted);
    int_ctl_1_forwards_wide_indices: Case { dte: [3, 0x5e, 1 | 1 << 60, 0], data: NMI, ..Case::wide(11) }
        => forwarded();
    int_ctl_3_is_illegal_for_wide_indices: Case { dte: [3, 0x5e, 1 | 3 << 60, 0], data: NMI | 3, ..Case::wide(11) }
        => illegal_dte(DteError::ReservedIntCtl, "0x0088");

    // The address in events.
    events_carry_the_messages_address_by_policy: {
        let case = Case { irte: 0, address: 0xfee0_5000, ..Case::default() };
        case.policies(|p| p.event_address = EventAddress::Message)
    } => reported(
        BlockReason::Irte(IrteError::RemapEnClear),
        "IO_PAGE_FAULT device=41:00.0 domain=0x005e address=0xfee05000 flags=0x0008",
    );
}

#[test]
fn iv_0_forwards_every_delivery_mode_whatever_the_rest_says() {
    for mode in 0..8 {
        for address in [0xfee0_0000, 0xfee0_0000 | LOGICAL] {
            let case = Case {
                dte: [3, 0, !1, u64::MAX],
                address,
                data: mode << 8 | 3,
                ..Case::default()
            };
            assert_eq!(case.outcome(), forwarded(), "delivery mode {mode}");
        }
    }
}

#[test]
fn a_pass_bit_passes_its_delivery_mode_and_no_other_whatever_int_ctl_says() {
    for (data, _, mode) in PASSED {
        for (_, bit, passing) in PASSED {
            for int_ctl in INT_CTL {
                let case = Case {
                    data,
                    ..Case::dte2(1 | 1 << bit | int_ctl)
                };
                let expected = if mode == passing {
                    forwarded()
                } else {
                    silent(BlockReason::NotPassed(mode))
                };
                assert_eq!(case.outcome(), expected, "{mode:?} with the bit of {passing:?}");
            }
        }
    }
}

#[test]
fn a_delivery_mode_that_passes_must_have_a_physical_destination() {
    for (data, bit, mode) in PASSED {
        let case = Case {
            data,
            address: 0xfee0_0000 | LOGICAL,
            ..Case::dte2(1 | 1 << bit)
        };
        assert_eq!(case.outcome(), silent(BlockReason::LogicalDestination(mode)));
    }
}

#[test]
fn reserved_delivery_modes_are_aborted_whatever_the_dte_says() {
    for mode in [3, 6] {
        for int_ctl in INT_CTL {
            let case = Case {
                data: u32::from(mode) << 8,
                ..Case::dte2(1 | ALL_PASS_BITS | int_ctl)
            };
            assert_eq!(
                case.outcome(),
                silent(BlockReason::ReservedDeliveryMode(mode)),
                "IntCtl {}",
                int_ctl >> 60
            );
        }
    }
}

#[test]
fn a_table_has_two_to_the_int_tab_len_entries() {
    for length in 0..=11 {
        let entries = 1 << length;
        let last = Case {
            data: entries - 1,
            ..Case::wide(length)
        };
        assert_eq!(last.outcome(), remapped("5:31"), "IntTabLen {length}");
        if length == 11 {
            break;
        }
        let beyond = Case {
            data: entries,
            ..Case::wide(length)
        };
        let reason = BlockReason::IndexOutOfRange {
            index: entries as u16,
            entries: entries as u16,
        };
        assert_eq!(beyond.outcome().0, Err(reason), "IntTabLen {length}");
    }
}

#[test]
fn a_table_longer_than_2048_is_illegal() {
    for length in 12..16 {
        let case = Case {
            dte: dte_remap(TABLE, length),
            ..Case::default()
        };
        let error = DteError::IntTabLen(length as u8);
        assert_eq!(case.outcome(), illegal_dte(error, "0x0008"));
    }
}

#[test]
fn int_tab_len_matters_to_remapping_only() {
    let table = |int_ctl: u64| Case::dte2(1 | 15 << 1 | int_ctl);
    assert_eq!(table(0).outcome(), silent(BlockReason::IntCtlAborted));
    assert_eq!(table(1 << 60).outcome(), forwarded());
    let passed = Case {
        data: NMI,
        ..table(2 << 60 | ALL_PASS_BITS)
    };
    assert_eq!(passed.outcome(), forwarded());
}

#[test]
fn a_table_of_2048_takes_every_delivery_mode_for_the_index() {
    for mode in 0..8 {
        let case = Case {
            data: mode << 8 | 3,
            ..Case::wide(11)
        };
        assert_eq!(case.outcome(), remapped("5:31"), "delivery mode {mode}");
    }
}
