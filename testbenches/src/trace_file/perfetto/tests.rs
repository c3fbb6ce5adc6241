//! Slices, lanes and flows of made-up events; the bytes.

use host_model::iommu::spec::command::Command;
use host_model::iommu::{Answer, BlockReason, InterruptRequest, Outcome, Step};
use host_model::machine::Timing;
use host_model::trace::{Ending, Event, Kind, Lock, LockStep, Source};
use sim_bridge::tlp::Tlp;
use sim_bridge::{RequesterId, SimTime};

use super::plan::{Plan, plan};
use super::proto::{self, DebugAnnotation, TracePacket, TrackDescriptor, TrackEvent, Type};
use super::*;
use crate::run::Hardware;

const NTB: RequesterId = RequesterId::new(0x41, 0, 0);
const FLUSH: Command = Command::InvalidateInterruptTable(NTB);
const WAIT: Command = Command::CompletionWait {
    store: Some(0x20_4000),
    interrupt: false,
    flush: false,
    data: 7,
};

fn at(ns: u64, source: Source, kind: Kind) -> Event {
    Event {
        time: SimTime::from_ns(ns),
        source,
        kind,
    }
}

/// Steps take 10 ns, the link 100 ns, a CPU 30 ns from the interrupt to its handler.
fn planned(events: &[Event]) -> Plan {
    let timing = Timing {
        iommu_step: SimTime::from_ns(10),
        interrupt_entry: SimTime::from_ns(30),
        ..Timing::default()
    };
    let hardware = Hardware {
        cpus: 2,
        ntbs: vec![NTB],
        link_latency: SimTime::from_ns(100),
        timing,
    };
    plan(events, &hardware, 1)
}

/// `track.lane: name begin..end`, in nanoseconds, with flows.
fn slices(events: &[Event]) -> Vec<String> {
    let plan = planned(events);
    let shown = plan.slices.iter().map(|slice| {
        let flows = [("through", &slice.flows.through), ("ends", &slice.flows.ending)];
        let flows = flows.into_iter().filter(|(_, flows)| !flows.is_empty());
        let flows: String = flows.map(|(what, flows)| format!(" {what} {flows:?}")).collect();
        format!(
            "{}.{}: {} {}..{}{flows}",
            slice.track,
            slice.lane,
            name(&events[slice.event]),
            slice.begin.as_ps() / 1000,
            slice.end.as_ps() / 1000,
        )
    });
    shown.collect()
}

fn request(data: u32) -> InterruptRequest {
    InterruptRequest {
        requester: NTB,
        address: 0xfee0_0000,
        data,
    }
}

fn write(address: u64) -> Tlp {
    Tlp::mem_write(NTB, address, &[0; 4]).expect("one DW")
}

/// Arrives at `ns`.
fn interrupt(ns: u64, data: u32) -> [Event; 2] {
    [
        at(ns, Source::Link(0), Kind::ToHost(write(0xfee0_0000))),
        at(ns - 100, Source::Rtl(0), Kind::InterruptSent(request(data))),
    ]
}

fn answered(ns: u64, data: u32) -> Event {
    let answer = Answer {
        request: request(data),
        outcome: Outcome::Blocked {
            reason: BlockReason::IntCtlAborted,
            event: None,
        },
        dte: None,
        irte: None,
    };
    let freshness = None;
    at(ns, Source::Iommu, Kind::Answered { answer, freshness })
}

fn ended(ns: u64, data: u32, ending: Ending) -> Event {
    let source = ending.cpu().map_or(Source::Iommu, Source::Cpu);
    let request = request(data);
    at(ns, source, Kind::Ended { request, ending })
}

fn delivered(ns: u64, data: u32) -> Event {
    ended(ns, data, Ending::Delivered { cpu: 1, vector: 0x21 })
}

fn handler(ns: u64, until: u64) -> [Event; 2] {
    let (vector, handled) = (0x21, true);
    [
        at(ns, Source::Cpu(1), Kind::Taken { vector, handled }),
        at(until, Source::Cpu(1), Kind::EndOfInterrupt { vector }),
    ]
}

