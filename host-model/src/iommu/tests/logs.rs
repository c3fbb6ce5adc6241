//! What the event, PPR and GA logs have in common: the ring, overflow and restart, entries that are lost.

use super::registers::{CONTROL, EVERYTHING, STATUS, with_efr};
use super::*;
use crate::iommu::spec::event::Event;
use crate::iommu::spec::log::{GaEntry, PprEntry, PprFlags};

/// Offsets and bits of one log, and an entry for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogCase {
    pub(super) base: u64,
    pub(super) head: u64,
    pub(super) tail: u64,
    /// In Control.
    pub(super) enable: u64,
    pub(super) interrupt_enable: u64,
    /// In Status.
    pub(super) run: u64,
    pub(super) interrupt: u64,
    pub(super) overflow: u64,
    /// Of an entry.
    pub(super) bytes: u64,
    pub(super) push: fn(&Iommu),
    /// First quadword of that entry in the log.
    word: u64,
}

pub(super) const LOGS: [LogCase; 3] = [
    LogCase {
        base: 0x10,
        head: 0x2010,
        tail: 0x2018,
        enable: 1 << 2,
        interrupt_enable: 1 << 3,
        run: 1 << 3,
        interrupt: 1 << 1,
        overflow: 1,
        bytes: 16,
        push: |iommu| {
            let event = Event::IllegalCommandError { address: 0x40 };
            iommu.lock().registers.log_event(event);
        },
        word: 5 << 60,
    },
    LogCase {
        base: 0x38,
        head: 0x2030,
        tail: 0x2038,
        enable: 1 << 13,
        interrupt_enable: 1 << 14,
        run: 1 << 7,
        interrupt: 1 << 6,
        overflow: 1 << 5,
        bytes: 16,
        push: |iommu| iommu.lock().registers.log_ppr(ppr()),
        word: 0x1004_0205_0000_4100,
    },
    LogCase {
        base: 0xe0,
        head: 0x2040,
        tail: 0x2048,
        enable: 1 << 28,
        interrupt_enable: 1 << 29,
        run: 1 << 8,
        interrupt: 1 << 10,
        overflow: 1 << 9,
        bytes: 8,
        push: |iommu| iommu.lock().registers.log_ga(ga()),
        word: 1 << 60 | 0x4100 << 32 | 0x1234,
    },
];

fn ppr() -> PprEntry {
    PprEntry {
        device: RID,
        pasid: None,
        tag: 0x205,
        address: 0x1000,
        flags: PprFlags::new().with_read(true),
    }
}

fn ga() -> GaEntry {
    GaEntry {
        device: RID,
        tag: 0x1234,
    }
}

const RING: u64 = 0x60_0000;
/// Shortest ring.
const RING_BYTES: u64 = 4096;

impl LogCase {
    /// The log enabled, 4 KiB long, all else off.
    pub(super) fn rig(&self, config: Config) -> Rig {
        let rig = Rig::with(config, 0);
        rig.iommu.write(self.base, 8, RING | 8 << 56);
        rig.iommu.write(CONTROL, 8, IOMMU_EN | self.enable);
        rig
    }

    pub(super) fn status(&self, rig: &Rig) -> u64 {
        rig.iommu.read(STATUS, 8)
    }

    /// Logs `count` entries, one at a time; the last one's step.
    fn log(&self, rig: &Rig, count: u64) -> Vec<Step> {
        let mut steps = vec![];
        for _ in 0..count {
            (self.push)(&rig.iommu);
            steps = rig.run();
        }
        steps
    }
}

fn written(steps: &[Step]) -> Option<u32> {
    match steps {
        [
            Step::EventWritten { offset, .. }
            | Step::PprWritten { offset, .. }
            | Step::GaWritten { offset, .. },
        ] => Some(*offset),
        _ => None,
    }
}

fn dropped(steps: &[Step]) -> Option<DropReason> {
    match steps {
        [
            Step::EventDropped { reason, .. }
            | Step::PprDropped { reason, .. }
            | Step::GaDropped { reason, .. },
        ] => Some(*reason),
        _ => None,
    }
}

#[test]
fn each_entry_is_at_the_tail_and_moves_it_and_sets_the_interrupt_bit() {
    for log in LOGS {
        let rig = log.rig(with_efr(EVERYTHING));
        for n in 0..2 {
            assert_eq!(written(&log.log(&rig, 1)), Some((n * log.bytes) as u32));
            assert_eq!(rig.iommu.read(log.tail, 4), (n + 1) * log.bytes);
            let word: u64 = rig.memory.read_obj(GuestAddress(RING + n * log.bytes)).unwrap();
            assert_eq!(word, log.word);
        }
        assert_eq!(log.status(&rig), log.run | log.interrupt);
    }
}

#[test]
fn a_log_that_does_not_run_loses_entries() {
    for log in LOGS {
        let rig = log.rig(with_efr(EVERYTHING));
        rig.iommu.write(CONTROL, 8, log.enable);
        assert_eq!(dropped(&log.log(&rig, 1)), Some(DropReason::NotRunning));
        assert_eq!((rig.iommu.read(log.tail, 4), log.status(&rig)), (0, 0));
    }
}

