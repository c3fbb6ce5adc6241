//! The IOMMU's own interrupts: when they are raised, by what message, and that a handler like Linux's misses none.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::logs::{LOGS, LogCase};
use super::registers::{CONTROL, EVERYTHING, STATUS, with_efr};
use super::*;
use crate::driver::MsiMessage;
use crate::iommu::spec::irte::{DestinationMode, IntType};

const EVENT_INT_EN: u64 = 1 << 3;
const COM_WAIT_INT_EN: u64 = 1 << 4;
const INT_CAP_XT_EN: u64 = 1 << 51;

const MSI: MsiMessage = MsiMessage {
    address: 0xfee0_1000,
    data: 0x41,
};

const EVENTS: LogCase = LOGS[0];

const SOURCES: [InterruptSource; 3] = [InterruptSource::Event, InterruptSource::Ppr, InterruptSource::Ga];

fn with_policies(policies: Policies) -> Config {
    Config {
        policies,
        ..with_efr(EVERYTHING)
    }
}

/// A log and its interrupt enabled, by MSI.
fn rig(log: &LogCase, policies: Policies) -> Rig {
    let rig = log.rig(with_policies(policies));
    rig.iommu.set_msi(Some(MSI));
    rig.iommu
        .write(CONTROL, 8, IOMMU_EN | log.enable | log.interrupt_enable);
    rig
}

/// Logs an entry, and steps until there is nothing to do: the interrupts sent.
fn log_one(log: &LogCase, rig: &Rig) -> Vec<InterruptSource> {
    (log.push)(&rig.iommu);
    sources(&rig.run())
}

fn sources(steps: &[Step]) -> Vec<InterruptSource> {
    let source = |step: &Step| match step {
        Step::Interrupt { source, .. } => Some(*source),
        _ => None,
    };
    steps.iter().filter_map(source).collect()
}

#[test]
fn an_entry_is_written_before_its_interrupt_is_sent() {
    for (log, source) in LOGS.iter().zip(SOURCES) {
        let rig = rig(log, Policies::default());
        (log.push)(&rig.iommu);
        (log.push)(&rig.iommu);
        let steps = rig.run();
        assert_eq!(steps.len(), 3);
        let form = InterruptForm::Msi(MSI);
        assert_eq!(steps[2], Step::Interrupt { source, form });
    }
}

#[test]
fn the_next_interrupt_comes_once_the_status_bit_was_cleared() {
    for (log, source) in LOGS.iter().zip(SOURCES) {
        let rig = rig(log, Policies::default());
        assert_eq!(log_one(log, &rig), [source]);
        assert_eq!(log_one(log, &rig), []);
        rig.iommu.write(STATUS, 4, log.interrupt);
        assert_eq!(rig.run(), []);
        assert_eq!(log_one(log, &rig), [source]);
    }
}

#[test]
fn by_policy_every_entry_interrupts() {
    let policies = Policies {
        status_interrupts: StatusInterrupts::EveryEntry,
        ..Policies::default()
    };
    for (log, source) in LOGS.iter().zip(SOURCES) {
        let rig = rig(log, policies);
        assert_eq!(log_one(log, &rig), [source]);
        assert_eq!(log_one(log, &rig), [source]);
    }
}

#[test]
fn without_its_enable_bit_nothing_is_sent() {
    for log in LOGS {
        let rig = rig(&log, Policies::default());
        rig.iommu.write(CONTROL, 8, IOMMU_EN | log.enable);
        assert_eq!(log_one(&log, &rig), []);
        assert_eq!(log.status(&rig) & log.interrupt, log.interrupt);
        assert_eq!(rig.iommu.register_statistics().undeliverable_interrupts, 0);
    }
}

#[test]
fn an_interrupt_that_is_enabled_late_comes_for_what_is_in_the_log() {
    for (log, source) in LOGS.iter().zip(SOURCES) {
        let rig = rig(log, Policies::default());
        rig.iommu.write(CONTROL, 8, IOMMU_EN | log.enable);
        log_one(log, &rig);
        rig.iommu
            .write(CONTROL, 8, IOMMU_EN | log.enable | log.interrupt_enable);
        assert_eq!(sources(&rig.run()), [source]);
    }
}

