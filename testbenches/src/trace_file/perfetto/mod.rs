//! A run as Perfetto's viewer shows it: a process with a track for each part of the machine.
//!
//! The messages are few and hand-declared, for prost to encode. Crates with all of Perfetto's run a protobuf compiler
//! over them in the build, and those that write traces draw their identifiers at random. Nothing is interned.

mod lanes;
mod plan;
mod proto;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Write};

use host_model::iommu::Step;
use host_model::trace::{Event, Kind, LockStep, Source};
use sim_bridge::SimTime;

use self::plan::{Flows, Plan, Slice, Track};
use self::proto::{DebugAnnotation, ProcessDescriptor, TracePacket, TrackDescriptor, TrackEvent, Type};
use super::record::{Record, Value, source};
use super::text::text;
use super::{Run, finding_time};
use crate::view;

/// Writes a run, the `number`th of its file, counted from 1.
pub(super) fn write(out: &mut impl Write, number: u32, run: &Run) -> io::Result<()> {
    let plan = plan::plan(run.events, run.hardware, first_id(number) + 1);
    let mut writer = Writer {
        out,
        number,
        tracks: BTreeMap::new(),
    };
    writer.describe(run.name, &plan)?;
    writer.instant(
        Track::Scenario,
        SimTime::ZERO,
        Told::new("run", Record::run_began(run.spec, run.hardware)),
    )?;
    writer.events(run.events, &plan)?;
    for finding in run.findings {
        let told = Told::new("checker", Record::finding(finding));
        writer.instant(Track::Findings, finding_time(finding, run.events), told)?;
    }
    let told = Told::new("run", Record::run_ended(run.result));
    writer.instant(Track::Findings, plan.end, told)
}

/// Identifiers of tracks and flows are those of the run and no other's.
fn first_id(number: u32) -> u64 {
    u64::from(number) << 32
}

struct Writer<'a, W> {
    out: &'a mut W,
    number: u32,
    /// By track and lane.
    tracks: BTreeMap<(Track, usize), u64>,
}

/// What is said of an event on a track.
#[derive(Default)]
struct Told {
    category: Option<String>,
    name: Option<String>,
    record: Option<Record>,
    flows: Flows,
}

impl Told {
    /// By the record's own words.
    fn new(category: &str, record: Record) -> Self {
        Self {
            category: Some(category.to_owned()),
            name: Some(record.text.clone()),
            record: Some(record),
            flows: Flows::default(),
        }
    }
}

