//! `run --all`, `--seeds`, `--param`, `--steps`.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;

use host_model::linux::Profile;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::command::{Ended, LONG, Running, command, finish, until};

/// What reviewers see change.
#[test]
fn the_matrix_of_everything_is_as_declared() {
    insta::assert_snapshot!(finish(&["run", "--all"]).results());
}

/// Behind a switch; of one alias the IVRS table tells, of the other nobody.
const UNKNOWN_ALIAS: &str = r#"
[[function]]
id = "00:03.0"
kind = "root-port"
secondary = 0x10
subordinate = 0x12

[[function]]
id = "10:00.0"
kind = "upstream-port"
secondary = 0x11
subordinate = 0x12

[[function]]
id = "11:01.0"
kind = "downstream-port"
secondary = 0x12

[[function]]
id = "12:00.0"
role = "ntb"
device = "1234:5678"
aliases = ["12:00.1", "12:00.2"]

[[function]]
id = "00:02.0"
role = "neighbour"

[[ivrs]]
kind = "alias"
device = "12:00.0"
to = "12:00.1"
"#;

#[test]
fn every_scenario_declares_what_it_finds_on_topologies_of_ones_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let mine = directory.path().join("mine.toml");
    fs::write(&mine, UNKNOWN_ALIAS).expect("written");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/example.toml");
    let aliases = format!("{},{example}", mine.display());
    let told = finish(&["run", "--all", "--aliases", &aliases]).results();
    assert!(told.contains("; all as expected."), "{told}");
}

/// A Switchtec NTB behind a PCIe-to-PCI bridge: one of its table's IDs is a function's, another one its IVRS alias.
const LATE_ALIASES: &str = r#"
[[function]]
id = "00:03.0"
kind = "root-port"
secondary = 0x10
subordinate = 0x12

[[function]]
id = "10:00.0"
kind = "pcie-to-pci"
secondary = 0x11
subordinate = 0x12

[[function]]
id = "11:00.0"
role = "ntb"
device = "11f8:8536"
table = 6

[[function]]
id = "11:08.2"

[[function]]
id = "00:02.0"
role = "neighbour"

[[ivrs]]
kind = "alias"
device = "11:00.0"
to = "11:08.1"
"#;

#[test]
fn aliases_that_come_late_are_as_declared_whichever_iommu_firmware_has_for_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let mine = directory.path().join("mine.toml");
    fs::write(&mine, LATE_ALIASES).expect("written");
    let aliases = format!(
        "func1,ivrs-other-bus,switchtec:4,switchtec:256,{}",
        mine.display()
    );
    let kernels: Vec<_> = Profile::ALL.iter().map(Profile::to_string).collect();
    for (value, kind) in [(0, "oops"), (1, "stale")] {
        let run = [
            "run",
            "alias-of-no-iommu",
            "--link",
            "thread",
            "--aliases",
            &aliases,
        ];
        let (kernels, iommu) = (kernels.join(","), format!("iommu={value}"));
        let run = [&run[..], &["--kernel", &kernels, "--param", &iommu]].concat();
        let told = finish(&run).results();
        let last = told.lines().last().expect("a summary");
        assert!(
            last.contains(kind) && last.ends_with("; all as expected"),
            "{told}"
        );
    }
}

#[test]
fn the_matrix_fits_the_width_it_has() {
    let all = [
        "run",
        "--all",
        "--kernel",
        "6.12,7.2",
        "--aliases",
        "func1,switchtec:1,switchtec:2,switchtec:3",
    ];
    let told = finish(&all).results();
    assert!(told.lines().all(|line| line.len() <= 100), "{told}");
    let groups: Vec<_> = told.lines().filter(|line| line.contains("switchtec")).collect();
    assert_eq!(
        groups,
        ["                      func1  switchtec:1  switchtec:2  switchtec:3"],
        "{told}"
    );
}

#[test]
fn the_matrix_as_json_says_of_each_cell_what_was_found_and_why_that_was_expected() {
    let all = [
        "run",
        "--all",
        "--kernel",
        "6.12",
        "--aliases",
        "none,func1",
        "--format",
        "json",
    ];
    let cells: Vec<Value> = serde_json::from_str(&finish(&all).results()).expect("an array");
    assert_eq!(cells[0]["aliases"], "none");
    let cell = &cells[1];
    assert_eq!(
        (&cell["scenario"], &cell["kernel"], &cell["aliases"]),
        (&"affinity-move".into(), &"6.12".into(), &"func1".into())
    );
    assert_eq!(
        (&cell["verdict"], &cell["expected_verdict"], &cell["expected"]),
        (&"stale".into(), &"stale".into(), &true.into())
    );
    assert!(
        cell["because"]
            .as_str()
            .is_some_and(|because| because.contains("own ID only"))
    );
}

#[test]
fn the_device_in_a_process_gives_the_same_matrix() {
    let all = ["run", "--all", "--kernel", "6.12", "--aliases", "func1"];
    let [thread, process] =
        ["thread", "process"].map(|link| finish(&[&all[..], &["--link", link]].concat()).results());
    assert_eq!(thread, process);
}

#[test]
fn seeds_that_change_nothing_are_counted() {
    let run = [
        "run",
        "affinity-move",
        "no-alias",
        "--kernel",
        "7.2",
        "--aliases",
        "none,func1",
        "--seeds",
        "3..=12",
    ];
    assert_eq!(
        finish(&run).results(),
        "seeds 3..13, 4 combinations: 40 runs; all as expected\n"
    );
    let json = finish(&[&run[..], &["--format", "json"]].concat()).results();
    assert_eq!(json, "[]\n");
}

