//! `--link PATH`: host and device that are started apart.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{LONG, Running, command, finish, names_in, until};

const RUN: [&str; 6] = [
    "run",
    "affinity-move",
    "--kernel",
    "7.2",
    "--aliases",
    "switchtec:4",
];
/// What is wrong from the start is told at once; waiting for the other side takes ten seconds.
const AT_ONCE: Duration = Duration::from_secs(5);

fn link() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let link = directory.path().join("link");
    (directory, link)
}

fn host_at(link: &Path) -> Running {
    let link = link.to_str().expect("UTF-8");
    Running::start(&mut command(
        &[&RUN[..], &["--format", "json", "--link", link]].concat(),
    ))
}

fn device_at(link: &Path, aliases: &str) -> Running {
    let link = link.to_str().expect("UTF-8");
    Running::start(&mut command(&["device", "--link", link, "--aliases", aliases]))
}

#[test]
fn a_device_started_apart_gives_the_same_results() {
    let (directory, link) = link();
    let (host, device) = (host_at(&link), device_at(&link, "switchtec:4"));
    let results = host.ends_within(LONG).results();
    assert_eq!(device.ends_within(LONG).results(), "");
    assert_eq!(
        results,
        finish(&[&RUN[..], &["--format", "json"]].concat()).results()
    );
    assert_eq!(names_in(directory.path()), [""; 0]);
}

/// With two NTBs, at these links.
fn two_at(links: &[&Path]) -> Running {
    let mut args = vec!["run", "two-ntbs", "--kernel", "7.2", "--aliases", "switchtec:4"];
    args.extend(["--format", "json"]);
    for link in links {
        args.extend(["--link", link.to_str().expect("UTF-8")]);
    }
    Running::start(&mut command(&args))
}

#[test]
fn two_devices_started_apart_give_the_same_results() {
    let (directory, first) = link();
    let second = directory.path().join("second");
    let devices = [&second, &first].map(|link| device_at(link, "switchtec:4"));
    let results = two_at(&[&first, &second]).ends_within(LONG).results();
    for device in devices {
        assert_eq!(device.ends_within(LONG).results(), "");
    }
    assert_eq!(results, two_at(&[]).ends_within(LONG).results());
    assert_eq!(names_in(directory.path()), [""; 0]);
}

#[test]
fn each_ntb_needs_a_path_of_its_own() {
    let (_directory, link) = link();
    let complaint = two_at(&[&link]).ends_within(AT_ONCE).complaint(2);
    let needs = "two-ntbs 7.2 switchtec:4: needs 2 --link PATH, one for each NTB; given: 1";
    assert_eq!(complaint, needs);
    let same = two_at(&[&link, &link]).ends_within(AT_ONCE).complaint(2);
    let same_file = format!("--link and --link are the same file: {}", link.display());
    assert_eq!(same, same_file);
    let link = link.to_str().expect("UTF-8");
    let other = format!("{link}-2");
    assert_eq!(
        finish(&[&RUN[..], &["--link", link, "--link", &other]].concat()).complaint(2),
        "affinity-move 7.2 switchtec:4: needs 1 --link PATH, one for each NTB; given: 2"
    );
    assert_eq!(
        finish(&[&RUN[..], &["--link", link, "--link", "thread"]].concat()).complaint(2),
        "--link is given more than once, and not for paths only"
    );
}

#[test]
fn the_device_may_be_there_first() {
    let (_directory, link) = link();
    let device = device_at(&link, "switchtec:4");
    let host = host_at(&link);
    host.ends_within(LONG).results();
    device.ends_within(LONG).results();
}

#[test]
fn another_device_than_the_topologys_is_refused() {
    for (aliases, is) in [
        ("none", "1022:145b with 0 aliases"),
        ("plx", "10b5:87b0 with 256 aliases"),
        ("switchtec:5", "11f8:8531 with 5 aliases"),
    ] {
        let (_directory, link) = link();
        let (host, device) = (host_at(&link), device_at(&link, aliases));
        assert_eq!(
            host.ends_within(LONG).complaint(3),
            format!(
                "affinity-move 7.2 switchtec:4: the device is {is}, which is not switchtec:4: start it with \
                 `--aliases switchtec:4`"
            )
        );
        device.ends_within(LONG).results();
    }
}

#[test]
fn a_foreign_file_is_refused_by_both_sides_and_left_alone() {
    let (directory, link) = link();
    fs::write(&link, "somebody's notes").expect("written");
    let why = format!("{} is not a link: it does not start as one", link.display());
    assert_eq!(device_at(&link, "none").ends_within(AT_ONCE).complaint(3), why);
    assert_eq!(
        host_at(&link).ends_within(AT_ONCE).complaint(3),
        format!("affinity-move 7.2 switchtec:4: {why}")
    );
    assert_eq!(fs::read_to_string(&link).expect("read"), "somebody's notes");
    assert_eq!(names_in(directory.path()), ["link"]);
}

#[test]
fn a_directory_is_refused() {
    let (directory, _) = link();
    let complaint = device_at(directory.path(), "none")
        .ends_within(AT_ONCE)
        .complaint(3);
    assert_eq!(
        complaint,
        format!("{} is not a link: it is a directory", directory.path().display())
    );
}

#[test]
fn a_path_in_a_missing_directory_is_refused_at_once() {
    let (directory, _) = link();
    let link = directory.path().join("missing").join("link");
    for side in [device_at(&link, "none"), host_at(&link)] {
        let complaint = side.ends_within(AT_ONCE).complaint(3);
        assert!(complaint.contains(link.to_str().expect("UTF-8")), "{complaint}");
        assert!(complaint.contains("No such file or directory"), "{complaint}");
    }
}

#[test]
fn another_version_of_the_link_is_refused_and_both_sides_say_so() {
    let (directory, link) = link();
    let host = host_at(&link);
    until(LONG, "a link", || link.exists().then_some(()));
    // The version is the second word, in every version.
    let file = fs::File::options().write(true).open(&link).expect("opened");
    file.write_all_at(&999u64.to_ne_bytes(), 8).expect("written");
    assert_eq!(
        device_at(&link, "switchtec:4").ends_within(AT_ONCE).complaint(3),
        format!(
            "{}: the other side has version 999 of the link, this side has version 1",
            link.display()
        )
    );
    let complaint = host.ends_within(AT_ONCE).complaint(3);
    assert!(complaint.contains("the other side has version"), "{complaint}");
    assert_eq!(names_in(directory.path()), [""; 0]);
}

#[test]
fn a_link_in_use_is_refused() {
    let (_directory, link) = link();
    let _host = host_at(&link);
    until(LONG, "a link", || link.exists().then_some(()));
    let complaint = host_at(&link).ends_within(AT_ONCE).complaint(3);
    assert!(complaint.ends_with("the link is already in use"), "{complaint}");
}

#[test]
fn standard_input_that_is_no_socket_is_refused() {
    let complaint = finish(&["device", "--link", "-"]).complaint(3);
    assert!(complaint.starts_with("link over a socket: "), "{complaint}");
}
