//! A set-associative cache with lock-free lookups.
//!
//! A lookup writes nothing unless the replacement needs to know of it. Each entry has a *tag* that holds its key and
//! a sequence number; whoever changes the entry changes the tag first, so a lookup that reads the same tag before
//! and after the words has read words that belong together.
//!
//! Each set has a lock for those who change it, and a count of the drops in it, its *guard*. A fill captures the
//! guard before its first memory read, and is not inserted once the guard has moved.

use std::array;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use super::sync::{AtomicU64, fence, hint};

mod generations;
mod known;
mod replacement;
mod shape;
mod statistics;
#[cfg(all(test, not(loom)))]
mod tests;

pub(super) use generations::Generations;
pub(super) use known::{KnownHits, Lines, Stamp, Stamps};
pub use shape::{CacheShape, CacheShapeError, Replacement};
pub(super) use statistics::{CacheEvent, CacheKind, Count, Counters};
pub use statistics::{CacheStatistics, InvalidationCause};

/// Entries of `N` words. If they are `HASHED`, keys are the top bits of a [`hash`] of more, so that several entries may
/// have the same.
#[derive(Debug)]
pub(super) struct Cache<const N: usize, L = (), const HASHED: bool = false> {
    shape: CacheShape,
    listener: L,
    ways: usize,
    shift: u32,
    mask: usize,
    sets: Box<[Set]>,
    entries: Box<[Entry<N>]>,
    /// Of [`Replacement::Random`].
    draws: AtomicU64,
}

#[derive(Debug)]
struct Set {
    /// [`LOCKED`], and above it the drops.
    drops: AtomicU64,
    /// What the replacement remembers beside the tags.
    order: AtomicU64,
}

/// One line of the host's cache, for up to seven words.
#[derive(Debug)]
#[repr(align(64))]
struct Entry<const N: usize> {
    tag: AtomicU64,
    words: [AtomicU64; N],
}

/// Words of an entry, to be read by a lookup.
pub(super) type Words<const N: usize> = [AtomicU64; N];

/// Drops in a set, when a fill began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guard(u64);

/// Where an entry is, and its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    set: usize,
    way: usize,
    tag: u64,
}

/// What became of a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It can be hit; whether a live entry had to go.
    Filled { place: Place, evicted: bool },
    /// The cache is disabled, or something was dropped meanwhile.
    Refused,
}

/// Bits of a key.
pub(super) const KEY_BITS: u32 = 28;
const KEY: u64 = (1 << KEY_BITS) - 1;
/// What differs in this only has the same hash, so that a lookup can begin without.
pub(super) const TOP_OF_KEY: u64 = 1 << (KEY_BITS - 1);
const VALID: u64 = 1 << KEY_BITS;
/// Used since the replacement last looked.
const USED: u64 = VALID << 1;
/// Unit of the sequence number in the rest of the tag.
const SEQUENCE: u64 = USED << 1;

const LOCKED: u64 = 1;
const DROP: u64 = 2;

/// Hears of entries once they are no more, or once the replacement wants to hear of their next use. The set's lock is
/// held.
pub(super) trait Listener {
    fn gone(&self, entry: Gone);
}

impl Listener for () {
    #[inline]
    fn gone(&self, _: Gone) {}
}

/// Which entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone {
    pub(super) key: u64,
    /// Of the key.
    hash: u64,
    set: usize,
    way: usize,
}

/// Fibonacci hashing: the top bits of the product spread neighbouring keys evenly.
#[inline(always)]
pub(super) fn hash(key: u64) -> u64 {
    key.wrapping_mul(FIBONACCI)
}

const FIBONACCI: u64 = 0x9e37_79b9_7f4a_7c15;

/// Likewise, of keys without [`TOP_OF_KEY`].
#[inline(always)]
fn hash_of_key(key: u64) -> u64 {
    const BITS: u32 = u64::BITS - TOP_OF_KEY.ilog2();
    key.wrapping_mul((FIBONACCI >> BITS | 1) << BITS)
}

/// A set is a hash shifted to the right and masked. One set takes the mask to say so: a shift by 64 is none.
fn hash_bits_of_set(shape: CacheShape) -> (u32, usize) {
    let sets = shape.sets();
    (63.min(64 - sets.max(1).ilog2()), sets.saturating_sub(1))
}

