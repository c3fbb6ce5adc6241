//! Interrupt remapping table entries.

use super::*;

/// A valid 128-bit entry, 32 bits of destination.
fn irte128(destination: u32, vector: u8) -> u128 {
    let (low, high) = (u128::from(destination & 0xff_ffff), u128::from(destination >> 24));
    high << 120 | u128::from(vector) << 64 | low << 8 | 1
}

/// A valid entry in either format, and the control bits that go with it.
fn formats() -> [(u64, u128); 2] {
    [(RUN, irte32(5, 0x31).into()), (RUN | GA_EN, irte128(5, 0x31))]
}

/// What it does to a valid entry, reason, event flags.
type Fault = (fn(u128) -> u128, IrteError, &'static str);

/// Faults of both formats.
fn faults() -> [Fault; 9] {
    [
        (|irte| irte & !1, IrteError::RemapEnClear, "0x0008"),
        (|irte| irte | 2 << 2, IrteError::ReservedIntType(2), "0x0098"),
        (|irte| irte | 3 << 2, IrteError::ReservedIntType(3), "0x0098"),
        (|irte| irte | 4 << 2, IrteError::ReservedIntType(4), "0x0098"),
        (|irte| irte | 5 << 2, IrteError::ReservedIntType(5), "0x0098"),
        (|irte| irte | 6 << 2, IrteError::ReservedIntType(6), "0x0098"),
        (|irte| irte | 7 << 2, IrteError::ReservedIntType(7), "0x0098"),
        (|irte| irte | 1 << 7, IrteError::GuestMode, "0x0098"),
        (|irte| (irte | 7 << 2) & !1, IrteError::RemapEnClear, "0x0008"),
    ]
}

cases! {
    reserved_bits_of_a_32_bit_entry_fault: Case { irte: (irte32(5, 0x31) | 1 << 24).into(), ..Case::default() }
        => fault(BlockReason::Irte(IrteError::ReservedBits(1 << 24)), "0x0098");
    reserved_bits_of_a_32_bit_entry_are_ignored_by_policy: {
        let case = Case { irte: (irte32(5, 0x31) | 1 << 24).into(), ..Case::default() };
        case.policies(|p| p.irte_reserved_bits = IrteReservedBits::Ignore)
    } => remapped("5:31");
    reserved_bits_of_a_128_bit_entry_fault: Case::ga(irte128(5, 0x31) | 1 << 72)
        => fault(BlockReason::Irte(IrteError::ReservedBits(1 << 72)), "0x0098");
    reserved_bits_of_a_128_bit_entry_are_ignored_by_policy:
        Case::ga(irte128(5, 0x31) | 0xf << 72 | 0xf << 116)
            .policies(|p| p.irte_reserved_bits = IrteReservedBits::Ignore)
        => remapped("5:31");
    guest_fields_of_a_128_bit_entry_mean_nothing_without_guest_mode:
        Case::ga(irte128(5, 0x31) | 0xffff_ffff << 32 | 0xff_ffff_ffff << 76) => remapped("5:31");
    destinations_have_8_bits_without_xt_en: Case::ga(irte128(0xab00_0705, 0x31)) => remapped("5:31");
    destinations_have_32_bits_with_xt_en: {
        let features = Features::new(Efr::from_bits(0xc4), Efr2::new()).unwrap();
        let config = Config { features, ..Config::default() };
        Case { config, control: RUN | GA_EN | XT_EN, ..Case::ga(irte128(0xab00_0705, 0x31)) }
    } => remapped("ab000705:31");
    // Linux irte_ops.set_allocated.
    the_marker_of_an_unused_32_bit_entry_is_silent: Case { irte: 0xffff_fffe, ..Case::default() }
        => silent(BlockReason::Irte(IrteError::RemapEnClear));
    the_marker_of_an_unused_128_bit_entry_faults: Case::ga(0xff << 64)
        => fault(BlockReason::Irte(IrteError::RemapEnClear), "0x0008");

    an_irte_outside_of_memory_is_a_hardware_error: Case { dte: dte_remap(1 << 40, 9), ..Case::default() }
        => reported(
            BlockReason::IrteUnreadable((1 << 40) + 12),
            "PAGE_TAB_HARDWARE_ERROR device=41:00.0 domain=0x005e address=0x1000000000c flags=0x0208",
        );
    ig_does_not_suppress_hardware_errors:
        Case { dte: with(dte_remap(1 << 40, 9), 1 << 5), ..Case::default() }
        => reported(
            BlockReason::IrteUnreadable((1 << 40) + 12),
            "PAGE_TAB_HARDWARE_ERROR device=41:00.0 domain=0x005e address=0x1000000000c flags=0x0208",
        );
    an_irte_outside_of_memory_is_silent_by_policy:
        Case { dte: dte_remap(1 << 40, 9), ..Case::default() }
            .policies(|p| p.irte_read_failure = IrteReadFailure::NoEvent)
        => silent(BlockReason::IrteUnreadable((1 << 40) + 12));
}

/// Outcomes of all faults in both formats, with these bits added to DTE and IRTE.
fn fault_outcomes(dte: u64, irte: u128, expected: impl Fn(IrteError, &str) -> Short) {
    for (control, valid) in formats() {
        for (spoil, error, flags) in faults() {
            let case = Case {
                control,
                dte: with(dte_remap(TABLE, 9), dte),
                irte: spoil(valid) | irte,
                ..Case::default()
            };
            assert_eq!(
                case.outcome(),
                expected(error, flags),
                "{error}, control {control:#x}"
            );
        }
    }
}

#[test]
fn an_entry_that_remaps_nothing_faults_with_pr_and_rz_if_it_is_present() {
    fault_outcomes(0, 0, |error, flags| fault(BlockReason::Irte(error), flags));
}

#[test]
fn sup_iopf_suppresses_the_faults_of_its_entry() {
    fault_outcomes(0, 2, |error, _| silent(BlockReason::Irte(error)));
}

#[test]
fn ig_suppresses_the_faults_of_all_entries() {
    fault_outcomes(1 << 5, 0, |error, _| silent(BlockReason::Irte(error)));
}

#[test]
fn every_field_of_the_entry_reaches_the_interrupt() {
    for (control, valid) in formats() {
        let int_type = [(0, IntType::Fixed), (1 << 2, IntType::Arbitrated)];
        let request_eoi = [(0, false), (1 << 5, true)];
        let mode = [(0, DestinationMode::Physical), (1 << 6, DestinationMode::Logical)];
        for (n, int_type) in int_type {
            for (eoi, request_eoi) in request_eoi {
                for (dm, destination_mode) in mode {
                    let case = Case {
                        control,
                        irte: valid | n | eoi | dm,
                        data: 0x1ff,
                        ..Case::default()
                    };
                    let interrupt = Interrupt::new()
                        .with_destination(5)
                        .with_destination_mode(destination_mode)
                        .with_vector(0x31)
                        .with_int_type(int_type)
                        .with_request_eoi(request_eoi)
                        .with_index(0x1ff);
                    assert_eq!(case.ask().1.outcome, Outcome::Remapped(interrupt));
                }
            }
        }
    }
}

#[test]
fn entries_are_4_bytes_apart_or_16_with_ga_en() {
    for ((control, irte), bytes) in formats().into_iter().zip([4, 16]) {
        for index in [0, 3, 0x1ff] {
            let case = Case {
                control,
                irte,
                data: index,
                ..Case::default()
            };
            let lookup = case.ask().1.irte.expect("an entry was used");
            assert_eq!(
                (lookup.address, lookup.raw),
                (TABLE + bytes * u64::from(index), irte)
            );
        }
    }
}

#[test]
fn the_answer_says_what_was_used_and_where_it_lies() {
    let (rig, answer) = Case::default().ask();
    let dte = Lookup {
        from: LookupFrom::Fill,
        address: DEVICE_TABLE + 0x4100 * 32,
        raw: dte_remap(TABLE, 9),
    };
    let irte = Lookup {
        from: LookupFrom::Fill,
        address: TABLE + 12,
        raw: 0x31_0501,
    };
    assert_eq!((answer.dte, answer.irte), (Some(dte), Some(irte)));
    let again = rig.ask(&answer.request);
    let from = LookupFrom::Hit;
    assert_eq!(again.dte, Some(Lookup { from, ..dte }));
    assert_eq!(again.irte, Some(Lookup { from, ..irte }));
}

#[test]
fn a_cached_answer_is_the_same_as_the_first() {
    for (control, irte) in formats() {
        for bits in [0, 1 << 2, 1 << 5, 1 << 6, 1 << 2 | 1 << 5 | 1 << 6] {
            let irte = irte | bits;
            let case = Case {
                control,
                irte,
                ..Case::default()
            };
            let (rig, answer) = case.ask();
            for _ in 0..2 {
                assert_eq!(rig.ask(&answer.request).outcome, answer.outcome);
                assert_eq!(rig.outcome(&answer.request), answer.outcome);
            }
        }
    }
}
