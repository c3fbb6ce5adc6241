//! What becomes of a request before any page table is looked at: one case for each row, named by the outcome.

use super::*;
use crate::iommu::spec::dte::DteError;
use crate::iommu::spec::event::HardwareError;

const SE: u64 = 1 << 33;
const SA: u64 = 1 << 34;
/// I: translation requests are allowed.
const IOTLB: u64 = 1 << 32;
const EX: u64 = 1 << 39;
const GV: u64 = 1 << 55;

/// Linux's identity domain.
fn identity(high: u64) -> Case {
    Case::dte(3 | READ_WRITE, 0x5e | high)
}

/// Linux's DTE of a device without a domain.
fn blocked(high: u64) -> Case {
    Case::dte(3, 0x5e | high)
}

fn reserved(quadword: usize, bits: u64, address: u64, flags: &str) -> Short {
    let reason = TranslationError::IllegalDte(DteError::ReservedBits { quadword, bits });
    illegal(reason, address, flags)
}

fn mode(mode: u8, highest: u8, flags: &str) -> Short {
    illegal(
        TranslationError::IllegalDte(DteError::Mode { mode, highest }),
        0x1abc,
        flags,
    )
}

fn illegal(reason: TranslationError, address: u64, flags: &str) -> Short {
    let line = format!("ILLEGAL_DEV_TABLE_ENTRY device=41:00.0 address={address:#x} flags={flags}");
    (Err(reason), vec![line])
}

fn invalid_request(reason: TranslationError, address: u64, flags: &str) -> Short {
    let line =
        format!("INVALID_DEVICE_REQUEST device=41:00.0 pasid=0x00000 address={address:#x} flags={flags}");
    (Err(reason), vec![line])
}

fn interrupt_range(access: Access) -> TranslationError {
    TranslationError::InterruptRange {
        access,
        address: 0xfee0_1000,
    }
}

fn denied(access: Access, flags: &str) -> Short {
    fault(TranslationError::DtePermissions(access), 0x1abc, flags)
}

fn not_allowed(kind: AddressType, flags: &str) -> Short {
    invalid_request(TranslationError::NotAllowed(kind), 0x1abc, flags)
}

/// An exclusion range from 0x1000 to 0x2fff.
fn exclusion(bits: u64, high: u64) -> Case {
    Case {
        registers: vec![(0x20, 0x1000 | bits), (0x28, 0x2000)],
        ..blocked(high)
    }
}

use AddressType::{Translated, TranslationRequest};