impl<const N: usize, L: Listener, const HASHED: bool> Cache<N, L, HASHED> {
    pub(super) fn new(shape: CacheShape, listener: L) -> Self {
        let set = || Set {
            drops: AtomicU64::new(0),
            order: AtomicU64::new(replacement::INITIAL_ORDER),
        };
        let entry = || Entry {
            tag: AtomicU64::new(0),
            words: array::from_fn(|_| AtomicU64::new(0)),
        };
        let (shift, mask) = hash_bits_of_set(shape);
        Self {
            shape,
            listener,
            ways: shape.ways(),
            shift,
            mask,
            sets: (0..shape.sets()).map(|_| set()).collect(),
            entries: (0..shape.sets() * shape.ways()).map(|_| entry()).collect(),
            draws: AtomicU64::new(0),
        }
    }

    /// Holds nothing, ever.
    #[inline]
    pub(super) fn is_disabled(&self) -> bool {
        self.ways == 0
    }

    /// Its top bits are the set.
    #[inline(always)]
    fn hash(key: u64) -> u64 {
        if HASHED {
            key << (u64::BITS - KEY_BITS)
        } else {
            hash_of_key(key)
        }
    }

    #[inline]
    fn set_of(&self, key: u64) -> usize {
        self.set_of_hash(Self::hash(key))
    }

    #[inline]
    fn set_of_hash(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize & self.mask
    }

    /// The entry with that key at that place is.
    #[inline]
    fn tell_gone(&self, key: u64, set: usize, way: usize) {
        let hash = Self::hash(key);
        self.listener.gone(Gone { key, hash, set, way });
    }

    #[inline]
    fn ways_of(&self, set: usize) -> &[Entry<N>] {
        let first = set.wrapping_mul(self.ways);
        self.entries
            .get(first..first.wrapping_add(self.ways))
            .unwrap_or_default()
    }

    /// What `read` makes of the words of the entry with that key; `read` gives `None` for an entry that is not meant
    /// after all. What it reads may not belong together, and is thrown away then.
    #[inline(always)]
    pub(super) fn find<R>(&self, key: u64, read: impl Fn(&Words<N>) -> Option<R>) -> Option<(Place, R)> {
        if self.is_disabled() {
            return None;
        }
        let set = self.set_of(key);
        for (way, entry) in self.ways_of(set).iter().enumerate() {
            let tag = entry.tag.load(Acquire);
            if tag & (VALID | KEY) != VALID | key {
                continue;
            }
            if let Some(value) = entry.read(tag, &read) {
                if tag & USED == 0 {
                    self.touch(set, way, tag);
                }
                return Some((Place { set, way, tag }, value));
            }
            if !HASHED {
                break;
            }
        }
        None
    }

    /// Whether the entry that had this place has not moved, and needs no touch.
    #[cfg(all(test, not(loom)))]
    fn is_at(&self, place: Place) -> bool {
        let entry = self.ways_of(place.set).get(place.way);
        entry.is_some_and(|entry| entry.tag.load(Acquire) == place.tag)
    }

    pub(super) fn listener(&self) -> &L {
        &self.listener
    }

    /// To be called before the first memory read of a fill, once that has been entered as in flight.
    #[inline]
    pub(super) fn guard(&self, key: u64) -> Guard {
        if self.is_disabled() {
            return Guard(0);
        }
        let set = self.sets.get(self.set_of(key));
        Guard(set.map_or(0, |set| set.drops.load(SeqCst) & !LOCKED))
    }

    /// Puts an entry in the place of one with that key and words that `same` accepts, or of one that `live` says
    /// can't be hit any more, or where the replacement says.
    pub(super) fn insert(
        &self,
        key: u64,
        words: [u64; N],
        guard: Guard,
        same: impl Fn(&Words<N>) -> bool,
        live: impl Fn(u64, &Words<N>) -> bool,
    ) -> Inserted {
        self.insert_and(key, words, guard, same, live, |_, _| ())
    }

