use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use crossbeam_utils::CachePadded;

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
    /// By INVALIDATE_INTERRUPT_TABLE, INVALIDATE_DEVTAB_ENTRY or INVALIDATE_IOMMU_PAGES: of one requester ID or
    /// range.
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
#[derive(Debug, Default)]
pub(in super::super) struct Counters {
    shards: [CachePadded<Shard>; SHARDS],
    shared: CachePadded<Shard>,
    locked: CachePadded<Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    /// Hits in the IRT and the DTE cache at once.
    known_hits: AtomicU64,
    /// Hits in the DTE cache and the IOTLB at once.
    translation_hits: AtomicU64,
    caches: [[AtomicU64; EVENTS]; CACHES],
}

const SHARDS: usize = 16;

thread_local! {
    /// The thread's shard; beyond the last if it has none.
    static SHARD: Cell<usize> = const { Cell::new(SHARDS) };
    /// Likewise, given back when the thread ends. It is apart because what is dropped is slower to look at.
    static HELD: Held = const { Held(Cell::new(SHARDS)) };
}

struct Held(Cell<usize>);

/// Shards that threads have, a bit each.
static TAKEN: AtomicU32 = AtomicU32::new(0);

impl Held {
    /// Takes the first free shard.
    fn take(&self) {
        let first_free = |taken: u32| (taken.count_ones() < SHARDS as u32).then(|| taken | (taken + 1));
        // What the thread that had it before has counted is to be seen.
        if let Ok(taken) = TAKEN.fetch_update(Acquire, Relaxed, first_free) {
            self.0.set(taken.trailing_ones() as usize);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        SHARD.set(SHARDS);
        if self.0.get() < SHARDS {
            TAKEN.fetch_and(!(1 << self.0.get()), Release);
        }
    }
}

impl Counters {
    #[inline]
    pub(in super::super) fn count(&self, cache: CacheKind, event: CacheEvent) {
        let index = event.index();
        self.add(move |shard| &shard.caches[cache as usize][index]);
    }

    /// For those who hold the IOMMU's lock.
    #[inline]
    pub(in super::super) fn count_alone(&self, cache: CacheKind, event: CacheEvent) {
        let counter = &self.locked.caches[cache as usize][event.index()];
        counter.store(counter.load(Relaxed) + 1, Relaxed);
    }

    #[inline]
    pub(in super::super) fn count_known_hit(&self) {
        self.add(|shard| &shard.known_hits);
    }

    #[inline]
    pub(in super::super) fn count_translation_hit(&self) {
        self.add(|shard| &shard.translation_hits);
    }

    #[inline(always)]
    fn add(&self, counter: impl Fn(&Shard) -> &AtomicU64) {
        match self.shards.get(SHARD.get()) {
            Some(shard) => {
                let counter = counter(shard);
                counter.store(counter.load(Relaxed) + 1, Relaxed);
            }
            None => self.add_without_shard(counter),
        }
    }

    #[cold]
    fn add_without_shard(&self, counter: impl Fn(&Shard) -> &AtomicU64) {
        counter(&self.shared).fetch_add(1, Relaxed);
        // A thread that ends has given its shard back, and takes none again.
        let _ = HELD.try_with(|held| {
            held.take();
            SHARD.set(held.0.get());
        });
    }

    pub(in super::super) fn read(&self, cache: CacheKind) -> CacheStatistics {
        let sum = |counter: &dyn Fn(&Shard) -> &AtomicU64| -> u64 {
            self.shards
                .iter()
                .chain([&self.shared, &self.locked])
                .map(|shard| counter(shard).load(Relaxed))
                .sum()
        };
        let of = |event: CacheEvent| sum(&|shard| &shard.caches[cache as usize][event.index()]);
        let (known, translations) = (sum(&|s| &s.known_hits), sum(&|s| &s.translation_hits));
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
        let counters = &Counters::default();
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
        let counters = &Counters::default();
        // More threads than shards, one after the other; other tests may have some at the time.
        for _ in 0..4 * SHARDS {
            let thread = || (0..2).for_each(|_| counters.count(CacheKind::Irt, CacheEvent::Hit));
            std::thread::scope(|scope| scope.spawn(thread).join()).unwrap();
        }
        let shared = counters.shared.caches[CacheKind::Irt as usize][CacheEvent::Hit.index()].load(Relaxed);
        assert_eq!(counters.read(CacheKind::Irt).hits, 2 * 4 * SHARDS as u64);
        // The first count of each thread, which finds it a shard, unless others have all.
        assert!(shared < 2 * 4 * SHARDS as u64);
    }
}