fn call(ns: u64, name: &'static str, until: u64) -> [Event; 2] {
    [
        at(ns, Source::Driver(0), Kind::CallBegan(name)),
        at(until, Source::Driver(0), Kind::CallEnded(name)),
    ]
}

fn stepped(ns: u64, step: Step) -> Event {
    at(ns, Source::Iommu, Kind::Stepped(step))
}

fn executed(ns: u64, offset: u32, command: Command, retired: bool) -> Event {
    stepped(
        ns,
        Step::CommandExecuted {
            offset,
            command,
            retired,
        },
    )
}

#[test]
fn tlps_that_are_in_flight_at_the_same_time_have_lanes() {
    let sent = |ns| at(ns, Source::Link(0), Kind::ToDevice(write(0xe000_0000)));
    let tlp = "MWr 41:00.0 0xe0000000 [00000000]";
    assert_eq!(
        slices(&[sent(0), sent(40), sent(100), sent(130)]),
        [
            format!("link to device.0: {tlp} 0..100"),
            format!("link to device.1: {tlp} 40..140"),
            format!("link to device.0: {tlp} 100..200"),
            // The second is still on its way.
            format!("link to device.2: {tlp} 130..230"),
        ]
    );
}

/// The same events, of the second NTB.
fn of_second(events: [Event; 2]) -> [Event; 2] {
    events.map(|event| {
        let source = match event.source {
            Source::Rtl(_) => Source::Rtl(1),
            Source::Link(_) => Source::Link(1),
            other => other,
        };
        Event { source, ..event }
    })
}

#[test]
fn each_of_two_ntbs_has_tracks_of_its_own() {
    let sent = at(1030, Source::Link(1), Kind::ToDevice(write(0xe100_0000)));
    let [first, second] = [interrupt(1000, 1), of_second(interrupt(1010, 2))];
    let events = [&first[..], &second, &[sent]].concat();
    let tlp = "MWr 41:00.0 0xfee00000 [00000000]";
    assert_eq!(
        slices(&events),
        [
            format!("link to host.0: {tlp} 900..1000 through [1]"),
            "IOMMU requests.0: interrupt of 41:00.0 1000..1130 ends [1]".to_owned(),
            format!("link 2 to host.0: {tlp} 910..1010 through [2]"),
            "IOMMU requests.1: interrupt of 41:00.0 1010..1130 ends [2]".to_owned(),
            "link 2 to device.0: MWr 41:00.0 0xe1000000 [00000000] 1030..1130".to_owned(),
        ]
    );
    let tracks = planned(&events)
        .tracks
        .into_iter()
        .map(|(track, _)| track.to_string());
    let tracks: Vec<String> = tracks.filter(|track| track.contains('2')).collect();
    assert_eq!(tracks, ["RTL 2", "link 2 to host", "link 2 to device"]);
}

#[test]
fn calls_inside_calls_share_a_lane_and_calls_that_overlap_do_not() {
    let [[a, a_ended], [b, b_ended], [c, c_ended]] = [call(0, "a", 30), call(10, "b", 20), call(25, "c", 40)];
    assert_eq!(
        slices(&[a, b, b_ended, c, a_ended, c_ended]),
        ["CPU 0.0: a 0..30", "CPU 0.0: b 10..20", "CPU 0.1: c 25..40"]
    );
}

#[test]
fn of_what_begins_and_ends_at_once_the_order_of_recording_decides() {
    let [[a, a_ended], [b, b_ended], [c, c_ended]] =
        [call(10, "a", 10), call(10, "b", 10), call(10, "c", 10)];
    assert_eq!(
        slices(&[a, b, b_ended, c, a_ended, c_ended]),
        ["CPU 0.0: a 10..10", "CPU 0.0: b 10..10", "CPU 0.1: c 10..10"]
    );
}

