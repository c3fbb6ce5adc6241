//! Every kind of event, as a line.

use std::collections::{BTreeMap, BTreeSet};

use host_model::checker::{
    Cached, FindingKind, Freshness, History, Mistake, Place, Subject, Used, Verdict, Written,
};
use host_model::iommu::spec::command::Command;
use host_model::iommu::spec::event::Event as IommuEvent;
use host_model::iommu::spec::irte::IrteFormat;
use host_model::iommu::spec::log::{GaEntry, PprEntry};
use host_model::iommu::translate::{Access, Addressing, MemoryRequest, TranslationError, TranslationOutcome};
use host_model::iommu::{
    Answer, BlockReason, DeliveryMode, DropReason, HaltReason, Interrupt, InterruptForm, InterruptRequest,
    InterruptSource, Notice, Outcome as Goes, Posted, Step,
};
use host_model::linux::Profile;
use host_model::machine::{RunError, Timing};
use host_model::trace::{Dropped, Ending, Lock, LockStep, Loss, Source};
use serde_json::Value;
use sim_bridge::RequesterId;
use sim_bridge::tlp::{Body, CompletionStatus, ConfigRead, ConfigType, ConfigWrite, Message, Tlp};

use super::*;
use crate::run::{Hardware, Interrupts, Recorded};
use crate::scenario::{Expected, Scenario};

const NTB: RequesterId = RequesterId::new(0x41, 0, 0);
const ALIAS: RequesterId = RequesterId::new(0x41, 0, 1);
const REQUEST: InterruptRequest = InterruptRequest {
    requester: ALIAS,
    address: 0xfee0_0000,
    data: 1,
};
const WAIT: Command = Command::CompletionWait {
    store: Some(0x20_4000),
    interrupt: false,
    flush: false,
    data: 7,
};
const FLUSH: Command = Command::InvalidateInterruptTable(ALIAS);

pub(super) fn hardware() -> Hardware {
    Hardware {
        cpus: 2,
        ntbs: vec![NTB],
        link_latency: SimTime::from_ns(500),
        timing: Timing::default(),
    }
}

fn spec() -> Spec {
    let scenario = Scenario::named("affinity-move").expect("a scenario");
    let topology = "func1".parse().expect("built in");
    Spec {
        seed: 3,
        ..Spec::new(scenario, Profile::LINUX_7_2, topology)
    }
}

/// Of a run with these events.
pub(super) fn outcome(events: Vec<Event>, findings: Vec<Finding>) -> Outcome {
    let expected = Expected::coherent("there is nothing to find");
    Outcome {
        verdict: Verdict::of(&findings),
        difference: expected.compare(&findings),
        expected,
        interrupts: Interrupts {
            raised: 2,
            delivered: 2,
            ..Interrupts::default()
        },
        commands: BTreeMap::new(),
        commands_per_move: None,
        findings,
        events,
        hardware: hardware(),
        devices: Vec::new(),
    }
}

fn finding(history: Option<History>) -> Finding {
    Finding {
        kind: FindingKind::Stale,
        subject: Subject::Entry {
            requester: ALIAS,
            index: 1,
        },
        got: Some(Place { cpu: 1, vector: 0x20 }),
        expected: None,
        mistake: history.map_or(Mistake::NeverEnded, Mistake::NotInvalidated),
        missing: vec![Command::InvalidateInterruptTable(ALIAS)],
        function: Some("iommu_flush_irt_and_complete"),
        endings: vec![Ending::Spurious { cpu: 1, vector: 0x20 }],
    }
}

/// In JSON lines.
fn lines(outcome: &Outcome) -> Vec<Value> {
    lines_of(Ok(outcome))
}

fn lines_of(result: Result<&Outcome, &RunFailure>) -> Vec<Value> {
    let mut out = Vec::new();
    let spec = spec();
    let run = Run::of("a run", &spec, result).expect("it began");
    json_lines::write(&mut out, &run).expect("a Vec takes everything");
    let lines = out.split_inclusive(|&byte| byte == b'\n');
    lines
        .map(|line| serde_json::from_slice(line).expect("a line is an object"))
        .collect()
}

