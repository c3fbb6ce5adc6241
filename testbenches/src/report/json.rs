//! Results as JSON.

use std::collections::BTreeMap;

use host_model::checker::{Finding, Place};
use host_model::trace::{Event, Kind, LockStep, Source};
use serde::Serialize;

use crate::run::{Interrupts, Outcome, Spec};

/// One run. CPU numbers, vectors and indices are numbers, requester IDs as `41:00.1`.
#[derive(Debug, Serialize)]
pub struct RunJson {
    scenario: &'static str,
    kernel: String,
    aliases: String,
    irte: u32,
    seed: u64,
    verdict: &'static str,
    expected: bool,
    interrupts: InterruptsJson,
    commands: BTreeMap<&'static str, u64>,
    commands_per_move: Option<BTreeMap<&'static str, u64>>,
    findings: Vec<FindingJson>,
}

#[derive(Debug, Serialize)]
struct InterruptsJson {
    raised: u64,
    delivered: u64,
    misrouted: u64,
    spurious: u64,
    blocked: u64,
    lost: u64,
    stale: u64,
    in_flight: u64,
}

#[derive(Debug, Serialize)]
struct FindingJson {
    kind: &'static str,
    rid: String,
    index: u16,
    vector_got: Option<u8>,
    vector_expected: Option<u8>,
    cpu_got: Option<u32>,
    cpu_expected: Option<u32>,
    missing_invalidations: Vec<String>,
}

impl RunJson {
    /// Of a run.
    pub fn new(spec: &Spec, outcome: &Outcome) -> Self {
        Self {
            scenario: spec.scenario.name,
            kernel: spec.profile.to_string(),
            aliases: spec.topology.to_string(),
            irte: spec.irte.bits(),
            seed: spec.seed,
            verdict: outcome.verdict.name(),
            expected: outcome.is_expected(),
            interrupts: outcome.interrupts.into(),
            commands: outcome.commands.clone(),
            commands_per_move: outcome.commands_per_move.clone(),
            findings: outcome.findings.iter().map(FindingJson::from).collect(),
        }
    }
}

impl From<Interrupts> for InterruptsJson {
    fn from(counts: Interrupts) -> Self {
        let Interrupts {
            raised,
            delivered,
            misrouted,
            spurious,
            blocked,
            lost,
            stale,
            in_flight,
        } = counts;
        Self {
            raised,
            delivered,
            misrouted,
            spurious,
            blocked,
            lost,
            stale,
            in_flight,
        }
    }
}

impl From<&Finding> for FindingJson {
    fn from(finding: &Finding) -> Self {
        let vector = |place: Option<Place>| place.map(|place| place.vector);
        let cpu = |place: Option<Place>| place.map(|place| place.cpu);
        Self {
            kind: finding.kind.name(),
            rid: finding.requester.to_string(),
            index: finding.index,
            vector_got: vector(finding.got),
            vector_expected: vector(finding.expected),
            cpu_got: cpu(finding.got),
            cpu_expected: cpu(finding.expected),
            missing_invalidations: finding
                .missing_invalidations
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}

/// One event of a trace, a line of `--trace`.
#[derive(Debug, Serialize)]
pub struct EventJson<'a> {
    run: &'a str,
    time_ps: u64,
    source: String,
    event: String,
}

impl<'a> EventJson<'a> {
    /// Of an event of the run with this name.
    pub fn new(run: &'a str, event: &Event) -> Self {
        let source = match event.source {
            Source::Rtl => "rtl".to_owned(),
            Source::Link => "link".to_owned(),
            Source::Iommu => "iommu".to_owned(),
            Source::Cpu(cpu) => format!("cpu{cpu}"),
            Source::Driver(_) => "driver".to_owned(),
            Source::Scenario => "scenario".to_owned(),
        };
        Self {
            run,
            time_ps: event.time.as_ps(),
            source,
            event: describe(&event.kind),
        }
    }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::InterruptSent(request) => {
            format!(
                "interrupt {} {:#x} {:#x}",
                request.requester, request.address, request.data
            )
        }
        Kind::ToHost(tlp) => format!("to host: {tlp}"),
        Kind::ToDevice(tlp) => format!("to device: {tlp}"),
        Kind::Dropped {
            requester,
            address,
            why,
        } => format!("dropped: write of {requester} to {address:#x}, {why:?}"),
        Kind::Answered { answer, freshness } => {
            format!(
                "{}: {}{}",
                answer.request.requester,
                crate::view::answer(answer),
                crate::view::freshness(*freshness)
            )
        }
        Kind::Translated { request, outcome } => {
            let requester = request.requester;
            format!("{requester}{}", crate::view::translation(request, outcome))
        }
        Kind::Stepped(step) => format!("{step:?}"),
        Kind::OwnInterrupt { about, reached } => crate::view::own_interrupt(*about, reached),
        Kind::Ended { request, ending } => format!("{}: {ending}", request.requester),
        Kind::Taken { vector, handled } => {
            format!(
                "takes vector {vector:#04x}{}",
                if *handled { "" } else { ", no handler" }
            )
        }
        Kind::EndOfInterrupt { vector } => format!("end of interrupt, vector {vector:#04x}"),
        Kind::RegisterWritten { offset, size, value } => {
            format!("register {offset:#x} ({size} bytes) = {value:#x}")
        }
        Kind::Lock { lock, step } => match step {
            LockStep::Contended => format!("spins for {lock}"),
            LockStep::Taken { interrupts_off: true } => format!("takes {lock}, interrupts off"),
            LockStep::Taken {
                interrupts_off: false,
            } => format!("takes {lock}"),
            LockStep::Released => format!("releases {lock}"),
        },
        Kind::CallBegan(name) => format!("{name} called"),
        Kind::CallEnded(name) => format!("{name} returned"),
        Kind::Queued(command) => format!("queues {}", crate::view::command(command)),
        Kind::DteWritten { device, raw } => format!("DTE {device} = {raw:016x?}"),
        Kind::UsedAfterRelease {
            function,
            device,
            released_at,
            released_on,
        } => {
            format!("{function} uses {device}, which cpu{released_on} released at {released_at}")
        }
        Kind::IrteWritten {
            device,
            index,
            raw,
            format,
        } => {
            format!(
                "IRTE {device}[{index}] = {raw:#x}: {}",
                crate::view::irte(*raw, *format)
            )
        }
        Kind::KernelLog(line) => format!("log: {line}"),
        Kind::ScenarioStep(step) => format!("step: {step}"),
    }
}
