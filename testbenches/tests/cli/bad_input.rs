//! Bad usage: status 2, and one message that names what is wrong.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use crate::command::{Ended, command, finish};

/// A run and no more.
const ONE: [&str; 6] = ["run", "no-alias", "--kernel", "7.2", "--aliases", "none"];

fn assert_refused(args: &[&str], words: &[&str]) {
    let complaint = finish(args).complaint(2);
    for word in words {
        assert!(complaint.contains(word), "{args:?}: no {word:?} in {complaint:?}");
    }
}

#[test]
fn a_wrong_name_is_answered_with_the_nearest_one() {
    for (wrong, near) in [
        (&["affinity-mov"][..], "'affinity-move'"),
        (&["free-reuse"], "'free-and-reuse'"),
        (&["no_alias"], "'no-alias'"),
        (&["--kernel", "6.12-fix"], "`6.12+fix`"),
        (&["--kernel", "unique"], "`unique-aliases`"),
        (&["--aliases", "plxx"], "`plx`"),
        (&["--aliases", "pcibridge"], "`pci-bridge`"),
        (&["--aliases", "func2"], "`func1`"),
        (&["--aliases", "switchtech:4"], "`switchtec:4`"),
        (&["--aliases", "none,fun1"], "`func1`"),
        (&["--format", "jsn"], "'json'"),
    ] {
        assert_refused(
            &[&["run"], wrong].concat(),
            &[wrong[wrong.len() - 1].rsplit(',').next().expect("a name"), near],
        );
    }
}

#[test]
fn a_name_like_no_other_is_answered_with_all_of_them() {
    assert_refused(
        &["run", "zzz"],
        &[
            "zzz",
            "affinity-move",
            "free-and-reuse",
            "mask-and-pending",
            "no-alias",
        ],
    );
    assert_refused(&["run", "--kernel", "zzz"], &["zzz", "6.12", "7.2"]);
    assert_refused(
        &["run", "--aliases", "zzz"],
        &["zzz", "none", "func1", "switchtec:4", "plx", "pci-bridge"],
    );
}

#[test]
fn an_impossible_switchtec_table_is_answered_with_the_possible_sizes() {
    for aliases in [
        "switchtec",
        "switchtec:",
        "switchtec:0",
        "switchtec:257",
        "switchtec:-1",
        "switchtec:four",
    ] {
        assert_refused(
            &["run", "--aliases", aliases],
            &[aliases, "1 to 256 entries, such as switchtec:4"],
        );
        assert_refused(
            &["device", "--link", "/x", "--aliases", aliases],
            &[aliases, "1 to 256"],
        );
    }
}

#[test]
fn a_mistake_in_a_topology_file_is_told_with_file_line_and_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("mine.toml");
    fs::write(&file, "[[function]]\nid = \"41:00.0\"\nrol = \"ntb\"\n").expect("written");
    let path = file.to_str().expect("UTF-8");
    let mistake = format!("{path}:3: `function[0].rol`: unknown field `rol`");
    for command in [&["run"][..], &["device", "--link", "/x"]] {
        assert_refused(&[command, &["--aliases", path]].concat(), &[&mistake]);
    }
    assert_refused(
        &["run", "--aliases", "missing.toml"],
        &["can't read missing.toml: No such file or directory"],
    );
}

#[test]
fn impossible_numbers_are_answered_with_the_possible_ones() {
    assert_refused(&["run", "--irte", "64"], &["64", "32, 128"]);
    for seed in ["x", "-1", "18446744073709551616", ""] {
        assert_refused(&["run", "--seed", seed], &["--seed", "0 to 18446744073709551615"]);
    }
}