fn tlps() -> Vec<Tlp> {
    let ok = CompletionStatus::Successful;
    let read = Tlp::mem_read(NTB, 1, 0x1000, 8).expect("in a page");
    let config = |register| ConfigRead {
        config_type: ConfigType::Type0,
        requester: RequesterId(0),
        tag: 3,
        target: NTB,
        register,
        first_be: 0xf,
    };
    let ConfigRead {
        config_type,
        requester,
        tag,
        target,
        register,
        first_be,
    } = config(4);
    let mut poisoned = Tlp::mem_write(ALIAS, 0xfee0_0000, &[1, 0, 0, 0]).expect("a DW");
    poisoned.attributes.poisoned = true;
    vec![
        poisoned,
        read.completion(RequesterId(0), ok, &[0; 8]).expect("as asked"),
        read,
        Body::ConfigRead(config(0)).into(),
        Body::ConfigWrite(ConfigWrite {
            config_type,
            requester,
            tag,
            target,
            register,
            first_be,
            data: [6, 0, 0, 0],
        })
        .into(),
        Body::Message(Message {
            requester: NTB,
            tag: 0,
            routing: 4,
            code: 0x20,
            fields: [0; 8],
            data: [][..].into(),
        })
        .into(),
    ]
}

fn steps() -> Vec<Step> {
    let (offset, device) = (16, ALIAS);
    let event = IommuEvent::IllegalCommandError { address: 0x1010 };
    let about = IommuEvent::IotlbInvTimeout {
        device: NTB,
        address: 0x1010,
    };
    let reason = DropReason::NotRunning;
    let ppr = PprEntry {
        device,
        pasid: None,
        tag: 0,
        address: 0x5000,
        flags: Default::default(),
    };
    let ga = GaEntry { device, tag: 5 };
    let executed = |command, retired| Step::CommandExecuted {
        offset,
        command,
        retired,
    };
    vec![
        executed(FLUSH, false),
        Step::CommandRetired {
            offset,
            command: FLUSH,
        },
        executed(Command::InvalidateIommuAll, true),
        Step::Waiting {
            offset,
            command: WAIT,
        },
        Step::CompletionStored {
            offset,
            command: WAIT,
            address: 0x20_4000,
            data: 7,
        },
        Step::Halted {
            offset,
            reason: HaltReason::FetchFailed(0x1010),
            event,
        },
        Step::EventWritten { event: about, offset },
        Step::EventDropped { event, reason },
        Step::PprWritten { entry: ppr, offset },
        Step::PprDropped { entry: ppr, reason },
        Step::GaWritten { entry: ga, offset },
        Step::GaDropped { entry: ga, reason },
        Step::Interrupt {
            source: InterruptSource::Event,
            form: InterruptForm::Msi(host_model::driver::MsiMessage {
                address: 0xfee0_0000,
                data: 0x30,
            }),
        },
    ]
}

fn answers() -> Vec<Kind> {
    let outcomes = [
        Goes::Forwarded {
            address: 0xfee0_0000,
            data: 1,
        },
        Goes::Remapped(
            Interrupt::new()
                .with_destination(2)
                .with_vector(0x21)
                .with_index(1),
        ),
        Goes::Posted(Posted {
            backing_page: 0x7000,
            vector: 0x41,
            notice: Notice::Nobody,
            index: 1,
        }),
        Goes::Blocked {
            reason: BlockReason::IntCtlAborted,
            event: None,
        },
    ];
    let answers = outcomes.map(|outcome| Kind::Answered {
        answer: Answer {
            request: REQUEST,
            outcome,
            dte: None,
            irte: None,
        },
        freshness: Some(Freshness::InFlight),
    });
    let request = MemoryRequest {
        requester: NTB,
        address: 0x1000,
        access: Access::Write,
        addressing: Addressing::UNTRANSLATED,
    };
    let refused = TranslationOutcome::Refused {
        reason: TranslationError::DtePermissions(Access::Write),
        event: None,
    };
    let translated = [TranslationOutcome::Forwarded, refused].map(|outcome| Kind::Translated {
        request,
        outcome,
        freshness: Some(Freshness::Fresh),
    });
    answers.into_iter().chain(translated).collect()
}

fn endings() -> Vec<Kind> {
    let (cpu, vector) = (1, 0x21);
    let endings = [
        Ending::Delivered { cpu, vector },
        Ending::Misrouted { cpu, vector },
        Ending::Spurious { cpu, vector },
        Ending::Special {
            cpu,
            mode: DeliveryMode::Nmi,
        },
        Ending::Blocked,
        Ending::Lost(Loss::NoApic(9)),
    ];
    let own = [Ok(vec![0, 1]), Err(Loss::NoApic(9))].map(|reached| Kind::OwnInterrupt {
        about: InterruptSource::Event,
        reached,
    });
    let endings = endings.map(|ending| Kind::Ended {
        request: REQUEST,
        ending,
    });
    endings.into_iter().chain(own).collect()
}

