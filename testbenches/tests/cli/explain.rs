//! `explain`, and the short form of findings that `run` prints.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::command::{Ended, finish};

const CASES: [(&str, &str); 3] = [
    ("func1", "41:00.1"),
    ("plx", "41:00.1"),
    ("pci-bridge", "03:00.0"),
];

fn explain(finding: &str) -> String {
    finish(&["explain", finding, "--link", "thread"]).results()
}

/// Times depend on the RTL's pipeline.
fn without_times(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| match line.trim_start().split_once(" us  ") {
            Some((time, what)) if time.parse::<f64>().is_ok() => format!("  T us  {what}"),
            _ => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn real_findings_are_told_in_short_and_at_length() {
    for scenario in ["affinity-move", "free-and-reuse"] {
        for (aliases, id) in CASES {
            let args = ["--kernel", "6.12", "--aliases", aliases, "--link", "thread"];
            let short = finish(&[&["run", scenario], &args[..]].concat()).results();
            let finding = format!("{scenario}@6.12-{aliases}:stale:{id}:0");
            assert!(short.contains(&finding), "{short}");
            let both = format!("{short}\n{}", without_times(&explain(&finding)));
            let suffix = format!("{scenario}-{aliases}");
            insta::with_settings!({ omit_expression => true, snapshot_suffix => suffix }, {
                insta::assert_snapshot!("finding", both);
            });
        }
    }
}

#[test]
fn an_invalidation_on_no_iommu_and_one_on_another_are_told_in_short_and_at_length() {
    for (value, kind) in [(0, "oops:41:08.0"), (1, "stale:41:08.0:0")] {
        let iommu = format!("iommu={value}");
        let args = ["--kernel", "7.2", "--aliases", "switchtec:2", "--param", &iommu];
        let run = ["run", "alias-of-no-iommu", "--link", "thread"];
        let short = finish(&[&run[..], &args[..]].concat()).results();
        let finding = format!("alias-of-no-iommu@7.2-switchtec:2,{iommu}:{kind}");
        assert!(short.contains(&finding), "{short}");
        let both = format!("{short}\n{}", without_times(&explain(&finding)));
        let suffix = format!("alias-of-no-iommu-{value}");
        insta::with_settings!({ omit_expression => true, snapshot_suffix => suffix }, {
            insta::assert_snapshot!("finding", both);
        });
    }
}

#[test]
fn every_finding_that_json_has_is_explained_by_its_id() {
    let run = [
        "run",
        "affinity-move",
        "--kernel",
        "6.12",
        "--aliases",
        "switchtec:2",
        "--seed",
        "3",
        "--irte",
        "32",
        "--format",
        "json",
        "--link",
        "thread",
    ];
    let runs: Value = serde_json::from_str(&finish(&run).results()).expect("JSON");
    let findings = runs[0]["findings"].as_array().expect("an array");
    assert_eq!(findings.len(), 2);
    for finding in findings {
        let id = finding["id"].as_str().expect("an ID");
        let rid = finding["rid"].as_str().expect("a requester ID");
        assert_eq!(
            id,
            format!("affinity-move@6.12-switchtec:2,seed=3,irte=32:stale:{rid}:0")
        );
        let text = explain(id);
        assert!(text.starts_with(&format!("{id}\n")), "{text}");
        // Told first of the two, wherever the line ends.
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("only; {rid} and ")), "{text}");
        assert_eq!(finding["function"], "iommu_flush_irt_and_complete");
        assert_eq!(finding["missing"], format!("INVALIDATE_INTERRUPT_TABLE {rid}"));
        let times: Vec<_> = finding["history"]
            .as_array()
            .expect("an array")
            .iter()
            .map(|moment| moment["time_ps"].as_u64().expect("a time"))
            .collect();
        assert!(times.len() > 3 && times.is_sorted(), "{times:?}");
    }
}

#[test]
fn a_command_that_is_told_is_one_that_a_shell_takes() {
    let directory = tempfile::tempdir().expect("a directory");
    let mine = directory.path().join("my own.toml");
    fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/func1.toml"),
        &mine,
    )
    .expect("copied");
    let mine = mine.to_str().expect("UTF-8");
    let run = [
        "run",
        "affinity-move",
        "--kernel",
        "6.12",
        "--aliases",
        mine,
        "--link",
        "thread",
    ];
    let told = finish(&run).results();
    let command = told
        .lines()
        .find_map(|line| line.trim().strip_prefix("ntb-cosim "));
    let script = format!("\"$0\" {} --link thread", command.expect("a command"));
    let shell = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_ntb-cosim")])
        .output();
    let explained = Ended::from(shell.expect("a shell")).results();
    assert!(
        explained.contains("still has the old entry cached") || explained.contains("Missing:"),
        "{explained}"
    );
}

#[test]
fn what_is_no_finding_is_refused_with_what_is_wrong_with_it() {
    for (finding, words) in [
        (
            "nonsense",
            &["nonsense", "SCENARIO@KERNEL-ALIASES:KIND:SUBJECT"][..],
        ),
        (
            "affinity-move@6.12-func1",
            &["SCENARIO@KERNEL-ALIASES:KIND:SUBJECT"],
        ),
        (
            "affinity-mov@6.12-func1:stale:41:00.1:0",
            &["scenario `affinity-mov`"],
        ),
        (
            "affinity-move@6.13-func1:stale:41:00.1:0",
            &["`6.13-func1` begins with no kernel profile"],
        ),
        (
            "affinity-move@6.12-func2:stale:41:00.1:0",
            &["`6.12-func2` ends with no alias topology"],
        ),
        (
            "affinity-move@6.12-func1:mouldy:41:00.1:0",
            &["no kind of finding", "stale", "use-after-release"],
        ),
        (
            "affinity-move@6.12-func1,seed=x:stale:41:00.1:0",
            &["`seed=x` is no setting"],
        ),
        (
            "affinity-move@6.12-func1,sed=1:stale:41:00.1:0",
            &["`sed=1` is no setting"],
        ),
        (
            "affinity-move@6.12-func1:stale:41:00.2:0",
            &[
                "no finding stale:41:00.2:0",
                "there are affinity-move@6.12-func1:stale:41:00.1:0",
            ],
        ),
        (
            "affinity-move@7.2-func1:stale:41:00.1:0",
            &["affinity-move 7.2 func1 has no finding stale:41:00.1:0, and no other"],
        ),
    ] {
        let complaint = finish(&["explain", finding, "--link", "thread"]).complaint(2);
        for word in words {
            assert!(
                complaint.contains(word),
                "{finding}: no {word:?} in {complaint:?}"
            );
        }
    }
    let complaint = finish(&[
        "explain",
        "affinity-move@6.12-func1:stale:41:00.1:0",
        "--link",
        "/x/y",
    ])
    .complaint(2);
    assert!(complaint.contains("process or thread"), "{complaint}");
}
