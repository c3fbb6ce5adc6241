//! Exact counts.

use proptest::prelude::*;

use super::*;

/// Of one cache, in this order: hits, misses, fills, uncached, evictions, invalidations of one, of all, wraps.
type Counts = [u64; 8];

fn counts(statistics: CacheStatistics) -> Counts {
    let CacheStatistics {
        hits,
        misses,
        fills,
        uncached,
        evictions,
        invalidations,
        invalidations_of_all,
        generation_wraps,
    } = statistics;
    [
        hits,
        misses,
        fills,
        uncached,
        evictions,
        invalidations,
        invalidations_of_all,
        generation_wraps,
    ]
}

const HIT: Counts = [1, 0, 0, 0, 0, 0, 0, 0];
const FILL: Counts = [0, 1, 1, 0, 0, 0, 0, 0];
const EVICTING: Counts = [0, 1, 1, 0, 1, 0, 0, 0];
const UNCACHED: Counts = [0, 1, 0, 1, 0, 0, 0, 0];
const INVALIDATION: Counts = [0, 0, 0, 0, 0, 1, 0, 0];
const WRAP: Counts = [0, 0, 0, 0, 0, 1, 0, 1];
const OF_ALL: Counts = [0, 0, 0, 0, 0, 0, 1, 0];
const NOTHING: Counts = [0; 8];

#[derive(Debug, Clone, Copy)]
enum Op {
    Ask(u32),
    Command([u64; 2]),
    /// A write of Control.
    Control(u64),
    /// A request for this index which the command overtakes while the IRTE is being read.
    Overtaken(u32, [u64; 2]),
}

/// How a request is made.
#[derive(Debug, Clone, Copy)]
enum Way {
    Observed,
    /// By tokens, and nobody looks on.
    ByTokens,
    AtOnce,
}

const WAYS: [Way; 3] = [Way::Observed, Way::ByTokens, Way::AtOnce];

/// Entries 0 to 7 are valid, 8 and 9 are empty.
fn rig(config: Config) -> Rig {
    let rig = Rig::with(config, RUN);
    (0..8).for_each(|index| rig.set_irte32(index, irte32(5, 0x31 + index as u8)));
    rig
}

fn ask(rig: &Rig, device: RequesterId, index: u32, way: Way) -> Outcome {
    let request = Rig::message(device, index);
    match way {
        Way::Observed => rig.ask(&request).outcome,
        Way::ByTokens => rig.outcome(&request),
        Way::AtOnce => rig.iommu.remap(&request),
    }
}

fn apply(rig: &Rig, op: Op, way: Way) -> Option<Outcome> {
    match op {
        Op::Ask(index) => Some(ask(rig, RID, index, way)),
        Op::Command(command) => {
            rig.queue(command);
            rig.run();
            None
        }
        Op::Control(control) => {
            rig.iommu.write(0x18, 8, control);
            None
        }
        Op::Overtaken(index, command) => {
            let token = rig.ask_until_irte_fill(&Rig::message(RID, index));
            rig.queue(command);
            rig.run();
            let outcome = rig.complete(token).outcome;
            rig.run();
            Some(outcome)
        }
    }
}

/// What each operation counts in the DTE and the IRT cache, whichever way requests are made.
fn counted(config: Config, script: &[(Op, Counts, Counts)]) {
    for way in WAYS {
        let rig = rig(config.clone());
        let mut before = [NOTHING; 2];
        for (n, (op, dte, irt)) in script.iter().enumerate() {
            apply(&rig, *op, way);
            let statistics = rig.iommu.statistics();
            let now = [counts(statistics.dte_cache), counts(statistics.irt_cache)];
            let [got_dte, got_irt] =
                [0, 1].map(|cache| std::array::from_fn(|n| now[cache][n] - before[cache][n]));
            assert_eq!((got_dte, got_irt), (*dte, *irt), "{n}: {op:?}, {way:?}");
            before = now;
        }
    }
}

#[test]
fn every_event_is_counted_once() {
    counted(
        Config::default(),
        &[
            (Op::Ask(3), FILL, FILL),
            // Both caches at once, then one by one.
            (Op::Ask(3), HIT, HIT),
            (Op::Ask(4), HIT, FILL),
            (Op::Ask(4), HIT, HIT),
            // RemapEn 0.
            (Op::Ask(8), HIT, UNCACHED),
            (Op::Command(invalidate_irt(RID)), NOTHING, INVALIDATION),
            (Op::Ask(3), HIT, FILL),
            (Op::Command(invalidate_dte(RID)), INVALIDATION, NOTHING),
            (Op::Ask(3), FILL, HIT),
            (Op::Ask(3), HIT, HIT),
            (Op::Command(INVALIDATE_ALL), OF_ALL, OF_ALL),
            (Op::Ask(3), FILL, FILL),
            // Nobody's but the command's own.
            (Op::Command(invalidate_irt(RequesterId(7))), NOTHING, INVALIDATION),
            (Op::Command(completion_wait(1)), NOTHING, NOTHING),
            (Op::Ask(3), HIT, HIT),
        ],
    );
}

#[test]
fn fills_that_are_overtaken_are_uncached() {
    let and = |a: Counts, b: Counts| std::array::from_fn(|n| a[n] + b[n]);
    counted(
        Config::default(),
        &[
            (
                Op::Overtaken(3, invalidate_irt(RID)),
                FILL,
                and(UNCACHED, INVALIDATION),
            ),
            (
                Op::Overtaken(3, INVALIDATE_ALL),
                and(HIT, OF_ALL),
                and(UNCACHED, OF_ALL),
            ),
        ],
    );
}

