//! What page tables make of a request: one case for each row, named by the outcome.

use super::*;
use crate::iommu::spec::event::HardwareError;
use crate::iommu::spec::page_table::PteError;
use crate::iommu::translate::WalkError;

const TABLE_1: u64 = ROOT + 0x1000;
const TABLE_2: u64 = ROOT + 0x2000;

/// One table, in which the entry for the request is `raw`.
fn leaf(level: u64, raw: u64) -> Case {
    Case {
        dte: dte_tables(level, ROOT),
        entries: vec![(ROOT, 1, raw)],
        ..Case::default()
    }
    .features(Efr::new().with_hats(2))
    .at(1 << (12 + 9 * (level - 1)) | 0xabc)
}

/// [`Case::default`] with other entries.
fn entries(directory: u64, page: u64) -> Case {
    Case {
        entries: vec![(ROOT, 0, directory | TABLE_1), (TABLE_1, 1, page)],
        ..Case::default()
    }
}

const PAGE: u64 = READ_WRITE | PRESENT | 0x12_3000;

fn entry_error(level: u8, error: PteError) -> TranslationError {
    TranslationError::NotMapped(WalkError::Entry { level, error })
}

fn skipped(next: u8) -> TranslationError {
    TranslationError::NotMapped(WalkError::SkippedBits { next })
}

fn permissions(level: u8, access: Access) -> TranslationError {
    TranslationError::Permissions { level, access }
}

/// NextLevel 7.
const SIZED: u64 = 7 << 9;

use AddressType::TranslationRequest;

fn ats(case: Case) -> Case {
    let dte = [case.dte[0], case.dte[1] | 1 << 32, 0, 0];
    Case { dte, ..case }.kind(TranslationRequest)
}

