//! `--trace`: files, and the lines of JSON in them. `perfetto` is about those for Perfetto.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::command::{Ended, LONG, Running, children_of, command, finish, has_mapped, until};

/// Two runs.
const TWO: &[&str] = &["run", "no-alias", "--aliases", "none", "--link", "thread"];

/// Runs it with `--trace` in a directory: how it ended, and what is in the file then.
pub fn left(args: &[&str], name: &str) -> (Ended, Vec<u8>) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(name);
    let ended = finish(&[args, &["--trace", utf8(&path)]].concat());
    (ended, fs::read(path).expect("a trace"))
}

/// The trace of runs without trouble.
pub fn traced(args: &[&str], name: &str) -> Vec<u8> {
    let (ended, trace) = left(args, name);
    ended.results();
    trace
}

/// The lines of the trace of these runs.
pub fn lines(args: &[&str]) -> Vec<Value> {
    parsed(&traced(args, "trace.jsonl"))
}

/// All lines of a trace.
pub fn parsed(trace: &[u8]) -> Vec<Value> {
    let lines = trace.split_inclusive(|&byte| byte == b'\n');
    lines
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect()
}

/// A run that fails at once: its steps need what step 1 does.
pub const SENSELESS: &[&str] = &[
    "run",
    "affinity-move",
    "--kernel",
    "6.12",
    "--aliases",
    "func1",
    "--steps",
    "2,3",
];

pub fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Into a device that is always full.
fn into_full_disk(args: &[&str]) -> Ended {
    finish(&[args, &["--trace", "/dev/full"]].concat())
}

#[test]
fn a_trace_has_every_event_of_every_run_in_the_order_of_time() {
    let run = [
        "run",
        "affinity-move",
        "--kernel",
        "6.12",
        "--aliases",
        "func1,none",
        "--seed",
        "1,2",
    ];
    let events = lines(&run);
    let runs: Vec<_> = events
        .chunk_by(|a, b| a["run"] == b["run"])
        .map(|run| {
            // What the device sends is known when it arrives, what the checker says at the end.
            let here = run
                .iter()
                .filter(|event| event["source"] != "rtl" && event["source"] != "checker");
            assert!(here.is_sorted_by_key(|event| event["time_ps"].as_u64().expect("a time")));
            let of = |source| run.iter().any(|event| event["source"] == source);
            assert!(
                ["rtl", "link", "iommu", "cpu1", "driver", "scenario"]
                    .into_iter()
                    .all(of)
            );
            run[0]["run"].as_str().expect("a name")
        })
        .collect();
    assert_eq!(
        runs,
        [
            "affinity-move 6.12 func1 seed 1",
            "affinity-move 6.12 func1 seed 2",
            "affinity-move 6.12 none seed 1",
            "affinity-move 6.12 none seed 2",
        ]
    );
}

#[test]
fn a_run_begins_with_what_it_is_and_ends_with_its_verdict() {
    let run = ["run", "affinity-move", "--kernel", "6.12", "--aliases", "func1"];
    let events = lines(&[&run[..], &["--seed", "7", "--irte", "32"]].concat());
    let (first, last) = (&events[0], &events[events.len() - 1]);
    for (field, expected) in [
        ("event", "run_began".into()),
        ("scenario", "affinity-move".into()),
        ("kernel", "6.12".into()),
        ("aliases", "func1".into()),
        ("irte", 32.into()),
        ("seed", Value::from(7)),
    ] {
        assert_eq!(first[field], expected, "{field}");
    }
    for (field, expected) in [
        ("event", "run_ended".into()),
        ("verdict", "stale".into()),
        ("expected", true.into()),
        ("raised", 4.into()),
        ("stale", Value::from(1)),
    ] {
        assert_eq!(last[field], expected, "{field}");
    }
    let findings: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "finding")
        .map(|finding| (&finding["kind"], &finding["rid"]))
        .collect();
    assert_eq!(findings, [(&"stale".into(), &"41:00.1".into())]);
}

