//! Round trips over the link: an interrupt goes out, an answer comes back, both sides keeping simulated time.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use sim_bridge::link::{Link, LinkConfig, Port};
use sim_bridge::tlp::Tlp;
use sim_bridge::{RequesterId, SimTime};

/// Set for the second process: it answers on its standard input.
const ECHO: &str = "SIM_BRIDGE_BENCH_ECHO";

fn interrupt() -> Tlp {
    Tlp::mem_write(RequesterId::new(0x41, 0, 0), 0xfee0_0000, &[0x22, 0, 0, 0]).unwrap()
}

/// Sends back what comes, until the other side ends.
fn echo(mut port: Port) {
    loop {
        match port.receive() {
            Some(arrival) => port.send(arrival.at, &arrival.tlp).unwrap(),
            None if port.ended() => break,
            None => port.wait(SimTime::NEVER).unwrap(),
        }
    }
}

/// One round trip that starts at `now`; when the answer arrives.
fn round_trip(port: &mut Port, now: SimTime, tlp: &Tlp) -> SimTime {
    port.send(now, tlp).unwrap();
    loop {
        if let Some(arrival) = port.receive() {
            return arrival.at;
        }
        port.wait(SimTime::NEVER).unwrap();
    }
}

fn bench(c: &mut Criterion, name: &str, mut port: Port) {
    let mut group = c.benchmark_group("link");
    group.throughput(Throughput::Elements(1));
    let tlp = interrupt();
    let mut now = SimTime::ZERO;
    group.bench_function(name, |b| b.iter(|| now = round_trip(&mut port, now, &tlp)));
    group.finish();
    port.end(now).unwrap();
}

/// What the rings cost when nobody waits: a TLP sent and taken by the same thread.
fn one_thread(c: &mut Criterion) {
    let (mut host, mut device) = Port::pair(&LinkConfig::new("host"), &LinkConfig::new("device")).unwrap();
    let tlp = interrupt();
    let mut now = SimTime::ZERO;
    c.bench_function("link/send and receive, one thread", |b| {
        b.iter(|| {
            now += SimTime::from_ps(1);
            host.send(now, &tlp).unwrap();
            device.promise(SimTime::NEVER).unwrap();
            device.receive().unwrap()
        });
    });
}

fn threads(c: &mut Criterion) {
    let (host, device) = Port::pair(&LinkConfig::new("host"), &LinkConfig::new("device")).unwrap();
    let other = thread::spawn(move || echo(device));
    bench(c, "round trip, two threads", host);
    other.join().unwrap();
}

fn processes(c: &mut Criterion) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(ECHO, "1")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    bench(
        c,
        "round trip, two processes",
        Port::offer(&ours, &LinkConfig::new("host")).unwrap(),
    );
    assert!(child.wait().unwrap().success());
}

fn main() {
    if std::env::var_os(ECHO).is_some() {
        let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
        echo(Port::accept(&stream, &LinkConfig::new("device")).unwrap());
        return;
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    one_thread(&mut criterion);
    threads(&mut criterion);
    processes(&mut criterion);
    criterion.final_summary();
}
