//! The register file: offsets, widths, read-only and write-1-to-clear bits, pointer resets, run bits.

use proptest::prelude::*;

use super::*;

const STATUS: u64 = 0x2020;
const EVENT_LOG_RUN: u64 = 1 << 3;
const CMD_BUF_RUN: u64 = 1 << 4;

fn after_reset() -> Iommu {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    Iommu::new(Config::default(), Arc::new(memory))
}

#[test]
fn registers_after_reset() {
    let iommu = after_reset();
    for (offset, value) in [
        (0x00, 0),
        (0x08, 8 << 56),
        (0x10, 8 << 56),
        (0x18, 0),
        (0x30, 0xc0),
        (0x1a0, 0),
        (STATUS, 0),
    ] {
        assert_eq!(iommu.read(offset, 8), value, "{offset:#x}");
    }
}

#[test]
fn writable_bits_read_back_and_reserved_bits_read_0() {
    let writable = [
        (0x00, 0x000f_ffff_ffff_f1ff),
        (0x08, 0x0f0f_ffff_ffff_f000),
        (0x10, 0x0f0f_ffff_ffff_f000),
        (0x18, 0x0800_0000_0002_1fff),
        (0x20, 0x000f_ffff_ffff_f003),
        (0x28, 0x000f_ffff_ffff_f000),
        (0x30, 0xc0),
        (0x38, 0),
        (0x1a0, 0),
        (0x2000, 0x7_fff0),
        (0x2008, 0x7_fff0),
        (0x2010, 0x7_fff0),
        (0x2018, 0x7_fff0),
        (0x3000, 0),
    ];
    for (offset, bits) in writable {
        let iommu = after_reset();
        iommu.write(offset, 8, u64::MAX);
        assert_eq!(iommu.read(offset, 8), bits, "{offset:#x}");
    }
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
fn other_sizes_and_alignments_are_ignored() {
    let iommu = after_reset();
    for (offset, size) in [
        (0, 1),
        (0, 2),
        (2, 4),
        (4, 8),
        (0, 16),
        (0, 0),
        (u64::MAX, 4),
        (u64::MAX - 3, 8),
    ] {
        iommu.write(offset, size, u64::MAX);
        assert_eq!(iommu.read(offset, size), 0);
    }
    assert_eq!(iommu.read(0, 8), 0);
}

#[test]
fn writing_a_base_resets_both_pointers() {
    for (base, head, tail) in [(0x08, 0x2000, 0x2008), (0x10, 0x2010, 0x2018)] {
        let iommu = after_reset();
        iommu.write(head, 4, 0x40);
        iommu.write(tail, 4, 0x80);
        iommu.write(base, 8, 0x1000 | 9 << 56);
        assert_eq!((iommu.read(head, 4), iommu.read(tail, 4)), (0, 0));
    }
}

#[test]
fn while_a_ring_runs_its_base_and_the_iommus_pointer_can_not_be_written() {
    let rig = Rig::new();
    for (base, head, tail) in [(0x08, 0x2000, 0x2008), (0x10, 0x2010, 0x2018)] {
        let own = if base == 0x08 { head } else { tail };
        let before = rig.iommu.read(base, 8);
        rig.iommu.write(base, 8, 0x1000 | 10 << 56);
        rig.iommu.write(own, 4, 0x40);
        assert_eq!((rig.iommu.read(base, 8), rig.iommu.read(own, 4)), (before, 0));
    }
}

#[test]
fn run_bits_follow_control() {
    let iommu = after_reset();
    let runs = |control| {
        iommu.write(0x18, 8, control);
        iommu.read(STATUS, 4)
    };
    assert_eq!(runs(CMD_BUF_EN | EVENT_LOG_EN), 0);
    assert_eq!(runs(IOMMU_EN), 0);
    assert_eq!(runs(IOMMU_EN | CMD_BUF_EN), CMD_BUF_RUN);
    assert_eq!(runs(IOMMU_EN | EVENT_LOG_EN), EVENT_LOG_RUN);
    assert_eq!(runs(RUN), CMD_BUF_RUN | EVENT_LOG_RUN);
    assert_eq!(runs(CMD_BUF_EN | EVENT_LOG_EN), 0);
}

#[test]
fn a_ring_of_reserved_length_does_not_run() {
    let iommu = after_reset();
    iommu.write(0x08, 8, 0x1000 | 7 << 56);
    iommu.write(0x10, 8, 0x1000 | 7 << 56);
    iommu.write(0x18, 8, RUN);
    iommu.write(0x2008, 4, 0x10);
    assert_eq!(iommu.read(STATUS, 4), 0);
    assert!(!iommu.has_work());
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
        assert_eq!(rig.iommu.read(0x18, 8), expected);
    }
}

#[test]
fn control_bits_of_absent_features_can_not_be_set() {
    let rig = Rig::with(Config::default(), u64::MAX);
    // GTEn, XTEn, GALogEn, NumIntRemapMode, PPREn.
    for bit in [16, 50, 28, 43, 15] {
        assert_eq!(rig.iommu.read(0x18, 8) & 1 << bit, 0, "{bit}");
    }
}

#[test]
fn xt_interrupt_registers_exist_with_xt() {
    use crate::iommu::spec::features::{Efr, Efr2, Features};
    let features = Features::new(Efr::from_bits(0xc4), Efr2::new()).unwrap();
    let rig = Rig::with(
        Config {
            features,
            ..Config::default()
        },
        0,
    );
    for (offset, value) in [
        (0x170, 0x31_0000_0500),
        (0x178, 0x32_0000_0500),
        (0x180, 0x33_0000_0500),
    ] {
        rig.iommu.write(offset, 8, value);
        assert_eq!(rig.iommu.read(offset, 8), value);
    }
    let without = after_reset();
    without.write(0x170, 8, u64::MAX);
    assert_eq!(without.read(0x170, 8), 0);
}

proptest! {
    #[test]
    fn two_halves_are_one_whole(offset in (0u64..0x410).prop_map(|n| n * 8 % 0x2028), value: u64) {
        // Without the bits that let rings run, and thereby lock their registers.
        let value = if offset == 0x18 { value & !IOMMU_EN } else { value };
        let (whole, halves) = (after_reset(), after_reset());
        whole.write(offset, 8, value);
        halves.write(offset, 4, value & 0xffff_ffff);
        halves.write(offset + 4, 4, value >> 32);
        let read = whole.read(offset, 8);
        prop_assert_eq!(halves.read(offset, 8), read);
        prop_assert_eq!(halves.read(offset + 4, 4) << 32 | halves.read(offset, 4), read);
    }
}
