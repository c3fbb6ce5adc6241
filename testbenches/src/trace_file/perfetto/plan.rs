//! Which slices there are, on which tracks, and how interrupts flow through them: a look at all events before the
//! first is written. What is kept is small beside the events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use host_model::iommu::spec::command::Command;
use host_model::iommu::{InterruptRequest, Step};
use host_model::trace::{Ending, Event, Kind, Lock, LockStep, Source};
use sim_bridge::SimTime;

use super::lanes;
use crate::run::Hardware;
use crate::trace_file::record::numbered;

/// What has a line of its own in the viewer, in the viewer's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Track {
    Scenario,
    Findings,
    /// By the link's number, as the next two.
    Rtl(usize),
    LinkToHost(usize),
    LinkToDevice(usize),
    IommuRequests,
    IommuCommands,
    IommuEvents,
    Cpu(u32),
    Lock(Lock),
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Scenario => f.write_str("scenario"),
            Self::Findings => f.write_str("findings"),
            Self::Rtl(link) => write!(f, "RTL{}", spaced(link)),
            Self::LinkToHost(link) => write!(f, "link{} to host", spaced(link)),
            Self::LinkToDevice(link) => write!(f, "link{} to device", spaced(link)),
            Self::IommuRequests => f.write_str("IOMMU requests"),
            Self::IommuCommands => f.write_str("IOMMU commands"),
            Self::IommuEvents => f.write_str("IOMMU events"),
            Self::Cpu(cpu) => write!(f, "CPU {cpu}"),
            Self::Lock(ref lock) => lock.fmt(f),
        }
    }
}

/// The number that it has in names, if any.
fn spaced(link: usize) -> String {
    match link {
        0 => String::new(),
        link => format!(" {}", numbered(link)),
    }
}

impl Track {
    /// Where an event goes that is no slice's beginning or end.
    pub(super) fn of(event: &Event) -> Self {
        match (event.source, &event.kind) {
            (Source::Link(link), Kind::ToDevice(_)) => Self::LinkToDevice(link),
            (Source::Link(link), _) => Self::LinkToHost(link),
            (_, Kind::Answered { .. } | Kind::Translated { .. }) => Self::IommuRequests,
            (_, Kind::Stepped(step)) if is_about_commands(step) => Self::IommuCommands,
            (_, Kind::Lock { lock, .. }) => Self::Lock(*lock),
            (Source::Cpu(cpu) | Source::Driver(cpu), _) => Self::Cpu(cpu),
            (Source::Rtl(link), _) => Self::Rtl(link),
            (Source::Iommu, Kind::Ended { .. }) => Self::IommuRequests,
            (Source::Iommu, _) => Self::IommuEvents,
            (Source::Scenario, _) => Self::Scenario,
        }
    }

    /// Whether a slice may be inside another one.
    pub(super) fn nests(self) -> bool {
        matches!(self, Self::Cpu(_))
    }
}

fn is_about_commands(step: &Step) -> bool {
    matches!(
        step,
        Step::CommandExecuted { .. }
            | Step::CommandRetired { .. }
            | Step::Waiting { .. }
            | Step::CompletionStored { .. }
            | Step::Halted { .. }
    )
}

/// A slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) track: Track,
    /// Of tracks that overlap, which.
    pub(super) lane: usize,
    /// The event that it is named after.
    pub(super) event: usize,
    /// That event is shown by its beginning.
    pub(super) shows_event: bool,
    /// The event at which it is written.
    pub(super) opened: usize,
    pub(super) begin: SimTime,
    /// The event at which it ends; one past the last if it does not.
    pub(super) closed: usize,
    pub(super) end: SimTime,
    pub(super) flows: Flows,
}

/// Interrupts that go through an event or slice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Flows {
    pub(super) through: Vec<u64>,
    /// Those that end there.
    pub(super) ending: Vec<u64>,
}

/// Everything that is to be written.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In the order of writing.
    pub(super) slices: Vec<Slice>,
    /// Slices whose end is an event of its own, as (event, slice), in the order of writing.
    pub(super) ends: Vec<(usize, usize)>,
    /// By event, whether a slice's beginning shows it.
    pub(super) shown: Vec<bool>,
    /// By event.
    pub(super) flows: BTreeMap<usize, Flows>,
    /// All tracks with their lanes.
    pub(super) tracks: BTreeSet<(Track, usize)>,
    /// When the last slice or event ends.
    pub(super) end: SimTime,
}

