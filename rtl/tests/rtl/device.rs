//! The device loop over a link.

use std::thread;

use ntb_rtl::device::{DeviceConfig, DeviceError, Summary, run};
use ntb_rtl::registers::*;
use ntb_rtl::{Ntb, NtbConfig};
use sim_bridge::link::{Arrival, Link, LinkConfig, LinkError, Port};
use sim_bridge::tlp::{Body, CompletionStatus, ConfigType, ConfigWrite, Message, Payload, Tlp};
use sim_bridge::{RequesterId, SimTime};

use crate::harness::{BAR0, DEVICE, HOST, msix_message, write_tlp};

const JUMP: DeviceConfig = DeviceConfig {
    clock_period: SimTime::from_ns(4),
    jump_when_idle: true,
};
const NO_JUMP: DeviceConfig = DeviceConfig {
    jump_when_idle: false,
    ..JUMP
};

fn ports() -> (Port, Port) {
    Port::pair(&LinkConfig::new("host"), &LinkConfig::new("device")).unwrap()
}

const END: SimTime = SimTime::from_us(300);

/// Sends each TLP at its time and ends once nothing can come any more; what came.
fn host(mut link: Port, script: &[(SimTime, Tlp)]) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for (at, tlp) in script {
        link.send(*at, tlp).unwrap();
    }
    while link.horizon() != SimTime::NEVER || link.next_arrival().is_some() {
        match link.receive() {
            Some(arrival) => arrivals.push(arrival),
            None => link.wait(END).unwrap(),
        }
    }
    link.end(END).unwrap();
    arrivals
}

fn simulate(script: &[(SimTime, Tlp)], config: DeviceConfig) -> (Vec<Arrival>, Summary) {
    let (host_link, mut device_link) = ports();
    thread::scope(|scope| {
        let device = scope.spawn(move || {
            let mut ntb = Ntb::new(&NtbConfig::default()).unwrap();
            run(&mut ntb, &mut device_link, &config).unwrap()
        });
        (host(host_link, script), device.join().unwrap())
    })
}

fn config_write(register: u16, value: u32) -> Tlp {
    Body::ConfigWrite(ConfigWrite {
        config_type: ConfigType::Type0,
        requester: HOST,
        tag: 0,
        target: DEVICE,
        register,
        first_be: 0xf,
        data: value.to_le_bytes(),
    })
    .into()
}

/// Sets vector 3 up, rings it at 10 us, and a while later all.
fn script() -> Vec<(SimTime, Tlp)> {
    let (address, data) = msix_message(3);
    let setup = [
        config_write(config::BAR0, BAR0 as u32),
        config_write(config::BAR0_HIGH, (BAR0 >> 32) as u32),
        config_write(config::COMMAND, 6),
        config_write(config::MSIX, 0x8000_0000),
        write_tlp(msix_entry(3), &address.to_le_bytes()),
        write_tlp(msix_entry(3) + 8, &u64::from(data).to_le_bytes()),
    ];
    let mut script: Vec<_> = setup.into_iter().map(|tlp| (SimTime::ZERO, tlp)).collect();
    script.push((SimTime::from_us(10), write_tlp(DOORBELL_SET, &[0x08])));
    script.push((SimTime::from_ps(11_000_001), write_tlp(DOORBELL_STATUS, &[0x08])));
    script.push((SimTime::from_ps(11_000_002), write_tlp(DOORBELL_SET, &[0xff; 8])));
    script.push((
        SimTime::from_us(200),
        Tlp::mem_read(RequesterId(0), 5, BAR0 + SENT, 4).unwrap(),
    ));
    script
}

#[test]
fn an_interrupt_arrives_three_clock_cycles_and_two_latencies_after_the_doorbell_was_written() {
    let (arrivals, summary) = simulate(&script(), JUMP);
    let writes: Vec<_> = arrivals
        .iter()
        .filter(|a| matches!(a.tlp.body, Body::MemWrite(_)))
        .collect();
    let (address, data) = msix_message(3);
    assert_eq!(
        writes[0].tlp,
        Tlp::mem_write(DEVICE, address, &data.to_le_bytes()).unwrap()
    );
    assert_eq!(writes[0].at, SimTime::from_ns(10_000 + 2 * 500 + 3 * 4));
    assert_eq!(writes.len(), 2);
    assert_eq!(
        (summary.received, summary.sent),
        (script().len() as u64, 4 + 2 + 1)
    );
}

#[test]
fn an_arrival_between_two_clock_edges_counts_at_the_later_one() {
    let (arrivals, _) = simulate(&script(), JUMP);
    // 11 us 500 ns and 2 ps: presented at 11.504 us, taken right behind the write of two edges before.
    let second = arrivals
        .iter()
        .filter(|a| matches!(a.tlp.body, Body::MemWrite(_)))
        .nth(1)
        .unwrap();
    assert_eq!(second.at, SimTime::from_ns(11_504 + 2 * 4 + 3 * 4 + 500));
}

