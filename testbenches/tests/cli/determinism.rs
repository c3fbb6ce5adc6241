//! Results and traces are the same to the byte, however the processes are scheduled.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::command::finish;

const LINKS: [&str; 2] = ["process", "thread"];
/// A few of everything.
const SOME: &[&str] = &["--aliases", "none,switchtec:4,pci-bridge"];
/// Where every handover between the processes has to wait for a busy loop.
const FEW: &[&str] = &[
    "affinity-move",
    "free-and-reuse",
    "two-ntbs",
    "--kernel",
    "6.12",
    "--aliases",
    "switchtec:4",
];

/// Results, and every event that led to them.
struct Told {
    json: String,
    trace: Vec<u8>,
}

fn tell(args: &[&str]) -> Told {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace");
    let trace_name = trace.to_str().expect("UTF-8");
    let json = finish(&[&["run", "--format", "json", "--trace", trace_name], args].concat()).results();
    let trace = fs::read(trace).expect("a trace");
    Told { json, trace }
}

fn assert_same(told: &Told, reference: &Told) {
    assert!(!reference.trace.is_empty());
    assert!(told.json == reference.json, "other results");
    assert!(told.trace == reference.trace, "another trace");
}

/// Pins this thread, and what it starts, to the first CPU that it may use.
fn pin_to_one_core() {
    let allowed = sched_getaffinity(None).expect("known");
    let first = (0..CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu));
    let mut one = CpuSet::new();
    one.set(first.expect("a CPU"));
    sched_setaffinity(None, &one).expect("one of those allowed");
}

/// Does it while two other threads do nothing but spin.
fn beside_busy_loops<T>(action: impl FnOnce() -> T) -> T {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        // Also when the action panics.
        let _stop = Stop(&done);
        action()
    })
}

#[test]
fn every_scenario_tells_the_same_with_the_device_in_a_process_and_in_a_thread() {
    let [process, threads] = LINKS.map(|link| tell(&[SOME, &["--link", link]].concat()));
    assert_same(&threads, &process);
}

#[test]
fn twenty_runs_tell_the_same() {
    const RUN: &[&str] = &["affinity-move", "--kernel", "6.12", "--aliases", "switchtec:4"];
    let first = tell(RUN);
    for link in LINKS.into_iter().cycle().take(19) {
        assert_same(&tell(&[RUN, &["--link", link]].concat()), &first);
    }
}

#[test]
fn one_core_tells_the_same() {
    let reference = tell(SOME);
    let pinned = thread::spawn(|| {
        pin_to_one_core();
        LINKS.map(|link| tell(&[SOME, &["--link", link]].concat()))
    });
    for told in pinned.join().expect("pinned") {
        assert_same(&told, &reference);
    }
}

#[test]
fn a_busy_machine_tells_the_same() {
    let reference = tell(FEW);
    for told in beside_busy_loops(|| LINKS.map(|link| tell(&[FEW, &["--link", link]].concat()))) {
        assert_same(&told, &reference);
    }
}

#[test]
fn one_busy_core_tells_the_same() {
    let reference = tell(FEW);
    let told = thread::spawn(|| {
        pin_to_one_core();
        // The loops are started from here, so they are pinned too.
        beside_busy_loops(|| tell(FEW))
    });
    assert_same(&told.join().expect("pinned"), &reference);
}

#[test]
fn evaluating_every_cycle_tells_the_same() {
    // Two jiffies are two million cycles: no more moves than one.
    for run in [
        &["free-and-reuse", "--aliases", "func1,plx"][..],
        &["mask-and-pending", "--aliases", "none"],
        &["affinity-move", "--kernel", "6.12", "--aliases", "switchtec:4"],
    ] {
        let [told, reference] = [&["--every-cycle"][..], &[]].map(|more| tell(&[run, more].concat()));
        assert_same(&told, &reference);
    }
}

#[test]
fn waves_change_nothing() {
    const RUN: &[&str] = &["affinity-move", "--kernel", "6.12", "--aliases", "func1"];
    let directory = tempfile::tempdir().expect("a directory");
    let waves = directory.path().join("waves.fst");
    let with_waves = tell(&[RUN, &["--waves", waves.to_str().expect("UTF-8")]].concat());
    assert_same(&with_waves, &tell(RUN));
    assert!(fs::metadata(waves).expect("waves").len() > 0);
}

#[test]
fn each_of_two_ntbs_has_waves_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let waves = directory.path().join("waves.fst");
    let run = [
        "run",
        "two-ntbs",
        "--kernel",
        "7.2",
        "--aliases",
        "none",
        "--waves",
    ];
    finish(&[&run[..], &[waves.to_str().expect("UTF-8")]].concat()).results();
    for name in ["waves.fst", "waves-2.fst"] {
        let waves = fs::metadata(directory.path().join(name));
        assert!(waves.expect(name).len() > 0);
    }
}