#[test]
fn an_event_before_its_interrupt_is_enabled_sets_event_log_int_or_not_by_policy() {
    const EVENT_LOG_INT: u64 = 1 << 1;
    for (policy, interrupt_enable, set, sent_later) in [
        (EventLogInt::Always, 0, EVENT_LOG_INT, 1),
        (EventLogInt::Always, EVENT_INT_EN, EVENT_LOG_INT, 0),
        (EventLogInt::IfEnabled, 0, 0, 0),
        (EventLogInt::IfEnabled, EVENT_INT_EN, EVENT_LOG_INT, 0),
    ] {
        let event_log_int = policy;
        let rig = rig(
            &EVENTS,
            Policies {
                event_log_int,
                ..Policies::default()
            },
        );
        rig.iommu
            .write(CONTROL, 8, IOMMU_EN | EVENTS.enable | interrupt_enable);
        log_one(&EVENTS, &rig);
        assert_eq!(rig.iommu.read(STATUS, 4) & EVENT_LOG_INT, set, "{policy:?}");
        assert_eq!(rig.iommu.read(EVENTS.tail, 4), EVENTS.bytes);
        rig.iommu
            .write(CONTROL, 8, IOMMU_EN | EVENTS.enable | EVENT_INT_EN);
        assert_eq!(sources(&rig.run()).len(), sent_later, "{policy:?}");
    }
}

#[test]
fn an_overflow_interrupts_too() {
    for (log, source) in LOGS.iter().zip(SOURCES) {
        let rig = rig(log, Policies::default());
        let full = 4096 / log.bytes - 1;
        let sent: Vec<_> = (0..full).flat_map(|_| log_one(log, &rig)).collect();
        assert_eq!(sent, [source]);
        rig.iommu.write(STATUS, 4, log.interrupt);
        assert_eq!(log_one(log, &rig), [source]);
        assert_eq!(log.status(&rig), log.overflow);
    }
}

#[test]
fn completion_wait_sets_its_status_bit_and_interrupts_if_enabled() {
    for (enabled, sent) in [
        (0, vec![]),
        (COM_WAIT_INT_EN, vec![InterruptSource::CompletionWait]),
    ] {
        let rig = Rig::with(Config::default(), RUN | enabled);
        rig.iommu.set_msi(Some(MSI));
        let [store_and_interrupt, data] = completion_wait(7);
        rig.queue([store_and_interrupt | 2, data]);
        let steps = rig.run();
        assert!(matches!(steps[0], Step::CompletionStored { .. }));
        assert_eq!(sources(&steps), sent);
        assert_eq!(rig.iommu.read(STATUS, 4) & 1 << 2, 1 << 2);
    }
}

#[test]
fn completion_wait_without_its_interrupt_bit_sends_nothing() {
    let rig = Rig::with(Config::default(), RUN | COM_WAIT_INT_EN);
    rig.iommu.set_msi(Some(MSI));
    rig.queue(completion_wait(7));
    assert_eq!(sources(&rig.run()), []);
    assert_eq!(rig.iommu.read(STATUS, 4) & 1 << 2, 0);
}

#[test]
fn without_msi_the_interrupt_waits_until_it_is_enabled_and_is_counted() {
    for (log, source) in LOGS.iter().zip(SOURCES) {
        let rig = rig(log, Policies::default());
        rig.iommu.set_msi(None);
        assert_eq!(log_one(log, &rig), []);
        assert_eq!(rig.iommu.register_statistics().undeliverable_interrupts, 1);
        rig.iommu.set_msi(Some(MSI));
        let form = InterruptForm::Msi(MSI);
        assert_eq!(rig.run(), [Step::Interrupt { source, form }]);
        assert_eq!(rig.iommu.register_statistics().undeliverable_interrupts, 1);
    }
}

#[test]
fn msi_enabled_through_mmio_sends_what_waits() {
    let rig = rig(&EVENTS, Policies::default());
    rig.iommu.set_msi(None);
    assert_eq!(log_one(&EVENTS, &rig), []);
    rig.iommu.write(0x158, 4, 1 << 16);
    assert_eq!(sources(&rig.run()), [InterruptSource::Event]);
}

#[test]
fn int_cap_xt_en_sends_what_waits_for_msi() {
    let rig = rig(&EVENTS, Policies::default());
    rig.iommu.set_msi(None);
    rig.iommu.write(XT[0], 8, 0x31 << 32);
    assert_eq!(log_one(&EVENTS, &rig), []);
    let enable = IOMMU_EN | EVENTS.enable | EVENT_INT_EN;
    rig.iommu.write(CONTROL, 8, enable | INT_CAP_XT_EN);
    assert_eq!(sources(&rig.run()), [InterruptSource::Event]);
}

