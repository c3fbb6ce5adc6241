//! Guest mode entries: IsRun, Destination and GATag are read on every use, and are never stale.

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::iommu::{InterruptRequest, Lookup, Notice, Posted};

const DTE: u64 = DEVICE_TABLE + 32 * RID.0 as u64;

/// Linux struct irte_ga: valid, guest_mode, is_run, destination 7, ga_tag 1; vector 0x41, page 0x600.
const ENTRY: u128 = 0x60_0041 << 64 | 1 << 32 | 7 << 8 | IS_RUN | 0x81;
const GA_LOG_INTR: u128 = 1 << 2;
const IS_RUN: u128 = 1 << 6;

struct Rig {
    checker: Checker,
    memory: Arc<GuestMemoryMmap>,
}

impl Rig {
    /// With a DTE and [`ENTRY`], cached.
    fn new() -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x80_0000)]).expect("memory");
        let memory = Arc::new(memory);
        let mut rig = Self {
            checker: Checker::new(memory.clone()),
            memory,
        };
        rig.checker.device_table(DEVICE_TABLE, 0x20_0000);
        rig.checker.irte_format(true, false);
        rig.store(DTE + 16, &dte(TABLE).to_le_bytes(), None);
        rig.store(TABLE, &ENTRY.to_le_bytes(), None);
        let sample = rig.checker.sample(SimTime::ZERO);
        let samples = [(DTE, sample), (TABLE, sample)];
        rig.checker
            .judge(&answer(LookupFrom::Fill), &samples, SimTime::ZERO);
        rig
    }

    fn store(&mut self, address: u64, bytes: &[u8], call: Option<CallId>) {
        self.checker.about_to_store(address, bytes, call, SimTime::ZERO);
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .expect("memory");
    }

    /// Software stores the entry in a call that returns.
    fn change(&mut self, entry: u128) {
        let call = self.checker.call_began("change", 0);
        self.store(TABLE, &entry.to_le_bytes(), Some(call));
        self.checker.call_ended(call, SimTime::ZERO);
    }

    /// [`ENTRY`] is used as it was cached.
    fn hit(&mut self) -> Freshness {
        self.checker.judge(&answer(LookupFrom::Hit), &[], SimTime::ZERO)
    }
}

fn answer(from: LookupFrom) -> Answer {
    Answer {
        request: InterruptRequest {
            requester: RID,
            address: 0xfee0_0000,
            data: 0,
        },
        outcome: Outcome::Posted(Posted {
            backing_page: 0x60_0000,
            vector: 0x41,
            notice: Notice::Nobody,
            index: 0,
        }),
        dte: Some(Lookup {
            from,
            address: DTE,
            raw: [0, 0, dte(TABLE), 0],
        }),
        irte: Some(Lookup {
            from,
            address: TABLE,
            raw: ENTRY,
        }),
    }
}

#[test]
fn changes_of_what_is_read_on_every_use_leave_an_entry_fresh() {
    for bits in [IS_RUN, 0xff << 8, 0xff << 24, 1 << 32, 1 << 63, 0xff << 120] {
        let mut rig = Rig::new();
        rig.change(ENTRY ^ bits);
        assert_eq!(rig.hit(), Freshness::Fresh, "{bits:#x}");
    }
}

#[test]
fn changes_of_what_is_cached_leave_an_entry_stale() {
    for bits in [1, GA_LOG_INTR, 0x80, 0x41 << 64, 1 << 76, 1 << 115] {
        let mut rig = Rig::new();
        rig.change(ENTRY ^ bits);
        assert_eq!(rig.hit(), Freshness::Stale, "{bits:#x}");
    }
}

#[test]
fn a_change_of_is_run_is_not_taken_for_one_of_its_neighbours() {
    let mut rig = Rig::new();
    rig.change(ENTRY ^ IS_RUN);
    let call = rig.checker.call_began("change", 0);
    rig.store(TABLE, &(ENTRY ^ IS_RUN ^ GA_LOG_INTR).to_le_bytes(), Some(call));
    assert_eq!(rig.hit(), Freshness::InFlight);
    rig.checker.call_ended(call, SimTime::ZERO);
    assert_eq!(rig.hit(), Freshness::Stale);
}

#[test]
fn an_entry_without_guest_mode_is_compared_whole() {
    for bit in (0..128).filter(|bit| *bit != 7) {
        let mut rig = Rig::new();
        let entry = ENTRY & !0x80;
        rig.change(entry);
        let mut cached = answer(LookupFrom::Hit);
        cached.irte.as_mut().expect("an IRTE").raw = entry;
        let fresh = rig.checker.judge(&cached, &[], SimTime::ZERO);
        rig.change(entry ^ 1 << bit);
        let stale = rig.checker.judge(&cached, &[], SimTime::ZERO);
        assert_eq!((fresh, stale), (Freshness::Fresh, Freshness::Stale), "bit {bit}");
    }
}
