//! Hits whose outcome is known: what an IRT entry and the DTE came to when they were last used together.
//!
//! A known hit is found by one comparison, of the key with a *stamp* of the requester ID in it. Whatever may change
//! what a walk through the caches comes to moves the stamp, or takes the known hit away with its entry. So a known
//! hit is what the caches would give, only sooner.

use std::array;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use sim_bridge::RequesterId;

use super::super::sync::{AtomicU64, fence};
use super::{
    Cache, CacheShape, Gone, Guard, Inserted, KEY_BITS, Listener, Place, USED, Words, hash_bits_of_set,
};

/// Counts what may change what is known under it. The key's bits below it are 0, but for what all keys have in common.
#[derive(Debug)]
pub(in super::super) struct Stamp(AtomicU64);

impl Stamp {
    /// Above the key's bits.
    pub(in super::super) const SHIFT: u32 = KEY_BITS;
    const STEP: u64 = 1 << Self::SHIFT;
    /// Where it ends: then nothing is known any more.
    const LAST: u64 = 1 << 63;

    pub(in super::super) fn new() -> Self {
        Self(AtomicU64::new(Self::STEP))
    }

    #[inline(always)]
    pub(in super::super) fn get(&self) -> u64 {
        self.0.load(Acquire)
    }

    /// Whether it can still move, and so something can be known under it.
    pub(in super::super) fn can_move(stamp: u64) -> bool {
        stamp < Self::LAST
    }

    #[inline]
    pub(in super::super) fn move_on(&self) {
        self.move_by(Self::STEP);
    }

    #[inline]
    fn move_by(&self, step: u64) {
        if Self::can_move(self.0.load(Relaxed)) {
            self.0.fetch_add(step, Release);
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(in super::super) fn move_to_last(&self) {
        self.0.store(Self::LAST, Relaxed);
    }
}

/// A stamp for each requester ID. Some share one, which only moves more often.
#[derive(Debug)]
pub(in super::super) struct Stamps(Box<[Stamp; STAMPS]>);

#[cfg(not(loom))]
const STAMPS: usize = 4096;
#[cfg(loom)]
const STAMPS: usize = 2;

impl Stamps {
    pub(in super::super) fn new() -> Self {
        Self(Box::new(array::from_fn(|_| Stamp::new())))
    }

    #[inline(always)]
    pub(in super::super) fn of(&self, device: RequesterId) -> &Stamp {
        &self.0[usize::from(device.0) % STAMPS]
    }

    /// What all keys have in common changes, or just anything.
    pub(in super::super) fn move_all(&self, common_before: u64, common: u64) {
        let step = Stamp::STEP + common - common_before;
        self.0.iter().for_each(|stamp| stamp.move_by(step));
    }
}

/// A place for a known hit beside each entry of a cache.
#[derive(Debug)]
pub(in super::super) struct KnownHits {
    /// Of each set, by [`Self::shift`] of a key's hash.
    first: Box<[Line]>,
    /// Of each set, as many as its ways need beyond the first.
    others: Box<[Line]>,
    others_in_set: usize,
    shift: u32,
}

/// Where known hits are looked for: a path that only looks at one line is much shorter, and most sets have no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Lines {
    First,
    All,
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
    /// Stamp and key, or [`NOTHING`].
    known: AtomicU64,
    /// What is remembered, and below it [`SEQUENCE`], a number: the same stamp and key may come back with another
    /// value, after others were here in between.
    value: AtomicU64,
}

/// No stamp is as high.
const NOTHING: u64 = u64::MAX;

impl Line {
    #[inline(always)]
    fn recall(&self, known: u64) -> Option<u64> {
        for hit in &self.0 {
            // The value that is there before and after the look at the key is the key's.
            let value = hit.value.load(Acquire);
            if hit.known.load(Acquire) == known && hit.value.load(Relaxed) == value {
                return Some(value >> SEQUENCE_BITS);
            }
        }
        None
    }
}

/// What is remembered has the other 56.
const SEQUENCE_BITS: u32 = 8;
const SEQUENCE: u64 = (1 << SEQUENCE_BITS) - 1;

impl KnownHits {
    pub(in super::super) fn new(shape: CacheShape) -> Self {
        let none = |_| KnownHit {
            known: AtomicU64::new(NOTHING),
            value: AtomicU64::new(0),
        };
        let lines = |number| (0..number).map(|_| Line(array::from_fn(none))).collect();
        let (shift, _) = hash_bits_of_set(shape);
        let first = if shape.sets() == 0 {
            0
        } else {
            1 << (u64::BITS - shift)
        };
        let others_in_set = shape.ways().div_ceil(WAYS_IN_LINE).saturating_sub(1);
        Self {
            first: lines(first),
            others: lines(shape.sets() * others_in_set),
            others_in_set,
            shift,
        }
    }

    #[inline(always)]
    fn first(&self, hash: u64) -> Option<&Line> {
        self.first.get((hash >> self.shift) as usize)
    }

    fn others(&self, set: usize) -> &[Line] {
        let first = set * self.others_in_set;
        self.others
            .get(first..first + self.others_in_set)
            .unwrap_or_default()
    }

