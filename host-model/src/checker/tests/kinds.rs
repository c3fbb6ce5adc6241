//! Kinds of findings beside stale ones: when there is one, and when there is none.

use super::judgement::{Direct, answer};
use super::*;
use crate::iommu::spec::irte::IrteError;
use crate::iommu::{BlockReason, Interrupt};
use crate::trace::{Lock, LockStep};

const DELIVERED: Ending = Ending::Delivered { cpu: 1, vector: 0x31 };
const MISROUTED: Ending = Ending::Misrouted { cpu: 1, vector: 0x31 };

fn remapped() -> Answer {
    Answer {
        outcome: Outcome::Remapped(Interrupt::new().with_destination(1).with_vector(0x31)),
        ..answer(LookupFrom::Hit)
    }
}

fn blocked(reason: BlockReason) -> Answer {
    Answer {
        outcome: Outcome::Blocked { reason, event: None },
        ..answer(LookupFrom::Hit)
    }
}

impl Direct {
    /// The driver says for whom it wrote the entry.
    fn written_for(&mut self, device: RequesterId) {
        let written = Kind::IrteWritten {
            device,
            index: 0,
            raw: irte(0x31).into(),
            format: crate::iommu::spec::irte::IrteFormat::Bits32,
        };
        self.checker.observe(0, None, &written, SimTime::ZERO);
    }

    fn kinds_after(
        &mut self,
        answer: &Answer,
        freshness: Freshness,
        ending: Ending,
        sender: Sender,
    ) -> Vec<FindingKind> {
        self.checker
            .ended(answer, Some(freshness), ending, sender, SimTime::ZERO);
        self.kinds()
    }

    fn kinds(&self) -> Vec<FindingKind> {
        self.checker
            .findings()
            .iter()
            .map(|finding| finding.kind)
            .collect()
    }

    /// A call changes the entry, and these commands are executed before it returns.
    fn change(&mut self, call: &'static str, raw: u32, commands: &[Command]) {
        let id = self.checker.call_began(call, 0);
        self.store(TABLE, &raw.to_le_bytes(), Some(id));
        commands.iter().for_each(|command| self.executed(*command));
        self.checker.call_ended(id, SimTime::ZERO);
    }
}

fn sent_by(function: RequesterId, requested: bool) -> Sender {
    Sender {
        function: Some(function),
        requested,
    }
}

#[test]
fn an_entry_of_another_function_is_stolen_wherever_it_leads() {
    let other = RequesterId(0x4200);
    for (owner, sender, ending, expected) in [
        (other, sent_by(RID, true), MISROUTED, &[FindingKind::Stolen][..]),
        (other, sent_by(RID, true), DELIVERED, &[FindingKind::Stolen]),
        (RID, sent_by(RID, true), DELIVERED, &[]),
        (RID, sent_by(RID, true), MISROUTED, &[FindingKind::Misrouted]),
        // Nobody is known behind the ID.
        (other, Sender::default(), MISROUTED, &[FindingKind::Misrouted]),
    ] {
        let mut direct = Direct::new();
        direct.store(TABLE, &irte(0x31).to_le_bytes(), None);
        direct.written_for(owner);
        let kinds = direct.kinds_after(&remapped(), Freshness::Fresh, ending, sender);
        assert_eq!(kinds, expected, "{owner} {sender:?}");
    }
}

#[test]
fn an_entry_whose_owner_is_not_known_is_not_stolen() {
    let mut direct = Direct::new();
    let kinds = direct.kinds_after(&remapped(), Freshness::Fresh, DELIVERED, sent_by(RID, true));
    assert_eq!(kinds, []);
}

