//! Traces for Perfetto, read by its own message definitions, and compared with the JSON lines of the same runs.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::traces::{SENSELESS, left, lines, parsed, traced, utf8};

/// Runs with findings, handlers, locks that are held; the second has blocked and masked interrupts.
const RUNS: &[&str] = &[
    "run",
    "free-and-reuse",
    "mask-and-pending",
    "--kernel",
    "6.12",
    "--aliases",
    "func1",
    "--link",
    "thread",
];

/// `TracePacket`, as protobuf's JSON has it: 64-bit numbers are text.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Packet {
    trusted_packet_sequence_id: u32,
    #[serde(default)]
    sequence_flags: u32,
    timestamp: Option<String>,
    track_descriptor: Option<Descriptor>,
    track_event: Option<TrackEvent>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Descriptor {
    uuid: String,
    parent_uuid: Option<String>,
    name: Option<String>,
    process: Option<Process>,
    #[serde(rename = "child_ordering")]
    _child_ordering: Option<String>,
    sibling_order_rank: Option<i32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    pid: i32,
    process_name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrackEvent {
    r#type: String,
    track_uuid: String,
    name: Option<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    debug_annotations: Vec<Value>,
    #[serde(default)]
    flow_ids: Vec<String>,
    #[serde(default)]
    terminating_flow_ids: Vec<String>,
}

/// Name, beginning and end of each, in nanoseconds.
type Slices = Vec<(String, u64, u64)>;

/// A trace, decoded: its events in the order of time, what is simultaneous in that of the file.
struct Decoded {
    /// By identifier.
    tracks: BTreeMap<String, Descriptor>,
    events: Vec<(u64, TrackEvent)>,
}

/// The trace of runs without trouble; `None` on a machine without the definitions, unless nothing may be skipped.
fn decode(args: &[&str]) -> Option<Decoded> {
    decode_trace(&traced(args, "trace.pftrace"))
}

fn decode_trace(trace: &[u8]) -> Option<Decoded> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools");
    if !tools.join("installed").exists() {
        assert!(env::var_os("CI").is_none(), "{} is not there", tools.display());
        eprintln!("skipped: `make test-tools` installs what decodes Perfetto traces");
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("trace.pftrace");
    fs::write(&path, trace).expect("written");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/perfetto/decode.py");
    let output = Command::new(tools.join("bin/python"))
        .args([script, utf8(&path)])
        .output();
    let output = output.expect("Python starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let packets = output.stdout.split_inclusive(|&byte| byte == b'\n');
    let (mut tracks, mut events) = (BTreeMap::new(), Vec::new());
    for packet in packets {
        let packet: Packet = serde_json::from_slice(packet).expect("a packet");
        if let Some(track) = packet.track_descriptor {
            // State from before is cleared where a sequence begins.
            assert_eq!(packet.sequence_flags == 1, track.process.is_some());
            let before = tracks.insert(track.uuid.clone(), track);
            assert!(before.is_none(), "{before:?} is there twice");
        }
        if let Some(event) = packet.track_event {
            let process = tracks[&event.track_uuid]
                .parent_uuid
                .clone()
                .expect("in a process");
            let pid = tracks[&process].process.as_ref().expect("a process").pid;
            assert_eq!(packet.trusted_packet_sequence_id, pid as u32);
            let time = packet.timestamp.expect("a time").parse().expect("a number");
            events.push((time, event));
        }
    }
    events.sort_by_key(|(time, _)| *time);
    Some(Decoded { tracks, events })
}

impl TrackEvent {
    /// An annotation's value, numbers as numbers.
    fn annotation(&self, name: &str) -> Option<Value> {
        let of_name = |annotation: &&Value| annotation["name"] == name;
        let found = self.debug_annotations.iter().find(of_name)?;
        let value = found.as_object()?.iter().find(|(key, _)| *key != "name")?.1;
        match (found.get("uint_value"), value) {
            (Some(_), Value::String(number)) => number.parse::<u64>().ok().map(Value::from),
            _ => Some(value.clone()),
        }
    }

    fn event(&self) -> Option<String> {
        Some(self.annotation("event")?.as_str()?.to_owned())
    }
}

impl Decoded {
    /// The names of a run and of a track.
    fn names(&self, track: &str) -> (String, String) {
        let track = &self.tracks[track];
        let process = track.parent_uuid.as_ref().map(|process| &self.tracks[process]);
        let process = process.and_then(|process| process.process.as_ref());
        (
            process.expect("in a process").process_name.clone(),
            track.name.clone().expect("named"),
        )
    }

    /// By run and track, in the order of their ends.
    fn slices(&self) -> BTreeMap<(String, String), Slices> {
        let mut open = BTreeMap::<&str, Vec<(String, u64)>>::new();
        let mut slices = BTreeMap::<_, Vec<_>>::new();
        for (time, event) in &self.events {
            let stack = open.entry(&event.track_uuid).or_default();
            match event.r#type.as_str() {
                "TYPE_SLICE_BEGIN" => stack.push((event.name.clone().expect("a name"), *time)),
                "TYPE_SLICE_END" => {
                    let (name, begin) = stack.pop().expect("a slice that ends has begun");
                    let track = self.names(&event.track_uuid);
                    slices.entry(track).or_default().push((name, begin, *time));
                }
                other => assert_eq!(other, "TYPE_INSTANT"),
            }
        }
        let left: Vec<_> = open.into_iter().filter(|(_, stack)| !stack.is_empty()).collect();
        assert!(left.is_empty(), "{left:?} do not end");
        slices
    }
}

fn sorted(mut slices: Slices) -> Slices {
    slices.sort();
    slices
}

fn text(line: &Value, field: &str) -> String {
    line[field].as_str().expect(field).to_owned()
}

fn ns(line: &Value) -> u64 {
    line["time_ps"].as_u64().expect("a time") / 1000
}

/// Slices that the lines of a run make: each that `begins` one is followed by one that `ends` it.
fn expected(
    lines: &[Value],
    run: &str,
    begins: impl Fn(&Value) -> Option<String>,
    ends: impl Fn(&Value) -> bool,
) -> Slices {
    let mut lines = lines.iter().filter(|line| line["run"] == run);
    let mut slices = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(name) = begins(line) {
            let end = lines.clone().find(|line| ends(line)).expect("an end");
            slices.push((name, ns(line), ns(end)));
        }
    }
    sorted(slices)
}