impl<W: Write> Writer<'_, W> {
    /// The process, and its tracks.
    fn describe(&mut self, name: &str, plan: &Plan) -> io::Result<()> {
        let process = first_id(self.number);
        let descriptor = TrackDescriptor {
            uuid: Some(process),
            process: Some(ProcessDescriptor {
                pid: i32::try_from(self.number).ok(),
                process_name: Some(name.to_owned()),
            }),
            child_ordering: Some(proto::EXPLICIT),
            ..TrackDescriptor::default()
        };
        self.packet(TracePacket {
            sequence_flags: Some(proto::SEQ_INCREMENTAL_STATE_CLEARED),
            track_descriptor: Some(descriptor),
            ..TracePacket::default()
        })?;
        for (uuid, (rank, &(track, lane))) in (process + 1..).zip((0..).zip(&plan.tracks)) {
            self.tracks.insert((track, lane), uuid);
            let descriptor = TrackDescriptor {
                uuid: Some(uuid),
                name: Some(track.to_string()),
                parent_uuid: Some(process),
                sibling_order_rank: Some(rank),
                ..TrackDescriptor::default()
            };
            self.packet(TracePacket {
                track_descriptor: Some(descriptor),
                ..TracePacket::default()
            })?;
        }
        Ok(())
    }

    /// Each event once: with the beginning or the end of a slice, or as an instant.
    fn events(&mut self, events: &[Event], plan: &Plan) -> io::Result<()> {
        let (mut slices, mut ends) = (plan.slices.iter().peekable(), plan.ends.iter().peekable());
        for (n, event) in events.iter().enumerate() {
            let mut record = (!plan.shown[n]).then(|| Record::of(event));
            while let Some(&(_, slice)) = ends.next_if(|(closed, _)| *closed == n) {
                self.end(&plan.slices[slice], record.take())?;
            }
            if let Some(record) = record {
                let told = Told {
                    flows: plan.flows.get(&n).cloned().unwrap_or_default(),
                    ..Told::new(&source(event.source), record)
                };
                self.instant(Track::of(event), event.time, told)?;
            }
            while let Some(slice) = slices.next_if(|slice| slice.opened == n) {
                self.begin(slice, &events[slice.event])?;
                if slice.closed == n {
                    self.end(slice, None)?;
                }
            }
        }
        for &(_, slice) in ends {
            self.end(&plan.slices[slice], None)?;
        }
        Ok(())
    }

    fn begin(&mut self, slice: &Slice, event: &Event) -> io::Result<()> {
        let told = Told {
            category: Some(source(event.source)),
            name: Some(name(event)),
            record: slice.shows_event.then(|| Record::of(event)),
            flows: slice.flows.clone(),
        };
        self.event((slice.track, slice.lane), slice.begin, Type::SliceBegin, told)
    }

    fn end(&mut self, slice: &Slice, record: Option<Record>) -> io::Result<()> {
        let told = Told {
            record,
            ..Told::default()
        };
        self.event((slice.track, slice.lane), slice.end, Type::SliceEnd, told)
    }

    fn instant(&mut self, track: Track, time: SimTime, told: Told) -> io::Result<()> {
        self.event((track, 0), time, Type::Instant, told)
    }

    fn event(&mut self, on: (Track, usize), time: SimTime, r#type: Type, told: Told) -> io::Result<()> {
        let event = TrackEvent {
            debug_annotations: told.record.map(annotations).unwrap_or_default(),
            r#type: Some(r#type.into()),
            track_uuid: self.tracks.get(&on).copied(),
            categories: told.category.into_iter().collect(),
            name: told.name,
            flow_ids: told.flows.through,
            terminating_flow_ids: told.flows.ending,
        };
        self.packet(TracePacket {
            timestamp: Some(time.as_ps() / 1000),
            track_event: Some(event),
            ..TracePacket::default()
        })
    }

    fn packet(&mut self, packet: TracePacket) -> io::Result<()> {
        let packet = TracePacket {
            trusted_packet_sequence_id: Some(self.number),
            ..packet
        };
        proto::write(self.out, &packet)
    }
}

/// What a slice is called.
fn name(event: &Event) -> String {
    match &event.kind {
        Kind::ToHost(tlp) | Kind::ToDevice(tlp) => tlp.to_string(),
        Kind::InterruptSent(request) => format!("interrupt of {}", request.requester),
        Kind::Stepped(
            Step::CommandExecuted { command, .. }
            | Step::Waiting { command, .. }
            | Step::CompletionStored { command, .. },
        ) => view::command(command),
        Kind::Taken { vector, .. } => format!("vector {vector:#04x}"),
        Kind::CallBegan(name) => (*name).to_owned(),
        Kind::ScenarioStep(step) => step.clone(),
        Kind::Lock { step, .. } => {
            let cpu = match event.source {
                Source::Cpu(cpu) => format!("CPU {cpu}"),
                other => source(other),
            };
            match step {
                LockStep::Contended => format!("{cpu} spins"),
                LockStep::Taken { .. } | LockStep::Released => format!("{cpu} has it"),
            }
        }
        other => text(other),
    }
}

/// The event's name and fields, as in JSON lines.
fn annotations(record: Record) -> Vec<DebugAnnotation> {
    let named = |name: &str, value| DebugAnnotation {
        name: Some(name.to_owned()),
        ..annotation(value)
    };
    let fields = record.fields.into_iter();
    [named("event", record.event.into())]
        .into_iter()
        .chain(fields.map(|(name, value)| named(name, value)))
        .collect()
}

fn annotation(value: Value) -> DebugAnnotation {
    let mut annotation = DebugAnnotation::default();
    match value {
        Value::Bool(value) => annotation.bool_value = Some(value),
        Value::Number(value) => annotation.uint_value = Some(value),
        Value::Text(value) => annotation.string_value = Some(value),
        Value::List(values) => annotation.array_values = values.into_iter().map(self::annotation).collect(),
    }
    annotation
}
