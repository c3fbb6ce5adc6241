//! Page tables as Linux's `io_pgtable.c` (v1) makes them: what was mapped is translated, and nothing else is.

use proptest::prelude::*;

use super::*;
use crate::iommu::spec::page_table::{PageAttributes, Permissions, PteError};
use crate::iommu::translate::{Translation, WalkError};

/// A mapping of 2^`shift` bytes.
#[derive(Debug, Clone, Copy)]
struct Mapping {
    iova: u64,
    physical: u64,
    shift: u32,
    /// IR and IW in bits 0 and 1.
    permissions: u64,
}

impl Mapping {
    fn last(&self) -> u64 {
        self.iova + ((1 << self.shift) - 1)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.iova <= other.last() && other.iova <= self.last()
    }

    fn expected(&self, request: &MemoryRequest) -> Option<Translation> {
        let wanted = match request.access {
            Access::Read => 1,
            Access::Write => 2,
            Access::Atomic => 3,
        };
        (self.permissions & wanted == wanted).then(|| Translation {
            address: self.physical + (request.address - self.iova),
            attributes: PageAttributes::new()
                .with_shift(self.shift as u8)
                .with_permissions(Permissions::from_bits(self.permissions as u8))
                .with_force_coherent(true),
        })
    }
}

/// `struct amd_io_pgtable`, without the growth of its mode.
struct LinuxTables<'a> {
    rig: &'a Rig,
    mode: u32,
    next_free: u64,
}

impl<'a> LinuxTables<'a> {
    fn new(rig: &'a Rig, mode: u32) -> Self {
        rig.set_dte(RID, dte_tables(mode.into(), ROOT));
        Self {
            rig,
            mode,
            next_free: ROOT + 0x1000,
        }
    }

    fn get(&self, address: u64) -> u64 {
        self.rig.memory.read_obj(GuestAddress(address)).unwrap()
    }

    /// `alloc_pte` and `iommu_v1_map_pages`; levels count from 0 there.
    fn map(&mut self, mapping: &Mapping) {
        let end_level = (mapping.shift - 12) / 9;
        let count = 1 << ((mapping.shift - 12) % 9);
        let mut table = ROOT;
        for level in (end_level + 1..self.mode).rev() {
            let entry = table + (mapping.iova >> (12 + 9 * level) & 0x1ff) * 8;
            if self.get(entry) & 1 == 0 {
                let pde = pde(level.into(), self.next_free);
                self.rig.memory.write_obj(pde, GuestAddress(entry)).unwrap();
                self.next_free += 0x1000;
            }
            table = self.get(entry) & 0x000f_ffff_ffff_f000;
        }
        let size = 1u64 << mapping.shift;
        let address = match count {
            1 => mapping.physical,
            _ => (mapping.physical | (size - 1)) & !(size >> 1) & 0x000f_ffff_ffff_f000 | 7 << 9,
        };
        let pte = address | 1 << 60 | mapping.permissions << 61 | PRESENT;
        let first = mapping.iova >> (12 + 9 * end_level) & 0x1ff;
        for index in first..first + count {
            self.rig.set_pte(table, index, pte);
        }
    }
}

fn mapping(mode: u32) -> impl Strategy<Value = Mapping> {
    let bits = (12 + 9 * mode).min(64);
    let highest = (bits - 1).min(51);
    // Small pages and low addresses half of the time, so that mappings meet in one table.
    let shift = prop_oneof![12..=highest.min(23), 12..=highest];
    let iova = prop_oneof![0..1u64 << 24, any::<u64>()];
    (shift, iova, any::<u64>(), 1..4u64).prop_map(move |(shift, iova, physical, permissions)| Mapping {
        iova: iova & (u64::MAX >> (64 - bits)) & (u64::MAX << shift),
        physical: physical & 0x000f_ffff_ffff_ffff & (u64::MAX << shift),
        shift,
        permissions,
    })
}

