//! The register file: offsets, widths, read-only and write-1-to-clear bits, features, pointer resets, run bits.

use proptest::prelude::*;

use super::*;
use crate::iommu::spec::features::{Efr, Efr2, Features};

pub(super) const CONTROL: u64 = 0x18;
pub(super) const STATUS: u64 = 0x2020;
pub(super) const EVENT_LOG_RUN: u64 = 1 << 3;
pub(super) const CMD_BUF_RUN: u64 = 1 << 4;
pub(super) const PPR_LOG_RUN: u64 = 1 << 7;
pub(super) const GA_LOG_RUN: u64 = 1 << 8;

pub(super) const PPR_LOG_EN: u64 = 1 << 13;
pub(super) const GA_LOG_EN: u64 = 1 << 28;

/// PPR, XT, IA, GA, HE, GAM, 8 segments, MSI in MMIO.
pub(super) const EVERYTHING: u64 = 1 << 1 | 1 << 2 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 21 | 3 << 38 | 1 << 46;

pub(super) fn with_efr(efr: u64) -> Config {
    Config {
        features: Features::new(Efr::from_bits(efr), Efr2::new()).unwrap(),
        ..Config::default()
    }
}

/// As after reset.
fn reset(config: Config) -> Iommu {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    Iommu::new(config, Arc::new(memory))
}

fn after_reset() -> Iommu {
    reset(Config::default())
}

const RING_BASE: u64 = 0x0f0f_ffff_ffff_f000;
const SEGMENT: u64 = 0x000f_ffff_ffff_f0ff;
const XT_INTERRUPT: u64 = 0xff00_01ff_ffff_ff04;
const POINTER: u64 = 0x7_fff0;
const GA_POINTER: u64 = 0x7_fff8;

/// Offset, value after reset, bits that software can write: with [`EVERYTHING`].
#[rustfmt::skip]
const REGISTERS: [(u64, u64, u64); 45] = [
    (0x00, 0, 0x000f_ffff_ffff_f1ff),
    (0x08, 8 << 56, RING_BASE),
    (0x10, 8 << 56, RING_BASE),
    // EventLogEn and the like, GAEn, GAMEn, GALogEn, GAIntEn, DevTblSegEn, XTEn, IntCapXTEn, IRTCacheDis.
    (CONTROL, 0, 0x080c_000c_3202_ffff),
    (0x20, 0, 0x000f_ffff_ffff_f003),
    (0x28, 0, 0x000f_ffff_ffff_f000),
    (0x30, EVERYTHING, 0),
    (0x38, 8 << 56, RING_BASE),
    (0x40, 0, u64::MAX), (0x48, 0, u64::MAX),
    // Write 1 to clear.
    (0x50, 0, 0),
    (0x58, 0, 0), (0x60, 0, 0), (0xd8, 0, 0),
    (0xe0, 8 << 56, RING_BASE),
    (0xe8, 0, 0x000f_ffff_ffff_fff8),
    (0xf0, 0, 0),
    (0x100, 0, SEGMENT), (0x108, 0, SEGMENT), (0x110, 0, SEGMENT), (0x118, 0, SEGMENT),
    (0x120, 0, SEGMENT), (0x128, 0, SEGMENT), (0x130, 0, SEGMENT),
    (0x138, 0, 0), (0x140, 0, 0), (0x148, 0, 0),
    // Message numbers 0; MSI capability, 64-bit; HyperTransport MSI mapping, enabled and fixed.
    (0x150, 0, 0),
    (0x158, 0x80_0005, 0xffff_fffc_0071_0000),
    (0x160, 0, 0x0000_ffff_ffff_ffff),
    (0x168, 0xa803_0008, 0),
    (0x170, 0, XT_INTERRUPT), (0x178, 0, XT_INTERRUPT), (0x180, 0, XT_INTERRUPT),
    (0x1a0, 0, 0),
    (0x2000, 0, POINTER), (0x2008, 0, POINTER), (0x2010, 0, POINTER), (0x2018, 0, POINTER),
    (STATUS, 0, 0),
    (0x2030, 0, POINTER), (0x2038, 0, POINTER),
    (0x2040, 0, GA_POINTER), (0x2048, 0, GA_POINTER),
    (0x3ff8, 0, 0),
];

#[test]
fn registers_after_reset() {
    let iommu = reset(with_efr(EVERYTHING));
    for (offset, value, _) in REGISTERS {
        assert_eq!(iommu.read(offset, 8), value, "{offset:#x}");
    }
}