    /// Like [`Self::insert`], and calls `then` with its place while nobody else can change it.
    #[inline]
    pub(super) fn insert_and(
        &self,
        key: u64,
        words: [u64; N],
        guard: Guard,
        same: impl Fn(&Words<N>) -> bool,
        live: impl Fn(u64, &Words<N>) -> bool,
        then: impl FnOnce(&L, Place),
    ) -> Inserted {
        let index = self.set_of(key);
        let Some(set) = self.sets.get(index) else {
            return Inserted::Refused;
        };
        let lock = set.lock();
        if lock.drops() != guard {
            return Inserted::Refused;
        }
        let ways = self.ways_of(index);
        let is_same = |e: &Entry<N>| e.key() == Some(key) && same(&e.words);
        let is_dead = |e: &Entry<N>| e.key().is_none_or(|key| !live(key, &e.words));
        let (way, evicted) = match ways.iter().position(is_same) {
            Some(way) => (way, false),
            None => match ways.iter().position(is_dead) {
                Some(way) => (way, false),
                None => (self.victim(index), true),
            },
        };
        let old = ways[way].key();
        let tag = ways[way].write(VALID | key | self.shape.replacement().initial_use(), words);
        if let Some(old) = old {
            self.tell_gone(old, index, way);
        }
        self.inserted(index, way);
        let place = Place { set: index, way, tag };
        then(&self.listener, place);
        Inserted::Filled { place, evicted }
    }

    /// Drops the entries with that key, and refuses fills that have begun for its set. The number dropped.
    pub(super) fn drop_key(&self, key: u64) -> usize {
        self.drop_key_where(key, |_| true)
    }

    /// Like [`Self::drop_key`], as far as the entries are those that `which` means.
    pub(super) fn drop_key_where(&self, key: u64, which: impl Fn(&Words<N>) -> bool) -> usize {
        self.drop_in(self.set_of(key), |of, words| of == key && which(words))
    }

    /// Drops what `which` says of all sets, and refuses all fills that have begun. The number dropped.
    pub(super) fn drop_where(&self, which: impl Fn(u64, &Words<N>) -> bool) -> usize {
        (0..self.sets.len()).map(|set| self.drop_in(set, &which)).sum()
    }

    fn drop_in(&self, index: usize, which: impl Fn(u64, &Words<N>) -> bool) -> usize {
        let Some(set) = self.sets.get(index) else {
            return 0;
        };
        let mut lock = set.lock();
        lock.count_drop();
        let mut dropped = 0;
        for (way, entry) in self.ways_of(index).iter().enumerate() {
            if let Some(key) = entry.key()
                && which(key, &entry.words)
            {
                entry.begin_change(entry.tag.load(Relaxed));
                self.tell_gone(key, index, way);
                dropped += 1;
            }
        }
        dropped
    }
}

impl<const N: usize> Entry<N> {
    /// Only what belongs to `tag`.
    #[inline]
    fn read<R>(&self, tag: u64, read: impl Fn(&Words<N>) -> Option<R>) -> Option<R> {
        let value = read(&self.words);
        fence(Acquire);
        let unchanged = (self.tag.load(Relaxed) ^ tag) & !USED == 0;
        value.filter(|_| unchanged)
    }

    fn is_used_at(&self, place: Place) -> bool {
        self.tag.load(Relaxed) == place.tag | USED
    }

    fn key(&self) -> Option<u64> {
        let tag = self.tag.load(Relaxed);
        (tag & VALID != 0).then_some(tag & KEY)
    }

    /// Invalidates the entry before its words change. The set's lock is held.
    fn begin_change(&self, tag: u64) {
        self.tag
            .store((tag & !(VALID | USED | KEY)).wrapping_add(SEQUENCE), Relaxed);
        fence(Release);
    }

    /// The new tag: `bits` and a sequence number of its own.
    fn write(&self, bits: u64, words: [u64; N]) -> u64 {
        let old = self.tag.load(Relaxed);
        self.begin_change(old);
        for (word, value) in self.words.iter().zip(words) {
            word.store(value, Relaxed);
        }
        let tag = (old & !(SEQUENCE - 1)).wrapping_add(2 * SEQUENCE) | bits;
        self.tag.store(tag, Release);
        tag
    }
}

impl Set {
    #[inline]
    fn lock(&self) -> SetLock<'_> {
        loop {
            let drops = self.drops.load(Relaxed) & !LOCKED;
            let taken = self
                .drops
                .compare_exchange_weak(drops, drops | LOCKED, Acquire, Relaxed);
            if taken.is_ok() {
                return SetLock { set: self, drops };
            }
            hint::spin_loop();
        }
    }
}

/// The right to change a set, until dropped.
struct SetLock<'a> {
    set: &'a Set,
    drops: u64,
}

impl SetLock<'_> {
    fn drops(&self) -> Guard {
        Guard(self.drops)
    }

    fn count_drop(&mut self) {
        self.drops = self.drops.wrapping_add(DROP);
    }
}

impl Drop for SetLock<'_> {
    #[inline]
    fn drop(&mut self) {
        self.set.drops.store(self.drops, Release);
    }
}
