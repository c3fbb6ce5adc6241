//! `run --all`, `--seeds`, `--param`, `--steps`.

use serde_json::Value;

use crate::command::{command, finish};

/// What reviewers see change.
#[test]
fn the_matrix_of_everything_is_as_declared() {
    insta::assert_snapshot!(finish(&["run", "--all"]).results());
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
