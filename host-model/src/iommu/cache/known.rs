//! Hits whose outcome is known: what an IRT entry and the DTE came to when they were last used together.
//!
//! A known hit is found by one comparison, of the key with a *stamp* of the requester ID in it. Whatever may change
//! what a walk through the caches comes to moves the stamp, or takes the known hit away with its entry. So a known
//! hit is what the caches would give, only sooner.
//!
//! The IRT cache's stamp is the sum of two counters, of changes to the DTE and the generation of the IRTEs. Each of
//! them counts up one by one, so whoever reads one after the other has the sum as it was at some moment in between,
//! and no other state has the same.

use std::array;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use sim_bridge::RequesterId;

use super::super::sync::{AtomicU64, fence};
use super::generations::DISTINCT;
use super::{
    Cache, CacheShape, Generations, Guard, Inserted, KEY_BITS, Listener, Place, USED, Words, hash,
    hash_bits_of_set,
};

/// A stamp for each requester ID. Some share one, which only moves more often.
#[derive(Debug)]
pub(in super::super) struct Stamps(Box<[AtomicU64; STAMPS]>);

#[cfg(not(loom))]
const STAMPS: usize = 4096;
#[cfg(loom)]
const STAMPS: usize = 2;

const STEP: u64 = 1 << Stamps::SHIFT;
/// Where a stamp ends: then there are no known hits any more. The sum with a generation has one bit more.
const LAST: u64 = 1 << 62;

impl Stamps {
    /// Stamps are above the key's bits, and leave those to others.
    pub(in super::super) const SHIFT: u32 = KEY_BITS;

    pub(in super::super) fn new() -> Self {
        Self(Box::new(array::from_fn(|_| AtomicU64::new(STEP))))
    }

    #[inline]
    fn stamp(&self, device: RequesterId) -> &AtomicU64 {
        &self.0[usize::from(device.0) & (STAMPS - 1)]
    }

    #[inline]
    pub(in super::super) fn of(&self, device: RequesterId) -> u64 {
        self.stamp(device).load(Acquire)
    }

    /// Likewise, of the IRTEs too.
    #[inline]
    pub(in super::super) fn with_generation(&self, device: RequesterId, generations: &Generations) -> u64 {
        self.of(device) + (generations.of(device) & DISTINCT) * STEP
    }

    /// Whether a stamp can still move, and so something can be known under it.
    pub(in super::super) fn can_move(stamp: u64) -> bool {
        stamp < LAST
    }

    #[inline]
    pub(in super::super) fn move_on(&self, device: RequesterId) {
        move_on(self.stamp(device));
    }

    pub(in super::super) fn move_all(&self) {
        self.0.iter().for_each(move_on);
    }
}

#[inline]
fn move_on(stamp: &AtomicU64) {
    if stamp.load(Relaxed) < LAST {
        stamp.fetch_add(STEP, Release);
    }
}

/// The device table's cache: a DTE that goes takes the known hits that it was part of along.
impl Listener for Stamps {
    fn gone(&self, key: u64, _: usize, _: usize) {
        self.move_on(RequesterId(key as u16));
    }
}

/// A place for a known hit beside each entry of a cache.
#[derive(Debug)]
pub(in super::super) struct KnownHits {
    /// As many for each set as its ways need, a power of two.
    lines: Box<[Line]>,
    lines_in_set: usize,
    /// Of a key's hash, the number of its set's first line.
    shift: u32,
    mask: usize,
}

/// One line of the host's cache.
#[derive(Debug)]
#[repr(align(64))]
struct Line([KnownHit; WAYS_IN_LINE]);

#[cfg(not(loom))]
const WAYS_IN_LINE: usize = 4;
#[cfg(loom)]
const WAYS_IN_LINE: usize = 1;

#[derive(Debug)]
struct KnownHit {
    /// Stamp and key, or 0.
    known: AtomicU64,
    /// [`VALUE`], and above it a sequence number: the same stamp and key may come back with another value, after
    /// others were here in between.
    value: AtomicU64,
}

impl Line {
    #[inline(always)]
    fn recall(&self, known: u64) -> Option<u64> {
        for hit in &self.0 {
            // The value that is there before and after the look at the key is the key's.
            let value = hit.value.load(Acquire);
            if hit.known.load(Acquire) == known && hit.value.load(Relaxed) == value {
                return Some(value & VALUE);
            }
        }
        None
    }
}