#[test]
fn a_blocked_interrupt_is_a_finding_if_it_is_requested_and_nothing_is_in_flight() {
    let short = BlockReason::IndexOutOfRange {
        index: 700,
        entries: 512,
    };
    for (reason, requested, freshness, found) in [
        (short, true, Freshness::Fresh, true),
        (BlockReason::IntCtlAborted, true, Freshness::Fresh, true),
        (
            BlockReason::Irte(IrteError::RemapEnClear),
            true,
            Freshness::Fresh,
            true,
        ),
        (short, false, Freshness::Fresh, false),
        (short, true, Freshness::InFlight, false),
    ] {
        let mut direct = Direct::new();
        let sender = sent_by(RID, requested);
        let kinds = direct.kinds_after(&blocked(reason), freshness, Ending::Blocked, sender);
        assert_eq!(
            kinds == [FindingKind::Blocked],
            found,
            "{reason} {requested} {freshness:?}"
        );
        assert_eq!(kinds.is_empty(), !found);
    }
}

#[test]
fn a_blocked_interrupt_whose_entry_the_driver_made_invalid_is_none() {
    for (call, found) in [("deactivate", false), ("free", false), ("set_affinity", true)] {
        let mut direct = Direct::new();
        direct.change(call, irte(0x31) & !1, &[Command::InvalidateInterruptTable(RID)]);
        let invalid = blocked(BlockReason::Irte(IrteError::RemapEnClear));
        let kinds = direct.kinds_after(&invalid, Freshness::Fresh, Ending::Blocked, sent_by(RID, true));
        assert_eq!(!kinds.is_empty(), found, "{call}");
    }
}

#[test]
fn an_entry_that_is_freed_and_stays_cached_is_left_until_it_is_used() {
    let mut direct = Direct::new();
    direct.change(
        "deactivate",
        irte(0x31) & !1,
        &[Command::InvalidateInterruptTable(RIDS[1])],
    );
    let findings = direct.checker.findings();
    assert_eq!(findings[0].kind, FindingKind::Left);
    assert_eq!(
        (findings[0].subject, ids(&findings[0].missing)),
        (entry(RID, 0), vec![RID])
    );
    // It is told once.
    direct.change("free", 0, &[]);
    assert_eq!(direct.kinds(), [FindingKind::Left]);
    assert_eq!(direct.hit(), Freshness::Stale);
    assert_eq!(direct.kinds(), [FindingKind::Stale]);
}

#[test]
fn an_entry_that_was_stale_before_it_was_freed_is_not_left_too() {
    let mut direct = Direct::new();
    direct.change("set_affinity", irte(0x41), &[]);
    direct.hit();
    direct.change("free", 0, &[]);
    assert_eq!(direct.kinds(), [FindingKind::Stale]);
}

#[test]
fn an_entry_that_was_invalidated_since_it_was_cached_is_not_left() {
    for command in [
        Command::InvalidateInterruptTable(RID),
        Command::InvalidateIommuAll,
    ] {
        let mut direct = Direct::new();
        direct.change("deactivate", irte(0x31) & !1, &[command]);
        assert_eq!(direct.kinds(), [], "after");
        let mut direct = Direct::new();
        direct.executed(command);
        direct.change("deactivate", irte(0x31) & !1, &[]);
        assert_eq!(direct.kinds(), [], "before");
    }
}

#[test]
fn an_entry_that_stays_valid_is_not_left() {
    let mut direct = Direct::new();
    direct.change("set_affinity", irte(0x41), &[]);
    assert_eq!(direct.kinds(), []);
}

#[test]
fn a_dte_is_left_if_release_changes_its_memory_half_and_it_stays_cached() {
    for (call, commands, found) in [
        ("release", &[][..], true),
        ("release", &[Command::InvalidateDevtabEntry(RID)], false),
        ("release", &[Command::InvalidateDevtabEntry(RIDS[1])], true),
        ("probe", &[], false),
    ] {
        let mut direct = Direct::new();
        let id = direct.checker.call_began(call, 0);
        let address = DEVICE_TABLE + 32 * u64::from(RID.0);
        direct.store(address, &3u64.to_le_bytes(), Some(id));
        commands.iter().for_each(|command| direct.executed(*command));
        direct.checker.call_ended(id, SimTime::ZERO);
        let left: Vec<_> = direct.checker.findings();
        assert_eq!(left.len(), usize::from(found), "{call} {commands:?}");
        if let [left] = &left[..] {
            assert_eq!(
                (left.kind, left.subject),
                (FindingKind::Left, Subject::Device(RID))
            );
            assert_eq!(left.missing, [Command::InvalidateDevtabEntry(RID)]);
        }
    }
}

