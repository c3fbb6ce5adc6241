//! Findings in words.

use std::fmt::Write as _;

use super::*;
use crate::iommu::BlockReason;
use crate::iommu::spec::command::PageRange;
use crate::iommu::spec::irte::IrteError;
use crate::iommu::translate::{Access, TranslationError};
use crate::trace::{Lock, Loss};

const NTB: RequesterId = RequesterId(0x4100);
const ALIAS: RequesterId = RequesterId(0x4101);

fn us(us: u64) -> SimTime {
    SimTime::from_us(us)
}

fn written(at: u64, by: &'static str, function: &'static str) -> Written {
    Written {
        at: us(at),
        by: Some(by),
        cpu: Some(3),
        function: Some(function),
    }
}

/// Cached at 10, changed at 20, complete at 22, returned at 23, used at 30 us.
fn not_invalidated(cached: Cached, commands: &[Command]) -> History {
    let [was, is] = match cached {
        Cached::Dte(_) => [
            "domain 1, untranslated, IR 1 IW 1",
            "domain 0, untranslated, IR 0 IW 0",
        ],
        Cached::Irte(..) => ["CPU 1 vector 0x20", "CPU 2 vector 0x20"],
        Cached::Page { .. } => ["0x700000, read and write", "not mapped"],
    };
    History {
        cached,
        owner: matches!(cached, Cached::Irte(..)).then_some(NTB),
        cached_at: us(10),
        was: was.to_owned(),
        is: is.to_owned(),
        changed: written(20, "set_affinity", "amd_ir_set_affinity"),
        moved_away: false,
        invalidated: commands.to_vec(),
        invalidated_at: (!commands.is_empty()).then_some(us(21)),
        elsewhere: None,
        told_complete_at: (!commands.is_empty()).then_some(us(22)),
        returned_at: Some(us(23)),
        used: Some(Used {
            at: us(30),
            by: ALIAS,
            place: None,
            to: was.to_owned(),
        }),
    }
}

fn finding(kind: FindingKind, subject: Subject, mistake: Mistake) -> Finding {
    Finding {
        kind,
        subject,
        got: None,
        expected: None,
        mistake,
        missing: Vec::new(),
        function: None,
        endings: Vec::new(),
    }
}

fn missing(kind: FindingKind, subject: Subject, history: History) -> Finding {
    let missing = vec![history::command_for(history.cached)];
    Finding {
        missing,
        ..finding(kind, subject, Mistake::NotInvalidated(history))
    }
}

/// A DTE whose invalidation went to another IOMMU.
fn on_another_iommu(id: RequesterId) -> Finding {
    let mut history = not_invalidated(Cached::Dte(id), &[Command::InvalidateDevtabEntry(NTB)]);
    history.elsewhere = Some(Elsewhere {
        at: us(21),
        command: Command::InvalidateDevtabEntry(id),
        function: "set_remap_table_entry_alias",
        table: "rlookup_table",
    });
    missing(FindingKind::Stale, Subject::Device(id), history)
}

fn tables(kind: FindingKind, refused: Option<BlockReason>, endings: &[Ending]) -> Finding {
    let tables = Tables {
        at: us(30),
        function: Some(NTB),
        owner: Some(RequesterId(0x4200)),
        dte: Some(written(20, "allocate", "irq_remapping_alloc")),
        irte: Some(written(25, "set_affinity", "amd_ir_set_affinity")),
        refused,
        loss: (kind == FindingKind::Lost).then_some(Loss::NoApic(9)),
        entries_of_function: Some(2048),
    };
    Finding {
        endings: endings.to_vec(),
        ..finding(kind, entry(ALIAS, 700), Mistake::Tables(tables))
    }
}

fn told(findings: &[Finding]) -> String {
    let mut text = String::new();
    for told in Explanation::of(findings) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {}", told.finding.kind.name(), told.sentence());
        for (at, what) in told.history() {
            let _ = writeln!(text, "    {:2} us  {what}", at.as_ps() / 1_000_000);
        }
        if let Some(missing) = told.missing() {
            let _ = writeln!(text, "    Missing: {missing}");
        }
        text.push('\n');
    }
    text
}

