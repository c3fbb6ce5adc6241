//! What is printed and written, and what happens where that can't be.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::command::{Ended, LONG, Running, command, finish};

fn into_full_disk(args: &[&str]) -> Ended {
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let output = command(args).stdout(full).stderr(Stdio::piped()).output();
    Ended::from(output.expect("the command starts"))
}

#[test]
fn results_that_do_not_fit_on_the_disk_are_a_failure() {
    for args in [
        &["list"][..],
        &["run", "no-alias", "--link", "thread"],
        &["run", "no-alias", "--link", "thread", "--format", "json"],
    ] {
        let complaint = into_full_disk(args).complaint(3);
        assert!(
            complaint.starts_with("can't write the results: No space left on device"),
            "{complaint}"
        );
    }
}

#[test]
fn a_reader_that_has_enough_ends_the_command_quietly() {
    let mut running = Running::start(&mut command(&["run", "--link", "thread"]));
    let mut first = String::new();
    let stdout = running.child().stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut first).expect("read");
    assert!(first.starts_with("affinity-move"), "{first}");
    // The pipe is closed by now.
    let mut stderr = running.child().stderr.take().expect("a pipe");
    let ended = running.ends_within(LONG);
    let mut complaint = String::new();
    stderr.read_to_string(&mut complaint).expect("read");
    assert_eq!((ended.status, complaint.as_str()), (Some(0), ""));
}

#[test]
fn text_has_a_line_for_each_run_and_explains_each_finding() {
    let run = ["run", "affinity-move", "--aliases", "plx", "--link", "thread"];
    let text = finish(&run).results();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("affinity-move        6.12    plx            stale     as expected"));
    assert!(lines[1].starts_with("affinity-move        7.2     plx            coherent  as expected"));
    assert_eq!(lines[2], "2 runs: 1 coherent, 1 stale; all as expected");
    assert!(text.contains("Missing: INVALIDATE_INTERRUPT_TABLE 41:00.1-41:1f.7 (255 IDs)"));
    assert!(!text.contains('\x1b'), "colours in a pipe");
}

#[test]
fn text_tells_runs_with_other_seeds_apart() {
    let run = [
        "run",
        "no-alias",
        "--kernel",
        "7.2",
        "--aliases",
        "none",
        "--link",
        "thread",
    ];
    let text = finish(&[&run[..], &["--seed", "3,4"]].concat()).results();
    let mut lines = text.lines();
    for seed in ["seed 3", "seed 4"] {
        let line = lines.next().expect("a line for each run");
        assert!(line.contains(seed), "{line}");
    }
}