fn shape() -> impl Strategy<Value = CacheShape> {
    prop_oneof![
        Just(CacheShape::default()),
        Just(CacheShape::TINY),
        Just(CacheShape::DISABLED)
    ]
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![Just(Access::Read), Just(Access::Write), Just(Access::Atomic)]
}

fn check(rig: &Rig, mode: u32, mappings: &[Mapping], request: &MemoryRequest) {
    let address = request.address;
    let mapped = mappings.iter().find(|m| (m.iova..=m.last()).contains(&address));
    let expected = mapped.map(|m| m.expected(request));
    // The second time by what the caches hold.
    for _ in 0..2 {
        let outcome = rig.translate(request);
        match (expected, outcome) {
            (Some(Some(translation)), outcome) => {
                assert_eq!(outcome, TranslationOutcome::Translated(translation));
            }
            (Some(None), TranslationOutcome::Refused { reason, .. }) => {
                assert!(matches!(
                    reason,
                    TranslationError::Permissions { level: 1..=5, .. }
                ));
            }
            (None, TranslationOutcome::Refused { reason, .. }) => {
                let beyond = mode < 6 && address >> (12 + 9 * mode) != 0;
                let TranslationError::NotMapped(error) = reason else {
                    panic!("{reason:?}");
                };
                assert_eq!(matches!(error, WalkError::SkippedBits { .. }), beyond);
                let not_present = PteError::NotPresent;
                assert!(beyond || matches!(error, WalkError::Entry { error, .. } if error == not_present));
            }
            (expected, outcome) => panic!("{request:x?}: {outcome:x?}, not {expected:x?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_linux_maps_is_translated_and_nothing_else(
        (mode, mappings) in (1..=6u32).prop_flat_map(|mode| {
            (Just(mode), prop::collection::vec(mapping(mode), 1..24))
        }),
        shape in shape(),
        elsewhere in prop::collection::vec(any::<u64>(), 8),
        accesses in prop::collection::vec(access(), 1..8),
        offset: u64,
    ) {
        let features = Features::new(Efr::new().with_hats(2), Efr2::new()).unwrap();
        let rig = Rig::with(Config { features, ..Config::default() }.with_caches(shape), RUN);
        let mut tables = LinuxTables::new(&rig, mode);
        let mut mapped: Vec<Mapping> = Vec::new();
        for mapping in &mappings {
            if !mapped.iter().any(|other| other.overlaps(mapping)) {
                tables.map(mapping);
                mapped.push(*mapping);
            }
        }
        let around = mapped.iter().flat_map(|m| {
            let inside = m.iova | offset & ((1 << m.shift) - 1);
            [m.iova, inside, m.last(), m.iova.wrapping_sub(1), m.last().wrapping_add(1)]
        });
        let reach = u64::MAX >> (64 - (12 + 9 * mode).min(64));
        let elsewhere = elsewhere.iter().flat_map(|address| [*address, address & reach, address & 0xff_ffff]);
        for (address, access) in around.chain(elsewhere).zip(accesses.iter().cycle()) {
            if address >> 20 != 0xfee {
                check(&rig, mode, &mapped, &request(*access, address));
            }
        }
    }
}

#[test]
fn every_size_that_linux_maps_is_translated() {
    let features = Features::new(Efr::new().with_hats(2), Efr2::new()).unwrap();
    for shift in 12..=51 {
        let rig = Rig::with(
            Config {
                features,
                ..Config::default()
            },
            RUN,
        );
        let mapping = Mapping {
            iova: 5 << shift,
            physical: 0,
            shift,
            permissions: 3,
        };
        LinuxTables::new(&rig, 6).map(&mapping);
        for address in [mapping.iova, mapping.iova + 0x12, mapping.last()] {
            check(&rig, 6, &[mapping], &read(address));
        }
        for address in [mapping.iova - 1, mapping.last() + 1] {
            check(&rig, 6, &[mapping], &read(address));
        }
    }
}