#[test]
fn what_was_not_invalidated_is_told_with_its_history() {
    use FindingKind::{Left, Stale};
    let irte = |id| Cached::Irte(id, 3);
    let under_own = [Command::InvalidateInterruptTable(NTB)];
    let page = Cached::Page {
        domain: 0x5e,
        address: 0x1000,
        log2: 12,
    };
    let other_page = Command::InvalidateIommuPages {
        domain: 0x5e,
        pasid: 0,
        range: PageRange::new(0x2000, 12),
        directory: false,
        guest: false,
    };
    let of_page = Subject::Page {
        requester: ALIAS,
        address: 0x1000,
    };
    let aliases = (1..=0xff).map(|devfn| {
        let id = RequesterId::from_devfn(0x41, devfn);
        missing(Stale, entry(id, 3), not_invalidated(irte(id), &under_own))
    });
    let mut unknown = not_invalidated(irte(ALIAS), &[]);
    (unknown.changed, unknown.returned_at) = (finding::UNKNOWN, None);
    let mut failed = missing(
        Stale,
        entry(ALIAS, 3),
        not_invalidated(irte(ALIAS), &[Command::InvalidateInterruptTable(ALIAS)]),
    );
    failed.missing.clear();
    let mut moved = not_invalidated(irte(ALIAS), &[]);
    moved.moved_away = true;
    let mut freed = not_invalidated(irte(ALIAS), &under_own);
    (freed.used, freed.is) = (None, "RemapEn 0".to_owned());
    let groups = [
        aliases.collect(),
        vec![missing(Stale, entry(ALIAS, 3), unknown)],
        vec![failed],
        vec![missing(Stale, entry(ALIAS, 3), moved)],
        vec![missing(Left, entry(ALIAS, 3), freed)],
        vec![missing(
            Stale,
            Subject::Device(ALIAS),
            not_invalidated(Cached::Dte(ALIAS), &[Command::InvalidateDevtabEntry(NTB)]),
        )],
        vec![missing(Stale, of_page, not_invalidated(page, &[other_page]))],
        vec![on_another_iommu(ALIAS), on_another_iommu(RIDS[2])],
    ];
    let text: String = groups.iter().map(|group| told(group)).collect();
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}

#[test]
fn what_tables_do_is_told_with_who_wrote_them() {
    use FindingKind::{Blocked, Lost, Misrouted, Spurious, Stolen};
    let misrouted = Ending::Misrouted { cpu: 1, vector: 0x20 };
    let spurious = Ending::Spurious { cpu: 1, vector: 0x20 };
    let short = BlockReason::IndexOutOfRange {
        index: 700,
        entries: 512,
    };
    let findings = [
        tables(Stolen, None, &[misrouted]),
        tables(Blocked, Some(short), &[Ending::Blocked]),
        tables(Misrouted, None, &[misrouted]),
        tables(Spurious, None, &[spurious]),
        tables(Lost, None, &[Ending::Lost(Loss::NoApic(9))]),
    ];
    let mut text = told(&findings);
    for reason in [
        BlockReason::IntCtlAborted,
        BlockReason::Irte(IrteError::RemapEnClear),
    ] {
        text += &told(&[tables(Blocked, Some(reason), &[Ending::Blocked])]);
    }
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}

#[test]
fn what_is_refused_is_told_with_the_dte_that_is_missing() {
    let refused = |id, at| {
        let refused = Refused {
            at: us(at),
            function: NTB,
            access: Access::Write,
            reason: TranslationError::DtePermissions(Access::Write),
            dte: Some(written(20, "take_devices", "amd_iommu_init_pci")),
            words: ["0 IW 0", "1 IW 1"].map(|allowed| format!("domain 1, untranslated, IR {allowed}")),
        };
        finding(
            FindingKind::Blocked,
            Subject::Device(id),
            Mistake::Refused(refused),
        )
    };
    let mut text = told(&[refused(ALIAS, 30), refused(RIDS[2], 31)]);
    text += &told(&[refused(NTB, 30)]);
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}

