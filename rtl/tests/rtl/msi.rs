//! MSI.

use ntb_rtl::registers::config::*;
use ntb_rtl::registers::*;
use ntb_rtl::{NtbConfig, RidMode};
use sim_bridge::RequesterId;

use crate::harness::{DEVICE, Host};

/// MSI on, `1 << log2` vectors, data 0xab00.
fn host(log2: u32) -> Host {
    let mut host = Host::new();
    host.config_write(MSI_ADDRESS, 0xfee0_1000);
    host.config_write(MSI_DATA, 0xab00);
    host.config_write(MSI, log2 << 20 | 1 << 16);
    host
}

fn data(host: &mut Host) -> Vec<u32> {
    host.interrupts()
        .into_iter()
        .map(|(rid, address, data)| {
            assert_eq!((rid, address), (DEVICE, 0xfee0_1000));
            data
        })
        .collect()
}

#[test]
fn a_vector_sends_its_number_modulo_the_vectors_allocated() {
    for log2 in 0..=5 {
        let mut host = host(log2);
        for vector in [0, 1, 2, 7, 31, 32, 63] {
            host.ring(vector);
            assert_eq!(
                data(&mut host),
                [0xab00 | (vector as u32 & ((1 << log2) - 1))],
                "{vector} of {}",
                1 << log2
            );
        }
    }
}

#[test]
fn reserved_allocations_count_as_32() {
    let mut host = host(7);
    host.ring(31);
    assert_eq!(data(&mut host), [0xab1f]);
}

#[test]
fn data_bits_above_the_allocated_ones_are_the_capabilitys() {
    let mut host = host(1);
    host.config_write(MSI_DATA, 0xffff);
    host.ring(0);
    assert_eq!(data(&mut host), [0xfffe]);
}

#[test]
fn addresses_above_4_gib_are_used() {
    let mut host = host(0);
    host.config_write(MSI_ADDRESS_HIGH, 0x7);
    host.ring(0);
    assert_eq!(host.interrupts(), [(DEVICE, 0x7_fee0_1000, 0xab00)]);
}

#[test]
fn a_masked_message_is_pending_and_sent_once_when_unmasked() {
    let mut host = host(5);
    host.config_write(MSI_MASK, 1 << 9);
    host.ring(9);
    host.ring(9);
    host.ring(10);
    assert_eq!(data(&mut host), [0xab0a]);
    assert_eq!(host.config_read(MSI_PENDING), 1 << 9);
    host.config_write(MSI_MASK, 0);
    host.run();
    assert_eq!(data(&mut host), [0xab09]);
    assert_eq!(host.config_read(MSI_PENDING), 0);
}

#[test]
fn vectors_that_share_a_message_share_its_pending_bit() {
    let mut host = host(2);
    host.config_write(MSI_MASK, 0b1000);
    for vector in [3, 7, 63] {
        host.ring(vector);
    }
    assert_eq!(host.config_read(MSI_PENDING), 0b1000);
    host.config_write(MSI_MASK, 0);
    host.run();
    assert_eq!(data(&mut host), [0xab03]);
    assert_eq!(host.config_read(MSI_PENDING), 0);
}

#[test]
fn the_requester_id_policy_applies() {
    let mut host = host(0);
    host.write(rid_policy(0), RidMode::Given(RequesterId(0x1234)).to_register());
    host.ring(0);
    assert_eq!(host.interrupts(), [(RequesterId(0x1234), 0xfee0_1000, 0xab00)]);
}

#[test]
fn msix_comes_first_where_both_are_on() {
    let mut host = Host::with_msix(&NtbConfig::default());
    host.config_write(MSI, 1 << 16);
    host.ring(5);
    assert_eq!(host.vectors(), [5]);
}