/// Bits of what is remembered.
const VALUE: u64 = (1 << 56) - 1;

impl KnownHits {
    pub(in super::super) fn new(shape: CacheShape) -> Self {
        let none = |_| KnownHit {
            known: AtomicU64::new(0),
            value: AtomicU64::new(0),
        };
        let lines_in_set = shape.ways().div_ceil(WAYS_IN_LINE).next_power_of_two();
        let lines = 0..shape.sets() * lines_in_set;
        let (shift, mask) = hash_bits_of_set(shape);
        Self {
            lines: lines.map(|_| Line(array::from_fn(none))).collect(),
            lines_in_set,
            shift: shift - lines_in_set.ilog2(),
            mask: mask * lines_in_set,
        }
    }

    #[inline]
    fn hit(&self, set: usize, way: usize) -> Option<&KnownHit> {
        let line = self.lines.get(set * self.lines_in_set + way / WAYS_IN_LINE)?;
        Some(&line.0[way % WAYS_IN_LINE])
    }
}

impl Listener for KnownHits {
    #[inline]
    fn gone(&self, _: u64, set: usize, way: usize) {
        if let Some(hit) = self.hit(set, way) {
            hit.known.store(0, Relaxed);
        }
    }
}

impl<const N: usize> Cache<N, KnownHits> {
    /// What was remembered of an entry under this stamp.
    #[inline(always)]
    pub(in super::super) fn recall(&self, key: u64, stamp: u64) -> Option<u64> {
        self.recall_as(key, stamp | key)
    }

    /// What was remembered as `known`, not 0, of an entry with that key.
    #[inline(always)]
    pub(in super::super) fn recall_as(&self, key: u64, known: u64) -> Option<u64> {
        let hits = &self.listener;
        let first = (hash(key) >> hits.shift) as usize & hits.mask;
        let found = hits.lines.get(first)?.recall(known);
        if found.is_some() || hits.lines_in_set == 1 {
            return found;
        }
        let others = hits.lines.get(first + 1..first + hits.lines_in_set)?;
        others.iter().find_map(|line| line.recall(known))
    }

    /// Remembers what the entry that is still at this place came to. `stamp` was captured before anything was looked
    /// up. An entry whose uses the replacement wants to know of is not remembered.
    pub(in super::super) fn remember(&self, place: Place, key: u64, stamp: u64, value: u64) {
        if Stamps::can_move(stamp) {
            self.remember_as(place, stamp | key, value);
        }
    }

    /// Likewise, as `known`, not 0, which says all that the entry must be of.
    pub(in super::super) fn remember_as(&self, place: Place, known: u64, value: u64) {
        let Place { set, way, .. } = place;
        let (Some(entry), Some(hit)) = (self.ways_of(set).get(way), self.listener.hit(set, way)) else {
            return;
        };
        // With true LRU none is: no need of the lock to see that.
        if !entry.is_used_at(place) {
            return;
        }
        let _lock = self.sets[set].lock();
        if entry.is_used_at(place) {
            hit.set(known, value);
        }
    }

    /// [`Cache::insert`], and [`Self::remember`] at once if there is a value.
    #[inline]
    pub(in super::super) fn insert_and_remember(
        &self,
        key: u64,
        words: [u64; N],
        guard: Guard,
        live: impl Fn(u64, &Words<N>) -> bool,
        stamp: u64,
        value: Option<u64>,
    ) -> Inserted {
        self.insert_and(
            key,
            words,
            guard,
            |_| true,
            live,
            |hits, place| {
                if let Some(value) = value
                    && place.tag & USED != 0
                    && Stamps::can_move(stamp)
                    && let Some(hit) = hits.hit(place.set, place.way)
                {
                    hit.set(stamp | key, value);
                }
            },
        )
    }
}