#[test]
fn the_msi_registers_in_mmio_are_those_of_configuration_space() {
    let rig = EVENTS.rig(with_efr(EVERYTHING));
    let msi = MsiMessage {
        address: 0x1_fee0_1000,
        data: 0x41,
    };
    rig.iommu.set_msi(Some(msi));
    let read = |offset| rig.iommu.read(offset, 4);
    assert_eq!(
        [read(0x158), read(0x15c), read(0x160), read(0x164)],
        [0x81_0005, 0xfee0_1000, 1, 0x41]
    );
    rig.iommu.set_msi(None);
    assert_eq!(read(0x158), 0x80_0005);
    // As Linux's iommu_update_intcapxt used to: through MMIO.
    for (offset, value) in [(0x15c, 0xfee0_2000), (0x160, 0), (0x164, 0x42), (0x158, 1 << 16)] {
        rig.iommu.write(offset, 4, value);
    }
    rig.iommu
        .write(CONTROL, 8, IOMMU_EN | EVENTS.enable | EVENT_INT_EN);
    (EVENTS.push)(&rig.iommu);
    let form = InterruptForm::Msi(MsiMessage {
        address: 0xfee0_2000,
        data: 0x42,
    });
    let source = InterruptSource::Event;
    assert_eq!(rig.run()[1], Step::Interrupt { source, form });
}

/// The XT interrupt control register of each log.
const XT: [u64; 3] = [0x170, 0x178, 0x180];

#[test]
fn with_int_cap_xt_en_each_log_has_its_destination() {
    for ((log, source), register) in LOGS.iter().zip(SOURCES).zip(XT) {
        let rig = rig(log, Policies::default());
        let enable = IOMMU_EN | log.enable | log.interrupt_enable;
        rig.iommu.write(CONTROL, 8, enable | INT_CAP_XT_EN);
        // Linux union intcapxt: logical, destid_0_23 0x456789, vector 0x31, destid_24_31 0x89.
        rig.iommu.write(register, 8, 0x8900_0031_4567_8904);
        (log.push)(&rig.iommu);
        let form = InterruptForm::Xt(XtInterrupt {
            destination: 0x8945_6789,
            destination_mode: DestinationMode::Logical,
            vector: 0x31,
            int_type: IntType::Fixed,
        });
        assert_eq!(rig.run()[1], Step::Interrupt { source, form });
    }
}

#[test]
fn completion_wait_has_the_destination_of_events() {
    let rig = Rig::with(with_efr(EVERYTHING), RUN | COM_WAIT_INT_EN | INT_CAP_XT_EN);
    rig.iommu.write(0x170, 8, 0x131_0000_0500);
    rig.queue([1 << 60 | 2, 0]);
    let form = InterruptForm::Xt(XtInterrupt {
        destination: 5,
        destination_mode: DestinationMode::Physical,
        vector: 0x31,
        int_type: IntType::Arbitrated,
    });
    let source = InterruptSource::CompletionWait;
    assert_eq!(rig.run()[1], Step::Interrupt { source, form });
}

#[test]
fn an_interrupt_that_linux_has_masked_waits_until_it_is_unmasked_and_is_counted() {
    for ((log, source), register) in LOGS.iter().zip(SOURCES).zip(XT) {
        let rig = rig(log, Policies::default());
        let enable = IOMMU_EN | log.enable | log.interrupt_enable;
        rig.iommu.write(CONTROL, 8, enable | INT_CAP_XT_EN);
        // intcapxt_mask_irq, intcapxt_unmask_irq.
        rig.iommu.write(register, 8, 0);
        assert_eq!(log_one(log, &rig), []);
        assert_eq!(rig.iommu.register_statistics().undeliverable_interrupts, 1);
        rig.iommu.write(register, 8, 0x31_0000_0500);
        assert_eq!(sources(&rig.run()), [source]);
        // Once.
        rig.iommu.write(register, 8, 0);
        rig.iommu.write(register, 8, 0x31_0000_0500);
        assert_eq!(rig.run(), []);
        rig.iommu.write(STATUS, 4, log.interrupt);
        assert_eq!(log_one(log, &rig), [source]);
        assert_eq!(rig.iommu.register_statistics().undeliverable_interrupts, 1);
    }
}

#[test]
fn a_masked_interrupt_does_not_come_once_its_status_or_enable_bit_is_0() {
    for (log, register) in LOGS.iter().zip(XT) {
        let enable = IOMMU_EN | log.enable | INT_CAP_XT_EN;
        for (offset, value) in [(STATUS, log.interrupt), (CONTROL, enable)] {
            let rig = rig(log, Policies::default());
            rig.iommu.write(CONTROL, 8, enable | log.interrupt_enable);
            assert_eq!(log_one(log, &rig), []);
            rig.iommu.write(offset, 8, value);
            rig.iommu.write(register, 8, 0x31_0000_0500);
            assert_eq!(rig.run(), []);
        }
    }
}

