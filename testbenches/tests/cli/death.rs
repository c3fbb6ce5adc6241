//! One of the two processes dies: the other says so and goes too, and nothing is left behind.

use std::path::Path;

use host_model::linux::Profile;
use rustix::process::{Pid, Signal, kill_process};
use testbenches::device::{DeviceOptions, LinkKind};
use testbenches::run::{Spec, run};
use testbenches::scenario::Scenario;
use testbenches::topology::Topology;

use crate::command::{
    LONG, Running, children_of, command, has_joined, has_mapped, is_running, names_in, until,
};

/// The shared memory that is handed over a socket.
const MEMFD: &str = "memfd:ntb-link";
/// Lasts as long as a test could want.
const LONG_RUN: &[&str] = &[
    "affinity-move",
    "--kernel",
    "6.12",
    "--aliases",
    "plx",
    "--every-cycle",
];

fn kill(process: u32) {
    let process = Pid::from_raw(process as i32).expect("a process");
    kill_process(process, Signal::KILL).expect("still there");
}

/// A host whose temporary files would be in `directory`, and the device process that it has started.
fn host_and_device(directory: &Path) -> (Running, u32) {
    let mut host = Running::start(
        command(&[&["run"], LONG_RUN].concat())
            .env("TMPDIR", directory)
            .current_dir(directory),
    );
    let id = host.id();
    let device = until(LONG, "a device process", || children_of(id).first().copied());
    (host, device)
}

fn assert_nothing_is_left(directory: &Path) {
    assert_eq!(names_in(directory), [""; 0]);
    let shared = names_in(Path::new("/dev/shm"));
    assert!(!shared.iter().any(|name| name.contains("ntb")), "{shared:?}");
}

#[test]
fn a_device_killed_in_mid_run_ends_the_host() {
    let directory = tempfile::tempdir().expect("a directory");
    let (host, device) = host_and_device(directory.path());
    until(LONG, "the link", || has_mapped(device, MEMFD).then_some(()));
    kill(device);
    let complaint = host.ends_within(LONG).complaint(3);
    assert_eq!(
        complaint,
        "affinity-move 6.12 plx: the device process died: signal: 9 (SIGKILL)"
    );
    assert_nothing_is_left(directory.path());
}

#[test]
fn a_device_killed_as_soon_as_it_is_there_ends_the_host() {
    let directory = tempfile::tempdir().expect("a directory");
    let (host, device) = host_and_device(directory.path());
    kill(device);
    let complaint = host.ends_within(LONG).complaint(3);
    assert_eq!(
        complaint,
        "affinity-move 6.12 plx: the device process died: signal: 9 (SIGKILL)"
    );
    assert_nothing_is_left(directory.path());
}

#[test]
fn a_host_killed_in_mid_run_takes_the_device_along() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut host, device) = host_and_device(directory.path());
    until(LONG, "the link", || has_mapped(device, MEMFD).then_some(()));
    host.child().kill().expect("still there");
    until(LONG, "the device ends", || (!is_running(device)).then_some(()));
    assert_nothing_is_left(directory.path());
}

#[test]
fn a_host_killed_before_the_handshake_leaves_no_device() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut host, device) = host_and_device(directory.path());
    host.child().kill().expect("still there");
    until(LONG, "the device ends", || (!is_running(device)).then_some(()));
    assert_nothing_is_left(directory.path());
}

#[test]
fn of_two_devices_the_one_that_was_killed_is_named_and_the_other_goes_too() {
    let run = [
        "run",
        "two-ntbs",
        "--kernel",
        "6.12",
        "--aliases",
        "plx",
        "--every-cycle",
    ];
    for (killed, ntb) in [(0, "41:00.0"), (1, "91:00.0")] {
        let mut host = Running::start(&mut command(&run));
        let id = host.id();
        let devices = until(LONG, "two device processes", || {
            let devices = children_of(id);
            (devices.len() == 2 && devices.iter().all(|&device| has_mapped(device, MEMFD))).then_some(devices)
        });
        kill(devices[killed]);
        assert_eq!(
            host.ends_within(LONG).complaint(3),
            format!("two-ntbs 6.12 plx: NTB {ntb}: the device process died: signal: 9 (SIGKILL)")
        );
        let other = devices[1 - killed];
        until(LONG, "the other ends", || (!is_running(other)).then_some(()));
    }
}

/// Through the library, with another program in the place of the device.
fn complaint_with(program: &str) -> String {
    let scenario = Scenario::named("no-alias").expect("a scenario");
    let topology: Topology = "none".parse().expect("a topology");
    let spec = Spec::new(scenario, Profile::LINUX_7_2, topology.clone());
    let options = DeviceOptions {
        topology,
        every_cycle: false,
        waves: None,
    };
    let Err(error) = run(&spec, &LinkKind::Process(program.into()), &options) else {
        panic!("{program} is no device");
    };
    error.to_string()
}

#[test]
fn a_device_that_fails_before_the_handshake_is_quoted() {
    // It takes the first argument for a script.
    let complaint = complaint_with("/bin/sh");
    assert!(
        complaint.starts_with("the device process failed: /bin/sh: "),
        "{complaint}"
    );
    assert!(complaint.contains("device"), "{complaint}");
}

#[test]
fn a_device_that_fails_without_a_word_is_told_with_its_status() {
    assert_eq!(
        complaint_with("/bin/false"),
        "the device process died: exit status: 1"
    );
}

#[test]
fn a_device_that_is_not_there_cannot_be_started() {
    let complaint = complaint_with("/missing/ntb-cosim");
    assert!(
        complaint.starts_with("can't start the device process: "),
        "{complaint}"
    );
}

/// Host and device, started apart, that have met at `link`.
fn met_at(link: &Path) -> (Running, Running) {
    let name = link.to_str().expect("UTF-8");
    let host = Running::start(&mut command(&[&["run", "--link", name], LONG_RUN].concat()));
    let device = ["device", "--link", name, "--aliases", "plx", "--every-cycle"];
    let mut device = Running::start(&mut command(&device));
    let id = device.id();
    // One that is killed earlier was never there: the host goes on to wait for another.
    until(LONG, "the link", || has_joined(id, link).then_some(()));
    (host, device)
}

#[test]
fn a_device_killed_on_a_named_link_ends_the_host_and_the_link() {
    let directory = tempfile::tempdir().expect("a directory");
    let (host, mut device) = met_at(&directory.path().join("link"));
    device.child().kill().expect("still there");
    let complaint = host.ends_within(LONG).complaint(3);
    assert_eq!(
        complaint,
        "affinity-move 6.12 plx: device died: the link broke without being ended"
    );
    assert_nothing_is_left(directory.path());
}

#[test]
fn a_host_killed_on_a_named_link_ends_the_device_and_the_link() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut host, device) = met_at(&directory.path().join("link"));
    host.child().kill().expect("still there");
    let complaint = device.ends_within(LONG).complaint(3);
    assert_eq!(complaint, "host died: the link broke without being ended");
    assert_nothing_is_left(directory.path());
}