#[test]
fn a_run_that_fails_leaves_all_until_then_and_why() {
    let whole = [&SENSELESS[..6], &["--steps", "1,2,3"]].concat();
    let (_, whole) = left(&whole, "trace.jsonl");
    let whole = parsed(&whole);
    let (ended, trace) = left(SENSELESS, "trace.jsonl");
    ended.complaint(2);
    let failed = parsed(&trace);
    let (last, events) = failed.split_last().expect("lines");
    assert_eq!(
        (&last["event"], &last["error"]),
        (
            &"run_failed".into(),
            &"there is not an interrupt of the NTB: the step that sees to it is left out".into()
        )
    );
    let steps = |lines: &[Value]| {
        let steps = lines.iter().filter(|line| line["event"] == "scenario_step");
        steps.map(|line| line["step"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(steps(events), steps(&whole)[1..2]);
    // Up to the first step they are the same runs.
    let start_up = |lines: &[Value]| {
        let is_step = |line: &Value| line["event"] == "scenario_step";
        lines[1..lines.iter().position(is_step).expect("a step")].to_vec()
    };
    assert!(start_up(&failed).len() > 100);
    assert_eq!(start_up(&failed), start_up(&whole));
}

#[test]
fn a_run_whose_device_dies_leaves_all_until_then() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("trace.jsonl");
    let run = [
        "run",
        "affinity-move",
        "--kernel",
        "6.12",
        "--aliases",
        "plx",
        "--every-cycle",
    ];
    // The device may die before the run has begun.
    let lines = until(LONG, "a run that has begun", || {
        let mut host = Running::start(&mut command(&[&run[..], &["--trace", utf8(&path)]].concat()));
        let host_id = host.id();
        let device = until(LONG, "a device process", || children_of(host_id).first().copied());
        until(LONG, "the link", || {
            has_mapped(device, "memfd:ntb-link").then_some(())
        });
        let process = Pid::from_raw(device as i32).expect("a process");
        kill_process(process, Signal::KILL).expect("still there");
        host.ends_within(LONG).complaint(3);
        let lines = parsed(&fs::read(&path).expect("a trace"));
        (!lines.is_empty()).then_some(lines)
    });
    assert_eq!(lines[0]["event"], "run_began");
    let last = &lines[lines.len() - 1];
    assert_eq!(
        (&last["event"], &last["error"]),
        (
            &"run_failed".into(),
            &"the device process died: signal: 9 (SIGKILL)".into()
        )
    );
}

#[test]
fn a_trace_that_does_not_fit_on_the_disk_is_named_and_takes_no_results_with_it() {
    let results = finish(TWO).results();
    let ended = into_full_disk(TWO);
    assert_eq!(ended.status, Some(2));
    assert_eq!(
        ended.stderr,
        "error: can't write /dev/full: No space left on device (os error 28); the trace ends there\n"
    );
    assert_eq!(ended.stdout, results);
}

#[test]
fn a_trace_for_perfetto_that_does_not_fit_on_the_disk_is_named_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("full.pftrace");
    std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
    let ended = finish(&[TWO, &["--trace", utf8(&path)]].concat());
    let named = format!("error: can't write {}: No space left", path.display());
    assert_eq!(ended.status, Some(2));
    assert!(ended.stderr.starts_with(&named), "{}", ended.stderr);
}

#[test]
fn the_runs_before_a_failing_one_are_in_the_trace() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("trace.jsonl");
    // The results of the first run do not fit anywhere: the command ends there.
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut run = command(&[TWO, &["--trace", utf8(&path)]].concat());
    let ended = Ended::from(
        run.stdout(full)
            .stderr(Stdio::piped())
            .output()
            .expect("it starts"),
    );
    assert_eq!(ended.status, Some(3));
    let trace = fs::read_to_string(path).expect("a trace");
    let last = trace.lines().last().expect("a line");
    let last: Value = serde_json::from_str(last).expect("a whole line");
    assert_eq!(last["event"], "run_ended");
}