    /// Beside the entry of a key with that hash.
    #[inline]
    fn hit(&self, hash: u64, set: usize, way: usize) -> Option<&KnownHit> {
        let line = match way / WAYS_IN_LINE {
            0 => self.first(hash)?,
            n => self.others(set).get(n - 1)?,
        };
        Some(&line.0[way % WAYS_IN_LINE])
    }
}

impl Listener for KnownHits {
    #[inline]
    fn gone(&self, Gone { hash, set, way, .. }: Gone) {
        if let Some(hit) = self.hit(hash, set, way) {
            hit.known.store(NOTHING, Relaxed);
        }
    }
}

impl<const N: usize, const HASHED: bool> Cache<N, KnownHits, HASHED> {
    /// Whether some known hits are not in the first line of their set.
    #[inline(always)]
    pub(in super::super) fn has_other_lines(&self) -> bool {
        self.listener.others_in_set > 0
    }

    /// What was remembered of an entry under this stamp. The key may be without its [top](super::TOP_OF_KEY), if
    /// the stamp has it.
    #[inline(always)]
    pub(in super::super) fn recall(&self, lines: Lines, key: u64, stamp: u64) -> Option<u64> {
        self.recall_as(lines, Self::hash(key), stamp | key)
    }

    /// What was remembered as `known`, not [`NOTHING`], of an entry whose key has that hash, as far as it is of a key.
    #[inline(always)]
    pub(in super::super) fn recall_as(&self, lines: Lines, hash: u64, known: u64) -> Option<u64> {
        let hits = &self.listener;
        let found = hits.first(hash)?.recall(known);
        if found.is_some() || lines == Lines::First {
            return found;
        }
        let others = hits.others(self.set_of_hash(hash));
        others.iter().find_map(|line| line.recall(known))
    }

    /// Remembers what the entry that is still at this place came to. `stamp` was captured before anything was looked
    /// up. An entry whose uses the replacement wants to know of is not remembered.
    pub(in super::super) fn remember(&self, place: Place, key: u64, stamp: u64, value: u64) {
        if Stamp::can_move(stamp) {
            self.remember_as(place, Self::hash(key), stamp | key, value);
        }
    }

    /// Likewise, as `known`, not [`NOTHING`], which says all that the entry must be of.
    pub(in super::super) fn remember_as(&self, place: Place, hash: u64, known: u64, value: u64) {
        let Place { set, way, .. } = place;
        let (Some(entry), Some(hit)) = (self.ways_of(set).get(way), self.listener.hit(hash, set, way)) else {
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
                    && Stamp::can_move(stamp)
                    && let Some(hit) = hits.hit(Self::hash(key), place.set, place.way)
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
        let sequence = self.value.load(Relaxed).wrapping_add(1) & SEQUENCE;
        self.known.store(NOTHING, Relaxed);
        fence(Release);
        self.value.store(value << SEQUENCE_BITS | sequence, Relaxed);
        self.known.store(known, Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{Inserted, Replacement};
    use super::*;

    fn cache(replacement: Replacement) -> Cache<1, KnownHits> {
        let shape = CacheShape::new(1, 2).unwrap().with_replacement(replacement);
        Cache::new(shape, KnownHits::new(shape))
    }

    fn recall(cache: &Cache<1, KnownHits>, key: u64, stamp: u64) -> Option<u64> {
        cache.recall(Lines::All, key, stamp)
    }

    fn insert(cache: &Cache<1, KnownHits>, key: u64) -> Place {
        match cache.insert(key, [0], cache.guard(key), |_| true, |_, _| true) {
            Inserted::Filled { place, .. } => place,
            Inserted::Refused => panic!("refused"),
        }
    }

    #[test]
    fn what_is_remembered_is_recalled_until_the_stamp_moves() {
        let (cache, stamp) = (cache(Replacement::PseudoLru), Stamp::new());
        let before = stamp.get();
        cache.remember(insert(&cache, 7), 7, before, 42);
        assert_eq!(recall(&cache, 7, before), Some(42));
        assert_eq!(recall(&cache, 8, before), None);
        stamp.move_on();
        assert_eq!(recall(&cache, 7, stamp.get()), None);
    }

    #[test]
    fn every_way_of_every_set_is_recalled() {
        let stamp = Stamp::new().get();
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
                    recall(&cache, *key, stamp),
                    Some(key + 1000),
                    "{sets} sets, {ways} ways"
                );
            }
        }
    }

    #[test]
    fn what_is_remembered_goes_with_its_entry() {
        let stamp = Stamp::new().get();
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
            assert_eq!(recall(&cache, 7, stamp), None);
        }
    }

    #[test]
    fn an_entry_that_was_not_used_since_the_hand_passed_is_not_known() {
        let (cache, stamp) = (cache(Replacement::PseudoLru), Stamp::new().get());
        let kept = [1, 2].map(|key| insert(&cache, key))[1];
        cache.remember(kept, 2, stamp, 42);
        // All were used: the hand takes the marks of both and the place of the first.
        insert(&cache, 3);
        assert_eq!(recall(&cache, 2, stamp), None);
        cache.remember(kept, 2, stamp, 42);
        assert_eq!(recall(&cache, 2, stamp), None, "its next use is to be noticed");
    }

    #[test]
    fn with_true_lru_every_use_is_noticed() {
        let (cache, stamp) = (cache(Replacement::TrueLru), Stamp::new().get());
        cache.remember(insert(&cache, 7), 7, stamp, 42);
        assert_eq!(recall(&cache, 7, stamp), None);
    }

    #[test]
    fn a_stamp_at_its_end_knows_nothing() {
        let (cache, stamp) = (cache(Replacement::PseudoLru), Stamp::new());
        stamp.move_to_last();
        let last = stamp.get();
        stamp.move_on();
        assert_eq!(stamp.get(), last);
        cache.remember(insert(&cache, 7), 7, last, 42);
        assert_eq!(recall(&cache, 7, last), None);
    }
}