/// No lock is held for so short a time: whatever the seed, it fails.
const FAILING: &[&str] = &[
    "run",
    "affinity-move",
    "--kernel",
    "7.2",
    "--aliases",
    "func1",
    "--lock-limit",
    "1ns",
];

#[test]
fn a_search_that_is_interrupted_leaves_what_it_has_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("results");
    let results = File::create(&path).expect("created");
    // More than anybody waits for.
    let mut search = command(&[FAILING, &["--seeds", "0..1000000000"]].concat());
    let mut search = search.stdout(results).spawn().expect("it starts");
    let found = until(LONG, "a failure", || {
        let found = fs::read_to_string(&path).expect("read");
        found.contains("seed 1:").then_some(found)
    });
    let id = Pid::from_raw(search.id() as i32).expect("a process");
    kill_process(id, Signal::INT).expect("still there");
    let status = search.wait().expect("it ends");
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
    let first = "affinity-move 7.2 func1: not expected: held\n    \
        repeat: ntb-cosim run affinity-move --kernel 7.2 --aliases func1 --seed 0 --lock-limit 1ns\n    1 of 5 steps do:\n";
    assert!(found.starts_with(first), "{found}");
}

#[test]
fn a_reader_that_has_enough_ends_a_search() {
    let mut search = Running::start(&mut command(&[FAILING, &["--seeds", "0..1000000000"]].concat()));
    drop(search.child().stdout.take());
    let mut stderr = search.child().stderr.take().expect("a pipe");
    assert_eq!(search.ends_within(LONG).status, Some(0));
    let mut complaint = String::new();
    stderr.read_to_string(&mut complaint).expect("read");
    assert_eq!(complaint, "");
}

#[test]
fn failures_as_json_have_what_repeats_them() {
    let output = command(&[FAILING, &["--seeds", "3..5", "--format", "json"]].concat()).output();
    let ended = Ended::from(output.expect("it starts"));
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(1), ""));
    let failures: Vec<Value> = serde_json::from_str(&ended.stdout).expect("an array");
    let command = |failure: &Value| failure["command"].as_str().expect("a command").to_owned();
    let commands: Vec<_> = failures.iter().map(command).collect();
    assert_eq!(
        commands,
        ["3", "4"].map(|seed| format!(
            "ntb-cosim {} --seed {seed} --lock-limit 1ns",
            FAILING[..6].join(" ")
        ))
    );
    assert_eq!(failures[0]["fault"], "not expected: held");
    assert_eq!(failures[0]["steps"].as_array().map(Vec::len), Some(1));
    // The first has told it.
    assert_eq!(failures[1]["steps"], Value::Null);
}

#[test]
fn a_finding_of_another_lock_limit_is_explained_by_its_name() {
    let output = command(&[FAILING, &["--format", "json"]].concat()).output();
    let ended = Ended::from(output.expect("it starts"));
    let runs: Vec<Value> = serde_json::from_str(&ended.stdout).expect("an array");
    let id = runs[0]["findings"][0]["id"].as_str().expect("an ID");
    assert!(
        id.starts_with("affinity-move@7.2-func1,lock-limit=1ns:held:"),
        "{id}"
    );
    let told = finish(&["explain", id, "--link", "thread"]).results();
    assert!(told.contains("longer than"), "{told}");
}

#[test]
fn a_scenario_that_expects_a_long_hold_need_not_find_it_at_another_limit() {
    let run = [
        "run",
        "ring-full",
        "--kernel",
        "7.2",
        "--aliases",
        "plx",
        "--link",
        "thread",
    ];
    for (limit, verdict) in [("1ms", "held"), ("1s", "coherent")] {
        let told = finish(&[&run[..], &["--lock-limit", limit]].concat()).results();
        assert!(
            told.ends_with(&format!("1 run: 1 {verdict}; all as expected\n")),
            "{told}"
        );
    }
}

#[test]
fn a_parameter_changes_what_is_done() {
    let run = |args: &[&str]| {
        let run = [
            "run",
            "affinity-move",
            "--kernel",
            "6.12",
            "--aliases",
            "func1",
            "--link",
            "thread",
            "--format",
            "json",
        ];
        let runs: Vec<Value> =
            serde_json::from_str(&finish(&[&run[..], args].concat()).results()).expect("an array");
        runs[0]["findings"][0].clone()
    };
    assert_eq!(run(&[])["cpu_expected"], 2);
    assert_eq!(run(&["--param", "to=3"])["cpu_expected"], 3);
    assert_eq!(run(&["--param", "to=3", "--param", "to=0"])["cpu_expected"], 0);
}

#[test]
fn only_the_named_steps_run() {
    let run = [
        "run",
        "affinity-move",
        "--kernel",
        "6.12",
        "--aliases",
        "func1",
        "--link",
        "thread",
    ];
    let output = command(&[&run[..], &["--steps", "1,2,5", "--format", "json"]].concat())
        .output()
        .expect("starts");
    let runs: Vec<Value> = serde_json::from_slice(&output.stdout).expect("an array");
    // Without the move nothing is stale, and that is not what the whole scenario should find.
    assert_eq!(
        (&runs[0]["verdict"], &runs[0]["expected"]),
        (&"coherent".into(), &false.into())
    );
    assert_eq!(runs[0]["interrupts"]["delivered"], 4);
    assert_eq!(output.status.code(), Some(1));
}
