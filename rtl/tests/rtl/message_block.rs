//! The message block: any memory write under any requester ID.

use ntb_rtl::NtbConfig;
use ntb_rtl::registers::*;
use sim_bridge::RequesterId;
use sim_bridge::tlp::Body;

use crate::harness::{Host, write_tlp};

fn prepare(host: &mut Host, address: u64, data: u32, rid: u16) {
    host.write64(MESSAGE_ADDRESS, address);
    host.write(MESSAGE_DATA, data);
    host.write(MESSAGE_REQUESTER_ID, rid.into());
}

#[test]
fn a_message_has_the_address_data_and_requester_id_given() {
    let mut host = Host::new();
    for (address, data, rid) in [
        (0xfee0_0004, 0x4021, 0x0300),
        (0xffff_fffc, 0, 0xffff),
        (0x1_0000_0000, !0, 0),
        (!3, 0x1234_5678, 0x41ff),
    ] {
        prepare(&mut host, address, data, rid);
        host.write(MESSAGE_SEND, 1);
        assert_eq!(host.interrupts(), [(RequesterId(rid), address, data)]);
    }
}

#[test]
fn registers_read_back() {
    let mut host = Host::new();
    prepare(&mut host, 0x12_3456_789f, 0xcafe_f00d, 0xbeef);
    assert_eq!(host.read64(MESSAGE_ADDRESS), 0x12_3456_789c);
    assert_eq!(host.read(MESSAGE_DATA), 0xcafe_f00d);
    assert_eq!(host.read(MESSAGE_REQUESTER_ID), 0xbeef);
    assert_eq!(host.read(MESSAGE_SEND), 0);
}

#[test]
fn writing_zero_to_send_sends_nothing() {
    let mut host = Host::new();
    host.write(MESSAGE_SEND, 0);
    host.write_bytes(MESSAGE_SEND + 1, &[1]);
    assert_eq!(host.interrupts(), []);
}

#[test]
fn it_works_without_msix_or_msi() {
    let mut host = Host::new();
    host.write(MESSAGE_SEND, 1);
    assert_eq!(host.interrupts().len(), 1);
}

#[test]
fn messages_written_back_to_back_are_all_sent_even_while_the_host_takes_none() {
    let mut host = Host::new();
    host.ntb.set_output_ready(false);
    for n in 0..5_u32 {
        host.ntb
            .offer(&write_tlp(MESSAGE_DATA, &n.to_le_bytes()))
            .unwrap();
        host.ntb.offer(&write_tlp(MESSAGE_SEND, &[1])).unwrap();
    }
    for _ in 0..50 {
        assert_eq!(host.cycle(), None);
    }
    host.ntb.set_output_ready(true);
    host.collect();
    let data: Vec<_> = host.interrupts().into_iter().map(|(_, _, data)| data).collect();
    assert_eq!(data, [0, 1, 2, 3, 4]);
}

#[test]
fn without_bus_mastering_a_message_is_held_and_its_registers_are_locked() {
    let mut host = Host::new();
    prepare(&mut host, 0xfee0_0000, 7, 0x4101);
    host.config_write(config::COMMAND, 0x0002);
    host.write(MESSAGE_SEND, 1);
    assert_eq!(host.interrupts(), []);
    assert_eq!((host.read(MESSAGE_SEND), host.read(IDLE)), (1, 1));
    prepare(&mut host, 0xdead_0000, 8, 0x4102);
    host.write(MESSAGE_SEND, 1);
    host.config_write(config::COMMAND, 0x0006);
    host.run();
    assert_eq!(host.read(MESSAGE_SEND), 0);
    assert_eq!(host.interrupts(), [(RequesterId(0x4101), 0xfee0_0000, 7)]);
}

#[test]
fn messages_and_interrupts_take_turns() {
    let mut host = Host::with_msix(&NtbConfig::default());
    prepare(&mut host, 0x1000, 0, 0);
    host.ntb.set_output_ready(false);
    host.ntb.offer(&write_tlp(DOORBELL_SET, &[0xff; 8])).unwrap();
    for _ in 0..3 {
        host.ntb.offer(&write_tlp(MESSAGE_SEND, &[1])).unwrap();
    }
    for _ in 0..20 {
        host.cycle();
    }
    host.ntb.set_output_ready(true);
    let order: Vec<_> = host
        .run()
        .iter()
        .map(|tlp| matches!(&tlp.body, Body::MemWrite(w) if w.address == 0x1000))
        .collect();
    assert_eq!(order.len(), 64 + 3);
    let messages: Vec<_> = (0..order.len()).filter(|&i| order[i]).collect();
    // None waits for more than one interrupt once it is in the block.
    assert!(messages[0] <= 2 && messages[2] <= 10, "{messages:?}");
}

#[test]
fn a_read_is_answered_after_the_message_before_it() {
    let mut host = Host::new();
    host.ntb.offer(&write_tlp(MESSAGE_SEND, &[1])).unwrap();
    let read = host.read_tlp(MESSAGE_SEND, 4);
    host.ntb.offer(&read).unwrap();
    let tlps = host.run();
    assert!(matches!(tlps[0].body, Body::MemWrite(_)));
    assert!(matches!(tlps[1].body, Body::Completion(_)));
}