#[test]
fn a_lock_is_spun_for_and_then_held() {
    let lock = |ns, cpu, step| {
        let lock = Lock::Iommu;
        at(ns, Source::Cpu(cpu), Kind::Lock { lock, step })
    };
    let taken = LockStep::Taken { interrupts_off: true };
    let events = [
        lock(0, 0, taken),
        lock(10, 1, LockStep::Contended),
        lock(20, 0, LockStep::Released),
        lock(20, 1, taken),
        lock(50, 1, LockStep::Released),
    ];
    assert_eq!(
        slices(&events),
        [
            "iommu->lock.0: CPU 0 has it 0..20",
            "iommu->lock.1: CPU 1 spins 10..20",
            "iommu->lock.0: CPU 1 has it 20..50",
        ]
    );
}

#[test]
fn commands_last_from_their_fetch_until_they_are_retired() {
    let stored = Step::CompletionStored {
        offset: 32,
        command: WAIT,
        address: 0x20_4000,
        data: 7,
    };
    let events = [
        executed(10, 0, FLUSH, false),
        executed(20, 16, Command::InvalidateIommuAll, true),
        stepped(
            30,
            Step::Waiting {
                offset: 32,
                command: WAIT,
            },
        ),
        stepped(
            50,
            Step::CommandRetired {
                offset: 0,
                command: FLUSH,
            },
        ),
        stepped(60, stored),
        stepped(70, stored),
    ];
    assert_eq!(
        slices(&events),
        [
            "IOMMU commands.0: INVALIDATE_INTERRUPT_TABLE 41:00.0 0..50",
            "IOMMU commands.1: INVALIDATE_IOMMU_ALL 10..20",
            "IOMMU commands.1: COMPLETION_WAIT 20..60",
            // It did not wait.
            "IOMMU commands.0: COMPLETION_WAIT 60..70",
        ]
    );
}

#[test]
fn a_wait_that_a_new_ring_forgets_ends_there() {
    let waits = Step::Waiting {
        offset: 0,
        command: WAIT,
    };
    let events = [stepped(10, waits), executed(100, 0, FLUSH, true)];
    assert_eq!(
        slices(&events),
        [
            "IOMMU commands.0: COMPLETION_WAIT 0..90",
            "IOMMU commands.0: INVALIDATE_INTERRUPT_TABLE 41:00.0 90..100",
        ]
    );
}

#[test]
fn what_does_not_end_ends_with_the_run() {
    let [began, _] = call(10, "a", 0);
    let events = [began, at(70, Source::Scenario, Kind::KernelLog(String::new()))];
    assert_eq!(slices(&events), ["CPU 0.0: a 10..70"]);
    assert_eq!(planned(&events).ends, [(2, 0)]);
}

#[test]
fn an_interrupt_flows_from_the_rtl_to_its_handler() {
    let [arrived, sent] = interrupt(200, 1);
    let [taken, done] = handler(250, 260);
    let events = [arrived, sent, answered(210, 1), delivered(220, 1), taken, done];
    assert_eq!(
        slices(&events),
        [
            "link to host.0: MWr 41:00.0 0xfee00000 [00000000] 100..200 through [1]",
            "IOMMU requests.0: interrupt of 41:00.0 200..210 through [1]",
            "CPU 1.0: vector 0x21 250..260 ends [1]",
        ]
    );
    let begins = planned(&events).flows.remove(&1).expect("at the RTL");
    assert_eq!((begins.through, begins.ending), (vec![1], vec![]));
}

#[test]
fn a_handler_serves_what_was_requested_when_the_cpu_turned_to_it() {
    let [[a, a_sent], [b, b_sent], [c, c_sent]] = [interrupt(200, 1), interrupt(200, 2), interrupt(201, 3)];
    let [[taken, done], [again, done_again]] = [handler(250, 260), handler(290, 300)];
    let events = [
        [a, a_sent, b, b_sent].to_vec(),
        vec![c, c_sent, answered(210, 1), answered(210, 2), answered(211, 3)],
        // The CPU turned to the vector at 220.
        vec![delivered(220, 1), delivered(220, 2), delivered(221, 3)],
        vec![taken, done, again, done_again],
    ]
    .concat();
    let slices = slices(&events);
    assert_eq!(
        slices[slices.len() - 2..],
        [
            "CPU 1.0: vector 0x21 250..260 ends [1, 2]",
            "CPU 1.0: vector 0x21 290..300 ends [3]",
        ]
    );
}