/// Of a run's events. Flows are numbered from `first_flow` on.
pub(super) fn plan(events: &[Event], hardware: &Hardware, first_flow: u64) -> Plan {
    let mut planner = Planner {
        events,
        hardware,
        slices: Vec::new(),
        step: None,
        pending: Vec::new(),
        waiting: None,
        calls: BTreeMap::new(),
        handlers: BTreeMap::new(),
        locks: BTreeMap::new(),
        interrupts: Vec::new(),
        unanswered: VecDeque::new(),
        unended: VecDeque::new(),
        untaken: BTreeMap::new(),
    };
    for (n, event) in events.iter().enumerate() {
        planner.take(n, event);
    }
    planner.finish(first_flow)
}

type SliceId = usize;
/// By number in `Planner::interrupts`.
type InterruptId = usize;

/// How far an interrupt of the device got.
struct Interrupt {
    request: InterruptRequest,
    sent: usize,
    on_link: Option<SliceId>,
    in_iommu: SliceId,
    ended: Option<usize>,
    handler: Option<SliceId>,
}

struct Planner<'a> {
    events: &'a [Event],
    hardware: &'a Hardware,
    slices: Vec<Slice>,
    /// The scenario's.
    step: Option<SliceId>,
    /// Commands that are executed and not retired, with their offsets.
    pending: Vec<(u32, Command, SliceId)>,
    /// The COMPLETION_WAIT at the head of the ring.
    waiting: Option<(u32, Command, SliceId)>,
    /// By CPU, the innermost last.
    calls: BTreeMap<u32, Vec<(&'static str, SliceId)>>,
    /// By CPU, with the vector.
    handlers: BTreeMap<u32, (u8, SliceId)>,
    /// By lock and CPU: who waits for it or has it.
    locks: BTreeMap<(Lock, u32), SliceId>,
    interrupts: Vec<Interrupt>,
    unanswered: VecDeque<InterruptId>,
    unended: VecDeque<InterruptId>,
    /// By CPU and vector.
    untaken: BTreeMap<(u32, u8), VecDeque<InterruptId>>,
}