#[test]
fn fills_of_a_full_cache_evict_what_is_live() {
    let tiny = CacheShape::TINY;
    counted(
        Config::default().with_caches(tiny),
        &[
            (Op::Ask(0), FILL, FILL),
            (Op::Ask(1), HIT, FILL),
            (Op::Ask(2), HIT, EVICTING),
            (Op::Ask(1), HIT, HIT),
            (Op::Ask(0), HIT, EVICTING),
            // What is dead makes room without being evicted.
            (Op::Command(invalidate_irt(RID)), NOTHING, INVALIDATION),
            (Op::Ask(3), HIT, FILL),
            (Op::Ask(4), HIT, FILL),
            (Op::Ask(5), HIT, EVICTING),
        ],
    );
}

#[test]
fn disabled_caches_miss_everything() {
    counted(
        Config::default().with_caches(CacheShape::DISABLED),
        &[
            (Op::Ask(3), UNCACHED, UNCACHED),
            (Op::Ask(3), UNCACHED, UNCACHED),
            (Op::Command(invalidate_irt(RID)), NOTHING, INVALIDATION),
        ],
    );
}

#[test]
fn irt_cache_dis_misses_as_a_disabled_cache_does() {
    counted(
        Config::default(),
        &[
            (Op::Ask(3), FILL, FILL),
            (Op::Ask(3), HIT, HIT),
            (Op::Control(RUN | 1 << 59), NOTHING, NOTHING),
            (Op::Ask(3), HIT, UNCACHED),
            (Op::Ask(3), HIT, UNCACHED),
            (Op::Control(RUN), NOTHING, NOTHING),
            (Op::Ask(3), HIT, HIT),
        ],
    );
}

#[test]
fn invalidate_devtab_entry_is_an_invalidation_of_both_where_it_drops_both() {
    let mut config = Config::default();
    config.policies.devtab_invalidation = DevtabInvalidation::DteAndIrtes;
    counted(
        config,
        &[
            (Op::Ask(3), FILL, FILL),
            (Op::Command(invalidate_dte(RID)), INVALIDATION, INVALIDATION),
            (Op::Ask(3), FILL, FILL),
        ],
    );
}

#[test]
fn a_page_request_hits_the_dte_or_reads_it_uncached() {
    let rig = Rig::with(registers::with_efr(registers::EVERYTHING), RUN | 1 << 15);
    rig.set_irte32(3, irte32(5, 0x31));
    let request = PageRequest {
        requester: RID,
        address: 0x1000,
        group: 1,
        last: true,
        read: true,
        write: false,
        pasid: None,
    };
    let dte = || counts(rig.iommu.statistics().dte_cache);
    rig.iommu.page_request(&request);
    assert_eq!(dte(), UNCACHED);
    ask(&rig, RID, 3, Way::Observed);
    assert_eq!(dte(), [0, 2, 1, 1, 0, 0, 0, 0]);
    rig.iommu.page_request(&request);
    assert_eq!(dte(), [1, 2, 1, 1, 0, 0, 0, 0]);
}

#[test]
fn generations_that_begin_anew_are_counted() {
    let config = Config {
        generation_bits: 1,
        ..Config::default()
    };
    counted(
        config,
        &[
            (Op::Command(invalidate_irt(RID)), NOTHING, INVALIDATION),
            (Op::Command(invalidate_irt(RID)), NOTHING, WRAP),
            (Op::Command(invalidate_irt(RID)), NOTHING, INVALIDATION),
            (Op::Command(invalidate_irt(RID)), NOTHING, WRAP),
        ],
    );
}

#[test]
fn with_true_lru_the_dte_that_was_used_last_stays_whichever_way_it_was_used() {
    for way in WAYS {
        let config = Config {
            dte_cache: CacheShape::TINY,
            ..Config::default()
        };
        let rig = rig(config);
        let [a, b, c] = [0x4100, 0x4101, 0x4102].map(RequesterId);
        for device in [a, b, c] {
            rig.set_dte(device, dte_remap(TABLE, 9));
        }
        for device in [a, b, a, a, c, a] {
            ask(&rig, device, 3, way);
        }
        assert_eq!(rig.iommu.statistics().dte_cache.misses, 3, "{way:?}");
    }
}

fn op() -> impl Strategy<Value = Op> {
    let command = prop_oneof![
        Just(invalidate_irt(RID)),
        Just(invalidate_dte(RID)),
        Just(INVALIDATE_ALL),
        Just(completion_wait(1)),
    ];
    prop_oneof![
        4 => (0..10u32).prop_map(Op::Ask),
        1 => command.prop_map(Op::Command),
    ]
}

proptest! {
    #[test]
    fn every_way_has_the_same_outcomes_and_counts(
        irt_cache in oracle::shapes(),
        dte_cache in oracle::shapes(),
        ops in prop::collection::vec(op(), 0..100),
    ) {
        let config = Config { irt_cache, dte_cache, ..Config::default() };
        let rigs = WAYS.map(|_| rig(config.clone()));
        for op in ops {
            let [observed, by_tokens, at_once] = [0, 1, 2].map(|n| apply(&rigs[n], op, WAYS[n]));
            prop_assert_eq!(observed, by_tokens);
            prop_assert_eq!(observed, at_once);
        }
        let [observed, by_tokens, at_once] = rigs.map(|rig| rig.iommu.statistics());
        prop_assert_eq!(observed, by_tokens);
        prop_assert_eq!(observed, at_once);
    }
}