#[test]
fn a_parameter_out_of_its_range_is_answered_with_scenario_name_and_range() {
    for value in ["4", "-1", "x", ""] {
        assert_refused(
            &["run", "affinity-move", "--param", &format!("to={value}")],
            &[
                "scenario affinity-move: to is a number from 0 to 3",
                &format!("`{value}`"),
            ],
        );
    }
    assert_refused(
        &["run", "affinity-move", "no-alias", "--param", "two=1"],
        &["`two`", "affinity-move has to, jiffies"],
    );
    assert_refused(
        &["run", "no-alias", "--param", "to=1"],
        &["`to`", "they have none"],
    );
    assert_refused(
        &["run", "affinity-move", "--param", "to"],
        &["`to` is not NAME=VALUE"],
    );
}

#[test]
fn impossible_steps_are_answered_with_the_possible_ones() {
    assert_refused(
        &[&ONE[..], &["--steps", "7"]].concat(),
        &["no-alias has no step 7", "1 to 6"],
    );
    assert_refused(&[&ONE[..], &["--steps", "0"]].concat(), &["no step 0"]);
    assert_refused(&[&ONE[..], &["--steps", "1,x"]].concat(), &["--steps", "'x'"]);
    assert_refused(
        &[&ONE[..], &["--steps", "2,3"]].concat(),
        &["there is not an interrupt of the NTB: the step that sees to it is left out"],
    );
    assert_refused(&["run", "--steps", "1"], &["--steps is for one scenario"]);
    assert_refused(&["run", "--steps", "1-3"], &["1,3,4", "`list SCENARIO`"]);
    // Once, and not for each seed.
    for (steps, why) in [("2,3", "there is not an interrupt"), ("7", "has no step 7")] {
        assert_refused(
            &[&ONE[..], &["--steps", steps, "--seeds", "0..100"]].concat(),
            &[why],
        );
    }
}

#[test]
fn impossible_seed_ranges_are_refused() {
    for seeds in [
        "",
        "7",
        "7..",
        "..7",
        "7..7",
        "8..7",
        "a..b",
        "0..18446744073709551616",
    ] {
        assert_refused(&["run", "--seeds", seeds], &["--seeds", "such as 0..1000"]);
    }
    assert_refused(&["run", "--seeds", "0..4", "--seed", "1"], &["--seeds", "--seed"]);
}

#[test]
fn a_lock_limit_without_a_unit_is_answered_with_the_units() {
    for limit in ["", "200", "1.5ms", "-1us"] {
        let flag = format!("--lock-limit={limit}");
        assert_refused(
            &["run", &flag],
            &["--lock-limit", "ns, us, ms or s, such as 200us"],
        );
    }
}

#[test]
fn what_is_for_single_runs_is_refused_for_all_of_them() {
    assert_refused(&["run", "--all", "no-alias"], &["--all", "SCENARIO"]);
    assert_refused(
        &["run", "--all", "--seed", "1,2"],
        &["--all is for one --seed", "--seeds A..B"],
    );
    for many in [&["--all"][..], &["--seeds", "0..4"]] {
        for flag in ["--trace", "--waves"] {
            assert_refused(
                &[&["run"], many, &[flag, "/x"]].concat(),
                &[flag, "neither for --all nor for --seeds"],
            );
        }
        assert_refused(
            &[&["run"], many, &["--link", "/x"]].concat(),
            &["--link PATH is for one run"],
        );
    }
}

#[test]
fn a_link_that_is_no_path_is_answered_with_the_possible_ones() {
    assert_refused(
        &["run", "--link", "proces"],
        &["proces", "process, thread, or a path with a /"],
    );
}

#[test]
fn an_unknown_command_or_flag_is_refused() {
    assert_refused(&["rum"], &["rum", "'run'"]);
    assert_refused(&["run", "--kernels", "7.2"], &["--kernels", "'--kernel'"]);
    assert_refused(&["device"], &["--link <PATH>"]);
}

