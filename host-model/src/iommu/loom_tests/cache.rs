use std::array;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::cache::{Cache, CacheShape, Inserted, KnownHits, Lines, Place, Replacement, Words};
use super::{both, model};

/// Its words are equal, whatever is done to it.
type Pairs = Cache<2, KnownHits>;

const KEY: u64 = 1;
const OTHER: u64 = 2;
/// Above the key.
const STAMP: u64 = 1 << 28;

fn one_entry(replacement: Replacement) -> Arc<Pairs> {
    let shape = CacheShape::new(1, 1).unwrap().with_replacement(replacement);
    Arc::new(Cache::new(shape, KnownHits::new(shape)))
}

fn put(cache: &Pairs, key: u64, value: u64) -> Place {
    let inserted = cache.insert(key, [value; 2], cache.guard(key), |_| true, |_, _| true);
    let Inserted::Filled { place, .. } = inserted else {
        panic!("refused")
    };
    place
}

fn insert(cache: &Pairs, key: u64, value: u64) {
    put(cache, key, value);
}

fn pair(words: &Words<2>) -> Option<[u64; 2]> {
    Some(array::from_fn(|n| words[n].load(Relaxed)))
}

fn find(cache: &Pairs, key: u64) -> Option<u64> {
    let (_, [a, b]) = cache.find(key, pair)?;
    assert_eq!(a, b, "half an entry");
    Some(a)
}

#[test]
fn a_lookup_sees_an_entry_whole_while_another_takes_its_place() {
    for replacement in [Replacement::TrueLru, Replacement::PseudoLru] {
        model(3, move || {
            let cache = one_entry(replacement);
            put(&cache, KEY, 1);
            both(
                &cache,
                |cache| assert!(matches!(find(cache, KEY), None | Some(1 | 3))),
                |cache| {
                    put(cache, OTHER, 2);
                    put(cache, KEY, 3);
                },
            );
            assert_eq!(find(&cache, KEY), Some(3));
        });
    }
}

#[test]
fn what_is_dropped_is_never_recalled() {
    model(3, || {
        let cache = one_entry(Replacement::PseudoLru);
        let place = put(&cache, KEY, 1);
        both(
            &cache,
            move |cache| cache.remember(place, KEY, STAMP, 1),
            |cache| {
                cache.drop_key(KEY);
                assert_eq!(cache.recall(Lines::First, KEY, STAMP), None);
            },
        );
        assert_eq!(cache.recall(Lines::First, KEY, STAMP), None);
    });
}

#[test]
fn what_is_recalled_was_remembered_of_that_key() {
    model(3, || {
        let cache = one_entry(Replacement::PseudoLru);
        let place = put(&cache, KEY, 1);
        cache.remember(place, KEY, STAMP, 1);
        both(
            &cache,
            |cache| {
                assert!(matches!(
                    cache.recall(Lines::First, KEY, STAMP),
                    None | Some(1 | 3)
                ));
                assert_eq!(cache.recall(Lines::First, KEY, STAMP + STAMP), None);
            },
            |cache| {
                cache.remember(put(cache, OTHER, 2), OTHER, STAMP, 2);
                cache.remember(put(cache, KEY, 3), KEY, STAMP, 3);
            },
        );
        assert_eq!(cache.recall(Lines::First, KEY, STAMP), Some(3));
    });
}

#[test]
fn what_takes_the_place_of_an_entry_is_not_remembered_as_it() {
    model(3, || {
        let cache = one_entry(Replacement::PseudoLru);
        let place = put(&cache, KEY, 1);
        both(
            &cache,
            move |cache| cache.remember(place, KEY, STAMP, 1),
            |cache| insert(cache, KEY, 3),
        );
        assert_eq!(cache.recall(Lines::First, KEY, STAMP), None);
    });
}

#[test]
fn lookups_that_touch_leave_an_insertion_alone() {
    model(3, || {
        let shape = CacheShape::new(1, 2).unwrap();
        let cache = Arc::new(Cache::new(shape, KnownHits::new(shape)));
        put(&cache, KEY, 1);
        put(&cache, OTHER, 2);
        both(
            &cache,
            |cache| assert!(matches!(find(cache, KEY), None | Some(1))),
            // Both marks go, one of the two entries goes.
            |cache| insert(cache, 3, 3),
        );
        let left = [KEY, OTHER, 3].map(|key| find(&cache, key));
        assert!(
            left == [None, Some(2), Some(3)] || left == [Some(1), None, Some(3)],
            "{left:?}"
        );
    });
}

#[test]
fn insertions_of_two_threads_are_both_whole() {
    model(3, || {
        let shape = CacheShape::new(1, 2).unwrap();
        let cache = Arc::new(Cache::new(shape, KnownHits::new(shape)));
        both(
            &cache,
            |cache| insert(cache, KEY, 1),
            |cache| insert(cache, OTHER, 2),
        );
        assert_eq!((find(&cache, KEY), find(&cache, OTHER)), (Some(1), Some(2)));
    });
}