/// A full log, and an entry too many.
fn overflown(log: &LogCase) -> Rig {
    let rig = log.rig(with_efr(EVERYTHING));
    let room = RING_BYTES / log.bytes - 1;
    assert!(written(&log.log(&rig, room)).is_some());
    assert_eq!(log.status(&rig), log.run | log.interrupt);
    assert_eq!(dropped(&log.log(&rig, 1)), Some(DropReason::Overflow));
    rig
}

#[test]
fn a_full_log_sets_its_overflow_bit_and_stops() {
    for log in LOGS {
        let rig = overflown(&log);
        assert_eq!(log.status(&rig), log.overflow | log.interrupt);
        assert_eq!(rig.iommu.read(log.tail, 4), RING_BYTES - log.bytes);
        // Room alone does not restart it.
        rig.iommu.write(log.head, 4, RING_BYTES - log.bytes);
        assert_eq!(dropped(&log.log(&rig, 1)), Some(DropReason::NotRunning));
        assert_eq!(log.status(&rig), log.overflow | log.interrupt);
    }
}

#[test]
fn a_stopped_log_restarts_as_linux_restarts_it() {
    for log in LOGS {
        let rig = overflown(&log);
        rig.iommu.write(log.head, 4, RING_BYTES - log.bytes);
        // Linux amd_iommu_restart_log.
        rig.iommu.write(CONTROL, 8, IOMMU_EN);
        rig.iommu.write(STATUS, 4, log.overflow);
        rig.iommu.write(CONTROL, 8, IOMMU_EN | log.enable);
        assert_eq!(log.status(&rig), log.run | log.interrupt);
        let offset = (RING_BYTES - log.bytes) as u32;
        assert_eq!(written(&log.log(&rig, 1)), Some(offset));
        assert_eq!(rig.iommu.read(log.tail, 4), 0, "the tail wraps");
    }
}

#[test]
fn a_log_enabled_with_its_overflow_bit_set_does_not_run() {
    for log in LOGS {
        let rig = overflown(&log);
        rig.iommu.write(CONTROL, 8, IOMMU_EN);
        rig.iommu.write(CONTROL, 8, IOMMU_EN | log.enable);
        assert_eq!(log.status(&rig), log.overflow | log.interrupt);
    }
}

#[test]
fn a_log_outside_of_memory_loses_entries_and_runs_on() {
    for log in LOGS {
        let rig = Rig::with(with_efr(EVERYTHING), 0);
        rig.iommu.write(log.base, 8, 1 << 40 | 8 << 56);
        rig.iommu.write(CONTROL, 8, IOMMU_EN | log.enable);
        let reason = DropReason::Unwritable { address: 1 << 40 };
        assert_eq!(dropped(&log.log(&rig, 1)), Some(reason));
        assert_eq!((rig.iommu.read(log.tail, 4), log.status(&rig)), (0, log.run));
        let unwritable = LogStatistics {
            unwritable: 1,
            ..LogStatistics::default()
        };
        assert_eq!(log.statistics(&rig), unwritable);
    }
}

#[test]
fn a_flood_overflows_instead_of_growing() {
    for log in LOGS {
        let rig = log.rig(with_efr(EVERYTHING));
        (0..10_000).for_each(|_| (log.push)(&rig.iommu));
        assert_eq!(log.status(&rig), log.run);
        assert!(rig.run().len() < 1_000);
        assert_eq!(log.status(&rig), log.overflow | log.interrupt);
    }
}

/// Length of the queue before a log.
const QUEUE: u64 = 256;

impl LogCase {
    /// A queue that is full, an entry too many, and a ring that has room for all.
    fn flooded(&self) -> Rig {
        let rig = Rig::with(with_efr(EVERYTHING), 0);
        rig.iommu.write(self.base, 8, RING | 9 << 56);
        rig.iommu.write(CONTROL, 8, IOMMU_EN | self.enable);
        (0..=QUEUE).for_each(|_| (self.push)(&rig.iommu));
        rig
    }

    fn statistics(&self, rig: &Rig) -> LogStatistics {
        let statistics = rig.iommu.register_statistics();
        match self.base {
            0x10 => statistics.events,
            0x38 => statistics.pprs,
            _ => statistics.ga,
        }
    }
}

#[test]
fn what_was_queued_before_an_overflow_is_in_the_log() {
    for log in LOGS {
        let rig = log.flooded();
        for n in 0..QUEUE {
            assert_eq!(log.status(&rig) & (log.run | log.overflow), log.run);
            assert_eq!(
                written(&[rig.iommu.step().unwrap()]),
                Some((n * log.bytes) as u32)
            );
        }
        assert_eq!(log.status(&rig), log.overflow | log.interrupt);
        assert_eq!(dropped(&log.log(&rig, 1)), Some(DropReason::NotRunning));
    }
}