#[test]
fn a_run_is_a_process_with_a_track_for_each_part_of_the_machine() {
    let Some(decoded) = decode(RUNS) else { return };
    let mut runs = BTreeMap::<_, Vec<_>>::new();
    for track in decoded.tracks.values().filter(|track| track.process.is_none()) {
        let (run, name) = decoded.names(&track.uuid);
        runs.entry(run)
            .or_default()
            .push((track.sibling_order_rank, name));
    }
    let runs: Vec<_> = runs
        .into_iter()
        .map(|(run, mut tracks)| {
            tracks.sort();
            let mut names: Vec<_> = tracks.into_iter().map(|(_, name)| name).collect();
            // Lanes have the same name, and follow each other.
            names.dedup();
            assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
            (run, names)
        })
        .collect();
    let names: Vec<_> = runs.iter().map(|(run, _)| run.as_str()).collect();
    assert_eq!(
        names,
        ["free-and-reuse 6.12 func1", "mask-and-pending 6.12 func1"]
    );
    let fixed = [
        "scenario",
        "findings",
        "RTL",
        "link to host",
        "link to device",
        "IOMMU requests",
        "IOMMU commands",
        "IOMMU events",
        "CPU 0",
        "CPU 1",
        "CPU 2",
        "CPU 3",
        "iommu->lock",
    ];
    for (run, names) in &runs {
        assert_eq!(names[..fixed.len()], fixed, "{run}");
        for lock in ["irq_desc->lock 24", "iommu_table_lock", "table->lock 41:00.0"] {
            assert!(
                names.iter().any(|name| name == lock),
                "{run}: {lock} in {names:?}"
            );
        }
    }
}