#[test]
fn the_idle_jump_changes_neither_what_arrives_nor_when() {
    let (with, busy) = simulate(&script(), JUMP);
    let (without, all) = simulate(&script(), NO_JUMP);
    assert_eq!(with, without);
    assert_eq!(with.len(), 4 + 2 + 1);
    // 200 us are 50000 cycles.
    assert!(busy.cycles < 100, "{busy:?}");
    assert!(all.cycles > 50_000, "{all:?}");
}

/// PME_Turn_Off at 150 us, the read after that, and one more when the BAR is programmed anew.
fn script_with_power_cycle() -> Vec<(SimTime, Tlp)> {
    let turn_off = Body::Message(Message {
        requester: HOST,
        tag: 0,
        routing: 0b011,
        code: 0x19,
        fields: [0; 8],
        data: Payload::new(),
    });
    let mut script = script();
    script.insert(script.len() - 1, (SimTime::from_us(150), turn_off.into()));
    let again = SimTime::from_us(210);
    let bar: Vec<_> = script[..3].iter().map(|(_, tlp)| (again, tlp.clone())).collect();
    script.extend(bar);
    script.push((again, Tlp::mem_read(HOST, 6, BAR0 + SENT, 4).unwrap()));
    script
}

#[test]
fn a_device_that_lost_its_power_is_as_after_reset() {
    let (arrivals, _) = simulate(&script_with_power_cycle(), JUMP);
    let of_tag = |tag| {
        arrivals.iter().find_map(|arrival| match &arrival.tlp.body {
            Body::Completion(completion) if completion.tag == tag => {
                Some((completion.status, completion.data.to_vec()))
            }
            _ => None,
        })
    };
    assert_eq!(of_tag(5), Some((CompletionStatus::UnsupportedRequest, vec![])));
    assert_eq!(of_tag(6), Some((CompletionStatus::Successful, vec![0; 4])));
}

#[test]
fn turning_off_is_acknowledged_at_the_first_edge_that_finds_the_device_idle() {
    let acknowledged = |config| {
        let (arrivals, _) = simulate(&script_with_power_cycle(), config);
        let ack = arrivals.iter().find_map(|arrival| match &arrival.tlp.body {
            Body::Message(message) => Some((arrival.at, message.code, message.routing)),
            _ => None,
        });
        (ack, arrivals)
    };
    let (ack, arrivals) = acknowledged(JUMP);
    assert_eq!(ack, Some((SimTime::from_us(151), 0x1b, 0b101)));
    assert_eq!(acknowledged(NO_JUMP).1, arrivals);
}

#[test]
fn what_was_under_way_is_sent_before_power_goes() {
    let mut script = script_with_power_cycle();
    let doorbell = script
        .iter()
        .position(|(at, _)| *at == SimTime::from_us(150))
        .unwrap();
    script.insert(
        doorbell,
        (SimTime::from_us(150), write_tlp(DOORBELL_SET + 1, &[0])),
    );
    script.insert(
        doorbell,
        (SimTime::from_us(150), write_tlp(DOORBELL_SET, &[0x08])),
    );
    script.insert(
        doorbell,
        (SimTime::from_us(149), write_tlp(DOORBELL_STATUS, &[0x08])),
    );
    for config in [JUMP, NO_JUMP] {
        let (arrivals, _) = simulate(&script, config);
        let posted: Vec<_> = arrivals
            .iter()
            .filter(|a| matches!(a.tlp.body, Body::MemWrite(_) | Body::Message(_)))
            .map(|a| a.tlp.name())
            .collect();
        assert_eq!(posted, ["MWr", "MWr", "MWr", "Msg"], "{config:?}");
    }
}

#[test]
fn runs_are_alike_to_the_cycle() {
    let runs: Vec<_> = (0..10).map(|_| simulate(&script(), JUMP)).collect();
    assert!(runs.iter().all(|run| *run == runs[0]));
}

#[test]
fn a_host_that_ends_at_once_ends_the_device() {
    for config in [JUMP, NO_JUMP] {
        let (arrivals, summary) = simulate(&[], config);
        assert_eq!((arrivals.len(), summary.received), (0, 0));
    }
}

#[test]
fn a_host_that_dies_is_an_error_that_says_so() {
    for config in [JUMP, NO_JUMP] {
        let (mut host_link, mut device_link) = ports();
        host_link
            .send(SimTime::ZERO, &config_write(config::COMMAND, 6))
            .unwrap();
        let device = thread::spawn(move || {
            let mut ntb = Ntb::new(&NtbConfig::default()).unwrap();
            run(&mut ntb, &mut device_link, &config)
        });
        host_link.wait(SimTime::NEVER).unwrap();
        drop(host_link);
        let error = device.join().unwrap().unwrap_err();
        assert!(
            matches!(error, DeviceError::Link(LinkError::PeerDied { .. })),
            "{error}"
        );
    }
}

#[test]
fn a_clock_without_a_period_is_refused() {
    let (_host_link, mut device_link) = ports();
    let config = DeviceConfig {
        clock_period: SimTime::ZERO,
        ..JUMP
    };
    let error = run(
        &mut Ntb::new(&NtbConfig::default()).unwrap(),
        &mut device_link,
        &config,
    )
    .unwrap_err();
    assert!(
        matches!(error, DeviceError::ClockPeriod(SimTime::ZERO)),
        "{error}"
    );
}