cases! {
    // Pages.
    a_page_is_translated: Case::default() => translated("0x123abc 2^12 rw");
    a_write_is_translated: Case::default().access(Access::Write) => translated("0x123abc 2^12 rw");
    an_atomic_operation_is_translated: Case::default().access(Access::Atomic) => translated("0x123abc 2^12 rw");
    fc_goes_with_the_translation: entries(pde(1, 0), PAGE | 1 << 60) => translated("0x123abc 2^12 rwc");
    mode_1_has_one_table: leaf(1, READ_WRITE | PRESENT | 0x7000) => translated("0x7abc 2^12 rw");
    a_page_of_2_mib: leaf(2, READ_WRITE | PRESENT | 0x4060_0000) => translated("0x40600abc 2^21 rw");
    a_page_of_1_gib: leaf(3, READ_WRITE | PRESENT | 0xc000_0000) => translated("0xc0000abc 2^30 rw");
    a_page_of_512_gib: leaf(4, READ_WRITE | PRESENT | 0x80_0000_0000) => translated("0x8000000abc 2^39 rw");
    a_page_of_256_tib: leaf(5, READ_WRITE | PRESENT | 1 << 48) => translated("0x1000000000abc 2^48 rw");
    level_6_has_no_pages: leaf(6, READ_WRITE | PRESENT)
        => fault(entry_error(6, PteError::PageSize { level: 6, shift: 57 }), 1 << 57 | 0xabc, "0x0010");
    a_page_of_8_kib: leaf(1, READ_WRITE | PRESENT | SIZED | 0x6000) => translated("0x7abc 2^13 rw");
    a_page_of_1_mib: leaf(1, READ_WRITE | PRESENT | SIZED | 0x77_f000) => translated("0x701abc 2^20 rw");
    a_page_of_4_mib: leaf(2, READ_WRITE | PRESENT | SIZED | 0x4f_f000 | 1 << 40 | 0x10_0000)
        => translated("0x10000600abc 2^22 rw");
    a_size_that_is_the_next_levels_is_refused: leaf(1, READ_WRITE | PRESENT | SIZED | 0xf_f000)
        => fault(entry_error(1, PteError::PageSize { level: 1, shift: 21 }), 0x1abc, "0x0010");
    a_size_below_the_levels_is_refused: leaf(2, READ_WRITE | PRESENT | SIZED)
        => fault(entry_error(2, PteError::PageSize { level: 2, shift: 13 }), 0x20_0abc, "0x0010");

    // Present and reserved bits.
    an_entry_that_is_not_present_faults: entries(pde(1, 0), PAGE & !1)
        => fault(entry_error(1, PteError::NotPresent), 0x1abc, "0x0000");
    a_directory_entry_that_is_not_present_faults: entries(READ_WRITE | 1 << 9, PAGE).access(Access::Write)
        => fault(entry_error(2, PteError::NotPresent), 0x1abc, "0x0020");
    reserved_bits_of_a_page_fault_with_rz: entries(pde(1, 0), PAGE | 1 << 52)
        => fault(entry_error(1, PteError::ReservedBits(1 << 52)), 0x1abc, "0x0090");
    reserved_bits_of_a_directory_entry_fault_with_rz: entries(pde(1, 0) | 1 << 60, PAGE)
        => fault(entry_error(2, PteError::ReservedBits(1 << 60)), 0x1abc, "0x0090");
    ignored_bits_are_ignored: entries(pde(1, 0) | 1 << 63 | 0x1fe, PAGE | 1 << 63 | 0x1fe)
        => translated("0x123abc 2^12 rw");

    // Levels.
    skipped_levels_are_skipped: Case {
        dte: dte_tables(4, ROOT),
        entries: vec![(ROOT, 3, pde(1, TABLE_1)), (TABLE_1, 1, PAGE)],
        ..Case::default()
    }.at(3 << 39 | 0x1abc) => translated("0x123abc 2^12 rw");
    skipped_levels_need_address_bits_of_0: Case {
        dte: dte_tables(4, ROOT),
        entries: vec![(ROOT, 3, pde(1, TABLE_1)), (TABLE_1, 1, PAGE)],
        ..Case::default()
    }.at(3 << 39 | 1 << 21 | 0x1abc) => fault(skipped(1), 3 << 39 | 1 << 21 | 0x1abc, "0x0010");
    an_address_beyond_the_highest_table_faults: Case::default().at(1 << 30) => fault(skipped(2), 1 << 30, "0x0010");
    the_highest_address_of_a_table_is_reached: Case {
        entries: vec![(ROOT, 511, pde(1, TABLE_1)), (TABLE_1, 511, PAGE)],
        ..Case::default()
    }.at((1 << 30) - 1) => translated("0x123fff 2^12 rw");
    mode_6_reaches_every_address: Case {
        dte: dte_tables(6, ROOT),
        entries: vec![
            (ROOT, 127, pde(5, TABLE_1)),
            (TABLE_1, 511, READ_WRITE | PRESENT | SIZED | 0x0001_ffff_ffff_f000),
        ],
        ..Case::default()
    }.features(Efr::new().with_hats(2)).at(u64::MAX) => translated("0x3ffffffffffff 2^50 rw");
    a_next_level_that_is_no_lower_faults: entries(pde(2, 0), PAGE)
        => fault(entry_error(2, PteError::NextLevel { level: 2, next: 2 }), 0x1abc, "0x0010");
    a_table_below_the_last_faults: entries(pde(1, 0), PAGE | 1 << 9)
        => fault(entry_error(1, PteError::NextLevel { level: 1, next: 1 }), 0x1abc, "0x0010");

    // Permissions.
    a_page_without_ir_denies_reads: entries(pde(1, 0), PAGE & !READ)
        => fault(permissions(1, Access::Read), 0x1abc, "0x0050");
    a_page_without_iw_denies_writes: entries(pde(1, 0), PAGE & !WRITE).access(Access::Write)
        => fault(permissions(1, Access::Write), 0x1abc, "0x0070");
    a_page_without_iw_allows_reads: entries(pde(1, 0), PAGE & !WRITE) => translated("0x123abc 2^12 r");
    a_page_without_iw_denies_atomic_operations: entries(pde(1, 0), PAGE & !WRITE).access(Access::Atomic)
        => fault(permissions(1, Access::Atomic), 0x1abc, "0x0070");
    a_directory_entry_without_iw_denies_writes: entries(pde(1, 0) & !WRITE, PAGE).access(Access::Write)
        => fault(permissions(2, Access::Write), 0x1abc, "0x0070");
    a_directory_entry_denies_before_the_page_is_read: entries(pde(1, 0) & !READ, 0)
        => fault(permissions(2, Access::Read), 0x1abc, "0x0050");
    the_dtes_permissions_go_with_the_translation: Case {
        dte: [dte_tables(2, ROOT)[0] & !WRITE, 0x5e, 0, 0],
        ..Case::default()
    } => translated("0x123abc 2^12 r");

    // ATS.
    a_translation_request_is_answered: ats(Case::default()) => translated("0x123abc 2^12 rw");
    a_translation_request_is_told_of_u: ats(entries(pde(1, 0), PAGE | 1 << 59)) => translated("0x123abc 2^12 rwu");
    a_translation_request_is_told_what_is_allowed: ats(entries(pde(1, 0) & !WRITE, PAGE)).access(Access::Write)
        => translated("0x123abc 2^12 r");
    a_translation_request_is_told_that_nothing_is_allowed: ats(entries(pde(1, 0) & !WRITE, PAGE & !READ))
        => translated("0x123abc 2^12 ");
    a_translation_request_has_no_page_fault: ats(entries(pde(1, 0), 0))
        => silent(entry_error(1, PteError::NotPresent));

    // Suppression.
    sa_suppresses_the_fault: Case {
        dte: [dte_tables(2, ROOT)[0], 0x5e | 1 << 34, 0, 0],
        entries: vec![],
        ..Case::default()
    } => silent(entry_error(2, PteError::NotPresent));
}

