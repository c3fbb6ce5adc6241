use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// What happened in a cache since reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStatistics {
    /// Lookups that were answered.
    pub hits: u64,
    /// Lookups that were not.
    pub misses: u64,
    /// Entries read from memory that can be hit.
    pub fills: u64,
    /// Entries read from memory that were not cached: the cache is disabled, an invalidation came in between, or
    /// the entry is of a kind that is not cached.
    pub uncached: u64,
    /// Live entries that a fill replaced.
    pub evictions: u64,
    /// By INVALIDATE_INTERRUPT_TABLE, INVALIDATE_DEVTAB_ENTRY, INVALIDATE_IOMMU_PAGES or PREFETCH_IOMMU_PAGES with
    /// Inval: commands for one requester ID or range, whatever they found.
    pub invalidations: u64,
    /// By INVALIDATE_IOMMU_ALL.
    pub invalidations_of_all: u64,
    /// By a generation counter that began anew.
    pub generation_wraps: u64,
}

/// Why entries were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvalidationCause {
    /// A command that names a requester ID, or a domain and range.
    One,
    /// INVALIDATE_IOMMU_ALL.
    All,
    /// A generation counter began anew.
    GenerationWrap,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum CacheEvent {
    Hit,
    Miss,
    Fill,
    Uncached,
    Eviction,
    Invalidation(InvalidationCause),
}

const EVENTS: usize = 8;

impl CacheEvent {
    #[inline(always)]
    const fn index(self) -> usize {
        match self {
            Self::Hit => 0,
            Self::Miss => 1,
            Self::Fill => 2,
            Self::Uncached => 3,
            Self::Eviction => 4,
            Self::Invalidation(InvalidationCause::One) => 5,
            Self::Invalidation(InvalidationCause::All) => 6,
            Self::Invalidation(InvalidationCause::GenerationWrap) => 7,
        }
    }
}

/// Whose count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum CacheKind {
    Irt,
    Dte,
    Iotlb,
}

const CACHES: usize = 3;

/// Exact counts that threads do not share: each thread has a shard of its own as long as it lives, and those that
/// find none free share one.
#[derive(Debug)]
#[repr(align(128))]
pub(in super::super) struct Counters([AtomicU64; (SHARDS + 2) * SHARD_WORDS]);

const SHARDS: usize = 32;
/// No two shards have a line of the host's cache, nor a pair of lines, in common.
const SHARD_WORDS: usize = 32;
/// The first word of the shard of those who have none, and of that of those who hold the IOMMU's lock.
const SHARED: usize = SHARDS * SHARD_WORDS;
const LOCKED: usize = SHARED + SHARD_WORDS;

/// What a shard's words count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Count {
    /// Hits in the IRT and the DTE cache at once.
    KnownHit,
    /// Hits in the DTE cache and the IOTLB at once.
    TranslationHit,
    Of(CacheKind, CacheEvent),
}

impl Count {
    #[inline(always)]
    const fn index(self) -> usize {
        const { assert!(2 + CACHES * EVENTS <= SHARD_WORDS) };
        match self {
            Self::KnownHit => 0,
            Self::TranslationHit => 1,
            Self::Of(cache, event) => 2 + cache as usize * EVENTS + event.index(),
        }
    }
}

/// The model checker's threads are all one, and begin each order of events alike.
const AT_FIRST: usize = if cfg!(loom) { 0 } else { SHARED };

thread_local! {
    /// The first word of the thread's shard; [`SHARED`] if it has none.
    static SHARD: Cell<usize> = const { Cell::new(AT_FIRST) };
    /// The shard's number, given back when the thread ends. It is apart because what is dropped is slower to look at.
    static HELD: Held = const { Held(Cell::new(None)) };
}

struct Held(Cell<Option<u32>>);

/// Shards that threads have, a bit each.
static TAKEN: AtomicU32 = AtomicU32::new(0);

impl Held {
    /// Takes the first free shard.
    fn take(&self) {
        let first_free = |taken: u32| (taken.count_ones() < SHARDS as u32).then(|| taken | (taken + 1));
        // What the thread that had it before has counted is to be seen.
        if let Ok(taken) = TAKEN.fetch_update(Acquire, Relaxed, first_free) {
            let number = taken.trailing_ones();
            self.0.set(Some(number));
            SHARD.set(number as usize * SHARD_WORDS);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        SHARD.set(SHARED);
        if let Some(number) = self.0.get() {
            TAKEN.fetch_and(!(1 << number), Release);
        }
    }
}

/// A thread's own shard.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Own<'a> {
    counters: &'a Counters,
    first: usize,
}