#[test]
fn every_line_of_the_json_trace_is_there_once() {
    let Some(decoded) = decode(RUNS) else { return };
    let mut counts = BTreeMap::<(String, String), i64>::new();
    for line in lines(RUNS) {
        *counts
            .entry((text(&line, "run"), text(&line, "event")))
            .or_default() += 1;
    }
    assert!(counts.len() > 20, "{counts:?}");
    for (_, event) in &decoded.events {
        // The viewer takes the name of an end for that of another slice.
        let is_end = event.r#type == "TYPE_SLICE_END";
        assert_eq!(
            (event.name.is_none(), event.categories.is_empty()),
            (is_end, is_end)
        );
        if let Some(name) = event.event() {
            let (run, _) = decoded.names(&event.track_uuid);
            *counts.entry((run, name)).or_default() -= 1;
        }
    }
    counts.retain(|_, count| *count != 0);
    assert_eq!(counts, BTreeMap::new());
}

#[test]
fn slices_nest_and_last_as_long_as_the_json_lines_say() {
    let Some(decoded) = decode(RUNS) else { return };
    let slices = decoded.slices();
    let lines = lines(RUNS);
    for run in ["free-and-reuse 6.12 func1", "mask-and-pending 6.12 func1"] {
        let on = |track: &str| sorted(slices[&(run.to_owned(), track.to_owned())].clone());
        let is = |line: &Value, event: &str| line["event"] == event;
        // The driver runs on CPU 0, one call at a time; no interrupt goes there.
        let calls = expected(
            &lines,
            run,
            |line| is(line, "call_began").then(|| text(line, "call")),
            |line| is(line, "call_ended"),
        );
        assert!(calls.len() > 5);
        assert_eq!(on("CPU 0"), calls, "{run}");
        let handlers = expected(
            &lines,
            run,
            |line| {
                is(line, "interrupt_taken")
                    .then(|| format!("vector {:#04x}", line["vector"].as_u64().expect("it")))
            },
            |line| is(line, "end_of_interrupt"),
        );
        let on_others = ["CPU 1", "CPU 2", "CPU 3"]
            .into_iter()
            .filter_map(|cpu| slices.get(&(run.to_owned(), cpu.to_owned())));
        assert!(!handlers.is_empty());
        assert_eq!(sorted(on_others.flatten().cloned().collect()), handlers, "{run}");
        let held = expected(
            &lines,
            run,
            |line| {
                (is(line, "lock_taken") && line["lock"] == "iommu->lock").then(|| "CPU 0 has it".to_owned())
            },
            |line| is(line, "lock_released") && line["lock"] == "iommu->lock",
        );
        assert!(held.len() > 5);
        assert_eq!(on("iommu->lock"), held, "{run}");
        for (event, track, before, after) in [
            ("tlp_to_host", "link to host", 500, 0),
            ("tlp_to_device", "link to device", 0, 500),
        ] {
            let of_run = lines.iter().filter(|line| line["run"] == run && is(line, event));
            let tlps = of_run.map(|line| {
                let name = text(line, "text").split_once(": ").expect("a TLP").1.to_owned();
                (name, ns(line) - before, ns(line) + after)
            });
            assert_eq!(on(track), sorted(tlps.collect()), "{run}");
        }
    }
}