#[test]
fn what_is_for_one_run_is_refused_for_several() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    let file = file.to_str().expect("UTF-8");
    for (flag, named) in [("--waves", "--waves"), ("--link", "--link PATH")] {
        assert_refused(
            &["run", "no-alias", "--aliases", "plx", flag, file],
            &[named, "these are 2", "one --kernel"],
        );
        assert_refused(
            &[&ONE[..], &["--seed", "1,2", flag, file]].concat(),
            &[named, "these are 2", "one --seed"],
        );
    }
    assert!(!fs::exists(file).expect("known"));
}

#[test]
fn a_file_that_cannot_be_written_is_named_before_anything_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let (here, missing) = (directory.path(), directory.path().join("missing").join("file"));
    for flag in ["--trace", "--waves"] {
        for (path, why) in [(&*missing, "No such file or directory"), (here, "Is a directory")] {
            let path = path.to_str().expect("UTF-8");
            assert_refused(
                &[&ONE[..], &[flag, path]].concat(),
                &[&format!("can't write {path}: {why}")],
            );
        }
    }
}

#[test]
fn two_flags_that_name_one_file_are_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    let (file, topology) = (path("file"), path("mine.toml"));
    fs::write(&topology, include_str!("../../topologies/none.toml")).expect("written");
    let written = fs::read(&topology).expect("read");
    let again = path("./file");
    for (args, flags) in [
        (["--trace", &file, "--waves", &file], ["--trace", "--waves"]),
        (["--trace", &file, "--waves", &again], ["--trace", "--waves"]),
        (["--link", &file, "--trace", &again], ["--link", "--trace"]),
        (
            ["--aliases", &topology, "--trace", &topology],
            ["--aliases", "--trace"],
        ),
    ] {
        let refused = format!("{} and {} are the same file: {}", flags[0], flags[1], args[3]);
        let one = ["run", "no-alias", "--kernel", "7.2"];
        let aliases = ["--aliases", "none"];
        let aliases: &[&str] = if args[0] == "--aliases" { &[] } else { &aliases };
        assert_refused(&[&one[..], aliases, &args].concat(), &[&refused]);
    }
    let device = ["device", "--link", &file, "--waves", &file];
    assert_refused(&device, &["--link and --waves are the same file"]);
    // Waves of the second NTB.
    let two = ["run", "two-ntbs", "--kernel", "7.2", "--aliases", "none"];
    let (waves, second) = (path("waves.fst"), path("waves-2.fst"));
    let refused = format!("--trace and --waves are the same file: {second}");
    assert_refused(
        &[&two[..], &["--waves", &waves, "--trace", &second]].concat(),
        &[&refused],
    );
    assert!(!fs::exists(&file).expect("known"));
    assert_eq!(fs::read(&topology).expect("read"), written);
}

#[test]
fn links_to_one_file_are_one_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, link) = (directory.path().join("file"), directory.path().join("link"));
    fs::write(&file, "of somebody").expect("written");
    std::os::unix::fs::symlink(&file, &link).expect("linked");
    let [file, link] = [&file, &link].map(|path| path.to_str().expect("UTF-8"));
    assert_refused(
        &[&ONE[..], &["--trace", file, "--waves", link]].concat(),
        &["--trace and --waves are the same file"],
    );
    assert_eq!(fs::read(file).expect("read"), b"of somebody");
}

#[test]
fn a_trace_in_the_midst_of_the_results_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("results");
    let results = fs::File::create(&path).expect("created");
    let run = [&ONE[..], &["--trace", path.to_str().expect("UTF-8")]].concat();
    let output = command(&run).stdout(results).stderr(Stdio::piped()).output();
    let complaint = Ended::from(output.expect("the command starts")).complaint(2);
    assert!(
        complaint.contains("standard output and --trace are the same file"),
        "{complaint}"
    );
}

#[test]
fn waves_replace_nothing_but_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).expect("bound");
    let path = socket.to_str().expect("UTF-8");
    assert_refused(
        &[&ONE[..], &["--waves", path]].concat(),
        &[&format!("can't write {path}: it is there and no regular file")],
    );
    let kind = fs::metadata(&socket).expect("still there").file_type();
    assert!(kind.is_socket());
}
