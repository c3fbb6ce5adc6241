//! The time protocol: what two sides see depends on nothing but their scripts.

use std::thread;

use crate::scripts::{NUMBERS, Spontaneous, reference, simulate, tlp};
use proptest::collection::vec;
use proptest::prelude::*;
use sim_bridge::SimTime;
use sim_bridge::link::{Link, LinkConfig, LinkError, Port};

fn pair(latency: u64, slots: u64) -> (Port, Port) {
    let latency = SimTime::from_ps(latency);
    let first = LinkConfig {
        latency,
        slots,
        ..LinkConfig::new("host")
    };
    Port::pair(&first, &LinkConfig::new("device")).unwrap()
}

fn script() -> impl Strategy<Value = Vec<Spontaneous>> {
    let one = (
        0..20_000u64,
        0..12u8,
        prop_oneof![Just(16u16), Just(4096), 16..200u16],
    );
    vec(
        one.prop_map(|(at, answers, bytes)| Spontaneous {
            at,
            answers,
            bytes: bytes & !3,
        }),
        0..20,
    )
}

/// Promises and yields at moments that a generator picks, so that runs differ in who is ahead.
fn disturbance(mut seed: u64) -> impl FnMut(&mut Port) -> Result<(), LinkError> {
    move |link| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        match seed % 16 {
            0 => link.promise(SimTime::ZERO),
            1 => {
                thread::yield_now();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn both_sides_see_what_one_simulator_of_both_would_do(
        a in script(), b in script(), latency in prop_oneof![Just(1u64), 1..3000u64], end in 0..40_000u64, seed in 1..u64::MAX,
    ) {
        let (mut host, mut device) = pair(latency, 256);
        let (b2, seed2) = (b.clone(), seed.rotate_left(7));
        let other = thread::spawn(move || simulate(&mut device, &b2, NUMBERS[1], None, disturbance(seed2)));
        let host_trace = simulate(&mut host, &a, NUMBERS[0], Some(end), disturbance(seed)).unwrap();
        let device_trace = other.join().unwrap().unwrap();
        let [expected_host, expected_device] = reference([&a, &b], latency, end);
        prop_assert_eq!(host_trace, expected_host);
        prop_assert_eq!(device_trace, expected_device);
    }
}

#[test]
fn an_idle_side_lets_the_other_run_without_bounds() {
    let (mut host, mut device) = pair(500, 256);
    device.promise(SimTime::NEVER).unwrap();
    host.wait(SimTime::from_ps(10)).unwrap();
    assert_eq!(host.horizon(), SimTime::NEVER);
    host.send(SimTime::from_ps(7000), &tlp(1, 0, 16)).unwrap();
    assert_eq!(host.horizon(), SimTime::from_ps(8000));
}

#[test]
fn a_promise_counts_from_what_had_been_taken_when_it_was_made() {
    let (mut host, mut device) = pair(500, 256);
    host.send(SimTime::from_ps(1000), &tlp(1, 0, 16)).unwrap();
    device.promise(SimTime::from_ps(9000)).unwrap();
    assert_eq!(device.next_arrival(), Some(SimTime::from_ps(1500)));
    host.wait(SimTime::from_ps(1200)).unwrap();
    assert_eq!(
        host.horizon(),
        SimTime::from_ps(2000),
        "the answer to what was not taken"
    );
    device.receive().unwrap();
    device.promise(SimTime::from_ps(9000)).unwrap();
    host.wait(SimTime::from_ps(1200)).unwrap();
    assert_eq!(host.horizon(), SimTime::from_ps(9500));
}

#[test]
fn what_was_promised_binds_the_sender_until_it_takes_something() {
    let (mut host, mut device) = pair(500, 256);
    device.promise(SimTime::from_ps(9000)).unwrap();
    let early = device.send(SimTime::from_ps(2000), &tlp(1, 0, 16));
    let Err(LinkError::OwnPromise { now, promised }) = early else {
        panic!("{early:?}")
    };
    assert_eq!((now.as_ps(), promised.as_ps()), (2000, 9000));
    host.send(SimTime::from_ps(1000), &tlp(2, 0, 16)).unwrap();
    device.wait(SimTime::from_ps(9000)).unwrap();
    device.receive().unwrap();
    device.send(SimTime::from_ps(2000), &tlp(3, 0, 16)).unwrap();
}

#[test]
fn times_of_sending_must_not_decrease() {
    let (mut host, _device) = pair(500, 256);
    host.send(SimTime::from_ps(1000), &tlp(1, 0, 16)).unwrap();
    host.send(SimTime::from_ps(1000), &tlp(2, 0, 16)).unwrap();
    let back = host.send(SimTime::from_ps(999), &tlp(3, 0, 16));
    assert!(matches!(back, Err(LinkError::OwnPromise { .. })), "{back:?}");
}

#[test]
fn nothing_can_be_sent_at_the_end_of_time() {
    let (mut host, _device) = pair(500, 256);
    let late = host.send(SimTime::NEVER, &tlp(1, 0, 16));
    assert!(matches!(late, Err(LinkError::EndOfTime(_))), "{late:?}");
}

#[test]
fn the_end_comes_after_what_was_sent_and_frees_the_other_side() {
    let (mut host, mut device) = pair(500, 256);
    host.send(SimTime::from_ps(1000), &tlp(1, 0, 16)).unwrap();
    host.end(SimTime::from_ps(3000)).unwrap();
    drop(host);
    device.wait(SimTime::NEVER).unwrap();
    assert!(!device.ended());
    assert!(device.receive().is_some());
    assert!(device.ended());
    assert_eq!(
        (device.horizon(), device.end_arrival()),
        (SimTime::NEVER, Some(SimTime::from_ps(3500)))
    );
    device.wait(SimTime::NEVER).unwrap();
    device.end(SimTime::from_ps(3500)).unwrap();
}

#[test]
fn what_is_sent_to_a_side_that_has_ended_goes_nowhere() {
    let (mut host, mut device) = pair(500, 256);
    host.end(SimTime::ZERO).unwrap();
    drop(host);
    for i in 0..1000 {
        device.send(SimTime::from_ps(i), &tlp(i, 0, 16)).unwrap();
    }
    device.end(SimTime::from_ps(1000)).unwrap();
}

#[test]
fn nothing_follows_the_end() {
    let (mut host, _device) = pair(500, 256);
    host.end(SimTime::from_ps(10)).unwrap();
    assert!(matches!(
        host.send(SimTime::from_ps(20), &tlp(1, 0, 16)),
        Err(LinkError::Ended)
    ));
    assert!(matches!(
        host.promise(SimTime::from_ps(20)),
        Err(LinkError::Ended)
    ));
    assert!(matches!(host.end(SimTime::from_ps(20)), Err(LinkError::Ended)));
}
