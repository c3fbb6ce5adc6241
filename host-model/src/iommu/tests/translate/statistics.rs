//! Exact counts of the IOTLB and of the device table's cache beside it.

use super::*;
use crate::iommu::CacheStatistics;

/// Hits, misses, fills, uncached, evictions, invalidations, of all.
type Counts = [u64; 7];

const HIT: Counts = [1, 0, 0, 0, 0, 0, 0];
const FILL: Counts = [0, 1, 1, 0, 0, 0, 0];
const EVICTING: Counts = [0, 1, 1, 0, 1, 0, 0];
const UNCACHED: Counts = [0, 1, 0, 1, 0, 0, 0];
/// Looked for, and no page.
const MISS: Counts = [0, 1, 0, 0, 0, 0, 0];
const INVALIDATION: Counts = [0, 0, 0, 0, 0, 1, 0];
const OF_ALL: Counts = [0, 0, 0, 0, 0, 0, 1];
const NOTHING: Counts = [0; 7];

fn counts(statistics: &CacheStatistics) -> Counts {
    assert_eq!(statistics.generation_wraps, 0);
    [
        statistics.hits,
        statistics.misses,
        statistics.fills,
        statistics.uncached,
        statistics.evictions,
        statistics.invalidations,
        statistics.invalidations_of_all,
    ]
}

#[derive(Debug, Clone, Copy)]
enum Op {
    /// Of a page by number; 0 to 7 are mapped.
    Read(u64),
    Write(u64),
    Command([u64; 2]),
    /// A read of this page, which the command overtakes while the page's entry is being read.
    Overtaken(u64, [u64; 2]),
}

const PAGES: Op = Op::Command(invalidate_pages(0x5e, EVERYTHING));

/// Pages 0 to 7 of [`RID`], which can be read.
fn rig(config: Config) -> Rig {
    let rig = Rig::with(config, RUN);
    rig.set_dte(RID, dte_tables(1, ROOT));
    (0..8).for_each(|page| rig.set_pte(ROOT, page, READ | PRESENT | 0x10_0000 | page << 12));
    rig
}

fn apply(rig: &Rig, op: Op, at_once: bool) {
    let translate = |request| {
        if at_once {
            rig.iommu.translate_at_once(&request);
        } else {
            rig.translate(&request);
        }
    };
    match op {
        Op::Read(page) => translate(read(page << 12)),
        Op::Write(page) => translate(write(page << 12)),
        Op::Command(command) => rig.queue(command),
        Op::Overtaken(page, command) => {
            let token = rig.translate_until_pte(&read(page << 12));
            rig.queue(command);
            rig.run();
            rig.finish_translation(rig.iommu.complete_translation(token));
        }
    }
    rig.run();
}

/// What each operation counts in the DTE cache and the IOTLB, whichever way requests are made.
fn counted(config: Config, script: &[(Op, Counts, Counts)]) {
    for at_once in [false, true] {
        let rig = rig(config.clone());
        let mut before = [NOTHING; 2];
        for (n, (op, dte, iotlb)) in script.iter().enumerate() {
            apply(&rig, *op, at_once);
            let statistics = rig.iommu.statistics();
            let now = [counts(&statistics.dte_cache), counts(&statistics.iotlb)];
            let got = [0, 1].map(|cache| std::array::from_fn(|n| now[cache][n] - before[cache][n]));
            assert_eq!(got, [*dte, *iotlb], "{n}: {op:?}, at once: {at_once}");
            before = now;
        }
    }
}

#[test]
fn every_event_is_counted_once() {
    counted(
        Config::default(),
        &[
            (Op::Read(1), FILL, FILL),
            // Both caches, then known.
            (Op::Read(1), HIT, HIT),
            (Op::Read(1), HIT, HIT),
            (Op::Read(2), HIT, FILL),
            (Op::Read(2), HIT, HIT),
            // Cached, but not allowed; not mapped.
            (Op::Write(1), HIT, MISS),
            (Op::Read(9), HIT, MISS),
            (PAGES, NOTHING, INVALIDATION),
            (Op::Read(1), HIT, FILL),
            (
                Op::Command(invalidate_pages(0x5f, EVERYTHING)),
                NOTHING,
                INVALIDATION,
            ),
            (Op::Read(1), HIT, HIT),
            (Op::Command(invalidate_dte(RID)), INVALIDATION, NOTHING),
            (Op::Read(1), FILL, HIT),
            (Op::Command(invalidate_irt(RID)), NOTHING, NOTHING),
            (Op::Read(1), HIT, HIT),
            (Op::Command(INVALIDATE_ALL), OF_ALL, OF_ALL),
            (Op::Read(1), FILL, FILL),
        ],
    );
}

#[test]
fn fills_of_a_full_iotlb_evict() {
    counted(
        Config {
            iotlb: CacheShape::TINY,
            ..Config::default()
        },
        &[
            (Op::Read(0), FILL, FILL),
            (Op::Read(1), HIT, FILL),
            (Op::Read(2), HIT, EVICTING),
            (Op::Read(1), HIT, HIT),
            (Op::Read(0), HIT, EVICTING),
            (PAGES, NOTHING, INVALIDATION),
            (Op::Read(3), HIT, FILL),
            (Op::Read(4), HIT, FILL),
            (Op::Read(5), HIT, EVICTING),
        ],
    );
}

#[test]
fn fills_that_are_overtaken_and_those_of_a_disabled_iotlb_are_uncached() {
    let and = |a: Counts, b: Counts| std::array::from_fn(|n| a[n] + b[n]);
    counted(
        Config::default(),
        &[
            (
                Op::Overtaken(1, invalidate_pages(0x5e, EVERYTHING)),
                FILL,
                and(UNCACHED, INVALIDATION),
            ),
            (
                Op::Overtaken(1, INVALIDATE_ALL),
                and(HIT, OF_ALL),
                and(UNCACHED, OF_ALL),
            ),
        ],
    );
    counted(
        Config::default().with_caches(CacheShape::DISABLED),
        &[
            (Op::Read(1), UNCACHED, UNCACHED),
            (Op::Read(1), UNCACHED, UNCACHED),
            (PAGES, NOTHING, INVALIDATION),
        ],
    );
}

#[test]
fn a_prefetch_with_inval_is_an_invalidation_and_one_without_is_none() {
    let features = Features::new(Efr::from_bits(0xc1), Efr2::new()).unwrap();
    let prefetch = [6 << 60 | 0x4100, 0x1000];
    counted(
        Config {
            features,
            ..Config::default()
        },
        &[
            (Op::Command(prefetch), NOTHING, NOTHING),
            (Op::Command([prefetch[0], 0x1010]), NOTHING, INVALIDATION),
        ],
    );
}