#[test]
fn an_interrupt_without_a_handler_flows_to_where_it_got() {
    let [blocked, blocked_sent] = interrupt(200, 1);
    let [unanswered, unanswered_sent] = interrupt(300, 2);
    let events = [
        blocked,
        blocked_sent,
        answered(210, 1),
        ended(210, 1, Ending::Blocked),
        unanswered,
        unanswered_sent,
    ];
    let mut plan = planned(&events);
    assert_eq!(plan.flows.remove(&3).expect("at its end").ending, [1]);
    let last = plan.slices.last().expect("in the IOMMU");
    assert_eq!((last.track, &last.flows.ending), (Track::IommuRequests, &vec![2]));
}

/// The bytes are what Google's protobuf for Python makes of this with Perfetto's definitions:
///
/// ```text
/// packet { trusted_packet_sequence_id: 1 sequence_flags: 1 track_descriptor { uuid: 4294967297 name: "RTL"
///     process { pid: 7 process_name: "a run" } parent_uuid: 4294967296 child_ordering: EXPLICIT
///     sibling_order_rank: 2 } }
/// packet { timestamp: 1500 trusted_packet_sequence_id: 1 track_event { type: TYPE_SLICE_BEGIN track_uuid: 4294967297
///     categories: "rtl" name: "it" flow_ids: 5 flow_ids: 6 terminating_flow_ids: 7
///     debug_annotations { name: "yes" bool_value: true } debug_annotations { name: "n" uint_value: 300 }
///     debug_annotations { name: "list" array_values { string_value: "0x1" } array_values { string_value: "0x2" } } } }
/// ```
#[test]
fn packets_are_the_bytes_that_perfetto_defines() {
    const GOLDEN: &str = "0a2750016801e20320088180808010120352544c1a0908073205612072756e288080808010580360020a5f40dc0b5001\
        5a58220710015203796573220618ac0252016e221452046c697374620532033078316205320330783248015881808080\
        10b2010372746cba01026974f9020500000000000000f902060000000000000081030700000000000000";
    let descriptor = TrackDescriptor {
        uuid: Some((1 << 32) + 1),
        name: Some("RTL".to_owned()),
        process: Some(proto::ProcessDescriptor {
            pid: Some(7),
            process_name: Some("a run".to_owned()),
        }),
        parent_uuid: Some(1 << 32),
        child_ordering: Some(proto::EXPLICIT),
        sibling_order_rank: Some(2),
    };
    let named = |name: &str| DebugAnnotation {
        name: Some(name.to_owned()),
        ..DebugAnnotation::default()
    };
    let element = |text: &str| DebugAnnotation {
        string_value: Some(text.to_owned()),
        ..DebugAnnotation::default()
    };
    let event = TrackEvent {
        debug_annotations: vec![
            DebugAnnotation {
                bool_value: Some(true),
                ..named("yes")
            },
            DebugAnnotation {
                uint_value: Some(300),
                ..named("n")
            },
            DebugAnnotation {
                array_values: vec![element("0x1"), element("0x2")],
                ..named("list")
            },
        ],
        r#type: Some(Type::SliceBegin.into()),
        track_uuid: Some((1 << 32) + 1),
        categories: vec!["rtl".to_owned()],
        name: Some("it".to_owned()),
        flow_ids: vec![5, 6],
        terminating_flow_ids: vec![7],
    };
    let common = TracePacket {
        trusted_packet_sequence_id: Some(1),
        ..TracePacket::default()
    };
    let packets = [
        TracePacket {
            sequence_flags: Some(proto::SEQ_INCREMENTAL_STATE_CLEARED),
            track_descriptor: Some(descriptor),
            ..common.clone()
        },
        TracePacket {
            timestamp: Some(1500),
            track_event: Some(event),
            ..common
        },
    ];
    let mut bytes = Vec::new();
    for packet in &packets {
        proto::write(&mut bytes, packet).expect("a Vec takes everything");
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
}
