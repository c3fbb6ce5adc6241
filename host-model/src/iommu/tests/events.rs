//! The event log: the ring, overflow and restart, events that are lost.

use super::*;

const STATUS: u64 = 0x2020;
const EVENT_OVERFLOW: u64 = 1;
const EVENT_LOG_INT: u64 = 1 << 1;
const EVENT_LOG_RUN: u64 = 1 << 3;

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
fn each_event_moves_the_tail_and_sets_event_log_int() {
    let rig = Rig::new();
    for n in 1..=2 {
        rig.ask(&Rig::message(RID, 3));
        assert_eq!(
            rig.iommu.read(STATUS, 4) & EVENT_LOG_INT,
            if n == 1 { 0 } else { EVENT_LOG_INT }
        );
        assert!(rig.iommu.has_work());
        rig.run();
        assert_eq!(rig.iommu.read(0x2018, 4), n * 16);
        assert_eq!(rig.iommu.read(STATUS, 4) & EVENT_LOG_INT, EVENT_LOG_INT);
    }
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

/// A log of 512 entries with one slot left, then two events.
fn overflown() -> Rig {
    let rig = Rig::new();
    for _ in 0..511 {
        rig.ask(&Rig::message(RID, 3));
        assert!(matches!(rig.run()[..], [Step::EventWritten { .. }]));
    }
    assert_eq!(
        rig.iommu.read(STATUS, 4) & (EVENT_OVERFLOW | EVENT_LOG_RUN),
        EVENT_LOG_RUN
    );
    rig.ask(&Rig::message(RID, 3));
    let last = rig.run();
    assert!(matches!(
        last[..],
        [Step::EventDropped {
            reason: DropReason::Overflow,
            ..
        }]
    ));
    rig
}

#[test]
fn a_full_log_sets_event_overflow_and_stops() {
    let rig = overflown();
    assert_eq!(
        rig.iommu.read(STATUS, 4) & (EVENT_OVERFLOW | EVENT_LOG_RUN),
        EVENT_OVERFLOW
    );
    assert_eq!(rig.event_lines().len(), 511);
    // Room alone does not restart it.
    rig.iommu.write(0x2010, 4, 511 * 16);
    rig.ask(&Rig::message(RID, 3));
    assert!(matches!(
        rig.run()[..],
        [Step::EventDropped {
            reason: DropReason::NotRunning,
            ..
        }]
    ));
}

#[test]
fn a_stopped_log_restarts_as_linux_restarts_it() {
    let rig = overflown();
    rig.iommu.write(0x2010, 4, 511 * 16);
    // Linux amd_iommu_restart_log.
    rig.iommu.write(0x18, 8, RUN & !EVENT_LOG_EN);
    rig.iommu.write(STATUS, 4, EVENT_OVERFLOW);
    rig.iommu.write(0x18, 8, RUN);
    assert_eq!(
        rig.iommu.read(STATUS, 4) & (EVENT_OVERFLOW | EVENT_LOG_RUN),
        EVENT_LOG_RUN
    );
    rig.ask(&Rig::message(RID, 3));
    assert!(matches!(rig.run()[..], [Step::EventWritten { offset: 8176, .. }]));
    assert_eq!(rig.iommu.read(0x2018, 4), 0, "the tail wraps");
}

#[test]
fn a_log_enabled_with_event_overflow_set_does_not_run() {
    let rig = overflown();
    rig.iommu.write(0x18, 8, RUN & !EVENT_LOG_EN);
    rig.iommu.write(0x18, 8, RUN);
    assert_eq!(
        rig.iommu.read(STATUS, 4) & (EVENT_OVERFLOW | EVENT_LOG_RUN),
        EVENT_OVERFLOW
    );
}

#[test]
fn a_log_outside_of_memory_loses_events() {
    let rig = Rig::with(Config::default(), 0);
    rig.iommu.write(0x10, 8, 1 << 40 | 9 << 56);
    rig.iommu.write(0x18, 8, RUN);
    rig.ask(&Rig::message(RID, 3));
    let reason = DropReason::Unwritable { address: 1 << 40 };
    assert!(matches!(rig.run()[..], [Step::EventDropped { reason: r, .. }] if r == reason));
}

#[test]
fn a_flood_of_events_overflows_instead_of_growing() {
    let rig = Rig::new();
    for _ in 0..10_000 {
        rig.ask(&Rig::message(RID, 3));
    }
    assert_eq!(rig.iommu.read(STATUS, 4) & EVENT_OVERFLOW, EVENT_OVERFLOW);
    assert!(rig.run().len() < 1_000);
}
