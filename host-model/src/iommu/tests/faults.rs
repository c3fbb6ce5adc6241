//! Each deliberate fault is caught by the invariant that it breaks, which holds without it.

use super::*;
use crate::iommu::spec::event::HardwareError;

const OLD: (u32, u8) = (5, 0x31);
const NEW: (u32, u8) = (6, 0x32);

fn faulty(set: impl Fn(&mut Faults)) -> Config {
    let mut config = Config::default();
    set(&mut config.faults);
    config
}

/// An IOMMU whose entry 3 is the old one.
fn with_old_entry(config: Config) -> Rig {
    let rig = Rig::with(config, RUN);
    rig.set_irte32(3, irte32(5, 0x31));
    rig
}

fn invalidate(rig: &Rig, commands: &[[u64; 2]]) {
    rig.queue_all(commands);
    rig.run();
}

fn answered(rig: &Rig) -> (u32, u8) {
    target(&rig.ask(&Rig::message(RID, 3)))
}

/// What is answered after an invalidation that came while the old entry was being read.
fn after_a_race(config: Config, commands: &[[u64; 2]]) -> (u32, u8) {
    let rig = with_old_entry(config);
    let token = rig.ask_until_irte_fill(&Rig::message(RID, 3));
    rig.set_irte32(3, irte32(6, 0x32));
    invalidate(&rig, commands);
    rig.complete(token);
    answered(&rig)
}

#[test]
fn a_fill_that_races_its_invalidation_is_hit_after_it() {
    let racing = || faulty(|faults| faults.fill_races_invalidation = true);
    for command in [invalidate_irt(RID), INVALIDATE_ALL] {
        assert_eq!(after_a_race(Config::default(), &[command]), NEW);
        assert_eq!(after_a_race(racing(), &[command]), OLD);
    }
}

#[test]
fn a_dte_fill_that_races_its_invalidation_is_hit_after_it() {
    let forwarded = |config| {
        let rig = with_old_entry(config);
        let Response::Fill(token) = rig.iommu.request(&Rig::message(RID, 3)) else {
            panic!("no fill")
        };
        rig.set_dte(RID, [0; 4]);
        invalidate(&rig, &[invalidate_dte(RID), invalidate_irt(RID)]);
        rig.complete(token);
        let outcome = rig.ask(&Rig::message(RID, 3)).outcome;
        matches!(outcome, Outcome::Forwarded { .. })
    };
    assert!(forwarded(Config::default()));
    assert!(!forwarded(faulty(|faults| faults.fill_races_invalidation = true)));
}

#[test]
fn a_wait_before_its_invalidations_is_told_while_the_old_entry_is_hit() {
    let when_told = |config| {
        let rig = with_old_entry(config);
        answered(&rig);
        rig.set_irte32(3, irte32(6, 0x32));
        rig.queue_all(&[invalidate_irt(RID), completion_wait(1)]);
        while rig.semaphore() == 0 {
            rig.iommu.step().expect("the wait completes");
        }
        let told = answered(&rig);
        rig.run();
        (told, answered(&rig))
    };
    assert_eq!(when_told(Config::default()), (NEW, NEW));
    // It does take effect, when the ring is empty.
    let faulty = faulty(|faults| faults.wait_before_invalidate = true);
    assert_eq!(when_told(faulty), (OLD, NEW));
}

#[test]
fn an_invalidation_of_all_that_keeps_entries_leaves_the_old_one() {
    let after = |config| {
        let rig = with_old_entry(config);
        answered(&rig);
        rig.set_irte32(3, irte32(6, 0x32));
        invalidate(&rig, &[INVALIDATE_ALL, completion_wait(1)]);
        answered(&rig)
    };
    assert_eq!(after(Config::default()), NEW);
    assert_eq!(
        after(faulty(|faults| faults.invalidate_all_keeps_irt = true)),
        OLD
    );
}

/// A 128-bit entry changes in one access while it is being read.
#[test]
fn a_torn_read_answers_with_what_memory_never_held() {
    let answered = |config| {
        let rig = Rig::with(config, RUN | GA_EN);
        rig.set_irte128(3, [5 << 8 | 1, 0x31]);
        let token = rig.ask_until_irte_fill(&Rig::message(RID, 3));
        rig.set_irte128(3, [6 << 8 | 1, 0x32]);
        target(&rig.complete(token))
    };
    assert!([OLD, NEW].contains(&answered(Config::default())));
    let torn = answered(faulty(|faults| faults.torn_irte_read = true));
    assert!(![OLD, NEW].contains(&torn), "{torn:x?}");
}

/// The three errors, and their Type as Linux prints it in the flags.
const ERRORS: [(HardwareError, u16); 3] = [
    (HardwareError::MasterAbort, 0x200),
    (HardwareError::TargetAbort, 0x400),
    (HardwareError::DataError, 0x600),
];