#[test]
fn writable_bits_are_set_and_cleared_and_all_others_keep_their_value() {
    for (offset, value, writable) in REGISTERS {
        let iommu = reset(with_efr(EVERYTHING));
        iommu.write(offset, 8, u64::MAX);
        assert_eq!(iommu.read(offset, 8), value | writable, "{offset:#x}");
        // Nothing runs and thereby locks a register: IommuEn is 0, but where Control itself is written.
        iommu.write(offset, 8, 0);
        assert_eq!(iommu.read(offset, 8), value & !writable, "{offset:#x}");
    }
}

/// Bit of EFR, and the registers that there are with it only.
const OF_FEATURES: [(u64, &[u64]); 6] = [
    (1 << 1, &[0x38, 0x2030, 0x2038]),
    (1 << 2, &[0x170, 0x178, 0x180]),
    (1 << 8, &[0x40, 0x48]),
    (1 << 21, &[0xe0, 0xe8, 0x2040, 0x2048]),
    (3 << 38, &[0x100, 0x108, 0x110, 0x118, 0x120, 0x128, 0x130]),
    (1 << 46, &[0x158, 0x160]),
];

#[test]
fn registers_of_absent_features_read_0_and_can_not_be_written() {
    for (feature, offsets) in OF_FEATURES {
        let (with, without) = (
            reset(with_efr(EVERYTHING)),
            reset(with_efr(EVERYTHING & !feature)),
        );
        for &offset in offsets {
            for iommu in [&with, &without] {
                iommu.write(offset, 8, u64::MAX);
            }
            assert_ne!(with.read(offset, 8), 0, "{offset:#x}");
            assert_eq!(without.read(offset, 8), 0, "{offset:#x}");
        }
        let accesses = 2 * offsets.len() as u64;
        assert_eq!(without.register_statistics().refusals.absent, accesses);
        assert_eq!(with.register_statistics().refusals.absent, 0);
    }
}

#[test]
fn there_are_as_many_segment_registers_as_the_feature_says() {
    for (supported, registers) in [(0, 0), (1, 1), (2, 3), (3, 7)] {
        let iommu = reset(with_efr(EVERYTHING & !(3 << 38) | supported << 38));
        for segment in 0..7 {
            iommu.write(0x100 + segment * 8, 8, 0x1000);
        }
        let written = (0..7).filter(|n| iommu.read(0x100 + n * 8, 8) == 0x1000);
        assert!(written.eq(0..registers), "{supported}");
    }
}

/// EFR, and bits of Control that can be set with it only.
const CONTROL_OF_FEATURES: [(u64, u64); 5] = [
    (1 << 1, 1 << 13 | 1 << 14 | 1 << 15),
    (1 << 2, 1 << 50 | 1 << 51),
    (1 << 7 | 1 << 21, 1 << 17),
    (1 << 21, 1 << 25 | 1 << 28 | 1 << 29),
    (3 << 38, 3 << 34),
];

#[test]
fn control_bits_of_absent_features_can_not_be_set() {
    for (feature, bits) in CONTROL_OF_FEATURES {
        for (efr, expected) in [(EVERYTHING, bits), (EVERYTHING & !feature, 0)] {
            // XT needs GA.
            let efr = if efr >> 7 & 1 == 0 { efr & !(1 << 2) } else { efr };
            let iommu = reset(with_efr(efr));
            iommu.write(CONTROL, 8, u64::MAX);
            assert_eq!(iommu.read(CONTROL, 8) & bits, expected, "{feature:#x}");
        }
    }
}

#[test]
fn more_segments_than_there_are_can_not_be_enabled() {
    let iommu = reset(with_efr(EVERYTHING & !(3 << 38) | 2 << 38));
    iommu.write(CONTROL, 8, 2 << 34);
    iommu.write(CONTROL, 8, 3 << 34 | CMD_BUF_EN);
    assert_eq!(iommu.read(CONTROL, 8), 2 << 34 | CMD_BUF_EN);
    assert_eq!(iommu.register_statistics().refusals.reserved_value, 1);
}

#[test]
fn halves_are_read_and_written_alone() {
    let iommu = after_reset();
    // Linux writes base registers as two 32-bit stores, low half first.
    iommu.write(0x08, 4, 0x1234_5000);
    iommu.write(0x0c, 4, 9 << 24 | 0x6);
    assert_eq!(iommu.read(0x08, 8), 0x0900_0006_1234_5000);
    assert_eq!(
        (iommu.read(0x08, 4), iommu.read(0x0c, 4)),
        (0x1234_5000, 0x0900_0006)
    );
}