impl Planner<'_> {
    /// A slice that event `n` begins.
    fn open(&mut self, track: Track, n: usize, begin: SimTime) -> SliceId {
        self.slices.push(Slice {
            track,
            lane: 0,
            event: n,
            shows_event: true,
            opened: n,
            begin,
            closed: self.events.len(),
            end: SimTime::NEVER,
            flows: Flows::default(),
        });
        self.slices.len() - 1
    }

    /// Event `n` ends it.
    fn close(&mut self, slice: SliceId, n: usize) {
        self.close_at(slice, n, self.events[n].time);
    }

    fn close_at(&mut self, slice: SliceId, n: usize, end: SimTime) {
        let slice = &mut self.slices[slice];
        slice.closed = n;
        slice.end = end;
    }

    /// A slice that event `n` tells all of.
    fn whole(&mut self, track: Track, n: usize, begin: SimTime, end: SimTime) -> SliceId {
        let slice = self.open(track, n, begin);
        self.close_at(slice, n, end);
        slice
    }

    fn take(&mut self, n: usize, event: &Event) {
        let (track, time) = (Track::of(event), event.time);
        let latency = self.hardware.link_latency;
        match (&event.kind, event.source) {
            (Kind::ToHost(_), _) => {
                self.whole(track, n, time - latency, time);
            }
            (Kind::ToDevice(_), _) => {
                self.whole(track, n, time, time + latency);
            }
            (Kind::InterruptSent(request), _) => self.interrupt_sent(n, *request),
            (Kind::Answered { answer, .. }, _) => {
                if let Some(id) = oldest(&mut self.unanswered, &self.interrupts, &answer.request) {
                    self.close(self.interrupts[id].in_iommu, n);
                    self.unended.push_back(id);
                }
            }
            (Kind::Ended { request, ending }, _) => {
                if let Some(id) = oldest(&mut self.unended, &self.interrupts, request) {
                    self.interrupts[id].ended = Some(n);
                    if let Ending::Delivered { cpu, vector }
                    | Ending::Misrouted { cpu, vector }
                    | Ending::Spurious { cpu, vector } = *ending
                    {
                        self.untaken.entry((cpu, vector)).or_default().push_back(id);
                    }
                }
            }
            (Kind::Taken { vector, .. }, Source::Cpu(cpu)) => self.taken(n, cpu, *vector),
            (Kind::EndOfInterrupt { vector }, Source::Cpu(cpu)) => {
                if let Some((_, slice)) = self.handlers.remove(&cpu).filter(|(of, _)| of == vector) {
                    self.close(slice, n);
                }
            }
            (Kind::CallBegan(name), Source::Driver(cpu)) => {
                let slice = self.open(track, n, time);
                self.calls.entry(cpu).or_default().push((name, slice));
            }
            (Kind::CallEnded(name), Source::Driver(cpu)) => {
                let calls = self.calls.entry(cpu).or_default();
                if let Some(last) = calls.iter().rposition(|(of, _)| of == name) {
                    let (_, slice) = calls.remove(last);
                    self.close(slice, n);
                }
            }
            (Kind::Lock { lock, step }, Source::Cpu(cpu)) => {
                if let Some(before) = self.locks.remove(&(*lock, cpu)) {
                    self.close(before, n);
                }
                if *step != LockStep::Released {
                    let slice = self.open(track, n, time);
                    self.locks.insert((*lock, cpu), slice);
                }
            }
            (Kind::ScenarioStep(_), _) => {
                if let Some(before) = self.step {
                    self.close(before, n);
                }
                self.step = Some(self.open(track, n, time));
            }
            (Kind::Stepped(step), _) => self.stepped(n, step),
            _ => {}
        }
    }

    /// The device's sending is recorded right after the TLP has arrived. It is written first: of what is simultaneous
    /// a flow goes the way that it is written.
    fn interrupt_sent(&mut self, n: usize, request: InterruptRequest) {
        let on_link = self.slices.len().checked_sub(1).filter(|&last| {
            matches!(self.slices[last].track, Track::LinkToHost(_)) && self.slices[last].event + 1 == n
        });
        let mut arrived = self.events[n].time + self.hardware.link_latency;
        if let Some(slice) = on_link {
            self.slices[slice].opened = n;
            self.slices[slice].closed = n;
            arrived = self.slices[slice].end;
        }
        let in_iommu = self.open(Track::IommuRequests, n, arrived);
        self.slices[in_iommu].shows_event = false;
        self.unanswered.push_back(self.interrupts.len());
        self.interrupts.push(Interrupt {
            request,
            sent: n,
            on_link,
            in_iommu,
            ended: None,
            handler: None,
        });
    }

    /// The handler serves what was requested when the CPU turned to it. What came later, it does not.
    fn taken(&mut self, n: usize, cpu: u32, vector: u8) {
        let time = self.events[n].time;
        let slice = self.open(Track::Cpu(cpu), n, time);
        if let Some((_, before)) = self.handlers.insert(cpu, (vector, slice)) {
            self.close(before, n);
        }
        let acknowledged = time - self.hardware.timing.interrupt_entry;
        let untaken = self.untaken.entry((cpu, vector)).or_default();
        while let Some(&id) = untaken.front() {
            let ended = self.interrupts[id].ended.map(|n| self.events[n].time);
            if ended > Some(acknowledged) {
                break;
            }
            self.interrupts[id].handler = Some(slice);
            untaken.pop_front();
        }
    }

    /// A step takes its time before it is told of.
    fn stepped(&mut self, n: usize, step: &Step) {
        let time = self.events[n].time;
        let begin = time - self.hardware.timing.iommu_step;
        let track = Track::IommuCommands;
        match *step {
            Step::CommandRetired { offset, command } => {
                let found = self
                    .pending
                    .iter()
                    .position(|(at, of, _)| (*at, *of) == (offset, command));
                if let Some(found) = found {
                    let (_, _, slice) = self.pending.remove(found);
                    self.close(slice, n);
                }
            }
            Step::CommandExecuted {
                offset,
                command,
                retired: false,
            } => {
                self.forget_wait(n, begin);
                let slice = self.open(track, n, begin);
                self.pending.push((offset, command, slice));
            }
            Step::Waiting { offset, command } => {
                self.forget_wait(n, begin);
                let slice = self.open(track, n, begin);
                self.waiting = Some((offset, command, slice));
            }
            Step::CommandExecuted { offset, command, .. }
            | Step::CompletionStored { offset, command, .. } => self.done(n, begin, offset, Some(command)),
            Step::Halted { offset, .. } => self.done(n, begin, offset, None),
            _ => {}
        }
    }

    /// What is at this offset came to its end, which only a COMPLETION_WAIT waits for.
    fn done(&mut self, n: usize, begin: SimTime, offset: u32, command: Option<Command>) {
        match self.waiting {
            Some((at, of, slice)) if at == offset && command.is_none_or(|command| command == of) => {
                self.waiting = None;
                self.close(slice, n);
            }
            _ => {
                self.forget_wait(n, begin);
                self.whole(Track::IommuCommands, n, begin, self.events[n].time);
            }
        }
    }

    /// Another command is at the head of the ring: the ring was set up anew.
    fn forget_wait(&mut self, n: usize, begin: SimTime) {
        if let Some((_, _, slice)) = self.waiting.take() {
            self.close_at(slice, n, begin);
        }
    }

    fn finish(mut self, first_flow: u64) -> Plan {
        let times = self.events.iter().map(|event| event.time);
        let ends = self.slices.iter().map(|slice| slice.end);
        let end = times
            .chain(ends.filter(|&end| end != SimTime::NEVER))
            .max()
            .unwrap_or_default();
        for slice in &mut self.slices {
            slice.end = slice.end.min(end);
        }
        let flows = self.flows(first_flow);
        self.slices.sort_by_key(|slice| slice.opened);
        lanes::assign(&mut self.slices);
        let mut ends: Vec<_> = (0..self.slices.len())
            .filter(|&n| self.slices[n].closed != self.slices[n].opened)
            .map(|n| (self.slices[n].closed, n))
            .collect();
        // The innermost first.
        ends.sort_by_key(|&(closed, n)| (closed, std::cmp::Reverse(n)));
        let mut shown = vec![false; self.events.len()];
        for slice in self.slices.iter().filter(|slice| slice.shows_event) {
            shown[slice.event] = true;
        }
        let fixed = [
            Track::Scenario,
            Track::Findings,
            Track::IommuRequests,
            Track::IommuCommands,
            Track::IommuEvents,
        ];
        let links = 0..self.hardware.ntbs.len();
        let links = links.flat_map(|link| {
            [
                Track::Rtl(link),
                Track::LinkToHost(link),
                Track::LinkToDevice(link),
            ]
        });
        let cpus = (0..self.hardware.cpus).map(Track::Cpu);
        let seen = self.events.iter().map(Track::of);
        let mut tracks: BTreeSet<_> = fixed
            .into_iter()
            .chain(links)
            .chain(cpus)
            .chain(seen)
            .map(|track| (track, 0))
            .collect();
        tracks.extend(self.slices.iter().map(|slice| (slice.track, slice.lane)));
        Plan {
            slices: self.slices,
            ends,
            shown,
            flows,
            tracks,
            end,
        }
    }

    /// From the RTL over the link and through the IOMMU to the handler, or to where it ended without one.
    fn flows(&mut self, first: u64) -> BTreeMap<usize, Flows> {
        let mut flows = BTreeMap::<usize, Flows>::new();
        for (flow, interrupt) in (first..).zip(&self.interrupts) {
            flows.entry(interrupt.sent).or_default().through.push(flow);
            if let Some(slice) = interrupt.on_link {
                self.slices[slice].flows.through.push(flow);
            }
            let in_iommu = &mut self.slices[interrupt.in_iommu].flows;
            match (interrupt.handler, interrupt.ended) {
                (None, None) => in_iommu.ending.push(flow),
                _ => in_iommu.through.push(flow),
            }
            match (interrupt.handler, interrupt.ended) {
                (Some(slice), _) => self.slices[slice].flows.ending.push(flow),
                (None, Some(ended)) => flows.entry(ended).or_default().ending.push(flow),
                (None, None) => {}
            }
        }
        flows
    }
}

/// Takes the oldest interrupt with this request.
fn oldest(
    waiting: &mut VecDeque<InterruptId>,
    interrupts: &[Interrupt],
    request: &InterruptRequest,
) -> Option<InterruptId> {
    let found = waiting
        .iter()
        .position(|&id| interrupts[id].request == *request)?;
    waiting.remove(found)
}
