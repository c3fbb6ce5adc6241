//! Answers that a correct IOMMU does not give, put to the checker directly.

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::iommu::{InterruptRequest, Lookup};

const DTE: u64 = DEVICE_TABLE + 32 * RID.0 as u64;

pub(super) struct Direct {
    pub(super) checker: Checker,
    memory: Arc<GuestMemoryMmap>,
}

impl Direct {
    /// With [`RID`]'s table and a cached DTE and entry.
    pub(super) fn new() -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x80_0000)]).expect("memory");
        let memory = Arc::new(memory);
        let mut direct = Self {
            checker: Checker::new(memory.clone()),
            memory,
        };
        direct.checker.device_table(DEVICE_TABLE, 0x20_0000);
        direct.store(DTE + 16, &dte(TABLE).to_le_bytes(), None);
        direct.store(TABLE, &irte(0x31).to_le_bytes(), None);
        let sample = direct.checker.sample(SimTime::ZERO);
        let filled = answer(LookupFrom::Fill);
        direct
            .checker
            .judge(&filled, &[(DTE, sample), (TABLE, sample)], SimTime::ZERO);
        direct
    }

    pub(super) fn store(&mut self, address: u64, bytes: &[u8], call: Option<CallId>) {
        self.checker.about_to_store(address, bytes, call, SimTime::ZERO);
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .expect("memory");
    }

    pub(super) fn executed(&mut self, command: Command) {
        let step = Step::CommandExecuted {
            offset: 0,
            command,
            retired: true,
        };
        self.checker.stepped(&step, SimTime::ZERO);
    }

    fn ended(&mut self, judged: Option<Freshness>, ending: Ending) {
        let answer = answer(LookupFrom::Hit);
        self.checker
            .ended(&answer, judged, ending, Sender::default(), SimTime::ZERO);
    }

    /// The entry as it was cached is used again.
    pub(super) fn hit(&mut self) -> Freshness {
        self.checker.judge(&answer(LookupFrom::Hit), &[], SimTime::ZERO)
    }
}

pub(super) fn answer(from: LookupFrom) -> Answer {
    let lookup = |address, raw| Lookup { from, address, raw };
    Answer {
        request: InterruptRequest {
            requester: RID,
            address: 0xfee0_0000,
            data: 0,
        },
        outcome: Outcome::Forwarded {
            address: 0xfee0_0000,
            data: 0,
        },
        dte: Some(Lookup {
            from,
            address: DTE,
            raw: [0, 0, dte(TABLE), 0],
        }),
        irte: Some(lookup(TABLE, irte(0x31).into())),
    }
}

/// A hit of an entry that was changed, and then invalidated by this command.
fn hit_after(command: Command) -> (Freshness, Finding) {
    let mut direct = Direct::new();
    let call = direct.checker.call_began("move", 0);
    direct.store(TABLE, &irte(0x41).to_le_bytes(), Some(call));
    direct.executed(command);
    direct.checker.call_ended(call, SimTime::ZERO);
    let freshness = direct.hit();
    (freshness, direct.checker.findings().remove(0))
}

#[test]
fn nothing_is_missing_where_the_invalidation_was_executed_and_the_iommu_failed() {
    for command in [
        Command::InvalidateInterruptTable(RID),
        Command::InvalidateIommuAll,
    ] {
        let (freshness, finding) = hit_after(command);
        assert_eq!(freshness, Freshness::Stale);
        assert_eq!(finding.missing, [], "{command:?}");
    }
}

#[test]
fn an_invalidation_of_something_else_is_missing_still() {
    for command in [
        Command::InvalidateInterruptTable(RIDS[1]),
        Command::InvalidateDevtabEntry(RID),
    ] {
        let (_, finding) = hit_after(command);
        assert_eq!(ids(&finding.missing), [RID], "{command:?}");
    }
}

#[test]
fn an_invalidation_before_the_change_does_not_count() {
    let mut direct = Direct::new();
    direct.executed(Command::InvalidateInterruptTable(RID));
    let call = direct.checker.call_began("move", 0);
    direct.store(TABLE, &irte(0x41).to_le_bytes(), Some(call));
    direct.checker.call_ended(call, SimTime::ZERO);
    direct.hit();
    let finding = direct.checker.findings().remove(0);
    assert_eq!(ids(&finding.missing), [RID]);
    assert_eq!(history(&finding).invalidated, []);
}

#[test]
fn the_oldest_missed_change_decides_be_it_of_dte_or_entry() {
    // The entry changes in a call that has returned, then the DTE in one that is open, and the other way round.
    for (first, second) in [("IRTE", "DTE"), ("DTE", "IRTE")] {
        let mut direct = Direct::new();
        for (name, ends) in [(first, true), (second, false)] {
            let call = direct.checker.call_began("move", 0);
            if name == "DTE" {
                // Another length.
                direct.store(DTE + 16, &(dte(TABLE) ^ 1 << 1).to_le_bytes(), Some(call));
            } else {
                direct.store(TABLE, &irte(0x41).to_le_bytes(), Some(call));
            }
            if ends {
                direct.checker.call_ended(call, SimTime::ZERO);
            }
        }
        assert_eq!(direct.hit(), Freshness::Stale, "{first} first");
        assert_eq!(changed(&direct.checker.findings()[0]).0, first);
    }
}

#[test]
fn memory_that_changed_behind_the_checkers_back_is_stale() {
    let mut direct = Direct::new();
    let memory = direct.memory.clone();
    memory
        .write_slice(&irte(0x41).to_le_bytes(), GuestAddress(TABLE))
        .expect("memory");
    assert_eq!(direct.hit(), Freshness::Stale);
    assert_eq!(ids(&direct.checker.findings()[0].missing), [RID]);
}

#[test]
fn uncached_answers_are_fresh_whatever_memory_says_by_now() {
    let mut direct = Direct::new();
    direct.store(TABLE, &irte(0x41).to_le_bytes(), None);
    let judged = direct
        .checker
        .judge(&answer(LookupFrom::Uncached), &[], SimTime::ZERO);
    assert_eq!(judged, Freshness::Fresh);
    // It is not in the cache: what was cached before is judged by its own age.
    assert_eq!(direct.hit(), Freshness::Stale);
}

#[test]
fn a_lost_interrupt_is_a_finding_and_a_blocked_one_is_not() {
    let mut direct = Direct::new();
    let judged = Some(Freshness::Fresh);
    direct.ended(judged, Ending::Blocked);
    assert_eq!(direct.checker.findings(), []);
    let lost = Ending::Lost(crate::trace::Loss::NoApic(9));
    direct.ended(judged, lost);
    let findings = direct.checker.findings();
    assert_eq!((findings.len(), findings[0].kind), (1, FindingKind::Lost));
    assert_eq!(Verdict::of(&findings), Verdict::Bad(FindingKind::Lost));
}

#[test]
fn what_others_invalidate_meanwhile_is_not_told_as_the_calls_own() {
    let mut direct = Direct::new();
    let call = direct.checker.call_began("set_affinity", 0);
    direct.store(TABLE, &irte(0x41).to_le_bytes(), Some(call));
    let [own, anothers] = [RIDS[1], RIDS[2]].map(Command::InvalidateInterruptTable);
    direct
        .checker
        .observe(0, Some(call), &Kind::Queued(own), SimTime::ZERO);
    direct.executed(anothers);
    direct.executed(own);
    direct.checker.call_ended(call, SimTime::ZERO);
    assert_eq!(direct.hit(), Freshness::Stale);
    let findings = direct.checker.findings();
    assert_eq!(ids(&history(&findings[0]).invalidated), [RIDS[1]]);
}