fn with_bad_memory(address: u64, error: HardwareError) -> Config {
    faulty(|faults| {
        let addresses = address..address + 1;
        faults.memory = vec![MemoryFault { addresses, error }];
    })
}

/// The outcome of a request for entry 3, and what is logged.
fn reported(config: Config) -> (Outcome, Vec<String>) {
    let rig = with_old_entry(config);
    let outcome = rig.ask(&Rig::message(RID, 3)).outcome;
    rig.run();
    (outcome, rig.event_lines())
}

#[test]
fn an_unreadable_table_entry_blocks_and_is_reported() {
    let (outcome, lines) = reported(Config::default());
    assert!(matches!(outcome, Outcome::Remapped(_)));
    assert_eq!(lines, [""; 0]);
    let dte = DEVICE_TABLE + 0x4100 * 32;
    let irte = TABLE + 12;
    for (error, kind) in ERRORS {
        // The last byte counts as the first does.
        for address in [dte, dte + 31] {
            let (outcome, lines) = reported(with_bad_memory(address, error));
            let reason = BlockReason::DteUnreadable(dte);
            assert!(matches!(outcome, Outcome::Blocked { reason: r, .. } if r == reason));
            let flags = kind | 8;
            let line = format!("DEV_TAB_HARDWARE_ERROR device=41:00.0 address={dte:#x} flags={flags:#06x}");
            assert_eq!(lines, [line]);
        }
        for address in [irte, irte + 3] {
            let (outcome, lines) = reported(with_bad_memory(address, error));
            let reason = BlockReason::IrteUnreadable(irte);
            assert!(matches!(outcome, Outcome::Blocked { reason: r, .. } if r == reason));
            let flags = kind | 8;
            let line = format!(
                "PAGE_TAB_HARDWARE_ERROR device=41:00.0 domain=0x005e address={irte:#x} flags={flags:#06x}"
            );
            assert_eq!(lines, [line]);
        }
    }
}

#[test]
fn what_can_not_be_read_is_not_cached() {
    for address in [DEVICE_TABLE + 0x4100 * 32, TABLE + 12] {
        let rig = with_old_entry(with_bad_memory(address, HardwareError::DataError));
        for _ in 0..2 {
            rig.ask(&Rig::message(RID, 3));
        }
        let Statistics {
            dte_cache, irt_cache, ..
        } = rig.iommu.statistics();
        let bad = if address < TABLE { dte_cache } else { irt_cache };
        assert_eq!((bad.hits, bad.misses, bad.fills), (0, 2, 0));
    }
}

/// The semaphore after a COMPLETION_WAIT, and what is logged.
fn after_a_wait(config: Config) -> (u64, Vec<String>) {
    let rig = Rig::with(config, RUN);
    invalidate(&rig, &[completion_wait(7)]);
    (rig.semaphore(), rig.event_lines())
}

#[test]
fn an_unreadable_command_halts_and_is_reported() {
    assert_eq!(after_a_wait(Config::default()), (7, vec![]));
    for (error, kind) in ERRORS {
        for address in [COMMANDS, COMMANDS + 15] {
            let line = format!("COMMAND_HARDWARE_ERROR address={COMMANDS:#x} flags={kind:#06x}");
            assert_eq!(after_a_wait(with_bad_memory(address, error)), (0, vec![line]));
        }
    }
}

#[test]
fn a_completion_that_can_not_be_stored_halts_and_is_reported() {
    for (error, kind) in ERRORS {
        let bad = with_bad_memory(SEMAPHORE + 7, error);
        // Poison is what a read gives.
        if error == HardwareError::DataError {
            assert_eq!(after_a_wait(bad), (7, vec![]));
        } else {
            let (semaphore, lines) = after_a_wait(bad);
            assert_eq!(semaphore, 0);
            let [line] = &lines[..] else { panic!("{lines:?}") };
            assert!(line.starts_with("COMMAND_HARDWARE_ERROR"), "{line}");
            assert!(line.ends_with(&format!("flags={kind:#06x}")), "{line}");
        }
    }
}

#[test]
fn an_event_that_can_not_be_stored_is_dropped() {
    for (error, _) in ERRORS {
        let rig = Rig::with(with_bad_memory(EVENTS + 15, error), RUN);
        // Entry 3 is empty: an IO_PAGE_FAULT.
        rig.ask(&Rig::message(RID, 3));
        let steps = rig.run();
        let written = error == HardwareError::DataError;
        assert_eq!(rig.event_lines().len(), usize::from(written), "{error:?}");
        let dropped = matches!(
            steps[..],
            [Step::EventDropped {
                reason: DropReason::Unwritable { .. },
                ..
            }]
        );
        assert_eq!(dropped, !written, "{error:?}: {steps:?}");
    }
}
