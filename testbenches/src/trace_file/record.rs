use std::fmt::LowerHex;

use host_model::checker::{Explanation, Finding, Freshness, Place};
use host_model::iommu::spec::command::Command;
use host_model::iommu::spec::event::Event as IommuEvent;
use host_model::iommu::translate::{MemoryRequest, TranslationOutcome};
use host_model::iommu::{Answer, InterruptRequest, InterruptSource, Lookup, LookupFrom, Outcome, Step};
use host_model::trace::{Dropped, Ending, Event, Kind, LockStep, Source};
use serde::Serialize;
use sim_bridge::tlp::{Body, Tlp};

use super::text::text;
use crate::run::{self, Interrupts, SimulationError, Spec};

/// A line of a trace: what happened, by name, and its fields in the order of `traces.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) event: &'static str,
    pub(super) fields: Vec<(&'static str, Value)>,
    /// The same for people.
    pub(super) text: String,
}

/// A field's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<Value>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<sim_bridge::RequesterId> for Value {
    fn from(value: sim_bridge::RequesterId) -> Self {
        Self::Text(value.to_string())
    }
}

macro_rules! from_number {
    ($($number:ty),*) => {
        $(impl From<$number> for Value {
            fn from(value: $number) -> Self {
                Self::Number(value.into())
            }
        })*
    };
}
from_number!(u8, u16, u32, u64);

/// Numbers of up to 64 bits, of which JSON's readers keep 53.
fn hex(value: impl LowerHex) -> Value {
    Value::Text(format!("{value:#x}"))
}

/// In results, as in `rtl` and `cpu0`.
pub(super) fn source(source: Source) -> String {
    match source {
        Source::Rtl(link) => format!("rtl{}", numbered(link)),
        Source::Link(link) => format!("link{}", numbered(link)),
        Source::Iommu => "iommu".to_owned(),
        Source::Cpu(cpu) => format!("cpu{cpu}"),
        Source::Driver(_) => "driver".to_owned(),
        Source::Scenario => "scenario".to_owned(),
    }
}

/// What the names of a link and its device end with: those of the second with 2.
pub(super) fn numbered(link: usize) -> String {
    match link {
        0 => String::new(),
        link => (link + 1).to_string(),
    }
}