#[test]
fn what_comes_after_an_overflow_is_not_in_the_log_though_its_queue_has_room_again() {
    for log in LOGS {
        let rig = log.flooded();
        assert!(written(&[rig.iommu.step().unwrap()]).is_some());
        (log.push)(&rig.iommu);
        rig.run();
        let expected = LogStatistics {
            written: QUEUE,
            overflow: 2,
            ..LogStatistics::default()
        };
        assert_eq!(log.statistics(&rig), expected);
    }
}

#[test]
fn a_log_restarts_once_after_an_overflow_of_its_queue() {
    for log in LOGS {
        let rig = log.flooded();
        rig.run();
        rig.iommu.write(CONTROL, 8, IOMMU_EN);
        rig.iommu.write(STATUS, 4, log.overflow | log.interrupt);
        rig.iommu.write(CONTROL, 8, IOMMU_EN | log.enable);
        let offset = (QUEUE * log.bytes) as u32;
        assert_eq!(written(&log.log(&rig, 1)), Some(offset));
        assert_eq!(log.status(&rig), log.run | log.interrupt);
    }
}

#[test]
fn a_queue_that_overflows_before_a_log_that_does_not_run_sets_no_bit() {
    for log in LOGS {
        let rig = log.rig(with_efr(EVERYTHING));
        rig.iommu.write(CONTROL, 8, log.enable);
        (0..=QUEUE).for_each(|_| (log.push)(&rig.iommu));
        rig.iommu.write(CONTROL, 8, IOMMU_EN | log.enable);
        assert!(written(&[rig.iommu.step().unwrap()]).is_some());
        rig.iommu.write(CONTROL, 8, log.enable);
        rig.run();
        assert_eq!(log.status(&rig), log.interrupt);
        // Nor if it ran when the queue overflowed, and no more when that comes to it.
        let rig = log.flooded();
        rig.iommu.write(CONTROL, 8, log.enable);
        rig.run();
        rig.iommu.write(CONTROL, 8, IOMMU_EN | log.enable);
        assert_eq!(written(&log.log(&rig, 1)), Some(0));
        assert_eq!(log.status(&rig), log.run | log.interrupt);
    }
}

#[test]
fn a_full_ring_is_one_overflow_with_that_of_the_queue() {
    for log in LOGS {
        let rig = log.flooded();
        // Room for one.
        rig.iommu.write(log.head, 4, 2 * log.bytes);
        assert!(written(&[rig.iommu.step().unwrap()]).is_some());
        assert_eq!(dropped(&[rig.iommu.step().unwrap()]), Some(DropReason::Overflow));
        rig.iommu.write(CONTROL, 8, IOMMU_EN);
        rig.iommu.write(STATUS, 4, log.overflow);
        rig.iommu.write(log.head, 4, 0);
        rig.iommu.write(CONTROL, 8, IOMMU_EN | log.enable);
        rig.run();
        assert_eq!(log.status(&rig), log.run | log.interrupt);
    }
}

#[test]
fn what_became_of_entries_is_counted() {
    for (n, log) in LOGS.iter().enumerate() {
        let rig = overflown(log);
        log.log(&rig, 2);
        let statistics = rig.iommu.register_statistics();
        let counted = [statistics.events, statistics.pprs, statistics.ga];
        for (other, counted) in counted.into_iter().enumerate() {
            let expected = if other == n {
                LogStatistics {
                    written: RING_BYTES / log.bytes - 1,
                    not_running: 2,
                    overflow: 1,
                    unwritable: 0,
                }
            } else {
                LogStatistics::default()
            };
            assert_eq!(counted, expected);
        }
    }
}

#[test]
fn the_ga_logs_tail_is_stored_where_software_wants_it() {
    let [.., log] = LOGS;
    for (policy, expected) in [(GaTailStore::Store, 16), (GaTailStore::Never, u64::MAX)] {
        let policies = Policies {
            ga_tail_store: policy,
            ..Policies::default()
        };
        let rig = log.rig(Config {
            policies,
            ..with_efr(EVERYTHING)
        });
        let stored = GuestAddress(0x61_0008);
        rig.memory.write_obj(u64::MAX, stored).unwrap();
        rig.iommu.write(0xe8, 8, stored.0);
        log.log(&rig, 2);
        assert_eq!(rig.memory.read_obj::<u64>(stored).unwrap(), expected);
    }
}

#[test]
fn the_ga_logs_tail_is_stored_nowhere_unless_software_says_where() {
    let [.., log] = LOGS;
    let rig = log.rig(with_efr(EVERYTHING));
    rig.memory.write_obj(u64::MAX, GuestAddress(0)).unwrap();
    log.log(&rig, 1);
    assert_eq!(rig.memory.read_obj::<u64>(GuestAddress(0)).unwrap(), u64::MAX);
}

#[test]
fn a_tail_that_can_not_be_stored_is_counted_and_the_entry_is_there() {
    let [.., log] = LOGS;
    let rig = log.rig(with_efr(EVERYTHING));
    rig.iommu.write(0xe8, 8, 1 << 40);
    assert_eq!(written(&log.log(&rig, 1)), Some(0));
    assert_eq!(rig.iommu.register_statistics().ga_tail_unwritable, 1);
}
