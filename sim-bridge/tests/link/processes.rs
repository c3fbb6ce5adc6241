//! Two processes, and one of them killed. The other one is this test's own program, run again for `child` only.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sim_bridge::SimTime;
use sim_bridge::link::{Link, LinkConfig, LinkError, Port};

use crate::scripts::{NUMBERS, Spontaneous, reference, simulate, tlp};

const ROLE: &str = "SIM_BRIDGE_TEST_ROLE";
const PATH: &str = "SIM_BRIDGE_TEST_PATH";
const LATENCY: u64 = 500_000;
const END: u64 = 40_000_000;
const HOST: &[Spontaneous] = &[
    Spontaneous {
        at: 0,
        answers: 40,
        bytes: 4096,
    },
    Spontaneous {
        at: 3_000,
        answers: 9,
        bytes: 16,
    },
    Spontaneous {
        at: 9_000_000,
        answers: 3,
        bytes: 64,
    },
];
const DEVICE: &[Spontaneous] = &[
    Spontaneous {
        at: 0,
        answers: 40,
        bytes: 16,
    },
    Spontaneous {
        at: 5_000_000,
        answers: 0,
        bytes: 128,
    },
];

/// What the child does, by the name that it is given.
#[test]
#[ignore = "a part of the other tests"]
fn child() {
    let role = std::env::var(ROLE).expect("run by the other tests");
    let path = std::env::var(PATH).unwrap_or_default();
    let config = LinkConfig::new("device");
    let stream = || UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    match role.as_str() {
        "accept-and-simulate" => child_simulates(Port::accept(&stream(), &config).unwrap()),
        "open-and-simulate" => child_simulates(Port::open(Path::new(&path), &config).unwrap()),
        "do-nothing" => {}
        "half-a-handshake" => {
            stream().read_exact(&mut [0; 8]).unwrap();
        }
        "accept-and-send" => {
            let mut port = Port::accept(&stream(), &config).unwrap();
            port.send(SimTime::ZERO, &tlp(1, 0, 16)).unwrap();
            ready_for_the_end(port);
        }
        "open" => ready_for_the_end(Port::open(Path::new(&path), &config).unwrap()),
        "create" => {
            thread::spawn(move || Port::create(Path::new(&path), &config).map(ready_for_the_end));
            let path = std::env::var(PATH).unwrap();
            while !Path::new(&path).exists() {
                thread::yield_now();
            }
        }
        role => panic!("unknown role {role}"),
    }
    if !role.ends_with("simulate") {
        ready_for_the_end(());
    }
}

/// Says so, and waits to be killed with all that it holds.
fn ready_for_the_end<T>(_held: T) {
    println!("ready");
    loop {
        thread::park();
    }
}

fn child_simulates(mut port: Port) {
    let trace = simulate(&mut port, DEVICE, NUMBERS[1], None, |_| Ok(())).unwrap();
    assert_eq!(trace, reference([HOST, DEVICE], LATENCY, END)[1]);
}

/// A child that is gone when its test is.
struct Process(Child);