#[test]
fn commands_last_from_their_fetch_to_their_retirement() {
    let Some(decoded) = decode(RUNS) else { return };
    let lines = lines(RUNS);
    for ((run, _), slices) in decoded
        .slices()
        .iter()
        .filter(|((_, track), _)| track == "IOMMU commands")
    {
        let finished = lines.iter().filter(|line| {
            line["run"] == run.as_str()
                && (line["event"] == "completion_stored"
                    || line["event"] == "command_retired"
                    || line["event"] == "command_executed" && line["retired"] == true)
        });
        let mut ends: Vec<_> = finished.map(ns).collect();
        ends.sort_unstable();
        let told: Vec<_> = slices.iter().map(|(.., end)| *end).collect();
        assert_eq!(told, ends, "{run}");
        // A step of the IOMMU's.
        assert!(slices.iter().all(|(_, begin, end)| end - begin >= 50), "{run}");
    }
}

#[test]
fn each_interrupt_flows_from_the_rtl_over_the_link_and_the_iommu_to_its_handler() {
    let Some(decoded) = decode(RUNS) else { return };
    let mut flows = BTreeMap::<&str, Vec<(String, &TrackEvent)>>::new();
    let mut ended = BTreeSet::new();
    for (_, event) in &decoded.events {
        let (_, track) = decoded.names(&event.track_uuid);
        for flow in event.flow_ids.iter().chain(&event.terminating_flow_ids) {
            assert!(!ended.contains(flow), "flow {flow} goes on after its end");
            flows.entry(flow).or_default().push((track.clone(), event));
        }
        ended.extend(&event.terminating_flow_ids);
    }
    let lines = lines(RUNS);
    let sent = lines
        .iter()
        .filter(|line| line["event"] == "interrupt_sent")
        .count();
    assert!(sent > 5);
    assert_eq!((flows.len(), ended.len()), (sent, sent));
    let mut handled = Vec::new();
    for (flow, steps) in &flows {
        let tracks: Vec<_> = steps.iter().map(|(track, _)| track.as_str()).collect();
        assert_eq!(
            tracks[..3],
            ["RTL", "link to host", "IOMMU requests"],
            "flow {flow}"
        );
        let last = steps[3..]
            .iter()
            .map(|(track, event)| (track.clone(), event.name.clone()));
        let [(track, name)] = &last.collect::<Vec<_>>()[..] else {
            panic!("flow {flow}: {tracks:?}");
        };
        handled.push((track.clone(), name.clone().expect("a name")));
    }
    let reached = lines.iter().filter(|line| line["event"] == "interrupt_ended");
    let mut reached: Vec<_> = reached
        .map(|line| match line["vector"].as_u64() {
            Some(vector) => (format!("CPU {}", line["cpu"]), format!("vector {vector:#04x}")),
            None => ("IOMMU requests".to_owned(), text(line, "text")),
        })
        .collect();
    reached.sort();
    assert!(reached.iter().any(|(_, end)| end.ends_with("blocked")));
    handled.sort();
    assert_eq!(handled, reached);
}

#[test]
fn a_run_that_fails_leaves_what_json_lines_would() {
    let [(_, json), (_, perfetto)] = ["trace.jsonl", "trace.pftrace"].map(|name| left(SENSELESS, name));
    let Some(decoded) = decode_trace(&perfetto) else {
        return;
    };
    // Each ends, also those that the failure cut off.
    assert!(decoded.slices().len() > 5);
    let mut told: Vec<_> = decoded
        .events
        .iter()
        .filter_map(|(_, event)| event.event())
        .collect();
    let mut lines: Vec<_> = parsed(&json).iter().map(|line| text(line, "event")).collect();
    assert_eq!(lines.last().map(String::as_str), Some("run_failed"));
    told.sort();
    lines.sort();
    assert_eq!(told, lines);
}

#[test]
fn a_perfetto_trace_is_the_same_to_the_byte_wherever_the_device_runs() {
    let traces = ["process", "thread"].map(|link| {
        let args = [
            "run",
            "affinity-move",
            "--aliases",
            "func1",
            "--seed",
            "5",
            "--link",
            link,
        ];
        traced(&args, "trace.pftrace")
    });
    assert!(traces[0] == traces[1]);
    assert_eq!(traces[0][0], 0x0a, "field 1 of a Trace");
}
