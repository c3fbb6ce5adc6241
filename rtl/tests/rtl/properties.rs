//! The same is sent whatever the timing.

use std::collections::VecDeque;

use ntb_rtl::registers::*;
use ntb_rtl::stream::Beat;
use ntb_rtl::{NtbConfig, RidMode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use sim_bridge::tlp::Tlp;
use sim_bridge::{RequesterId, SimTime};

use crate::harness::{BAR0, Host, beats, write_tlp};

/// More clock cycles than anything here takes.
const PATIENCE: u64 = 1_000_000;

/// What a host may do to the device, by chance and without sense.
fn operation() -> impl Strategy<Value = Vec<Beat>> {
    let vector = 0..VECTORS;
    let doorbell = prop_oneof![Just(DOORBELL_SET), Just(DOORBELL_STATUS), Just(DOORBELL_MASK)];
    let bits =
        any::<u64>().prop_flat_map(|bits| prop_oneof![Just(bits), Just(bits & bits >> 7 & bits >> 13)]);
    let policy = prop_oneof![
        Just(RidMode::Own),
        (0..9_u16).prop_map(RidMode::TableEntry),
        any::<u16>().prop_map(|rid| RidMode::Given(RequesterId(rid))),
        Just(RidMode::RoundRobin),
    ];
    let write = |offset, bytes: &[u8]| beats(&write_tlp(offset, bytes));
    prop_oneof![
        4 => (doorbell, bits).prop_map(move |(offset, bits)| write(offset, &bits.to_le_bytes())),
        2 => (vector.clone(), any::<bool>()).prop_map(move |(v, mask)| write(msix_entry(v) + 12, &[mask.into()])),
        1 => (vector.clone(), any::<u32>()).prop_map(move |(v, data)| write(msix_entry(v) + 8, &data.to_le_bytes())),
        1 => (vector, policy).prop_map(move |(v, p)| write(rid_policy(v), &p.to_register().to_le_bytes())),
        1 => any::<u32>().prop_map(move |data| write(MESSAGE_DATA, &data.to_le_bytes())),
        2 => Just(write(MESSAGE_SEND, &[1])),
        1 => (0..256_u64, vec(any::<u8>(), 1..200)).prop_map(move |(at, bytes)| write(0x200 + at, &bytes)),
        2 => (0..4000_u64, 0..9_usize).prop_map(|(at, len)| {
            // The idle bit tells of the timing.
            let at = if at / 4 == IDLE / 4 || at / 4 == SENT / 4 { 0 } else { at };
            let len = if at < 0x30 { len.min(4 - (at % 4) as usize) } else { len };
            beats(&Tlp::mem_read(RequesterId(1), 7, BAR0 + at, len).unwrap())
        }),
        1 => (any::<[u8; 16]>(), any::<[u8; 32]>()).prop_map(|(mut header, data)| {
            // Nothing that reaches configuration space: it would move the device away.
            header[0] |= if header[0] & 0x1e == 4 { 8 } else { 0 };
            vec![Beat { sop: true, eop: true, header, data }]
        }),
    ]
}

fn config() -> NtbConfig {
    NtbConfig {
        table_size: 7,
        table_first_devfn: 0xfc,
        rid_mode: RidMode::RoundRobin,
        ..Default::default()
    }
}

/// Each operation, and a read behind it: all that it causes is sent before the next one.
fn flushed(operations: &[Vec<Beat>]) -> Vec<Vec<Beat>> {
    let flush = beats(&Tlp::mem_read(RequesterId(2), 1, BAR0 + DOORBELL_STATUS, 8).unwrap());
    operations
        .iter()
        .flat_map(|beats| [beats.clone(), flush.clone()])
        .collect()
}

/// What is sent while the input pauses and the output is ready as the bits of two patterns say.
fn sent_under(operations: &[Vec<Beat>], pauses: u64, stalls: u64) -> Vec<Beat> {
    let mut host = Host::with_msix(&config());
    for beats in operations {
        host.ntb.offer_beats(beats).unwrap();
    }
    let mut sent = Vec::new();
    for cycle in 0..PATIENCE {
        host.ntb.hold_input(pauses >> (cycle % 64) & 1 != 0);
        host.ntb.set_output_ready(stalls >> (cycle % 64) & 1 == 0);
        sent.extend(host.cycle_beat());
        if host.ntb.is_idle() {
            return sent;
        }
    }
    panic!("the device does not become idle");
}

/// What is sent, with its time, when each operation comes at its clock edge; idle edges are skipped or not.
fn sent_at(operations: &[(u64, Vec<Beat>)], stalls: u64, skip: bool) -> (Vec<(u64, Beat)>, u64) {
    let mut host = Host::with_msix(&config());
    let mut due: VecDeque<_> = operations
        .iter()
        .scan(1000, |edge, (gap, beats)| {
            *edge += gap;
            Some((*edge, beats))
        })
        .collect();
    let mut sent = Vec::new();
    let mut evaluated = 0;
    let mut edge = 1000;
    while !due.is_empty() || !host.ntb.is_idle() {
        if skip && host.ntb.is_idle() {
            edge = edge.max(due[0].0);
        }
        while due.front().is_some_and(|(at, _)| *at <= edge) {
            let (_, beats) = due.pop_front().unwrap();
            host.ntb.offer_beats(beats).unwrap();
        }
        host.ntb.set_output_ready(stalls >> (edge % 64) & 1 == 0);
        let beat = host.ntb.cycle_beat(SimTime::from_ns(4 * edge)).unwrap();
        sent.extend(beat.map(|beat| (edge, beat)));
        evaluated += 1;
        assert!(evaluated < PATIENCE, "the device does not become idle");
        edge += 1;
    }
    (sent, evaluated)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn back_pressure_changes_nothing_that_is_sent(
        operations in vec(operation(), 1..40),
        pauses in any::<u64>(),
        stalls in any::<u64>().prop_map(|bits| bits & !1),
    ) {
        let operations = flushed(&operations);
        prop_assert_eq!(sent_under(&operations, pauses & !2, stalls), sent_under(&operations, 0, 0));
    }

    #[test]
    fn skipping_idle_clock_edges_changes_neither_what_is_sent_nor_when(
        operations in vec((prop_oneof![0..4_u64, 0..400_u64], operation()), 1..40),
        stalls in any::<u64>().prop_map(|bits| bits & !1),
    ) {
        let (every_edge, all) = sent_at(&operations, stalls, false);
        let (busy_edges, busy) = sent_at(&operations, stalls, true);
        prop_assert_eq!(every_edge, busy_edges);
        prop_assert!(busy <= all);
    }

    #[test]
    fn any_bits_in_header_and_payload_leave_the_device_answering(
        tlps in vec((any::<[u8; 16]>(), vec(any::<[u8; 32]>(), 1..6)), 1..20),
    ) {
        let mut host = Host::new();
        for (header, payload) in tlps {
            let last = payload.len() - 1;
            let beats: Vec<_> = payload
                .into_iter()
                .enumerate()
                .map(|(i, data)| Beat { sop: i == 0, eop: i == last, header, data })
                .collect();
            host.ntb.offer_beats(&beats).unwrap();
            let idle = (0..PATIENCE).any(|_| {
                host.cycle_beat();
                host.ntb.is_idle()
            });
            prop_assert!(idle, "the device does not become idle");
        }
        host.enumerate();
        prop_assert_eq!(host.read(IDENTIFICATION), IDENTIFICATION_VALUE);
    }
}

#[test]
fn a_fair_share_of_the_operations_makes_the_device_send() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let operations = vec(operation(), 400).new_tree(&mut runner).unwrap().current();
    let sent = sent_under(&flushed(&operations), 0, 0);
    let writes = sent
        .iter()
        .filter(|beat| matches!(beat.header[0], 0x40 | 0x60))
        .count();
    assert!(
        writes > 400 && sent.len() - writes > 400,
        "{writes} of {}",
        sent.len()
    );
}
