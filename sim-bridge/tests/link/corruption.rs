//! Somebody writes into the shared memory of a running link.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use sim_bridge::SimTime;
use sim_bridge::link::{Link, LinkConfig, LinkError, Port};

use crate::scripts::tlp;

const SLOTS: u64 = 256;
const EXCHANGES: u64 = 300;

/// Sends and receives in turn; everything that comes is right, or else there is an error.
fn exchange(port: &mut Port, mut between: impl FnMut(u64)) -> Result<(), LinkError> {
    let bytes = |i| if i % 7 == 0 { 4096 } else { 16 };
    for i in 0..EXCHANGES {
        port.send(SimTime::from_ps(i * 10_000), &tlp(i, 0, bytes(i)))?;
        between(i);
        while port.next_arrival().is_none() {
            if port.ended() {
                return Ok(());
            }
            port.wait(SimTime::from_ps(i * 10_000))?;
        }
        let arrival = port.receive().unwrap();
        assert_eq!(
            (arrival.at, arrival.tlp),
            (SimTime::from_ps(i * 10_000 + 500_000), tlp(i, 0, bytes(i)))
        );
    }
    port.end(SimTime::from_ps(EXCHANGES * 10_000))
}

/// Runs a link in a file, in which a word is changed after some exchanges. Errors of both sides.
fn run(path: &Path, when: u64, word: u64, mask: u64) -> [Result<(), LinkError>; 2] {
    let config = |name| LinkConfig {
        slots: SLOTS,
        ..LinkConfig::new(name)
    };
    let (results, done) = mpsc::channel();
    let device_path = path.to_owned();
    let device_results = results.clone();
    thread::spawn(move || {
        let mut device = Port::open(&device_path, &config("device")).unwrap();
        let result = exchange(&mut device, |_| ());
        drop(device);
        device_results.send((1, result)).unwrap();
    });
    let host_path = path.to_owned();
    thread::spawn(move || {
        let mut host = Port::create(&host_path, &config("host")).unwrap();
        let file = File::options().read(true).write(true).open(&host_path).unwrap();
        let result = exchange(&mut host, |i| {
            if i == when {
                let mut bytes = [0; 8];
                file.read_exact_at(&mut bytes, word * 8).unwrap();
                let changed = u64::from_ne_bytes(bytes) ^ mask;
                file.write_all_at(&changed.to_ne_bytes(), word * 8).unwrap();
            }
        });
        drop(host);
        results.send((0, result)).unwrap();
    });
    let mut both = [Ok(()), Ok(())];
    for _ in 0..2 {
        let (side, result) = done
            .recv_timeout(Duration::from_secs(20))
            .expect("a side panicked or hangs");
        both[side] = result;
    }
    both
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_changed_word_is_an_error_or_nothing_but_never_wrong_data(
        when in 0..EXCHANGES,
        word in prop_oneof![0..512u64, 512..512 + 2 * SLOTS * 8],
        mask in prop_oneof![Just(u64::MAX), (0..64u32).prop_map(|bit| 1 << bit), 1..u64::MAX],
    ) {
        let directory = tempfile::tempdir().unwrap();
        for result in run(&directory.path().join("link"), when, word, mask) {
            if let Err(e) = result {
                prop_assert!(matches!(e, LinkError::Corrupt { .. } | LinkError::PeerDied { .. }), "{}", e);
            }
        }
    }
}

/// Changes one word of the host's first slot, before or after the host sends there: what the device says of it.
fn first_slot(word: u64, before: bool) -> LinkError {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let (mut host, mut device) = thread::scope(|scope| {
        let device = scope.spawn(|| Port::open(&path, &LinkConfig::new("device")).unwrap());
        let host = Port::create(&path, &LinkConfig::new("host")).unwrap();
        (host, device.join().unwrap())
    });
    if !before {
        host.send(SimTime::ZERO, &tlp(1, 0, 16)).unwrap();
    }
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xa5; 8], 4096 + word * 8).unwrap();
    device.wait(SimTime::NEVER).unwrap_err()
}

#[test]
fn a_slot_with_any_wrong_word_is_reported_with_its_number() {
    for (word, before) in [(0, true)].into_iter().chain((0..8).map(|word| (word, false))) {
        let error = first_slot(word, before);
        let LinkError::Corrupt { peer, slot, .. } = error else {
            panic!("word {word}: {error}")
        };
        assert_eq!((peer.as_str(), slot), ("host", Some(0)));
    }
}
