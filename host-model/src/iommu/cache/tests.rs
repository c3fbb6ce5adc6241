use proptest::prelude::*;

use super::*;

fn one_set(ways: usize, replacement: Replacement) -> Cache<1> {
    Cache::new(
        CacheShape::new(1, ways).unwrap().with_replacement(replacement),
        (),
    )
}

fn insert<const N: usize>(cache: &Cache<N>, key: u64, words: [u64; N]) -> Inserted {
    cache.insert(key, words, cache.guard(key), |_| true, |_, _| true)
}

fn get<const N: usize>(cache: &Cache<N>, key: u64) -> Option<[u64; N]> {
    let read = |words: &Words<N>| Some(array::from_fn(|n| words[n].load(Relaxed)));
    cache.find(key, read).map(|(_, words)| words)
}

const REPLACEMENTS: [Replacement; 3] = [
    Replacement::TrueLru,
    Replacement::PseudoLru,
    Replacement::Random { seed: 7 },
];

#[test]
fn an_entry_is_found_by_its_key_if_the_reader_wants_it() {
    let cache = one_set(2, Replacement::PseudoLru);
    insert(&cache, 0, [42]);
    assert_eq!((get(&cache, 0), get(&cache, 1)), (Some([42]), None));
    assert!(cache.find(0, |_| None::<()>).is_none());
}

#[test]
fn a_disabled_cache_holds_nothing() {
    let cache = Cache::<1>::new(CacheShape::DISABLED, ());
    assert_eq!(insert(&cache, 0, [42]), Inserted::Refused);
    assert_eq!(get(&cache, 0), None);
    assert_eq!((cache.drop_key(0), cache.drop_where(|_, _| true)), (0, 0));
}

#[test]
fn a_key_that_is_cached_is_replaced_in_its_place() {
    for replacement in REPLACEMENTS {
        let cache = one_set(2, replacement);
        for (key, value) in [(1, 10), (2, 20), (1, 11)] {
            insert(&cache, key, [value]);
        }
        assert_eq!((get(&cache, 1), get(&cache, 2)), (Some([11]), Some([20])));
    }
}

#[test]
fn entries_of_one_hashed_key_live_side_by_side_if_their_words_tell_them_apart() {
    let shape = CacheShape::new(1, 2).unwrap();
    let cache = Cache::<1, (), true>::new(shape, ());
    for value in [10, 20] {
        let same = |words: &Words<1>| words[0].load(Relaxed) == value;
        cache.insert(1, [value], cache.guard(1), same, |_, _| true);
    }
    for value in [10, 20] {
        let wanted = |words: &Words<1>| (words[0].load(Relaxed) == value).then_some(value);
        assert_eq!(cache.find(1, wanted).map(|(_, v)| v), Some(value));
    }
}

#[test]
fn what_differs_in_the_top_of_the_key_shares_a_set() {
    let cache = Cache::<1>::new(CacheShape::new(64, 1).unwrap(), ());
    let sets: std::collections::HashSet<_> = (0..1000)
        .map(|key| {
            let set = cache.set_of(key);
            assert_eq!(cache.set_of(key | TOP_OF_KEY), set);
            set
        })
        .collect();
    assert_eq!(sets.len(), 64);
}

#[test]
fn dead_entries_make_room_before_live_ones() {
    let cache = one_set(2, Replacement::TrueLru);
    insert(&cache, 1, [10]);
    insert(&cache, 2, [20]);
    // Key 1 is the least recently used, but key 2 is dead.
    let inserted = cache.insert(3, [30], cache.guard(3), |_| true, |key, _| key != 2);
    assert!(matches!(inserted, Inserted::Filled { evicted: false, .. }));
    assert_eq!((get(&cache, 1), get(&cache, 2)), (Some([10]), None));
}

#[test]
fn a_fill_that_a_drop_overtakes_is_refused() {
    let cache = one_set(2, Replacement::PseudoLru);
    let guard = cache.guard(1);
    assert_eq!(cache.drop_key(1), 0);
    let inserted = cache.insert(1, [10], guard, |_| true, |_, _| true);
    assert_eq!((inserted, get(&cache, 1)), (Inserted::Refused, None));
    let guard = cache.guard(1);
    insert(&cache, 2, [20]);
    assert_eq!(cache.drop_where(|key, _| key == 2), 1);
    let inserted = cache.insert(1, [10], guard, |_| true, |_, _| true);
    assert_eq!(inserted, Inserted::Refused);
}

