//! The requester-ID table and the policy of each vector.

use ntb_rtl::registers::*;
use ntb_rtl::{NtbConfig, RidMode};
use sim_bridge::RequesterId;

use crate::harness::{DEVICE, Host};

fn table(size: u16, first: u8, rid_mode: RidMode) -> NtbConfig {
    NtbConfig {
        table_size: size,
        table_first_devfn: first,
        rid_mode,
        ..Default::default()
    }
}

fn rids(host: &mut Host) -> Vec<u16> {
    host.interrupts().into_iter().map(|(rid, ..)| rid.0).collect()
}

#[test]
fn without_a_table_its_size_reads_zero() {
    let mut host = Host::new();
    assert_eq!(host.read(TABLE_SIZE), 0);
    assert_eq!(host.read(table_entry(0)), 0);
    host.write(table_entry(0), !0);
    assert_eq!(host.read(table_entry(0)), 0);
}

/// Linux `quirk_switchtec_ntb_dma_alias`: own partition, endpoint map, table size, entries, in its widths.
#[test]
fn the_switchtec_quirk_finds_the_devfns_configured() {
    let mut host = Host::with(&table(4, 0x08, RidMode::Own));
    let mut read = |offset: u64, bytes: usize| {
        let read = host.read_tlp(offset, bytes);
        let data = host.request(&read).data;
        let skip = (offset % 4) as usize;
        data[skip..skip + bytes]
            .iter()
            .rev()
            .fold(0_u64, |value, &byte| value << 8 | u64::from(byte))
    };
    let partition = read(0x1_0001, 1);
    let mut map = read(0x1_0004, 4) | read(0x1_0024, 4) << 32;
    map &= !(1 << partition);
    let mut devfns = Vec::new();
    while map != 0 {
        let peer = u64::from(map.trailing_zeros());
        map &= map - 1;
        let control = 0x1_4000 + 0x2000 * peer;
        for entry in 0..read(control + 0x1c, 2) {
            devfns.push(read(control + 0x400 + 4 * entry, 4) >> 1 & 0xff);
        }
    }
    assert_eq!((partition, devfns), (0, vec![0x08, 0x09, 0x0a, 0x0b]));
}

#[test]
fn entries_keep_requester_id_and_enable_but_not_another_devfn() {
    let mut host = Host::with(&table(512, 0x80, RidMode::Own));
    assert_eq!(host.read(TABLE_SIZE), 512);
    for entry in [0, 1, 255, 511] {
        let devfn = (0x80 + entry as u32) & 0xff;
        assert_eq!(host.read(table_entry(entry)), devfn << 1 | 1);
        host.write(table_entry(entry), 0xabcd_0000);
        assert_eq!(host.read(table_entry(entry)), 0xabcd_0000 | devfn << 1);
        host.write_bytes(table_entry(entry) + 2, &[0x12]);
        host.write(table_entry(entry), 0x0100_0001);
        assert_eq!(host.read(table_entry(entry)), 0x0100_0001 | devfn << 1);
    }
}

#[test]
fn entries_beyond_the_size_do_not_exist() {
    let mut host = Host::with(&table(3, 0, RidMode::Own));
    assert_eq!(host.read(table_entry(2)), 2 << 1 | 1);
    assert_eq!(host.read(table_entry(3)), 0);
}

#[test]
fn policies_read_as_configured_until_written() {
    let mut host = Host::with(&table(2, 0, RidMode::Given(RequesterId(0xbeef))));
    for vector in 0..VECTORS {
        assert_eq!(host.read(rid_policy(vector)), 0x2_beef);
    }
    host.write(rid_policy(5), !0);
    host.write_bytes(rid_policy(6) + 1, &[0x12]);
    assert_eq!(host.read(rid_policy(4)), 0x2_beef);
    assert_eq!(host.read(rid_policy(5)), 0x3_ffff);
    assert_eq!(host.read(rid_policy(6)), 0x2_12ef);
}

#[test]
fn each_vector_is_sent_under_its_own_policy() {
    let mut host = Host::with_msix(&table(4, 0xfe, RidMode::Own));
    host.write(rid_policy(1), RidMode::TableEntry(1).to_register());
    host.write(rid_policy(2), RidMode::TableEntry(3).to_register());
    host.write(rid_policy(63), RidMode::Given(RequesterId(0x0320)).to_register());
    for vector in [0, 1, 2, 63] {
        host.ring(vector);
    }
    assert_eq!(rids(&mut host), [DEVICE.0, 0x41ff, 0x4101, 0x0320]);
}

#[test]
fn the_configured_policy_is_every_vectors() {
    let mut host = Host::with_msix(&table(8, 0x10, RidMode::TableEntry(5)));
    for vector in [0, 33, 63] {
        host.ring(vector);
    }
    assert_eq!(rids(&mut host), [0x4115; 3]);
}

#[test]
fn round_robin_goes_through_the_table_in_the_order_of_sending() {
    let mut host = Host::with_msix(&table(3, 0x20, RidMode::RoundRobin));
    host.write(rid_policy(9), RidMode::Own.to_register());
    for vector in [5, 4, 9, 5, 60] {
        host.ring(vector);
    }
    assert_eq!(rids(&mut host), [0x4120, 0x4121, 0x4100, 0x4122, 0x4120]);
}

#[test]
fn round_robin_over_256_entries_uses_every_devfn_once() {
    let mut host = Host::with_msix(&table(256, 0, RidMode::RoundRobin));
    for n in 0..257 {
        host.ring(n % VECTORS);
    }
    let expected: Vec<u16> = (0..257).map(|n| 0x4100 | (n & 0xff)).collect();
    assert_eq!(rids(&mut host), expected);
}

#[test]
fn an_entry_that_does_not_exist_stands_for_the_own_id() {
    for config in [
        table(0, 0x30, RidMode::RoundRobin),
        table(0, 0x30, RidMode::TableEntry(0)),
        table(2, 0x30, RidMode::TableEntry(2)),
        table(2, 0x30, RidMode::TableEntry(0x0100)),
    ] {
        let mut host = Host::with_msix(&config);
        host.ring(0);
        assert_eq!(rids(&mut host), [DEVICE.0], "{config:?}");
    }
}

#[test]
fn table_ids_follow_the_captured_bus_number() {
    let mut host = Host::with_msix(&table(1, 0x07, RidMode::TableEntry(0)));
    let mut write = host.config_write_tlp(config::COMMAND, 6);
    write.target = RequesterId::new(0x05, 0, 0);
    host.request(&sim_bridge::tlp::Body::ConfigWrite(write).into());
    host.ring(0);
    assert_eq!(rids(&mut host), [0x0507]);
}
