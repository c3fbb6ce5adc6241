//! MSI-X: from the doorbell to the memory write.

use ntb_rtl::NtbConfig;
use ntb_rtl::registers::*;
use sim_bridge::tlp::Body;

use crate::harness::{DEVICE, Host, msix_message, write_tlp};

const MASK_BIT: u64 = 12;

fn host() -> Host {
    Host::with_msix(&NtbConfig::default())
}

#[test]
fn each_doorbell_bit_sends_the_message_of_its_vector() {
    let mut host = host();
    for vector in 0..VECTORS {
        host.ring(vector);
        let (address, data) = msix_message(vector);
        assert_eq!(host.interrupts(), [(DEVICE, address, data)]);
    }
}

#[test]
fn vectors_rung_together_are_sent_lowest_first() {
    let mut host = host();
    host.write64(DOORBELL_SET, 1 << 63 | 1 << 32 | 1 << 5 | 1);
    // The write's two halves are two cycles: its lower half is rung first anyway.
    assert_eq!(host.vectors(), [0, 5, 32, 63]);
}

#[test]
fn a_bit_that_is_set_already_sends_nothing() {
    let mut host = host();
    host.write(DOORBELL_SET, 1);
    host.write(DOORBELL_SET, 3);
    assert_eq!(host.vectors(), [0, 1]);
}

#[test]
fn clearing_a_bit_sends_nothing_and_makes_it_ring_again() {
    let mut host = host();
    host.write(DOORBELL_SET, 1);
    host.write(DOORBELL_STATUS, 1);
    assert_eq!(host.vectors(), [0]);
    host.write(DOORBELL_SET, 1);
    assert_eq!(host.vectors(), [0]);
}

#[test]
fn a_masked_doorbell_bit_rings_when_it_is_unmasked() {
    let mut host = host();
    host.write(DOORBELL_MASK, 0b110);
    host.write(DOORBELL_SET, 0b111);
    assert_eq!(host.vectors(), [0]);
    host.write(DOORBELL_MASK, 0b100);
    assert_eq!(host.vectors(), [1]);
    host.write(DOORBELL_STATUS, 0b100);
    host.write(DOORBELL_MASK, 0);
    assert_eq!(host.vectors(), [0; 0]);
}

#[test]
fn a_masked_vector_is_pending_and_sent_once_when_unmasked() {
    let mut host = host();
    host.write(msix_entry(40) + MASK_BIT, 1);
    host.ring(40);
    host.ring(40);
    assert_eq!(host.vectors(), [0; 0]);
    assert_eq!(host.read64(MSIX_PENDING), 1 << 40);
    host.write(msix_entry(40) + MASK_BIT, 0);
    assert_eq!(host.vectors(), [40]);
    assert_eq!(host.read64(MSIX_PENDING), 0);
    host.write(msix_entry(40) + MASK_BIT, 1);
    host.write(msix_entry(40) + MASK_BIT, 0);
    assert_eq!(host.vectors(), [0; 0]);
}

#[test]
fn a_pending_vector_is_sent_with_what_its_entry_says_at_last() {
    let mut host = host();
    host.write(msix_entry(3) + MASK_BIT, 1);
    host.ring(3);
    host.write64(msix_entry(3), 0xfee0_f000);
    host.write(msix_entry(3) + 8, 0x77);
    host.write(msix_entry(3) + MASK_BIT, 0);
    assert_eq!(host.interrupts(), [(DEVICE, 0xfee0_f000, 0x77)]);
}

#[test]
fn the_function_mask_holds_all_vectors() {
    let mut host = host();
    host.config_write(config::MSIX, 0xc000_0000);
    host.write64(DOORBELL_SET, 1 << 63 | 1);
    assert_eq!(host.vectors(), [0; 0]);
    assert_eq!(host.read64(MSIX_PENDING), 1 << 63 | 1);
    host.config_write(config::MSIX, 0x8000_0000);
    host.run();
    let completion_then_interrupts = host.read64(MSIX_PENDING);
    assert_eq!(completion_then_interrupts, 0);
    assert_eq!(host.vectors(), [0, 63]);
}