#[test]
fn what_is_dropped_is_gone_and_the_rest_is_not() {
    let cache = Cache::<1>::new(CacheShape::default(), ());
    (0..100).for_each(|key| assert_ne!(insert(&cache, key, [key]), Inserted::Refused));
    assert_eq!(cache.drop_key(50), 1);
    assert_eq!(cache.drop_where(|_, words| words[0].load(Relaxed) < 10), 10);
    let left = (0..100).filter(|key| get(&cache, *key).is_some()).count();
    assert_eq!((left, get(&cache, 50)), (89, None));
}

#[test]
fn a_place_is_good_until_its_entry_changes() {
    let cache = one_set(1, Replacement::PseudoLru);
    let place = |inserted| match inserted {
        Inserted::Filled { place, .. } => place,
        Inserted::Refused => panic!("refused"),
    };
    let first = place(insert(&cache, 1, [10]));
    assert!(cache.is_at(first));
    let second = place(insert(&cache, 1, [10]));
    assert!(!cache.is_at(first) && cache.is_at(second));
    cache.drop_key(1);
    assert!(!cache.is_at(second));
}

#[test]
fn the_clock_passes_over_what_was_used() {
    let cache = one_set(3, Replacement::PseudoLru);
    (1..=3).for_each(|key| assert_ne!(insert(&cache, key, [key]), Inserted::Refused));
    // All are used: the hand goes once round, and takes the first.
    insert(&cache, 4, [4]);
    assert_eq!(get(&cache, 1), None);
    // 2 and 3 have lost their marks; 2 is used again.
    get(&cache, 2);
    insert(&cache, 5, [5]);
    assert_eq!((get(&cache, 2), get(&cache, 3)), (Some([2]), None));
}

#[test]
fn random_replacement_repeats_with_its_seed() {
    let evicted = |seed| {
        let cache = one_set(8, Replacement::Random { seed });
        (0..64).for_each(|key| assert_ne!(insert(&cache, key, [key]), Inserted::Refused));
        (0..64)
            .filter(|key| get(&cache, *key).is_some())
            .collect::<Vec<u64>>()
    };
    assert_eq!(evicted(1), evicted(1));
    assert_ne!(evicted(1), evicted(2));
}

#[test]
fn a_lookup_never_sees_half_an_entry() {
    for replacement in REPLACEMENTS {
        let cache = &Cache::<5>::new(CacheShape::new(1, 1).unwrap().with_replacement(replacement), ());
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                for value in (0..200_000).filter_map(|_| get(cache, 1)) {
                    assert!(value[0] % 2 == 1 && value == [value[0]; 5], "{value:?}");
                }
            });
            // Key 1 has odd values, and key 0 takes its place.
            for n in (0..).take_while(|_| !reader.is_finished()) {
                insert(cache, n % 2, [n; 5]);
            }
        });
    }
}

proptest! {
    #[test]
    fn true_lru_evicts_the_least_recently_used(
        ways in 1..=CacheShape::MAX_WAYS,
        keys in prop::collection::vec(0u64..24, 0..200),
    ) {
        let cache = one_set(ways, Replacement::TrueLru);
        let mut model: Vec<u64> = Vec::new();
        for key in keys {
            let hit = get(&cache, key).is_some();
            prop_assert_eq!(hit, model.contains(&key));
            if !hit {
                insert(&cache, key, [key]);
            }
            model.retain(|k| *k != key);
            model.insert(0, key);
            model.truncate(ways);
        }
    }

    /// The textbook's clock: a list of ways with a mark each, and a hand.
    #[test]
    fn pseudo_lru_is_the_clock(
        ways in 1..=CacheShape::MAX_WAYS,
        keys in prop::collection::vec(0u64..24, 0..200),
    ) {
        let cache = one_set(ways, Replacement::PseudoLru);
        let (mut model, mut hand): (Vec<(u64, bool)>, usize) = (Vec::new(), 0);
        for key in keys {
            let hit = get(&cache, key).is_some();
            prop_assert_eq!(hit, model.iter().any(|(k, _)| *k == key));
            if let Some((_, used)) = model.iter_mut().find(|(k, _)| *k == key) {
                *used = true;
                continue;
            }
            insert(&cache, key, [key]);
            if model.len() < ways {
                model.push((key, true));
                continue;
            }
            while model[hand].1 {
                model[hand].1 = false;
                hand = (hand + 1) % ways;
            }
            model[hand] = (key, true);
            hand = (hand + 1) % ways;
        }
    }
}