/// One of each, a nanosecond apart.
fn every_kind() -> Vec<Event> {
    let lock = |step| Kind::Lock {
        lock: Lock::Iommu,
        step,
    };
    let (vector, handled) = (0x21, true);
    let by_rtl = [Kind::InterruptSent(REQUEST)];
    let by_link = tlps().into_iter().map(Kind::ToHost).chain([
        Kind::ToDevice(Tlp::mem_write(RequesterId(0), 0xe000_0000, &[1, 0, 0, 0]).expect("a DW")),
        Kind::Dropped {
            requester: NTB,
            address: 0x1000,
            why: Dropped::NoMemory,
        },
    ]);
    let by_iommu = answers()
        .into_iter()
        .chain(steps().into_iter().map(Kind::Stepped))
        .chain([Kind::PowerCycled])
        .chain(endings());
    let by_cpu = [
        Kind::Taken { vector, handled },
        Kind::EndOfInterrupt { vector },
        lock(LockStep::Contended),
        lock(LockStep::Taken { interrupts_off: true }),
        lock(LockStep::Released),
        Kind::KernelLog("hello".to_owned()),
    ];
    let by_driver = [
        Kind::CallBegan("set_affinity"),
        Kind::Queued(FLUSH),
        Kind::Queued(WAIT),
        Kind::RegisterWritten {
            offset: 0x2008,
            size: 4,
            value: 0x20,
        },
        Kind::DteWritten {
            device: ALIAS,
            raw: [1, 2, 3, u64::MAX],
        },
        Kind::UsedAfterRelease {
            function: "clone_aliases",
            device: NTB,
            released_at: SimTime::from_ns(5),
            released_on: 0,
        },
        Kind::IrteWritten {
            device: NTB,
            index: 1,
            raw: 1 << 64 | 1,
            format: IrteFormat::Bits128 { xt: false },
        },
        Kind::CallEnded("set_affinity"),
        Kind::QueuedElsewhere {
            command: FLUSH,
            function: "set_remap_table_entry_alias",
            table: "rlookup_table",
        },
        Kind::NullDereference {
            function: "set_remap_table_entry_alias",
            table: "rlookup_table",
            device: ALIAS,
            lock: Lock::IommuTable,
        },
    ];
    let by_scenario = [Kind::ScenarioStep("move".to_owned())];
    let from = |source, kinds: Vec<Kind>| kinds.into_iter().map(move |kind| (source, kind));
    let all = from(Source::Scenario, by_scenario.into())
        .chain(from(Source::Rtl(0), by_rtl.into()))
        .chain(from(Source::Link(0), by_link.collect()))
        .chain(from(Source::Iommu, by_iommu.collect()))
        .chain(from(Source::Cpu(1), by_cpu.into()))
        .chain(from(Source::Driver(1), by_driver.into()));
    (1..)
        .zip(all)
        .map(|(n, (source, kind))| Event {
            time: SimTime::from_ns(n),
            source,
            kind,
        })
        .collect()
}

#[test]
fn every_kind_of_event_has_its_line() {
    let outcome = outcome(every_kind(), vec![finding(None)]);
    // Without what they have in common.
    let shown = lines(&outcome).into_iter().map(|mut line| {
        let fields = line.as_object_mut().expect("an object");
        fields.remove("run");
        fields.remove("time");
        let time = fields.remove("time_ps").expect("a time");
        let source = fields.remove("source").expect("a source");
        let event = fields.remove("event").expect("a name");
        let text = fields.remove("text").expect("a text");
        let name = |value: &Value| value.as_str().expect("text").to_owned();
        let (source, event, text) = (name(&source), name(&event), name(&text));
        format!("{time} {source} {event} {line}\n    {text}\n")
    });
    let shown: String = shown.collect();
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!("every_kind_of_event", shown);
    });
}

/// After two events.
fn failure() -> RunFailure {
    RunFailure {
        error: RunError::DeviceEnded {
            function: RequesterId(0x4100),
            at: SimTime::from_ns(2),
        }
        .into(),
        recorded: Some(Box::new(Recorded {
            events: every_kind().into_iter().take(2).collect(),
            findings: vec![finding(None)],
            hardware: hardware(),
        })),
    }
}

#[test]
fn a_failed_run_ends_with_why_it_failed() {
    let lines = lines_of(Err(&failure()));
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str()).collect();
    assert_eq!(events.first(), Some(&Some("run_began")));
    assert_eq!(events[events.len() - 2..], [Some("finding"), Some("run_failed")]);
    let why = "the device at 41:00.0 ended the link at 2.000 ns, before the host had finished";
    assert_eq!((lines.len(), &lines[4]["error"]), (5, &why.into()));
}