#[test]
fn an_event_before_the_xt_register_has_a_vector_interrupts_when_it_has() {
    let rig = Rig::with(with_efr(EVERYTHING), RUN | EVENT_INT_EN | INT_CAP_XT_EN);
    rig.outcome(&Rig::message(RID, 3));
    assert_eq!(sources(&rig.run()), []);
    rig.iommu.write(XT[0], 8, 0x31 << 32);
    assert_eq!(sources(&rig.run()), [InterruptSource::Event]);
}

/// Events and steps of the IOMMU that happen while software is at work.
struct World {
    rig: Rig,
    /// Events that arrive, and steps after them.
    script: VecDeque<(u64, usize)>,
    interrupted: bool,
    unread: u64,
}

impl World {
    fn new(script: &[(u64, usize)], policies: Policies) -> Self {
        Self {
            rig: rig(&EVENTS, policies),
            script: script.iter().copied().collect(),
            interrupted: false,
            unread: 0,
        }
    }

    fn step(&mut self) -> bool {
        let step = self.rig.iommu.step();
        self.interrupted |= matches!(step, Some(Step::Interrupt { .. }));
        step.is_some()
    }

    /// Time passes.
    fn tick(&mut self) {
        let (events, steps) = self.script.pop_front().unwrap_or((0, 1));
        (0..events).for_each(|_| (EVENTS.push)(&self.rig.iommu));
        self.unread += events;
        (0..steps).for_each(|_| {
            self.step();
        });
    }

    /// Linux `amd_iommu_handle_irq` for events.
    fn handle_interrupt(&mut self, reads_back: bool) {
        const MASK: u64 = 3;
        let mut status = self.rig.iommu.read(STATUS, 4);
        while status & MASK != 0 {
            self.tick();
            self.rig.iommu.write(STATUS, 4, MASK);
            self.tick();
            let (head, tail) = (self.rig.iommu.read(0x2010, 4), self.rig.iommu.read(0x2018, 4));
            self.unread -= (tail + 4096 - head) % 4096 / 16;
            self.rig.iommu.write(0x2010, 4, tail);
            if !reads_back {
                break;
            }
            status = self.rig.iommu.read(STATUS, 4);
        }
    }

    /// To the end of the script, and until there is nothing to do: the events that software has not read.
    fn unread(mut self, reads_back: bool) -> u64 {
        loop {
            if std::mem::take(&mut self.interrupted) {
                self.handle_interrupt(reads_back);
            } else if !self.script.is_empty() {
                self.tick();
            } else if !self.step() {
                return self.unread;
            }
        }
    }
}

#[test]
fn a_status_bit_cleared_while_an_entry_waits_is_cleared_or_not_by_policy() {
    for (interrupt_clear, expected) in [(InterruptClear::Clears, 0), (InterruptClear::RacesWithEntries, 1)] {
        let policies = Policies {
            interrupt_clear,
            ..Policies::default()
        };
        for log in &LOGS[..2] {
            let rig = rig(log, policies);
            log_one(log, &rig);
            (log.push)(&rig.iommu);
            rig.iommu.write(STATUS, 4, log.interrupt);
            assert_eq!(log.status(&rig) & log.interrupt, expected * log.interrupt);
            // The interrupt of the entry that waited.
            assert_eq!(sources(&rig.run()).len() as u64, 1 - expected);
        }
    }
}

#[test]
fn with_the_erratum_a_handler_that_does_not_read_back_misses_events() {
    // The second event waits when the handler clears the bit; the third one comes when it is done.
    let script = [(1, 2), (1, 0), (0, 1), (1, 2)];
    let erratum = Policies {
        interrupt_clear: InterruptClear::RacesWithEntries,
        ..Policies::default()
    };
    for (policies, reads_back, expected) in [
        (Policies::default(), false, 0),
        (erratum, true, 0),
        (erratum, false, 1),
    ] {
        assert_eq!(World::new(&script, policies).unread(reads_back), expected);
    }
}

proptest! {
    #[test]
    fn linux_reads_every_event(
        script in prop::collection::vec((0u64..4, 0usize..4), 1..40),
        erratum: bool,
        every_entry: bool,
    ) {
        let policies = Policies {
            interrupt_clear: if erratum { InterruptClear::RacesWithEntries } else { InterruptClear::Clears },
            status_interrupts: if every_entry { StatusInterrupts::EveryEntry } else { StatusInterrupts::RisingEdge },
            ..Policies::default()
        };
        prop_assert_eq!(World::new(&script, policies).unread(true), 0);
    }
}