impl Own<'_> {
    #[inline(always)]
    pub(in super::super) fn count(self, count: Count) {
        self.counters.add_one(self.first, count);
    }
}

impl Counters {
    pub(in super::super) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; _])
    }

    #[inline]
    pub(in super::super) fn count(&self, cache: CacheKind, event: CacheEvent) {
        match self.own() {
            Some(own) => own.count(Count::Of(cache, event)),
            None => self.count_without_shard(Count::Of(cache, event)),
        }
    }

    /// For those who hold the IOMMU's lock.
    #[inline]
    pub(in super::super) fn count_alone(&self, cache: CacheKind, event: CacheEvent) {
        self.add_one(LOCKED, Count::Of(cache, event));
    }

    /// The thread's own shard, if it has one: it has none before it has counted anything.
    #[inline(always)]
    pub(in super::super) fn own(&self) -> Option<Own<'_>> {
        let first = SHARD.get();
        (first < SHARED).then_some(Own {
            counters: self,
            first,
        })
    }

    /// Nobody else adds to that shard.
    #[inline(always)]
    fn add_one(&self, first: usize, count: Count) {
        let counter = &self.0[first + count.index()];
        counter.store(counter.load(Relaxed) + 1, Relaxed);
    }

    #[cold]
    fn count_without_shard(&self, count: Count) {
        self.0[SHARED + count.index()].fetch_add(1, Relaxed);
        // A thread that ends has given its shard back, and takes none again.
        let _ = HELD.try_with(Held::take);
    }

    pub(in super::super) fn read(&self, cache: CacheKind) -> CacheStatistics {
        let sum = |count: Count| -> u64 {
            let of_shards = self.0.iter().skip(count.index()).step_by(SHARD_WORDS);
            of_shards.map(|counter| counter.load(Relaxed)).sum()
        };
        let of = |event| sum(Count::Of(cache, event));
        let (known, translations) = (sum(Count::KnownHit), sum(Count::TranslationHit));
        let at_once = match cache {
            CacheKind::Irt => known,
            CacheKind::Dte => known + translations,
            CacheKind::Iotlb => translations,
        };
        CacheStatistics {
            hits: of(CacheEvent::Hit) + at_once,
            misses: of(CacheEvent::Miss),
            fills: of(CacheEvent::Fill),
            uncached: of(CacheEvent::Uncached),
            evictions: of(CacheEvent::Eviction),
            invalidations: of(CacheEvent::Invalidation(InvalidationCause::One)),
            invalidations_of_all: of(CacheEvent::Invalidation(InvalidationCause::All)),
            generation_wraps: of(CacheEvent::Invalidation(InvalidationCause::GenerationWrap)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_of_every_thread_is_there() {
        let counters = &Counters::new();
        std::thread::scope(|scope| {
            for _ in 0..SHARDS + 8 {
                scope.spawn(|| (0..1000).for_each(|_| counters.count(CacheKind::Irt, CacheEvent::Hit)));
            }
        });
        assert_eq!(counters.read(CacheKind::Irt).hits, 1000 * (SHARDS as u64 + 8));
        assert_eq!(counters.read(CacheKind::Dte).hits, 0);
    }

    #[test]
    fn threads_that_have_ended_leave_their_shards_to_others() {
        let counters = &Counters::new();
        // More threads than shards, one after the other; other tests may have some at the time.
        for _ in 0..4 * SHARDS {
            let thread = || (0..2).for_each(|_| counters.count(CacheKind::Irt, CacheEvent::Hit));
            std::thread::scope(|scope| scope.spawn(thread).join()).unwrap();
        }
        let hits = Count::Of(CacheKind::Irt, CacheEvent::Hit);
        let shared = counters.0[SHARED + hits.index()].load(Relaxed);
        assert_eq!(counters.read(CacheKind::Irt).hits, 2 * 4 * SHARDS as u64);
        // The first count of each thread, which finds it a shard, unless others have all.
        assert!(shared < 2 * 4 * SHARDS as u64);
    }
}