cases! {
    // The IOMMU and the address.
    iommu_disabled_forwards: Case { control: 0, ..blocked(0) } => forwarded();
    iommu_disabled_forwards_what_looks_like_an_interrupt:
        Case { control: 0, ..blocked(0) }.at(0xfee0_1000) => forwarded();
    iommu_disabled_forwards_translated_requests:
        Case { control: 0, ..blocked(0) }.kind(Translated) => forwarded();
    iommu_disabled_has_no_translation_to_give:
        Case { control: 0, ..identity(IOTLB) }.kind(TranslationRequest) => silent(TranslationError::Disabled);
    a_read_of_the_interrupt_range_is_an_invalid_request:
        identity(0).at(0xfee0_1000) => invalid_request(interrupt_range(Access::Read), 0xfee0_1000, "0x0000");
    an_atomic_operation_in_the_interrupt_range_is_an_invalid_request:
        identity(0).at(0xfee0_1000).access(Access::Atomic)
        => invalid_request(interrupt_range(Access::Atomic), 0xfee0_1000, "0x0000");
    a_write_in_the_interrupt_range_is_not_for_here:
        identity(0).at(0xfee0_1000).access(Access::Write) => silent(TranslationError::Interrupt(0xfee0_1000));
    a_translation_request_for_the_interrupt_range_is_an_invalid_request:
        identity(IOTLB).at(0xfee0_1000).kind(TranslationRequest)
        => invalid_request(interrupt_range(Access::Read), 0xfee0_1000, "0x0300");
    the_address_below_the_interrupt_range_is_memory: identity(0).at(0xfedf_ffff) => forwarded();
    the_address_above_the_interrupt_range_is_memory: identity(0).at(0xfef0_0000) => forwarded();

    // V and reserved bits.
    v_0_forwards: Case::dte(!1, !0) => forwarded();
    v_0_forwards_with_a_pasid: Case::dte(0, 0).pasid(1) => forwarded();
    reserved_bits_of_quadword_0_are_illegal: Case::dte(3 | READ_WRITE | 1 << 63, 0x5e)
        => reserved(0, 1 << 63, 0x1abc, "0x0080");
    reserved_bits_of_quadword_1_are_illegal: Case::dte(3 | READ_WRITE, 1 << 42)
        => reserved(1, 1 << 42, 0x1abc, "0x0080");
    an_illegal_entry_says_that_a_write_met_it: Case::dte(3 | READ_WRITE | 1 << 2, 0x5e).access(Access::Write)
        => reserved(0, 1 << 2, 0x1abc, "0x00a0");
    an_illegal_entry_says_that_a_translation_request_met_it:
        Case::dte(3 | READ_WRITE | 1 << 2, IOTLB).kind(TranslationRequest)
        => reserved(0, 1 << 2, 0x1abc, "0x0180");
    sa_does_not_hide_an_illegal_entry: Case::dte(3 | 1 << 2, SA) => reserved(0, 1 << 2, 0x1abc, "0x0080");

    // TV.
    tv_0_faults: Case::dte(1 | READ_WRITE, 0x5e)
        => fault(TranslationError::TranslationInvalid, 0x1abc, "0x0000");
    tv_0_faults_for_a_write: Case::dte(1 | READ_WRITE, 0x5e).access(Access::Write)
        => fault(TranslationError::TranslationInvalid, 0x1abc, "0x0020");

    // Mode 0.
    mode_0_forwards: identity(0) => forwarded();
    mode_0_forwards_the_highest_address: identity(0).at(u64::MAX) => forwarded();
    mode_0_without_ir_denies_reads: Case::dte(3 | WRITE, 0x5e) => denied(Access::Read, "0x0050");
    mode_0_without_ir_forwards_writes: Case::dte(3 | WRITE, 0x5e).access(Access::Write) => forwarded();
    mode_0_without_iw_denies_writes:
        Case::dte(3 | READ, 0x5e).access(Access::Write) => denied(Access::Write, "0x0070");
    mode_0_without_iw_denies_atomic_operations:
        Case::dte(3 | READ, 0x5e).access(Access::Atomic) => denied(Access::Atomic, "0x0070");
    // Lines of real machines: writes of a device without a domain have flags=0x0070.
    a_device_without_a_domain_is_denied: blocked(0).access(Access::Write) => denied(Access::Write, "0x0070");

    // Other modes.
    mode_7_is_illegal: Case::dte(3 | READ_WRITE | 7 << 9, 0x5e).features(Efr::new().with_hats(2))
        => mode(7, 6, "0x0000");
    a_mode_above_hats_is_illegal: Case::dte(3 | READ_WRITE | 5 << 9, 0x5e) => mode(5, 4, "0x0000");
    without_host_translation_every_mode_but_0_is_illegal:
        Case::dte(3 | READ_WRITE | 1 << 9, 0x5e).features(Efr::new().with_hats(3)) => mode(1, 0, "0x0000");
    without_host_translation_mode_0_forwards: identity(0).features(Efr::new().with_hats(3)) => forwarded();
    the_dte_denies_before_its_tables_are_looked_at: Case::dte(3 | READ | 2 << 9 | ROOT, 0x5e).access(Access::Write)
        => denied(Access::Write, "0x0070");

    // SE and SA.
    sa_suppresses_a_fault: blocked(SA) => silent(TranslationError::DtePermissions(Access::Read));
    se_reports_the_first_fault: blocked(SE) => denied(Access::Read, "0x0050");
    sa_goes_before_se: blocked(SA | SE) => silent(TranslationError::DtePermissions(Access::Read));

    // The exclusion range.
    the_exclusion_range_is_not_translated: exclusion(1, EX) => forwarded();
    the_exclusion_range_is_for_devices_with_ex: exclusion(1, 0) => denied(Access::Read, "0x0050");
    allow_makes_the_exclusion_range_for_all_devices: exclusion(3, 0) => forwarded();
    an_exclusion_range_that_is_not_enabled_is_none: exclusion(2, EX) => denied(Access::Read, "0x0050");
    the_first_byte_of_the_exclusion_range_is_in_it: exclusion(1, EX).at(0x1000) => forwarded();
    the_last_byte_of_the_exclusion_range_is_in_it: exclusion(1, EX).at(0x2fff) => forwarded();
    below_the_exclusion_range_is_not_in_it: exclusion(1, EX).at(0xfff)
        => fault(TranslationError::DtePermissions(Access::Read), 0xfff, "0x0050");
    above_the_exclusion_range_is_not_in_it: exclusion(1, EX).at(0x3000)
        => fault(TranslationError::DtePermissions(Access::Read), 0x3000, "0x0050");
    an_exclusion_range_that_ends_before_it_begins_is_empty:
        Case { registers: vec![(0x20, 0x2001), (0x28, 0)], ..blocked(EX) }.at(0x2000)
        => fault(TranslationError::DtePermissions(Access::Read), 0x2000, "0x0050");
    a_translation_request_for_the_exclusion_range_is_given_the_address: exclusion(1, EX | IOTLB)
        .kind(TranslationRequest) => translated("0x1abc 2^12 rw");

    // ATS.
    a_translation_request_without_i_is_an_invalid_request:
        identity(0).kind(TranslationRequest) => not_allowed(TranslationRequest, "0x0100");
    a_translation_request_with_v_0_is_an_invalid_request:
        Case::dte(0, IOTLB).kind(TranslationRequest) => not_allowed(TranslationRequest, "0x0100");
    a_translation_request_with_tv_0_is_an_invalid_request:
        Case::dte(1, IOTLB).kind(TranslationRequest) => not_allowed(TranslationRequest, "0x0100");
    a_translation_request_in_mode_0_is_given_the_address_and_permissions:
        Case::dte(3 | READ, IOTLB).kind(TranslationRequest) => translated("0x1abc 2^12 r");
    a_translated_request_without_i_is_an_invalid_request:
        identity(0).kind(Translated) => not_allowed(Translated, "0x0200");
    a_translated_request_with_v_0_is_an_invalid_request:
        Case::dte(0, IOTLB).kind(Translated) => not_allowed(Translated, "0x0200");
    a_translated_request_goes_on_whatever_the_tables_say:
        Case::dte(3, IOTLB).kind(Translated).access(Access::Write) => forwarded();

    // PASIDs.
    a_pasid_without_gv_faults: identity(0).pasid(0x4_2042)
        => reported(
            TranslationError::UnexpectedPasid(Pasid::new(0x4_2042).unwrap()),
            "IO_PAGE_FAULT device=41:00.0 domain=0x42042 address=0x1abc flags=0x0001",
        );
    a_pasid_with_gv_faults_because_guest_tables_are_not_modelled:
        Case::dte(3 | READ_WRITE | GV, 0x5e).features(Efr::new().with_gt_sup(true)).pasid(7)
        => reported(
            TranslationError::GuestTranslation(Pasid::new(7).unwrap()),
            "IO_PAGE_FAULT device=41:00.0 domain=0x0007 address=0x1abc flags=0x0001",
        );
    gv_means_nothing_to_a_request_without_pasid:
        Case::dte(3 | READ_WRITE | GV, 0x5e).features(Efr::new().with_gt_sup(true)) => forwarded();
}

