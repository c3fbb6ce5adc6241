//! Tables in several regions of memory, whichever was read from before.

use super::*;

/// The first two meet in the middle of an entry; behind the second is a hole.
const REGIONS: [(u64, usize); 3] = [(0, 0x50_0008), (0x50_0008, 0x10_0000 - 8), (0x70_0000, 0x10_0000)];
/// One in each region and one across the border, with 128-bit entries.
const TABLES: [u64; 4] = [0x48_0000, 0x50_0000, 0x58_0000, 0x70_0000];
const HOLE: u64 = 0x60_0000;

fn device(n: usize) -> RequesterId {
    RequesterId(RID.0 + n as u16)
}

/// Each table under a requester ID of its own, which is its only entry's destination; then one in the hole.
fn rig(config: Config) -> Rig {
    let regions = REGIONS.map(|(start, bytes)| (GuestAddress(start), bytes));
    let memory = GuestMemoryMmap::from_ranges(&regions).unwrap();
    let rig = Rig::on(&Arc::new(memory), config, RUN | GA_EN);
    for (n, table) in TABLES.into_iter().enumerate() {
        rig.set_dte(device(n), dte_remap(table, 0));
        let irte = [(n as u64) << 8 | 1, 0x31_u64];
        rig.memory.write_obj(irte, GuestAddress(table)).unwrap();
    }
    rig.set_dte(device(TABLES.len()), dte_remap(HOLE, 0));
    rig
}

fn destination(outcome: Outcome) -> Option<u32> {
    match outcome {
        Outcome::Remapped(interrupt) => Some(interrupt.destination()),
        Outcome::Blocked {
            reason: BlockReason::IrteUnreadable(HOLE),
            ..
        } => None,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn an_entry_is_read_from_its_own_region_whichever_was_read_before() {
    let rig = rig(Config::default().with_caches(CacheShape::DISABLED));
    let tables = 0..=TABLES.len();
    for (before, n) in tables.clone().flat_map(|n| tables.clone().map(move |m| (n, m))) {
        let expected = |n| (n < TABLES.len()).then_some(n as u32);
        for n in [before, n] {
            let message = Rig::message(device(n), 0);
            assert_eq!(
                destination(rig.iommu.remap(&message)),
                expected(n),
                "{n} after {before}"
            );
            assert_eq!(
                destination(rig.outcome(&message)),
                expected(n),
                "{n} after {before}"
            );
        }
    }
}

#[test]
fn a_fault_of_memory_is_seen_whatever_was_read_before() {
    let mut config = Config::default().with_caches(CacheShape::DISABLED);
    config.faults.memory.push(MemoryFault {
        addresses: TABLES[2]..TABLES[2] + 1,
        error: spec::event::HardwareError::TargetAbort,
    });
    let rig = rig(config);
    for (n, blocked) in [(0, false), (2, true), (3, false), (2, true)] {
        let outcome = rig.iommu.remap(&Rig::message(device(n), 0));
        assert_eq!(matches!(outcome, Outcome::Blocked { .. }), blocked, "{n}");
    }
}