#[test]
fn a_write_of_the_command_tails_upper_half_takes_back_no_write_of_the_tail() {
    const TAIL: u64 = 0x2008;
    let iommu = after_reset();
    let all_kept = std::thread::scope(|scope| {
        let software = scope.spawn(|| {
            (0..200_000).all(|n| {
                let tail = n % 512 * 16;
                iommu.write(TAIL, 4, tail);
                (0..20).for_each(|_| std::hint::spin_loop());
                // Without the lock, which would keep the other thread from writing.
                iommu.command_pointers.tail().into_bits() == tail
            })
        });
        while !software.is_finished() {
            iommu.write(TAIL + 4, 4, 0);
        }
        software.join().unwrap()
    });
    assert!(all_kept);
}

#[test]
fn other_sizes_alignments_and_offsets_are_ignored() {
    let iommu = after_reset();
    let refused = [
        (0, 1),
        (0, 2),
        (2, 4),
        (4, 8),
        (0, 16),
        (0, 0),
        (u64::MAX, 4),
        (u64::MAX - 3, 8),
    ];
    for (offset, size) in refused {
        iommu.write(offset, size, u64::MAX);
        assert_eq!(iommu.read(offset, size), 0);
    }
    assert_eq!(iommu.read(0, 8), 0);
    let beyond = [(0x4000, 8), (u64::MAX - 7, 8), (u64::MAX - 3, 4)];
    for (offset, size) in beyond {
        iommu.write(offset, size, u64::MAX);
        assert_eq!(iommu.read(offset, size), 0);
    }
    let refusals = iommu.register_statistics().refusals;
    assert_eq!((refusals.bad_access, refusals.absent), (16, 6));
}

#[test]
fn writes_without_effect_are_counted_by_reason() {
    let rig = Rig::new();
    let counted = |offset, value| {
        let before = rig.iommu.register_statistics().refusals;
        rig.iommu.write(offset, 8, value);
        let after = rig.iommu.register_statistics().refusals;
        [
            after.read_only - before.read_only,
            after.running - before.running,
            after.reserved_bits - before.reserved_bits,
            after.reserved_value - before.reserved_value,
        ]
    };
    assert_eq!(counted(0x30, 0xc0), [1, 0, 0, 0]);
    assert_eq!(counted(0x08, 0x1000), [0, 1, 0, 0]);
    assert_eq!(counted(0x00, 0x200), [0, 0, 1, 0]);
    // PPREn without PPR; the log stops as well.
    assert_eq!(counted(CONTROL, 1 << 15), [0, 0, 1, 0]);
    assert_eq!(counted(0x10, 7 << 56), [0, 0, 0, 1]);
    assert_eq!(counted(0x10, 9 << 56), [0, 0, 0, 0]);
}

/// Feature of EFR, base, head, tail, the one of them that the IOMMU moves, bit that enables, bit that runs.
const RINGS: [(u64, u64, u64, u64, u64, u64); 4] = [
    (0x08, 0x2000, 0x2008, 0x2000, CMD_BUF_EN, CMD_BUF_RUN),
    (0x10, 0x2010, 0x2018, 0x2018, EVENT_LOG_EN, EVENT_LOG_RUN),
    (0x38, 0x2030, 0x2038, 0x2038, PPR_LOG_EN, PPR_LOG_RUN),
    (0xe0, 0x2040, 0x2048, 0x2048, GA_LOG_EN, GA_LOG_RUN),
];

#[test]
fn writing_a_base_resets_both_pointers() {
    for (base, head, tail, ..) in RINGS {
        let iommu = reset(with_efr(EVERYTHING));
        iommu.write(head, 4, 0x40);
        iommu.write(tail, 4, 0x80);
        assert_eq!((iommu.read(head, 4), iommu.read(tail, 4)), (0x40, 0x80));
        iommu.write(base, 8, 0x1000 | 9 << 56);
        assert_eq!((iommu.read(head, 4), iommu.read(tail, 4)), (0, 0));
    }
}

#[test]
fn while_a_ring_runs_its_base_and_the_iommus_pointer_can_not_be_written() {
    for (base, head, tail, own, enable, _) in RINGS {
        let iommu = reset(with_efr(EVERYTHING));
        iommu.write(base, 8, 0x2000 | 9 << 56);
        iommu.write(CONTROL, 8, IOMMU_EN | enable);
        iommu.write(base, 8, 0x1000 | 10 << 56);
        iommu.write(head, 4, 0x40);
        iommu.write(tail, 4, 0x40);
        assert_eq!(iommu.read(base, 8), 0x2000 | 9 << 56, "{base:#x}");
        for pointer in [head, tail] {
            let expected = if pointer == own { 0 } else { 0x40 };
            assert_eq!(iommu.read(pointer, 4), expected, "{pointer:#x}");
        }
        assert_eq!(iommu.register_statistics().refusals.running, 2);
        iommu.write(CONTROL, 8, enable);
        iommu.write(base, 8, 0x1000 | 10 << 56);
        assert_eq!(iommu.read(base, 8), 0x1000 | 10 << 56, "{base:#x}");
    }
}