impl Process {
    fn start(role: &str, path: &Path) -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::child", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .env(PATH, path)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        (Self(child), ours)
    }

    fn await_ready(&mut self) {
        let stdout = self.0.stdout.as_mut().unwrap();
        assert!(
            BufReader::new(stdout)
                .lines()
                .any(|line| line.unwrap().ends_with("ready")),
            "the child failed"
        );
    }

    /// Kills it as soon as it is ready, in another thread; when that was.
    fn kill_when_ready(mut self) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            self.await_ready();
            self.0.kill().unwrap();
        })
    }

    fn succeeded(mut self) -> bool {
        let mut output = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        self.0.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn assert_died<T>(killed: thread::JoinHandle<()>, result: Result<T, LinkError>) {
    killed.join().unwrap();
    let Err(error) = result else { panic!("no error") };
    assert!(matches!(error, LinkError::PeerDied { .. }), "{error}");
}

/// Does it in another thread, so that a test whose subject hangs fails.
fn in_time<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> T {
    let (result, done) = mpsc::channel();
    thread::spawn(move || result.send(action()));
    done.recv_timeout(Duration::from_secs(20))
        .expect("hangs or panicked")
}

/// Takes all that comes, until there is an error.
fn listen(mut port: Port) -> (Port, usize, LinkError) {
    in_time(move || {
        let mut taken = 0;
        loop {
            while port.receive().is_some() {
                taken += 1;
            }
            if let Err(error) = port.wait(SimTime::NEVER) {
                return (port, taken, error);
            }
        }
    })
}

#[test]
fn two_processes_over_a_socket_see_what_one_simulator_would_do() {
    let (child, stream) = Process::start("accept-and-simulate", Path::new(""));
    let mut host = Port::offer(&stream, &LinkConfig::new("host")).unwrap();
    assert_eq!(host.peer_name(), "device");
    let trace = simulate(&mut host, HOST, NUMBERS[0], Some(END), |_| Ok(())).unwrap();
    assert_eq!(trace, reference([HOST, DEVICE], LATENCY, END)[0]);
    assert!(child.succeeded());
}

#[test]
fn two_processes_over_a_file_see_what_one_simulator_would_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let (child, _stream) = Process::start("open-and-simulate", &path);
    let mut host = Port::create(&path, &LinkConfig::new("host")).unwrap();
    let trace = simulate(&mut host, HOST, NUMBERS[0], Some(END), |_| Ok(())).unwrap();
    assert_eq!(trace, reference([HOST, DEVICE], LATENCY, END)[0]);
    assert!(child.succeeded());
    drop(host);
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_child_killed_before_the_handshake_is_noticed() {
    let (child, stream) = Process::start("do-nothing", Path::new(""));
    let killed = child.kill_when_ready();
    let offered = Port::offer(&stream, &LinkConfig::new("host"));
    assert_died(killed, offered);
}

#[test]
fn a_child_killed_during_the_handshake_is_noticed() {
    let (child, stream) = Process::start("half-a-handshake", Path::new(""));
    let killed = child.kill_when_ready();
    let offered = Port::offer(&stream, &LinkConfig::new("host"));
    assert_died(killed, offered);
}

#[test]
fn a_child_killed_later_is_noticed_after_what_it_sent() {
    let (child, stream) = Process::start("accept-and-send", Path::new(""));
    let killed = child.kill_when_ready();
    let host = Port::offer(&stream, &LinkConfig::new("host")).unwrap();
    let (_, taken, error) = listen(host);
    assert_eq!(taken, 1);
    assert_eq!(
        error.to_string(),
        "device died: the link broke without being ended"
    );
    assert_died::<()>(killed, Err(error));
}

#[test]
fn a_child_killed_while_its_ring_is_full_is_noticed() {
    let (child, stream) = Process::start("accept-and-send", Path::new(""));
    let killed = child.kill_when_ready();
    let mut host = Port::offer(&stream, &LinkConfig::new("host")).unwrap();
    let sent = in_time(move || (0..10_000).try_for_each(|i| host.send(SimTime::from_ps(i), &tlp(i, 0, 64))));
    assert_died(killed, sent);
}

#[test]
fn an_opener_killed_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let (child, _stream) = Process::start("open", &path);
    let host = Port::create(&path, &LinkConfig::new("host")).unwrap();
    let killed = child.kill_when_ready();
    let (host, _, error) = listen(host);
    assert_died::<()>(killed, Err(error));
    drop(host);
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_creator_killed_is_noticed_and_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let (mut child, _stream) = Process::start("create", &path);
    child.await_ready();
    let opener = Port::open(&path, &LinkConfig::new("opener")).unwrap();
    let killed = thread::spawn(move || child.0.kill().unwrap());
    let (opener, _, error) = listen(opener);
    assert_died::<()>(killed, Err(error));
    drop(opener);
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[test]
fn what_a_killed_creator_left_is_not_opened_but_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let (mut child, _stream) = Process::start("create", &path);
    child.await_ready();
    drop(child);
    assert!(path.exists());
    let impatient = LinkConfig {
        timeout: Duration::from_millis(50),
        ..LinkConfig::new("opener")
    };
    let error = Port::open(&path, &impatient).unwrap_err();
    assert!(error.to_string().contains("its creator is dead"), "{error}");
    thread::scope(|scope| {
        let opener = scope.spawn(|| Port::open(&path, &LinkConfig::new("opener")).map(drop));
        let host = Port::create(&path, &LinkConfig::new("host")).unwrap();
        opener.join().unwrap().unwrap();
        drop(host);
    });
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}
