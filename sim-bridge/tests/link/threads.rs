//! Two ports in one process: rings, back-pressure, and a side that goes away.

use std::thread;

use crate::scripts::tlp;
use sim_bridge::RequesterId;
use sim_bridge::SimTime;
use sim_bridge::link::{Link, LinkConfig, LinkError, Port};
use sim_bridge::tlp::{Body, MemWrite, Payload, Tlp};

fn pair() -> (Port, Port) {
    let config = LinkConfig {
        slots: 256,
        ..LinkConfig::new("host")
    };
    Port::pair(&config, &LinkConfig::new("device")).unwrap()
}

fn take(port: &mut Port) -> Tlp {
    while port.next_arrival().is_none() {
        port.wait(SimTime::NEVER).unwrap();
    }
    port.receive().unwrap().tlp
}

#[test]
fn both_sides_know_the_other_and_the_first_sides_latency() {
    let first = LinkConfig {
        latency: SimTime::from_ns(3),
        ..LinkConfig::new("host")
    };
    let second = LinkConfig {
        latency: SimTime::from_ns(7),
        ..LinkConfig::new("device")
    };
    let (host, device) = Port::pair(&first, &second).unwrap();
    assert_eq!((host.peer_name(), device.peer_name()), ("device", "host"));
    assert_eq!(
        (host.latency(), device.latency()),
        (SimTime::from_ns(3), SimTime::from_ns(3))
    );
}

#[test]
fn tlps_of_all_sizes_pass_the_ring_many_times_over() {
    let (mut host, mut device) = pair();
    let sizes = (0..2000u64).map(|i| 1 + (i * 37 % 1024) as usize);
    let all: Vec<Tlp> = sizes
        .enumerate()
        .map(|(i, dwords)| {
            let data: Vec<u8> = (0..dwords * 4).map(|k| (i * 7 + k * 13) as u8).collect();
            let (first_be, last_be) = if dwords == 1 { (0xf, 0) } else { (0xf, 0xf) };
            let data = Payload::from_vec(data);
            let requester = RequesterId(i as u16);
            Body::MemWrite(MemWrite {
                requester,
                tag: 0,
                address: 0x8000_0000,
                first_be,
                last_be,
                data,
            })
            .into()
        })
        .collect();
    let sent = all.clone();
    let sender = thread::spawn(move || {
        for (i, tlp) in sent.iter().enumerate() {
            host.send(SimTime::from_ns(i as u64), tlp).unwrap();
        }
        host.end(SimTime::from_ns(sent.len() as u64)).unwrap();
    });
    for (i, expected) in all.iter().enumerate() {
        assert_eq!(take(&mut device), *expected, "TLP {i}");
    }
    sender.join().unwrap();
}

#[test]
fn two_sides_that_fill_both_rings_do_not_block_each_other() {
    let (mut host, mut device) = pair();
    let run = |port: &mut Port| {
        for i in 0..500 {
            port.send(SimTime::from_ps(i), &tlp(i, 0, 4096)).unwrap();
        }
        for i in 0..500u64 {
            assert_eq!(take(port), tlp(i, 0, 4096));
        }
        port.end(SimTime::from_us(1)).unwrap();
    };
    thread::scope(|scope| {
        scope.spawn(|| run(&mut host));
        scope.spawn(|| run(&mut device));
    });
}

#[test]
fn a_thread_that_panics_ends_the_other_sides_wait() {
    let (mut host, mut device) = pair();
    let other = thread::spawn(move || {
        device.send(SimTime::ZERO, &tlp(7, 0, 16)).unwrap();
        take(&mut device);
        panic!("on purpose");
    });
    assert_eq!(
        take(&mut host),
        tlp(7, 0, 16),
        "what was sent before is delivered"
    );
    host.send(SimTime::from_ns(1000), &tlp(8, 0, 16)).unwrap();
    // Its promises come first.
    let error = loop {
        match host.wait(SimTime::NEVER) {
            Ok(()) => {}
            Err(e) => break e,
        }
    };
    assert!(
        matches!(&error, LinkError::PeerDied { peer } if peer == "device"),
        "{error}"
    );
    assert!(other.join().is_err());
}

#[test]
fn a_side_that_is_dropped_ends_the_others_sending() {
    let (mut host, device) = pair();
    let (sent, full) = std::sync::mpsc::channel();
    let other = thread::spawn(move || {
        // 74 slots each: there is no room for a fourth.
        assert!(full.iter().any(|i| i == 2));
        drop(device);
    });
    let send = |i| {
        let result = host.send(SimTime::from_ps(i), &tlp(i, 0, 4096));
        let _ = sent.send(i);
        result.err()
    };
    let error = (0..).find_map(send).unwrap();
    assert!(matches!(error, LinkError::PeerDied { .. }), "{error}");
    other.join().unwrap();
}

#[test]
fn a_tlp_that_has_no_encoding_is_refused_and_the_link_goes_on() {
    let (mut host, mut device) = pair();
    let mut bad = tlp(1, 0, 16);
    bad.attributes.traffic_class = 8;
    let refused = host.send(SimTime::ZERO, &bad);
    assert!(matches!(refused, Err(LinkError::Encode(_))), "{refused:?}");
    host.send(SimTime::ZERO, &tlp(2, 0, 16)).unwrap();
    assert_eq!(take(&mut device), tlp(2, 0, 16));
}

#[test]
fn impossible_settings_are_refused_by_name() {
    let good = LinkConfig::new("host");
    for (setting, config) in [
        ("name", LinkConfig::new("")),
        ("name", LinkConfig::new("a\nb")),
        ("name", LinkConfig::new("n".repeat(65))),
        (
            "latency",
            LinkConfig {
                latency: SimTime::ZERO,
                ..good.clone()
            },
        ),
        (
            "latency",
            LinkConfig {
                latency: SimTime::NEVER,
                ..good.clone()
            },
        ),
        (
            "slots",
            LinkConfig {
                slots: 255,
                ..good.clone()
            },
        ),
        (
            "slots",
            LinkConfig {
                slots: 128,
                ..good.clone()
            },
        ),
        (
            "slots",
            LinkConfig {
                slots: 1 << 21,
                ..good.clone()
            },
        ),
    ] {
        let refused = Port::pair(&config, &good).unwrap_err();
        assert!(
            matches!(refused, LinkError::Setting { setting: s, .. } if s == setting),
            "{refused}"
        );
    }
}

#[test]
fn a_side_that_only_promises_notices_that_the_other_is_gone() {
    let (mut host, device) = pair();
    host.promise(SimTime::from_ps(1)).unwrap();
    drop(device);
    let error = host.promise(SimTime::from_ps(2)).unwrap_err();
    assert!(matches!(error, LinkError::PeerDied { .. }), "{error}");
}
