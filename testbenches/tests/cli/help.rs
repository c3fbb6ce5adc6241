//! What a newcomer reads first, for review.

use testbenches::scenario::Scenario;

use crate::command::command;

fn printed(args: &[&str]) -> String {
    let output = command(args)
        .env("COLUMNS", "80")
        .output()
        .expect("the command starts");
    assert!(output.stderr.is_empty() && output.status.success());
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn list() {
    insta::assert_snapshot!(printed(&["list"]));
}

#[test]
fn list_of_a_scenario() {
    insta::assert_snapshot!(printed(&["list", "mask-while-moving"]));
}

#[test]
fn every_scenario_has_steps_to_list() {
    let names = Scenario::ALL.map(|scenario| scenario.name);
    let told = printed(&[&["list"], &names[..]].concat());
    assert_eq!(told.matches("Steps (--steps)").count(), names.len(), "{told}");
}

#[test]
fn help() {
    insta::assert_snapshot!(printed(&["--help"]));
}

#[test]
fn run_help() {
    insta::assert_snapshot!(printed(&["run", "--help"]));
}

#[test]
fn device_help() {
    insta::assert_snapshot!(printed(&["device", "--help"]));
}

#[test]
fn without_arguments_help_is_shown_as_bad_usage() {
    let output = command(&[])
        .env("COLUMNS", "80")
        .output()
        .expect("the command starts");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).expect("UTF-8"),
        printed(&["--help"])
    );
}