impl KnownHit {
    /// The set's lock is held.
    #[inline]
    fn set(&self, known: u64, value: u64) {
        let sequence = (self.value.load(Relaxed) & !VALUE).wrapping_add(VALUE + 1);
        self.known.store(0, Relaxed);
        fence(Release);
        self.value.store(sequence | value & VALUE, Relaxed);
        self.known.store(known, Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{Inserted, Replacement};
    use super::*;

    const DEVICE: RequesterId = RequesterId(0x4100);

    fn cache(replacement: Replacement) -> Cache<1, KnownHits> {
        let shape = CacheShape::new(1, 2).unwrap().with_replacement(replacement);
        Cache::new(shape, KnownHits::new(shape))
    }

    fn insert(cache: &Cache<1, KnownHits>, key: u64) -> Place {
        match cache.insert(key, [0], cache.guard(key), |_| true, |_, _| true) {
            Inserted::Filled { place, .. } => place,
            Inserted::Refused => panic!("refused"),
        }
    }

    #[test]
    fn what_is_remembered_is_recalled_until_the_stamp_moves() {
        let (cache, stamps) = (cache(Replacement::PseudoLru), Stamps::new());
        let stamp = stamps.of(DEVICE);
        cache.remember(insert(&cache, 7), 7, stamp, 42);
        assert_eq!(cache.recall(7, stamp), Some(42));
        assert_eq!(cache.recall(8, stamp), None);
        stamps.move_on(DEVICE);
        assert_eq!(cache.recall(7, stamps.of(DEVICE)), None);
    }

    #[test]
    fn every_way_of_every_set_is_recalled() {
        let stamp = Stamps::new().of(DEVICE);
        for (sets, ways) in [1, 2, 64]
            .into_iter()
            .flat_map(|sets| (1..=16).map(move |ways| (sets, ways)))
        {
            let shape = CacheShape::new(sets, ways).unwrap();
            let cache = Cache::<1, KnownHits>::new(shape, KnownHits::new(shape));
            let keys = 1..=sets as u64 * ways as u64;
            // As long as nothing is evicted.
            let mut in_set = vec![0; sets];
            let kept: Vec<u64> = keys
                .filter(|key| {
                    in_set[cache.set_of(*key)] += 1;
                    in_set[cache.set_of(*key)] <= ways
                })
                .collect();
            for key in &kept {
                cache.remember(insert(&cache, *key), *key, stamp, key + 1000);
            }
            for key in &kept {
                assert_eq!(
                    cache.recall(*key, stamp),
                    Some(key + 1000),
                    "{sets} sets, {ways} ways"
                );
            }
        }
    }

    #[test]
    fn what_is_remembered_goes_with_its_entry() {
        let stamp = Stamps::new().of(DEVICE);
        let go: [fn(&Cache<1, KnownHits>); 3] = [
            |cache| _ = cache.drop_key(7),
            |cache| _ = insert(cache, 7),
            // Takes the mark of use from 7, and its place.
            |cache| (8..=9).for_each(|key| _ = insert(cache, key)),
        ];
        for go in go {
            let cache = cache(Replacement::PseudoLru);
            cache.remember(insert(&cache, 7), 7, stamp, 42);
            go(&cache);
            assert_eq!(cache.recall(7, stamp), None);
        }
    }

    #[test]
    fn an_entry_that_was_not_used_since_the_hand_passed_is_not_known() {
        let (cache, stamp) = (cache(Replacement::PseudoLru), Stamps::new().of(DEVICE));
        let kept = [1, 2].map(|key| insert(&cache, key))[1];
        cache.remember(kept, 2, stamp, 42);
        // All were used: the hand takes the marks of both and the place of the first.
        insert(&cache, 3);
        assert_eq!(cache.recall(2, stamp), None);
        cache.remember(kept, 2, stamp, 42);
        assert_eq!(cache.recall(2, stamp), None, "its next use is to be noticed");
    }

    #[test]
    fn with_true_lru_every_use_is_noticed() {
        let (cache, stamp) = (cache(Replacement::TrueLru), Stamps::new().of(DEVICE));
        cache.remember(insert(&cache, 7), 7, stamp, 42);
        assert_eq!(cache.recall(7, stamp), None);
    }

    #[test]
    fn a_stamp_at_its_end_knows_nothing() {
        let (cache, stamps) = (cache(Replacement::PseudoLru), Stamps::new());
        stamps.stamp(DEVICE).store(LAST - STEP, Relaxed);
        stamps.move_on(DEVICE);
        let stamp = stamps.of(DEVICE);
        stamps.move_on(DEVICE);
        assert_eq!(stamps.of(DEVICE), stamp);
        cache.remember(insert(&cache, 7), 7, stamp, 42);
        assert_eq!(cache.recall(7, stamp), None);
    }
}
