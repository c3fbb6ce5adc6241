//! The example works, and is what the README shows.

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_verilated-example"))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn it_counts_to_the_limit_in_a_plusarg() {
    let output = run(&["+limit=5"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "limit of 5 reached\ncounted 5 in 24000 ps\n"
    );
    assert!(output.status.success());
}

#[test]
fn the_traced_build_counts_the_same_and_writes_the_trace() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("t.fst");
    let traced = run(&["+limit=5", trace.to_str().unwrap()]);
    assert_eq!(traced.stdout, run(&["+limit=5"]).stdout);
    assert!(trace.metadata().unwrap().len() > 0);
}

#[test]
fn the_readmes_code_is_the_examples() {
    let readme = include_str!("../../README.md");
    let files = [
        include_str!("../build.rs"),
        include_str!("../src/main.rs"),
        include_str!("../sv/counter.sv"),
    ];
    let blocks: Vec<&str> = readme
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| {
            block
                .strip_prefix("rust\n")
                .or(block.strip_prefix("systemverilog\n"))
        })
        .collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        assert!(
            files.iter().any(|file| file.contains(block)),
            "not in the example:\n{block}"
        );
    }
}