#[test]
fn a_use_after_release_is_told_once() {
    let mut direct = Direct::new();
    let used = Kind::UsedAfterRelease {
        function: "iommu_flush_irt_and_complete",
        device: RID,
        released_at: SimTime::from_us(1),
        released_on: 2,
    };
    for _ in 0..2 {
        direct.checker.observe(0, None, &used, SimTime::from_us(5));
    }
    let findings = direct.checker.findings();
    assert_eq!(
        (findings.len(), findings[0].function),
        (1, Some("iommu_flush_irt_and_complete"))
    );
    assert_eq!(Verdict::of(&findings), Verdict::Bad(FindingKind::UseAfterRelease));
}

#[test]
fn a_null_pointer_that_is_followed_is_an_oops_with_the_command_that_it_was_for() {
    let mut direct = Direct::new();
    let call = direct.checker.call_began("allocate", 2);
    direct.store_dte(RID, DEVICE_TABLE + 32 * u64::from(RID.0) + 16, call);
    let dereference = Kind::NullDereference {
        function: "set_remap_table_entry_alias",
        table: "rlookup_table",
        device: RID,
        lock: Lock::IommuTable,
    };
    direct
        .checker
        .observe(2, Some(call), &dereference, SimTime::from_us(5));
    let findings = direct.checker.findings();
    let [finding] = &findings[..] else {
        panic!("{findings:?}");
    };
    assert_eq!(
        (finding.kind, finding.subject, finding.function),
        (
            FindingKind::Oops,
            Subject::Device(RID),
            Some("set_remap_table_entry_alias")
        )
    );
    assert_eq!(finding.missing, [Command::InvalidateDevtabEntry(RID)]);
    let Mistake::NullDereference(told) = finding.mistake else {
        panic!("{finding:?}");
    };
    let by = (Some("allocate"), Some(2));
    assert_eq!(
        (told.died.at, told.died.by, told.died.cpu),
        (SimTime::from_us(5), by.0, by.1)
    );
    assert_eq!(told.dte.map(|dte| (dte.by, dte.cpu)), Some(by));
}

#[test]
fn a_dte_that_was_invalidated_on_another_iommu_is_stale_and_says_so() {
    for (id, told) in [(RID, true), (RIDS[1], false)] {
        let mut direct = Direct::new();
        let call = direct.checker.call_began("allocate", 0);
        let address = DEVICE_TABLE + 32 * u64::from(RID.0) + 16;
        direct.store(address, &1u64.to_le_bytes(), Some(call));
        let elsewhere = Kind::QueuedElsewhere {
            command: Command::InvalidateDevtabEntry(id),
            function: "set_remap_table_entry_alias",
            table: "rlookup_table",
        };
        direct
            .checker
            .observe(0, Some(call), &elsewhere, SimTime::from_us(5));
        direct.checker.call_ended(call, SimTime::from_us(6));
        assert_eq!(direct.hit(), Freshness::Stale);
        let findings = direct.checker.findings();
        let Mistake::NotInvalidated(history) = &findings[0].mistake else {
            panic!("{findings:?}");
        };
        let at = told.then_some(SimTime::from_us(5));
        assert_eq!(history.elsewhere.map(|elsewhere| elsewhere.at), at);
        let function = told.then_some("set_remap_table_entry_alias");
        assert_eq!(findings[0].function, function, "{id}");
        assert_eq!(findings[0].missing, [Command::InvalidateDevtabEntry(RID)]);
    }
}

#[test]
fn an_overrun_is_the_worst_that_can_be() {
    assert!(FindingKind::ALL.is_sorted());
    assert_eq!(FindingKind::ALL.last(), Some(&FindingKind::Overrun));
}