#[test]
fn run_bits_follow_control() {
    for (.., enable, run) in RINGS {
        let iommu = reset(with_efr(EVERYTHING));
        for (control, expected) in [
            (enable, 0),
            (IOMMU_EN, 0),
            (IOMMU_EN | enable, run),
            (enable, 0),
            (IOMMU_EN | enable, run),
        ] {
            iommu.write(CONTROL, 8, control);
            assert_eq!(iommu.read(STATUS, 4), expected);
        }
    }
}

#[test]
fn a_ring_of_reserved_length_does_not_run() {
    for (base, _, tail, _, enable, _) in RINGS {
        let iommu = reset(with_efr(EVERYTHING));
        iommu.write(base, 8, 0x1000 | 7 << 56);
        iommu.write(CONTROL, 8, IOMMU_EN | enable);
        iommu.write(tail, 4, 0x10);
        assert_eq!(iommu.read(STATUS, 4), 0);
        assert!(!iommu.has_work());
    }
}

#[test]
fn status_bits_are_cleared_by_writing_1_and_the_rest_is_read_only() {
    let rig = Rig::new();
    rig.queue([1 << 60 | 2, 0]);
    rig.run();
    let run = CMD_BUF_RUN | EVENT_LOG_RUN;
    assert_eq!(rig.iommu.read(STATUS, 8), run | 1 << 2);
    rig.iommu.write(STATUS, 4, run | 1 << 1);
    assert_eq!(rig.iommu.read(STATUS, 8), run | 1 << 2);
    rig.iommu.write(STATUS, 4, 1 << 2);
    assert_eq!(rig.iommu.read(STATUS, 8), run);
}

#[test]
fn irt_cache_dis_reads_back_or_not_by_policy() {
    for (policy, expected) in [(IrtCacheDis::Sticky, 1 << 59), (IrtCacheDis::Ignored, 0)] {
        let policies = Policies {
            irt_cache_dis: policy,
            ..Policies::default()
        };
        let rig = Rig::with(
            Config {
                policies,
                ..Config::default()
            },
            1 << 59,
        );
        assert_eq!(rig.iommu.read(CONTROL, 8), expected);
    }
}

/// A message of a device whose ID has the top bits of each segment.
#[test]
fn device_table_entries_are_found_in_their_segment() {
    for enabled in 0..=3_u64 {
        let rig = Rig::with(with_efr(EVERYTHING), 0);
        // Segment n at 0x10_0000 + n * 0x1000, with 128 entries; of each only entry 0x41 is valid.
        for segment in 0..8 {
            let base = if segment == 0 { 0 } else { 0xf8 + segment * 8 };
            let table = DEVICE_TABLE + segment * 0x1000;
            rig.iommu.write(base, 8, table);
            let [q0, _, q2, q3] = dte_remap(TABLE, 9);
            let dte = [q0, 0x50 + segment, q2, q3];
            rig.memory
                .write_obj(dte, GuestAddress(table + 0x41 * 32))
                .unwrap();
        }
        rig.iommu.write(CONTROL, 8, RUN | enabled << 34);
        for segment in 0..1_u64 << enabled {
            let device = RequesterId((segment << (16 - enabled)) as u16 | 0x41);
            rig.ask(&Rig::message(device, 3));
            rig.run();
            let domain = format!("domain={:#06x}", 0x50 + segment);
            let line = rig.event_lines().pop().unwrap();
            assert!(line.contains(&domain), "{enabled}: {line}");
        }
    }
}

