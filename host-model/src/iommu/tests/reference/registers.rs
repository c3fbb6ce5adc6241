//! Registers: lengths of rings, and features of the second feature register.

use super::*;
use crate::iommu::spec::features::{Efr, Efr2, Features};

/// Room for the longest ring.
const RING: u64 = 0x60_0000;

#[test]
fn a_command_buffer_of_each_length_wraps_at_its_end() {
    for length in 8..16 {
        let rig = Rig::with(Config::default(), 0);
        rig.iommu.write(0x08, 8, RING | length << 56);
        let last = (16 << length) - 16;
        for (offset, data) in [(last, 1), (0, 2)] {
            let command = completion_wait(data);
            rig.memory
                .write_obj(command, GuestAddress(RING + offset))
                .unwrap();
        }
        rig.iommu.write(0x2000, 4, last);
        rig.iommu.write(0x2008, 4, 16);
        rig.iommu.write(CONTROL, 8, RUN);
        let heads = [(); 2].map(|()| {
            rig.iommu.step();
            (rig.iommu.read(0x2000, 4), rig.semaphore())
        });
        assert_eq!(heads, [(0, 1), (16, 2)], "length {length}");
        assert!(!rig.iommu.has_work());
    }
}

#[test]
fn an_event_log_of_each_length_wraps_at_its_end() {
    for length in 8..16 {
        let rig = Rig::with(Config::default(), 0);
        rig.iommu.write(0x10, 8, RING | length << 56);
        let last = (16 << length) - 16;
        rig.iommu.write(0x2010, 4, last);
        rig.iommu.write(0x2018, 4, last);
        rig.iommu.write(CONTROL, 8, RUN);
        let tails = [(); 2].map(|()| {
            send(&rig, RID, 3);
            rig.run();
            rig.iommu.read(0x2018, 4)
        });
        assert_eq!(tails, [0, 16], "length {length}");
        for offset in [last, 0] {
            let event = rig.memory.read_obj(GuestAddress(RING + offset)).unwrap();
            assert!(
                linux_event(event).starts_with("IO_PAGE_FAULT device=41:00.0"),
                "length {length}"
            );
        }
    }
}

#[test]
fn features_read_as_they_were_built_and_control_has_their_bits() {
    // GTSup; GCR3TRPMode; NumIntRemapSup 1.
    for (efr, efr2, bits) in [
        (0, 0, 0),
        (1 << 4, 0, 1 << 16),
        (1 << 4, 1 << 3, 1 << 16 | 1 << 58),
        (0, 1 << 8, 1 << 43),
    ] {
        let features = Features::new(Efr::from_bits(efr), Efr2::from_bits(efr2)).unwrap();
        let config = Config {
            features,
            ..Config::default()
        };
        let rig = Rig::with(config, 0);
        assert_eq!([0x30, 0x1a0].map(|offset| rig.iommu.read(offset, 8)), [efr, efr2]);
        rig.iommu.write(CONTROL, 8, !IOMMU_EN);
        let of_features = 1 << 16 | 1 << 58 | 3 << 43;
        assert_eq!(
            rig.iommu.read(CONTROL, 8) & of_features,
            bits,
            "{efr:#x} {efr2:#x}"
        );
    }
}