/// A table of 128 devices, and a request from beyond it.
fn beyond_the_table(policy: OutOfRangeDevice, kind: AddressType) -> Short {
    let mut case = identity(IOTLB).kind(kind).access(Access::Write);
    case.config.policies.out_of_range_device = policy;
    case.registers = vec![(0, DEVICE_TABLE)];
    case.outcome()
}

#[test]
fn a_requester_id_beyond_the_table_faults() {
    let line = "IO_PAGE_FAULT device=41:00.0 domain=0x0000 address=0x1abc flags=0x0020";
    assert_eq!(
        beyond_the_table(OutOfRangeDevice::IoPageFault, AddressType::Untranslated),
        reported(TranslationError::DeviceOutOfRange, line)
    );
}

#[test]
fn a_translation_request_from_beyond_the_table_has_no_page_fault() {
    let outcome = beyond_the_table(OutOfRangeDevice::IoPageFault, TranslationRequest);
    assert_eq!(outcome, silent(TranslationError::DeviceOutOfRange));
}

#[test]
fn a_requester_id_beyond_the_table_has_an_illegal_entry_by_policy() {
    assert_eq!(
        beyond_the_table(OutOfRangeDevice::IllegalDevTableEntry, AddressType::Untranslated),
        illegal(TranslationError::DeviceOutOfRange, 0x1abc, "0x0020")
    );
}