impl Record {
    fn new(event: &'static str, text: String) -> Self {
        Self {
            event,
            fields: Vec::new(),
            text,
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// What a run is, at its start.
    pub(super) fn run_began(spec: &Spec, hardware: &run::Hardware) -> Self {
        let text = format!(
            "{} under Linux {}, aliases {}, seed {}",
            spec.scenario.name, spec.profile, spec.topology, spec.seed
        );
        Self::new("run_began", text)
            .with("scenario", spec.scenario.name)
            .with("kernel", spec.profile.to_string())
            .with("aliases", spec.topology.to_string())
            .with("irte", spec.irte.bits())
            .with("seed", spec.seed)
            .with("command", spec.command())
            .with("cpus", hardware.cpus)
            .with("link_latency_ps", hardware.link_latency.as_ps())
            .with_some("second_ntb", hardware.ntbs.get(1).copied())
    }

    /// What became of a run, at its end.
    pub(super) fn run_ended(result: Result<&run::Outcome, &SimulationError>) -> Self {
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(error) => {
                let error = error.to_string();
                let text = format!("the simulation failed: {error}");
                return Self::new("run_failed", text).with("error", error);
            }
        };
        let Interrupts {
            raised,
            delivered,
            misrouted,
            spurious,
            blocked,
            lost,
            stale,
            in_flight,
        } = outcome.interrupts;
        let expected = if outcome.is_expected() {
            "as expected"
        } else {
            "NOT as expected"
        };
        let text = format!("{}, {expected}", outcome.verdict);
        Self::new("run_ended", text)
            .with("verdict", outcome.verdict.name())
            .with("expected", outcome.is_expected())
            .with("raised", raised)
            .with("delivered", delivered)
            .with("misrouted", misrouted)
            .with("spurious", spurious)
            .with("blocked", blocked)
            .with("lost", lost)
            .with("stale", stale)
            .with("in_flight", in_flight)
    }

    /// What the checker says.
    pub(super) fn finding(finding: &Finding) -> Self {
        let cpu = |place: Option<Place>| place.map(|place| place.cpu);
        let vector = |place: Option<Place>| place.map(|place| place.vector);
        let told = Explanation::alone(finding);
        Self::new("finding", told.sentence())
            .with("kind", finding.kind.name())
            .with("subject", finding.subject.to_string())
            .with_some("rid", finding.subject.requester())
            .with_some("index", finding.subject.index())
            .with_some("cpu_got", cpu(finding.got))
            .with_some("vector_got", vector(finding.got))
            .with_some("cpu_expected", cpu(finding.expected))
            .with_some("vector_expected", vector(finding.expected))
            .with_some("missing", told.missing())
            .with(
                "missing_invalidations",
                finding.missing_invalidations().collect::<Vec<_>>(),
            )
            .with_some("function", finding.function)
    }

    /// What an event of the trace says.
    pub(super) fn of(event: &Event) -> Self {
        let new = |name| {
            let record = Self::new(name, text(&event.kind));
            match event.source {
                Source::Driver(cpu) => record.with("cpu", cpu),
                _ => record,
            }
        };
        match &event.kind {
            Kind::InterruptSent(request) => new("interrupt_sent").interrupt(request),
            Kind::ToHost(tlp) => new("tlp_to_host").tlp(tlp),
            Kind::ToDevice(tlp) => new("tlp_to_device").tlp(tlp),
            Kind::Dropped {
                requester,
                address,
                why,
            } => new("write_dropped")
                .with("rid", *requester)
                .with("address", hex(address))
                .with("why", dropped(*why)),
            Kind::Answered { answer, freshness } => new("interrupt_answered").answer(answer, *freshness),
            Kind::Translated {
                request,
                outcome,
                freshness,
            } => new("memory_answered")
                .translation(request, outcome)
                .with_some("freshness", freshness.map(in_words)),
            Kind::Stepped(step) => step_of(step, new),
            Kind::PowerCycled => new("power_cycled"),
            Kind::OwnInterrupt { about, reached } => {
                let record = new("own_interrupt_ended").with("about", own_interrupt(*about));
                match reached {
                    Ok(cpus) => record.with("cpus", cpus.clone()),
                    Err(loss) => record.with("reason", loss.to_string()),
                }
            }
            Kind::Ended { request, ending } => new("interrupt_ended").interrupt(request).ending(ending),
            Kind::Taken { vector, handled } => new("interrupt_taken")
                .with("vector", *vector)
                .with("handled", *handled),
            Kind::EndOfInterrupt { vector } => new("end_of_interrupt").with("vector", *vector),
            Kind::RegisterWritten { offset, size, value } => new("register_written")
                .with("offset", hex(offset))
                .with("size", *size as u64)
                .with("value", hex(value)),
            Kind::Lock { lock, step } => {
                let lock = lock.to_string();
                match *step {
                    LockStep::Contended => new("lock_contended").with("lock", lock),
                    LockStep::Taken { interrupts_off } => new("lock_taken")
                        .with("lock", lock)
                        .with("interrupts_off", interrupts_off),
                    LockStep::Released => new("lock_released").with("lock", lock),
                }
            }
            Kind::CallBegan(name) => new("call_began").with("call", *name),
            Kind::CallEnded(name) => new("call_ended").with("call", *name),
            Kind::Queued(command) => new("command_queued").command(command),
            Kind::QueuedElsewhere {
                command,
                function,
                table,
            } => new("command_queued_elsewhere")
                .command(command)
                .with("function", *function)
                .with("table", *table),
            Kind::DteWritten { device, raw } => new("dte_written")
                .with("rid", *device)
                .with("raw", raw.map(hex).to_vec()),
            Kind::UsedAfterRelease {
                function,
                device,
                released_at,
                released_on,
            } => new("used_after_release")
                .with("rid", *device)
                .with("function", *function)
                .with("released_at_ps", released_at.as_ps())
                .with("released_on", *released_on),
            Kind::NullDereference {
                function,
                table,
                device,
                lock,
            } => new("null_dereferenced")
                .with("rid", *device)
                .with("function", *function)
                .with("table", *table)
                .with("lock", lock.to_string()),
            Kind::IrteWritten {
                device,
                index,
                raw,
                format,
            } => new("irte_written")
                .with("rid", *device)
                .with("index", *index)
                .with("bits", format.bytes() * 8)
                .with("raw", hex(raw)),
            Kind::KernelLog(line) => new("kernel_log").with("line", line.as_str()),
            Kind::ScenarioStep(step) => new("scenario_step").with("step", step.as_str()),
        }
    }

    fn interrupt(self, request: &InterruptRequest) -> Self {
        self.with("rid", request.requester)
            .with("address", hex(request.address))
            .with("data", hex(request.data))
    }

    fn tlp(self, tlp: &Tlp) -> Self {
        let record = self
            .with("type", tlp.name())
            .with("rid", tlp.requester())
            .with("tag", tlp.tag());
        let record = match &tlp.body {
            Body::MemRead(read) => record
                .with("address", hex(read.address))
                .with("length_dw", read.length),
            Body::MemWrite(write) => record.with("address", hex(write.address)),
            Body::ConfigRead(read) => record
                .with("target", read.target)
                .with("register", hex(read.register)),
            Body::ConfigWrite(write) => record
                .with("target", write.target)
                .with("register", hex(write.register)),
            Body::Completion(completion) => record
                .with("completer", completion.completer)
                .with("status", completion.status.name()),
            Body::Message(message) => record.with("code", message.code).with("routing", message.routing),
        };
        let data: String = tlp.data().iter().map(|byte| format!("{byte:02x}")).collect();
        record
            .with_some("data", (!data.is_empty()).then_some(data))
            .with_some("poisoned", tlp.attributes.poisoned.then_some(true))
    }

    fn answer(self, answer: &Answer, freshness: Option<Freshness>) -> Self {
        let record = self.interrupt(&answer.request);
        let record = match &answer.outcome {
            Outcome::Forwarded { .. } => record.with("outcome", "forwarded"),
            Outcome::Remapped(to) => record
                .with("outcome", "remapped")
                .with("destination", to.destination())
                .with("vector", to.vector())
                .with("index", to.index()),
            Outcome::Posted(to) => record
                .with("outcome", "posted")
                .with("backing_page", hex(to.backing_page))
                .with("vector", to.vector)
                .with("index", to.index),
            Outcome::Blocked { reason, .. } => record
                .with("outcome", "blocked")
                .with("reason", reason.to_string()),
        };
        record
            .with_some("dte", answer.dte.map(from))
            .with_some("irte", answer.irte.map(from))
            .with_some("freshness", freshness.map(in_words))
    }

    fn translation(self, request: &MemoryRequest, outcome: &TranslationOutcome) -> Self {
        let record = self
            .with("rid", request.requester)
            .with("address", hex(request.address))
            .with("access", format!("{:?}", request.access).to_lowercase());
        match outcome {
            TranslationOutcome::Forwarded => record.with("outcome", "forwarded"),
            TranslationOutcome::Translated(to) => {
                record.with("outcome", "translated").with("to", hex(to.address))
            }
            TranslationOutcome::Refused { reason, .. } => record
                .with("outcome", "refused")
                .with("reason", reason.to_string()),
        }
    }

    fn command(self, command: &Command) -> Self {
        let record = self.with("command", command.name());
        match command {
            Command::InvalidateDevtabEntry(id) | Command::InvalidateInterruptTable(id) => {
                record.with("rid", *id)
            }
            Command::InvalidateIommuPages { domain, .. } => record.with("domain", *domain),
            Command::InvalidateIotlbPages { device, .. }
            | Command::PrefetchIommuPages { device, .. }
            | Command::CompletePprRequest { device, .. } => record.with("rid", *device),
            Command::CompletionWait { store, data, .. } => record
                .with_some("store", store.map(hex))
                .with_some("value", store.map(|_| hex(data))),
            Command::InvalidateIommuAll => record,
        }
    }

    fn ending(self, ending: &Ending) -> Self {
        let named = |name| self.with("ending", name);
        match *ending {
            Ending::Delivered { cpu, vector } => named("delivered").with("cpu", cpu).with("vector", vector),
            Ending::Misrouted { cpu, vector } => named("misrouted").with("cpu", cpu).with("vector", vector),
            Ending::Spurious { cpu, vector } => named("spurious").with("cpu", cpu).with("vector", vector),
            Ending::Special { cpu, mode } => named("special")
                .with("cpu", cpu)
                .with("mode", format!("{mode:?}").to_lowercase()),
            Ending::Blocked => named("blocked"),
            Ending::Lost(loss) => named("lost").with("reason", loss.to_string()),
        }
    }

    /// An event that the IOMMU reports.
    fn about(self, event: &IommuEvent) -> Self {
        self.with("name", event.name()).with_some("rid", event.device())
    }
}

fn step_of(step: &Step, new: impl FnOnce(&'static str) -> Record) -> Record {
    match step {
        Step::CommandExecuted {
            offset,
            command,
            retired,
        } => new("command_executed")
            .command(command)
            .with("ring_offset", *offset)
            .with("retired", *retired),
        Step::CommandRetired { offset, command } => new("command_retired")
            .command(command)
            .with("ring_offset", *offset),
        Step::Waiting { offset, command } => new("completion_waits")
            .command(command)
            .with("ring_offset", *offset),
        Step::CompletionStored { offset, command, .. } => new("completion_stored")
            .command(command)
            .with("ring_offset", *offset),
        Step::Halted { offset, reason, .. } => new("commands_halted")
            .with("ring_offset", *offset)
            .with("reason", reason.to_string()),
        Step::EventWritten { event, offset } => new("event_logged").about(event).with("log_offset", *offset),
        Step::EventDropped { event, reason } => new("event_dropped")
            .about(event)
            .with("reason", reason.to_string()),
        Step::PprWritten { entry, offset } => new("page_request_logged")
            .with("rid", entry.device)
            .with("log_offset", *offset),
        Step::PprDropped { entry, reason } => new("page_request_dropped")
            .with("rid", entry.device)
            .with("reason", reason.to_string()),
        Step::GaWritten { entry, offset } => new("guest_interrupt_logged")
            .with("rid", entry.device)
            .with("log_offset", *offset),
        Step::GaDropped { entry, reason } => new("guest_interrupt_dropped")
            .with("rid", entry.device)
            .with("reason", reason.to_string()),
        Step::Interrupt { source, .. } => new("own_interrupt_sent").with("about", own_interrupt(*source)),
    }
}

fn from<T>(lookup: Lookup<T>) -> &'static str {
    match lookup.from {
        LookupFrom::Hit => "hit",
        LookupFrom::Fill => "miss",
        LookupFrom::Uncached => "read",
    }
}

fn own_interrupt(about: InterruptSource) -> &'static str {
    match about {
        InterruptSource::Event => "event_log",
        InterruptSource::CompletionWait => "completion_wait",
        InterruptSource::Ppr => "ppr_log",
        InterruptSource::Ga => "ga_log",
    }
}

fn dropped(why: Dropped) -> &'static str {
    match why {
        Dropped::Poisoned => "poisoned",
        Dropped::NoInterruptMessage => "no_interrupt_message",
        Dropped::NoMemory => "no_memory",
        Dropped::Refused => "refused",
        Dropped::TranslationRequest => "translation_request",
    }
}

fn in_words(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Fresh => "fresh",
        Freshness::InFlight => "in_flight",
        Freshness::Stale => "stale",
    }
}