#[test]
fn what_the_driver_does_beside_is_told() {
    let held = Held {
        lock: Lock::IrqDesc(24),
        cpu: 1,
        call: Some("set_affinity"),
        taken_at: us(10),
        released_at: us(1110),
        limit: us(1000),
        meanwhile: Meanwhile {
            commands: 258,
            ring: us(100),
            semaphore: us(900),
            locks: SimTime::ZERO,
        },
    };
    let subject = Subject::Lock {
        lock: held.lock,
        cpu: held.cpu,
    };
    let used = Mistake::UseAfterRelease {
        function: "iommu_flush_irt_and_complete",
        released_at: us(10),
        released_on: 2,
        used_at: us(20),
    };
    let store = |at, half, by, call, function| OverrunStore {
        half,
        written: written(at, by, call),
        function: Some(function),
    };
    let overrun = Mistake::Overrun(Overrun {
        address: 0x30_0000,
        table: 0x20_0000..0x30_0000,
        over: Some("event log"),
        stores: vec![
            store(
                5,
                Half::Memory,
                "take_devices",
                "amd_iommu_init_pci",
                "clone_aliases",
            ),
            store(
                7,
                Half::Interrupts,
                "allocate",
                "irq_remapping_alloc",
                "set_remap_table_entry",
            ),
        ],
    });
    let dereference = Mistake::NullDereference(NullDereference {
        died: written(8, "allocate", "irq_remapping_alloc"),
        function: "set_remap_table_entry_alias",
        table: "rlookup_table",
        lock: Lock::IommuTable,
        dte: Some(written(7, "allocate", "irq_remapping_alloc")),
    });
    let oops = Finding {
        missing: vec![Command::InvalidateDevtabEntry(ALIAS)],
        ..finding(FindingKind::Oops, Subject::Device(ALIAS), dereference)
    };
    let text = told(&[
        oops,
        finding(FindingKind::Overrun, Subject::Device(ALIAS), overrun),
        finding(FindingKind::Held, subject, Mistake::Held(held)),
        finding(FindingKind::UseAfterRelease, Subject::Device(NTB), used),
        finding(FindingKind::Lost, Subject::Device(NTB), Mistake::NeverEnded),
    ]);
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}

#[test]
fn only_what_differs_in_the_requester_id_alone_is_told_together() {
    let history = |id| not_invalidated(Cached::Irte(id, 0), &[]);
    let of = |id, index| missing(FindingKind::Stale, entry(id, index), history(id));
    let groups = |findings: &[Finding]| -> Vec<usize> {
        Explanation::of(findings)
            .iter()
            .map(|told| told.all().count())
            .collect()
    };
    let ended = Finding {
        endings: vec![Ending::Blocked],
        ..of(RIDS[2], 0)
    };
    assert_eq!(groups(&[of(NTB, 0), of(ALIAS, 0), of(RIDS[2], 0)]), [3]);
    assert_eq!(groups(&[of(NTB, 0), of(ALIAS, 1)]), [1, 1]);
    assert_eq!(groups(&[of(NTB, 0), of(ALIAS, 0), ended]), [2, 1]);
}

#[test]
fn the_one_that_is_asked_for_is_told_and_the_rest_are_the_others() {
    let of = |id| {
        missing(
            FindingKind::Stale,
            entry(id, 0),
            not_invalidated(Cached::Irte(id, 0), &[]),
        )
    };
    let findings = RIDS.map(of);
    let told = Explanation::of(&findings).remove(0).told_of(&findings[1]);
    assert_eq!(told.finding.subject, entry(RIDS[1], 0));
    let others: Vec<_> = told.others.iter().map(|other| other.subject).collect();
    assert_eq!(others, [entry(RIDS[2], 0), entry(RIDS[0], 0)]);
}