#[test]
fn a_requester_id_beyond_the_table_is_looked_up_by_policy() {
    assert_eq!(
        beyond_the_table(OutOfRangeDevice::Unchecked, AddressType::Untranslated),
        forwarded()
    );
}

fn unreadable(case: Case, error: HardwareError) -> Short {
    let mut case = case;
    let entry = DEVICE_TABLE + 0x4100 * 32;
    let addresses = entry..entry + 32;
    case.config.faults.memory = vec![MemoryFault { addresses, error }];
    case.outcome()
}

#[test]
fn a_dte_that_cannot_be_read_is_a_hardware_error() {
    let reason = TranslationError::DteUnreadable(DEVICE_TABLE + 0x4100 * 32);
    for (case, error, flags) in [
        (identity(0), HardwareError::MasterAbort, "0x0200"),
        (
            identity(0).access(Access::Write),
            HardwareError::TargetAbort,
            "0x0420",
        ),
        (
            identity(0).kind(TranslationRequest),
            HardwareError::DataError,
            "0x0700",
        ),
    ] {
        let line = format!("DEV_TAB_HARDWARE_ERROR device=41:00.0 address=0x182000 flags={flags}");
        assert_eq!(unreadable(case, error), reported(reason, &line));
    }
}

/// Faults of a device with SE, before and after `command`.
fn events_with_se(config: Config, command: Option<[u64; 2]>) -> usize {
    let rig = Rig::with(config, RUN);
    rig.set_dte(RID, [3, 0x5e | SE, 0, 0]);
    for _ in 0..3 {
        rig.translate(&read(0x1000));
    }
    if let Some(command) = command {
        rig.queue(command);
        rig.run();
    }
    rig.translate(&read(0x1000));
    rig.run();
    rig.event_lines().len()
}

#[test]
fn se_suppresses_faults_after_the_first() {
    assert_eq!(events_with_se(Config::default(), None), 1);
}

#[test]
fn a_new_entry_of_a_device_with_se_is_reported_once_more() {
    for command in [invalidate_dte(RID), INVALIDATE_ALL] {
        assert_eq!(events_with_se(Config::default(), Some(command)), 2);
    }
    let other = invalidate_dte(RequesterId(0x4101));
    assert_eq!(events_with_se(Config::default(), Some(other)), 1);
}

/// Events of a fault whose read of the DTE `command` overtakes, and of two faults after it.
fn events_after_overtaken_fault(command: [u64; 2]) -> usize {
    let rig = Rig::new();
    rig.set_dte(RID, [3, 0x5e | SE, 0, 0]);
    let TranslationResponse::Fill(token) = rig.iommu.translate(&read(0x1000)) else {
        panic!("no fill");
    };
    rig.queue(command);
    rig.run();
    rig.finish_translation(rig.iommu.complete_translation(token));
    rig.run();
    for _ in 0..2 {
        rig.translate(&read(0x1000));
    }
    rig.run();
    rig.event_lines().len()
}

#[test]
fn a_fault_under_the_old_entry_does_not_silence_the_new_one() {
    for command in [invalidate_dte(RID), INVALIDATE_ALL] {
        assert_eq!(events_after_overtaken_fault(command), 2);
    }
}

#[test]
fn a_fault_that_another_devices_new_entry_overtakes_silences_the_next() {
    let command = invalidate_dte(RequesterId(0x4101));
    assert_eq!(events_after_overtaken_fault(command), 1);
}

#[test]
fn se_has_no_effect_by_policy() {
    let policies = Policies {
        repeated_page_faults: RepeatedPageFaults::Reported,
        ..Policies::default()
    };
    let config = Config {
        policies,
        ..Config::default()
    };
    assert_eq!(events_with_se(config, None), 4);
}

#[test]
fn se_of_one_device_does_not_silence_another() {
    let rig = Rig::new();
    let other = RequesterId(0x4101);
    for device in [RID, other] {
        rig.set_dte(device, [3, SE, 0, 0]);
        rig.translate(&MemoryRequest {
            requester: device,
            ..read(0x1000)
        });
    }
    rig.run();
    assert_eq!(rig.event_lines().len(), 2);
}