fn unreadable(level: u8, case: Case, error: HardwareError) -> Short {
    let mut case = case;
    let address = if level == 1 { TABLE_1 + 8 } else { ROOT };
    let addresses = address..address + 8;
    case.config.faults.memory = vec![MemoryFault { addresses, error }];
    case.outcome()
}

#[test]
fn an_entry_that_cannot_be_read_is_a_hardware_error_with_the_entrys_address() {
    for (level, case, error, address, flags) in [
        (
            1,
            Case::default(),
            HardwareError::MasterAbort,
            0x60_1008,
            "0x0200",
        ),
        (
            2,
            Case::default().access(Access::Write),
            HardwareError::DataError,
            0x60_0000,
            "0x0620",
        ),
        (
            1,
            ats(Case::default()),
            HardwareError::TargetAbort,
            0x60_1008,
            "0x0500",
        ),
    ] {
        let reason = TranslationError::PteUnreadable(address);
        let line = format!(
            "PAGE_TAB_HARDWARE_ERROR device=41:00.0 domain=0x005e address={address:#x} flags={flags}"
        );
        assert_eq!(unreadable(level, case, error), reported(reason, &line));
    }
}

#[test]
fn tables_outside_of_memory_are_a_hardware_error() {
    let case = Case {
        dte: dte_tables(2, 1 << 50),
        ..Case::default()
    };
    let line = "PAGE_TAB_HARDWARE_ERROR device=41:00.0 domain=0x005e address=0x4000000000000 flags=0x0200";
    assert_eq!(
        case.outcome(),
        reported(TranslationError::PteUnreadable(1 << 50), line)
    );
}

#[test]
fn entries_are_read_one_at_a_time_and_named() {
    let rig = Rig::new();
    rig.set_dte(RID, dte_tables(3, ROOT));
    rig.set_pte(ROOT, 0, pde(2, TABLE_1));
    rig.set_pte(TABLE_1, 0, pde(1, TABLE_2));
    rig.set_pte(TABLE_2, 1, PAGE);
    let mut reads = Vec::new();
    let mut response = rig.iommu.translate(&read(0x1000));
    while let TranslationResponse::Fill(token) = response {
        reads.push((token.entry(), token.address()));
        assert_eq!(*token.request(), read(0x1000));
        response = rig.iommu.complete_translation(token);
    }
    let expected = [
        (TableEntry::Dte, DEVICE_TABLE + 0x4100 * 32),
        (TableEntry::Pte { level: 3 }, ROOT),
        (TableEntry::Pte { level: 2 }, TABLE_1),
        (TableEntry::Pte { level: 1 }, TABLE_2 + 8),
    ];
    assert_eq!(reads, expected);
}