/// The register writes of Linux 7.2 from `iommu_disable` to `iommu_ga_log_enable`, with XT and vAPIC: what Control reads
/// after each, and nothing refused.
#[test]
fn linux_starts_up_without_a_refusal() {
    let iommu = reset(with_efr(EVERYTHING));
    let set = |bits| iommu.write(CONTROL, 8, iommu.read(CONTROL, 8) | bits);
    let clear = |bit: u32| iommu.write(CONTROL, 8, iommu.read(CONTROL, 8) & !(1_u64 << bit));
    let base = |offset, value: u64| {
        iommu.write(offset, 4, value & 0xffff_ffff);
        iommu.write(offset + 4, 4, value >> 32);
    };
    let control_is = |value| assert_eq!(iommu.read(CONTROL, 8), value);
    for bit in [12, 3, 2, 28, 29, 13, 14, 0, 59, 1, 8, 9, 11] {
        clear(bit);
    }
    set(1 << 10);
    iommu.write(CONTROL, 8, iommu.read(CONTROL, 8) & !0xe0 | 4 << 5);
    control_is(0x480);
    base(0x00, 0x20_0000 | 0x1ff);
    base(0x08, 0x40_0000 | 9 << 56);
    clear(12);
    iommu.write(0x2000, 4, 0);
    iommu.write(0x2008, 4, 0);
    set(1 << 12);
    control_is(0x1480);
    set(1 << 17);
    set(1 << 50);
    control_is(0x4_0000_0002_1480);
    set(1);
    assert_eq!(iommu.read(STATUS, 4), CMD_BUF_RUN);
    // Phase B.
    base(0x10, 0x41_0000 | 9 << 56);
    iommu.write(0x2010, 4, 0);
    iommu.write(0x2018, 4, 0);
    set(1 << 2);
    control_is(0x4_0000_0002_1485);
    for (offset, vector) in [(0x170, 0x31), (0x178, 0x32), (0x180, 0x33)] {
        iommu.write(offset, 8, vector << 32);
    }
    set(1 << 51);
    set(1 << 3);
    control_is(0xc_0000_0002_148d);
    base(0xe0, 0x42_0000 | 8 << 56);
    base(0xe8, 0x43_0000);
    iommu.write(0x2040, 4, 0);
    iommu.write(0x2048, 4, 0);
    set(1 << 29);
    set(1 << 28);
    // It polls for this one.
    assert_eq!(iommu.read(STATUS, 4) & GA_LOG_RUN, GA_LOG_RUN);
    set(1 << 25);
    control_is(0xc_0000_3202_148d);
    // amd_iommu_enable_ppr_log
    set(1 << 15);
    base(0x38, 0x44_0000 | 9 << 56);
    iommu.write(0x2030, 4, 0);
    iommu.write(0x2038, 4, 0);
    set(1 << 13);
    set(1 << 14);
    let run = CMD_BUF_RUN | EVENT_LOG_RUN | PPR_LOG_RUN | GA_LOG_RUN;
    assert_eq!(iommu.read(STATUS, 4), run);
    assert_eq!(iommu.register_statistics(), RegisterStatistics::default());
}

#[test]
fn the_first_hardware_error_stays_in_its_registers_until_hev_is_cleared() {
    let rig = Rig::with(with_efr(EVERYTHING), RUN);
    // Commands outside of memory.
    let fail = |address: u64| {
        rig.iommu.write(CONTROL, 8, 0);
        rig.iommu.write(0x08, 8, address | 9 << 56);
        rig.iommu.write(CONTROL, 8, RUN);
        rig.iommu.write(0x2008, 4, 0x10);
        rig.run();
    };
    let registers = || [0x40, 0x48, 0x50].map(|offset| rig.iommu.read(offset, 8));
    // COMMAND_HARDWARE_ERROR, master abort.
    fail(1 << 40);
    assert_eq!(registers(), [6 << 60 | 1 << 57, 1 << 40, 1]);
    fail(1 << 41);
    assert_eq!(registers(), [6 << 60 | 1 << 57, 1 << 40, 3]);
    rig.iommu.write(0x50, 8, 3);
    assert_eq!(registers()[2], 0);
    fail(1 << 42);
    assert_eq!(registers(), [6 << 60 | 1 << 57, 1 << 42, 1]);
    // Another event is none.
    rig.iommu.write(0x50, 8, 3);
    rig.ask(&Rig::message(RID, 3));
    assert_eq!(registers()[2], 0);
}

proptest! {
    #[test]
    fn two_halves_are_one_whole(offset in (0u64..0x412).prop_map(|n| n * 8 % 0x2050), value: u64) {
        // Without the bits that let rings run, and thereby lock their registers.
        let value = if offset == CONTROL { value & !IOMMU_EN } else { value };
        let (whole, halves) = (reset(with_efr(EVERYTHING)), reset(with_efr(EVERYTHING)));
        whole.write(offset, 8, value);
        halves.write(offset, 4, value & 0xffff_ffff);
        halves.write(offset + 4, 4, value >> 32);
        let read = whole.read(offset, 8);
        prop_assert_eq!(halves.read(offset, 8), read);
        prop_assert_eq!(halves.read(offset + 4, 4) << 32 | halves.read(offset, 4), read);
    }
}