#[test]
fn a_run_that_never_began_is_not_there() {
    let failure = RunFailure {
        recorded: None,
        ..failure()
    };
    assert!(Run::of("a run", &spec(), Err(&failure)).is_none());
}

#[test]
fn a_line_has_what_all_lines_have() {
    let first = &lines(&outcome(every_kind(), Vec::new()))[1];
    let expected = serde_json::json!({
        "run": "a run",
        "time_ps": 1000,
        "time": "0.001000 us",
        "source": "scenario",
        "event": "scenario_step",
        "step": "move",
        "text": "step: move",
    });
    assert_eq!(*first, expected);
}

#[test]
fn times_are_told_to_the_picosecond() {
    let event = |ps| Event {
        time: SimTime::from_ps(ps),
        source: Source::Scenario,
        kind: Kind::ScenarioStep(String::new()),
    };
    let ps = [1, 1_000_000, 8_065_216_333];
    let lines = lines(&outcome(ps.map(event).into(), Vec::new()));
    for (line, time) in lines[1..]
        .iter()
        .zip(["0.000001 us", "1.000000 us", "8065.216333 us"])
    {
        assert_eq!(line["time"], time);
    }
}

/// The document's rows: an event's names, and words in backquotes.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let words =
        |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let document = include_str!("../../traces.md");
    let table = document.split("| event | fields |").nth(1).expect("a table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| {
        let (events, fields) = row[1..].split_once('|').expect("two columns");
        let fields: BTreeSet<_> = words(fields).into_iter().collect();
        words(events)
            .into_iter()
            .map(move |event| (event, fields.clone()))
    })
    .collect()
}

#[test]
fn the_document_tells_of_every_event_and_field_and_no_other() {
    let common = ["run", "time_ps", "time", "source", "event", "text"];
    let mut written = BTreeMap::<String, BTreeSet<String>>::new();
    let ended = lines(&outcome(every_kind(), vec![finding(None)]));
    for line in ended.into_iter().chain(lines_of(Err(&failure()))) {
        let event = line["event"].as_str().expect("a name").to_owned();
        let fields = line.as_object().expect("an object").keys().cloned();
        let fields = fields.filter(|field| !common.contains(&field.as_str()));
        written.entry(event).or_default().extend(fields);
    }
    let documented = documented();
    assert_eq!(
        written.keys().collect::<Vec<_>>(),
        documented.keys().collect::<Vec<_>>()
    );
    for (event, fields) in &written {
        let missing: Vec<_> = fields.difference(&documented[event]).collect();
        assert!(missing.is_empty(), "{event}: {missing:?}");
    }
}

#[test]
fn a_finding_is_where_the_stale_entry_was_used_or_where_the_interrupt_ended() {
    let mut events = every_kind();
    events.push(Event {
        time: SimTime::from_us(1),
        source: Source::Scenario,
        kind: Kind::ScenarioStep("end".to_owned()),
    });
    let spurious = finding(None).endings;
    let ended = events
        .iter()
        .find(|event| matches!(event.kind, Kind::Ended { ending, .. } if ending == spurious[0]));
    assert!(ended.is_none(), "at another vector");
    events.push(Event {
        time: SimTime::from_us(2),
        source: Source::Cpu(1),
        kind: Kind::Ended {
            request: REQUEST,
            ending: spurious[0],
        },
    });
    let used = History {
        cached: Cached::Irte(ALIAS, 1),
        owner: Some(NTB),
        cached_at: SimTime::ZERO,
        was: "one".to_owned(),
        is: "another".to_owned(),
        changed: Written {
            at: SimTime::ZERO,
            by: Some("set_affinity"),
            cpu: Some(0),
            function: None,
        },
        moved_away: false,
        invalidated: Vec::new(),
        invalidated_at: None,
        elsewhere: None,
        told_complete_at: None,
        returned_at: None,
        used: Some(Used {
            at: SimTime::from_us(5),
            by: ALIAS,
            place: None,
            to: "nowhere".to_owned(),
        }),
    };
    let outcome = outcome(events, Vec::new());
    let never = Finding {
        endings: Vec::new(),
        ..finding(None)
    };
    for (finding, time) in [
        (finding(Some(used)), SimTime::from_us(5)),
        (finding(None), SimTime::from_us(2)),
        (never, SimTime::from_us(2)),
    ] {
        assert_eq!(finding_time(&finding, &outcome.events), time);
    }
}
