//! Events in their log. What it has in common with other logs is tested in `logs`.

use super::*;

const STATUS: u64 = 0x2020;
const EVENT_OVERFLOW: u64 = 1;
const EVENT_LOG_INT: u64 = 1 << 1;

/// Lines that Linux printed on real machines, for interrupts without an IRTE.
#[test]
fn faults_are_logged_as_silicon_logs_them() {
    let golden = [
        (
            "42:00.0",
            0x5e,
            3,
            "IO_PAGE_FAULT device=42:00.0 domain=0x005e address=0xfffffffdf8030000 flags=0x0008",
        ),
        (
            "c8:02.0",
            1,
            5,
            "IO_PAGE_FAULT device=c8:02.0 domain=0x0001 address=0xfffffffdf8050000 flags=0x0008",
        ),
    ];
    for (device, domain, index, line) in golden {
        let rig = Rig::new();
        let device = device.parse().unwrap();
        let [q0, _, q2, q3] = dte_remap(TABLE, 9);
        rig.set_dte(device, [q0, domain, q2, q3]);
        rig.ask(&Rig::message(device, index));
        rig.run();
        assert_eq!(rig.event_lines(), [line]);
    }
}

#[test]
fn a_storm_of_faults_overflows_after_the_faults_that_are_logged() {
    let rig = Rig::new();
    for _ in 0..257 {
        rig.outcome(&Rig::message(RID, 3));
    }
    rig.run();
    assert_eq!(rig.event_lines().len(), 256);
    assert_eq!(
        rig.iommu.read(STATUS, 4) & (EVENT_OVERFLOW | EVENT_LOG_INT),
        EVENT_OVERFLOW | EVENT_LOG_INT
    );
}

#[test]
fn without_a_log_the_answer_still_has_the_event() {
    let rig = Rig::with(Config::default(), IOMMU_EN | CMD_BUF_EN);
    let outcome = rig.ask(&Rig::message(RID, 3)).outcome;
    let Outcome::Blocked {
        event: Some(event), ..
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        rig.run(),
        [Step::EventDropped {
            event,
            reason: DropReason::NotRunning
        }]
    );
    assert_eq!(rig.iommu.read(0x2018, 4), 0);
    assert_eq!(rig.iommu.read(STATUS, 4) & (EVENT_OVERFLOW | EVENT_LOG_INT), 0);
}
