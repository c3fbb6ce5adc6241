//! A set-associative cache whose entries are invalidated by generation.

use std::array;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use crossbeam_utils::{Backoff, CachePadded};
use sim_bridge::RequesterId;

use super::config::CacheShape;

/// A generation for each requester ID. An invalidation, of one or of all, takes constant time.
#[derive(Debug)]
pub(super) struct Generations {
    all: CachePadded<AtomicU64>,
    devices: Box<[AtomicU64]>,
}

impl Generations {
    pub(super) fn new() -> Self {
        Self {
            all: CachePadded::default(),
            devices: (0..=u16::MAX).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The generation of a requester ID: it is the same as before only if no invalidation came in between, because
    /// both summands only grow.
    pub(super) fn of(&self, device: RequesterId) -> u64 {
        let device = self.devices[usize::from(device.0)].load(Acquire);
        device.wrapping_add(self.all.load(Acquire))
    }

    pub(super) fn invalidate(&self, device: RequesterId) {
        self.devices[usize::from(device.0)].fetch_add(1, Release);
    }

    pub(super) fn invalidate_all(&self) {
        self.all.fetch_add(1, Release);
    }
}

/// Entries of `N` words. A lookup takes no lock: each set has a version, odd while it is being written, and a lookup
/// that meets a writer misses.
#[derive(Debug)]
pub(super) struct Cache<const N: usize> {
    ways: usize,
    sets: Box<[Set]>,
    entries: Box<[Entry<N>]>,
}

#[derive(Debug)]
struct Set {
    version: AtomicU64,
    /// Ways in 4 bits each, the last used in the lowest.
    order: AtomicU64,
}

#[derive(Debug)]
struct Entry<const N: usize> {
    /// [`VALID`] and the key.
    tag: AtomicU64,
    generation: AtomicU64,
    value: [AtomicU64; N],
}

const VALID: u64 = 1 << 63;

impl<const N: usize> Cache<N> {
    pub(super) fn new(shape: CacheShape) -> Self {
        let set = || Set {
            version: AtomicU64::new(0),
            order: AtomicU64::new(0xfedc_ba98_7654_3210),
        };
        let entry = || Entry {
            tag: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            value: array::from_fn(|_| AtomicU64::new(0)),
        };
        Self {
            ways: shape.ways(),
            sets: (0..shape.sets()).map(|_| set()).collect(),
            entries: (0..shape.sets() * shape.ways()).map(|_| entry()).collect(),
        }
    }

    /// `None` if the cache is disabled.
    fn set(&self, tag: u64) -> Option<(&Set, &[Entry<N>])> {
        // Fibonacci hashing: the upper half of the product depends on every bit of the key.
        let hash = (tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        let index = hash & self.sets.len().checked_sub(1)?;
        Some((&self.sets[index], &self.entries[index * self.ways..][..self.ways]))
    }

    /// `key` is below 2^63.
    pub(super) fn get(&self, key: u64, generation: u64) -> Option<[u64; N]> {
        let tag = VALID | key;
        let (set, entries) = self.set(tag)?;
        let version = set.version.load(Acquire);
        let (way, entry) = entries
            .iter()
            .enumerate()
            .find(|(_, e)| e.tag.load(Relaxed) == tag && e.generation.load(Relaxed) == generation)?;
        let value = array::from_fn(|i| entry.value[i].load(Relaxed));
        fence(Acquire);
        if !version.is_multiple_of(2) || set.version.load(Relaxed) != version {
            return None;
        }
        set.touch(way);
        Some(value)
    }

    /// Replaces the entry of that key, or one that `live(key, generation)` says can't be hit any more, or the least
    /// recently used. `false` if the cache is disabled.
    pub(super) fn insert(
        &self,
        key: u64,
        generation: u64,
        value: [u64; N],
        live: impl Fn(u64, u64) -> bool,
    ) -> bool {
        let tag = VALID | key;
        let Some((set, entries)) = self.set(tag) else {
            return false;
        };
        let version = set.begin_write();
        let dead = |e: &Entry<N>| {
            let tag = e.tag.load(Relaxed);
            tag & VALID == 0 || !live(tag & !VALID, e.generation.load(Relaxed))
        };
        let way = (entries.iter().position(|e| e.tag.load(Relaxed) == tag))
            .or_else(|| entries.iter().position(dead))
            .unwrap_or_else(|| set.least_recent(self.ways));
        entries[way].tag.store(tag, Relaxed);
        entries[way].generation.store(generation, Relaxed);
        for (word, value) in entries[way].value.iter().zip(value) {
            word.store(value, Relaxed);
        }
        set.version.store(version + 2, Release);
        set.touch(way);
        true
    }
}

impl Set {
    fn begin_write(&self) -> u64 {
        let backoff = Backoff::new();
        loop {
            let version = self.version.load(Relaxed);
            let free = version.is_multiple_of(2);
            if free
                && self
                    .version
                    .compare_exchange_weak(version, version + 1, Acquire, Relaxed)
                    .is_ok()
            {
                fence(Release);
                return version;
            }
            backoff.snooze();
        }
    }

    /// Two threads that touch at once may lose one of the two; the word stays a permutation.
    fn touch(&self, way: usize) {
        let order = self.order.load(Relaxed);
        if order & 0xf != way as u64 {
            self.order.store(to_front(order, way as u64), Relaxed);
        }
    }

    fn least_recent(&self, ways: usize) -> usize {
        (self.order.load(Relaxed) >> (4 * (ways - 1)) & 0xf) as usize
    }
}

/// Moves `way` to the lowest digit; those below it move up by one.
const fn to_front(order: u64, way: u64) -> u64 {
    const ONES: u64 = 0x1111_1111_1111_1111;
    // The digit of `way` becomes zero; the lowest marker is that of the lowest zero digit.
    let difference = order ^ (way * ONES);
    let zero = difference.wrapping_sub(ONES) & !difference & (ONES << 3);
    let position = zero.trailing_zeros() & !3;
    let below = (1 << position) - 1;
    order & !(below << 4 | 0xf) | (order & below) << 4 | way
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_set(ways: usize) -> Cache<1> {
        Cache::new(CacheShape::new(1, ways).unwrap())
    }

    fn all_live(_: u64, _: u64) -> bool {
        true
    }

    #[test]
    fn an_entry_is_hit_while_its_generation_is_current() {
        let cache = one_set(2);
        assert!(cache.insert(0, 5, [42], all_live));
        assert_eq!(cache.get(0, 5), Some([42]));
        assert_eq!(cache.get(0, 6), None);
        assert_eq!(cache.get(1, 5), None);
    }

    #[test]
    fn a_disabled_cache_holds_nothing() {
        let cache = Cache::<1>::new(CacheShape::DISABLED);
        assert!(!cache.insert(0, 0, [42], all_live));
        assert_eq!(cache.get(0, 0), None);
    }

    #[test]
    fn a_key_that_is_cached_is_replaced_in_its_place() {
        let cache = one_set(2);
        for (key, value) in [(1, 10), (2, 20), (1, 11)] {
            cache.insert(key, 0, [value], all_live);
        }
        assert_eq!((cache.get(1, 0), cache.get(2, 0)), (Some([11]), Some([20])));
    }

    #[test]
    fn dead_entries_make_room_before_live_ones() {
        let cache = one_set(2);
        cache.insert(1, 0, [10], all_live);
        cache.insert(2, 0, [20], all_live);
        // Key 1 is the least recently used, but key 2 is dead.
        cache.insert(3, 0, [30], |key, _| key != 2);
        assert_eq!(cache.get(1, 0), Some([10]));
        assert_eq!(cache.get(2, 0), None);
    }

    #[test]
    fn one_device_or_all_are_invalidated() {
        let generations = Generations::new();
        let devices = [0, 0x4100, 0xffff].map(RequesterId);
        let all = || devices.map(|device| generations.of(device));
        let before = all();
        generations.invalidate(devices[1]);
        let after = all();
        assert_eq!([after[0], after[2]], [before[0], before[2]]);
        assert_ne!(after[1], before[1]);
        generations.invalidate_all();
        assert!(all().iter().zip(after).all(|(new, old)| *new != old));
    }

    #[test]
    fn a_lookup_that_meets_a_writer_misses() {
        let cache = one_set(1);
        cache.insert(1, 0, [10], all_live);
        let version = cache.sets[0].begin_write();
        assert_eq!(cache.get(1, 0), None);
        cache.sets[0].version.store(version + 2, Release);
        assert_eq!(cache.get(1, 0), Some([10]));
    }

    #[test]
    fn a_lookup_never_sees_half_an_entry() {
        let cache = &Cache::<5>::new(CacheShape::new(1, 1).unwrap());
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                for value in (0..500_000).filter_map(|_| cache.get(1, 0)) {
                    assert!(value[0] % 2 == 1 && value == [value[0]; 5], "{value:?}");
                }
            });
            // Key 1 has odd values, and key 0 takes its place.
            for n in (0..).take_while(|_| !reader.is_finished()) {
                cache.insert(n % 2, 0, [n; 5], all_live);
            }
        });
    }

    proptest! {
        #[test]
        fn the_least_recently_used_entry_is_evicted(
            ways in 1..=CacheShape::MAX_WAYS,
            keys in prop::collection::vec(0u64..24, 0..200),
        ) {
            let cache = one_set(ways);
            let mut model: Vec<u64> = Vec::new();
            for key in keys {
                let hit = cache.get(key, 0).is_some();
                prop_assert_eq!(hit, model.contains(&key));
                if !hit {
                    cache.insert(key, 0, [key], all_live);
                }
                model.retain(|k| *k != key);
                model.insert(0, key);
                model.truncate(ways);
            }
        }
    }
}