/// With a device table that ends before the third of [`RIDS`], and the event log behind it.
fn with_a_short_table() -> (Direct, u64) {
    let mut direct = Direct::new();
    let end = DEVICE_TABLE + 32 * u64::from(RIDS[2].0);
    direct.checker.device_table(DEVICE_TABLE, end - DEVICE_TABLE);
    direct.checker.ring("event log", end, 0x1000);
    (direct, end)
}

impl Direct {
    /// A word of a DTE is stored, and the driver says whose DTE it has written.
    fn store_dte(&mut self, id: RequesterId, address: u64, call: CallId) {
        self.store(address, &3u64.to_le_bytes(), Some(call));
        let written = Kind::DteWritten {
            device: id,
            raw: [3, 0, 0, 0],
        };
        self.checker.observe(0, Some(call), &written, SimTime::ZERO);
    }
}

#[test]
fn an_entry_stored_outside_of_the_device_table_is_an_overrun() {
    let (mut direct, end) = with_a_short_table();
    let call = direct.checker.call_began("probe", 2);
    for word in [0, 8, 16, 0] {
        direct.store_dte(RIDS[2], end + word, call);
    }
    let findings = direct.checker.findings();
    let [finding] = &findings[..] else {
        panic!("{findings:?}");
    };
    assert_eq!(
        (finding.kind, finding.subject),
        (FindingKind::Overrun, Subject::Device(RIDS[2]))
    );
    let Mistake::Overrun(overrun) = &finding.mistake else {
        panic!("{finding:?}");
    };
    assert_eq!(
        (overrun.address, overrun.table.clone(), overrun.over),
        (end, DEVICE_TABLE..end, Some("event log"))
    );
    let stores = overrun.stores.iter();
    let stores: Vec<_> = stores
        .map(|store| (store.half, store.written.by, store.written.cpu))
        .collect();
    let by = (Some("probe"), Some(2));
    assert_eq!(
        stores,
        [(Half::Memory, by.0, by.1), (Half::Interrupts, by.0, by.1)]
    );
}

#[test]
fn entries_within_the_device_table_and_stores_elsewhere_are_no_overrun() {
    let (mut direct, end) = with_a_short_table();
    let call = direct.checker.call_began("probe", 0);
    direct.store_dte(RIDS[1], DEVICE_TABLE + 32 * u64::from(RIDS[1].0), call);
    direct.store_dte(RIDS[2], end + 32, call);
    direct.store_dte(RIDS[2], end - 8, call);
    assert_eq!(direct.kinds(), []);
}

#[test]
fn before_the_iommu_knows_a_device_table_nothing_is_outside_of_it() {
    let mut direct = Direct::new();
    direct.checker.device_table(0, 0);
    let call = direct.checker.call_began("probe", 0);
    direct.store_dte(RID, 32 * u64::from(RID.0), call);
    assert_eq!(direct.kinds(), []);
}

#[test]
fn the_longest_of_a_cpus_holds_of_a_lock_is_told() {
    let mut direct = Direct::new();
    direct.checker.limit_lock_holds(SimTime::from_us(10));
    let lock = Lock::IrqDesc(24);
    let mut now = 0;
    for us in [5, 20, 40, 30] {
        for step in [LockStep::Taken { interrupts_off: true }, LockStep::Released] {
            let kind = Kind::Lock { lock, step };
            direct.checker.observe(1, None, &kind, SimTime::from_us(now));
            now += us;
        }
    }
    let findings = direct.checker.findings();
    let [finding] = &findings[..] else {
        panic!("{findings:?}");
    };
    let Mistake::Held(held) = &finding.mistake else {
        panic!("{finding:?}");
    };
    assert_eq!(
        (finding.subject, held.span()),
        (Subject::Lock { lock, cpu: 1 }, SimTime::from_us(40))
    );
    assert_eq!(finding.subject.to_string(), "irq_desc-lock-24:cpu1");
}