#[test]
fn without_bus_mastering_vectors_wait_and_the_device_is_idle() {
    let mut host = host();
    host.config_write(config::COMMAND, 0x0002);
    host.ring(6);
    assert_eq!(host.vectors(), [0; 0]);
    assert_eq!(host.read(IDLE), 1);
    assert_eq!(host.read64(MSIX_PENDING), 1 << 6);
    host.config_write(config::COMMAND, 0x0006);
    host.run();
    assert_eq!(host.vectors(), [6]);
}

#[test]
fn with_neither_msix_nor_msi_requests_are_dropped() {
    let mut host = host();
    host.config_write(config::MSIX, 0);
    host.ring(1);
    host.config_write(config::MSIX, 0x8000_0000);
    assert_eq!(host.read64(MSIX_PENDING), 0);
    assert_eq!(host.vectors(), [0; 0]);
}

#[test]
fn disabling_msix_drops_what_waits() {
    let mut host = host();
    host.write(msix_entry(2) + MASK_BIT, 1);
    host.ring(2);
    host.config_write(config::MSIX, 0);
    host.config_write(config::MSIX, 0x8000_0000);
    host.write(msix_entry(2) + MASK_BIT, 0);
    assert_eq!(host.vectors(), [0; 0]);
}

#[test]
fn messages_below_4_gib_have_three_header_dws_and_those_above_four() {
    let mut host = host();
    for (vector, fmt_type) in [(4, 0x40), (5, 0x60)] {
        host.ntb
            .offer(&write_tlp(DOORBELL_SET, &(1_u64 << vector).to_le_bytes()))
            .unwrap();
        let beat = loop {
            if let Some(beat) = host.cycle_beat() {
                break beat;
            }
        };
        assert_eq!(beat.header[..4], [fmt_type, 0, 0, 1]);
        assert!(beat.sop && beat.eop);
    }
}

#[test]
fn every_message_is_counted() {
    let mut host = host();
    host.write64(DOORBELL_SET, !0);
    assert_eq!(host.vectors().len(), 64);
    host.write(MESSAGE_SEND, 1);
    assert_eq!(host.read(SENT), 65);
}

#[test]
fn a_read_is_answered_after_the_interrupts_that_were_asked_for_before_it() {
    let mut host = host();
    host.ntb.offer(&write_tlp(DOORBELL_SET, &[0xff; 8])).unwrap();
    let read = host.read_tlp(SENT, 4);
    host.ntb.offer(&read).unwrap();
    host.ntb.offer(&write_tlp(DOORBELL_STATUS, &[1])).unwrap();
    host.ntb.offer(&write_tlp(DOORBELL_SET, &[1])).unwrap();
    let kinds: Vec<_> = host
        .run()
        .iter()
        .map(|tlp| matches!(tlp.body, Body::Completion(_)))
        .collect();
    assert_eq!(kinds.iter().position(|&completion| completion), Some(64));
    assert_eq!(kinds.len(), 66);
}

#[test]
fn no_interrupt_follows_the_answer_to_a_read_behind_its_mask() {
    let mut host = host();
    for delay in 0..8 {
        host.ntb.offer(&write_tlp(DOORBELL_SET, &[0xff; 8])).unwrap();
        for _ in 0..delay {
            host.cycle();
        }
        for vector in 0..VECTORS {
            host.ntb
                .offer(&write_tlp(msix_entry(vector) + MASK_BIT, &[1]))
                .unwrap();
        }
        let read = host.read_tlp(SENT, 4);
        host.ntb.offer(&read).unwrap();
        let last = host.run().pop().unwrap();
        assert!(matches!(last.body, Body::Completion(_)));
        for vector in 0..VECTORS {
            host.write(msix_entry(vector) + MASK_BIT, 0);
        }
        host.write64(DOORBELL_STATUS, !0);
        host.sent.clear();
    }
}
