//! Table entries: from the caches, from memory, into the caches.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

use sim_bridge::RequesterId;
use vm_memory::{Address, ByteValued, Bytes, GuestAddress, GuestMemory, GuestMemoryRegion, VolatileMemory};

use super::Iommu;
use super::cache::{
    CacheEvent, CacheKind, Count, Guard, Inserted, InvalidationCause, Lines, Place, Replacement, TOP_OF_KEY,
    Words,
};
use super::config::{CacheRemapEnClear, DevtabInvalidation, OutOfRangeDevice};
use super::outcome::{Interrupt, InterruptRequest, Lookup, LookupFrom};
use super::remap::{Walk, is_plain};
use super::spec::dte::RawDte;
use super::spec::event::HardwareError;
use super::spec::irte::{IrteFlags, IrteFormat, RawIrte};
use super::sync::fence;
use super::verdict::IrteTarget;

/// Words of a cached DTE: its address, then the entry.
pub(super) const DTE_WORDS: usize = 5;

/// Words of a cached IRTE.
pub(super) const IRTE_WORDS: usize = 4;
/// Of the requester ID when the fill began.
const GENERATION: usize = 0;
const ADDRESS: usize = 1;
const RAW: usize = 2;

/// Of [`irte_key`], Control.GAEn.
pub(super) const IRTE_KEY_GA_EN: u64 = TOP_OF_KEY;

/// Key in the IRT cache. It holds the format, because an entry of one is no entry of the other.
#[inline]
pub(super) fn irte_key(ga_en: bool, device: RequesterId, index: u32) -> u64 {
    (u64::from(ga_en) * IRTE_KEY_GA_EN) | u64::from(device.0) << 11 | u64::from(index)
}

fn device_of_irte_key(key: u64) -> RequesterId {
    RequesterId((key >> 11) as u16)
}

/// Number of the region of guest memory that entries of one kind were last read from; of none at first, and if
/// memory has faults.
#[derive(Debug)]
pub(super) struct LastRegion(AtomicUsize);

impl LastRegion {
    pub(super) const fn new() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }
}

/// A device table entry that a walk goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dte {
    pub(super) lookup: Lookup<RawDte>,
    /// What it comes to may be remembered: it is cached, and its uses need not be noticed as with true LRU.
    pub(super) knowable: bool,
}

/// An IRT cache entry.
pub(super) struct CachedIrte {
    pub(super) lookup: Lookup<RawIrte>,
    pub(super) place: Place,
}

fn word<const N: usize>(words: &Words<N>, n: usize) -> u64 {
    words[n].load(Relaxed)
}

#[inline]
pub(super) fn lookup_dte(words: &Words<DTE_WORDS>) -> Lookup<RawDte> {
    Lookup {
        from: LookupFrom::Hit,
        address: word(words, 0),
        raw: std::array::from_fn(|n| word(words, n + 1)),
    }
}

fn lookup_irte(words: &Words<IRTE_WORDS>) -> Lookup<RawIrte> {
    Lookup {
        from: LookupFrom::Hit,
        address: word(words, ADDRESS),
        raw: u128::from(word(words, RAW + 1)) << 64 | u128::from(word(words, RAW)),
    }
}

impl<M: GuestMemory> Iommu<M> {
    /// Where the DTE is; `None` if it is beyond the table.
    #[inline]
    pub(super) fn dte_address(&self, device: RequesterId) -> Option<u64> {
        let location = self.dte_location(device);
        let unchecked = self.config.policies.out_of_range_device == OutOfRangeDevice::Unchecked;
        (location.in_table() || unchecked).then(|| location.address())
    }

    /// Reads guest memory.
    #[inline(always)]
    pub(super) fn fetch<T: ByteValued>(&self, address: u64) -> Result<T, HardwareError> {
        // Half the work of `read_obj`, which is for what lies across regions.
        if self.config.faults.memory.is_empty()
            && let Some(region) = self.memory.find_region(GuestAddress(address))
            && let Ok(slice) = region.as_volatile_slice()
            && let Ok(entry) = slice.get_ref((address - region.start_addr().raw_value()) as usize)
        {
            return Ok(entry.load());
        }
        self.fetch_with_care(address)
    }

    /// Like [`Self::fetch`], sooner if all of it is in the region of before. Regions do not overlap.
    #[inline(always)]
    fn fetch_near<T: ByteValued>(&self, last: &LastRegion, address: u64) -> Result<T, HardwareError> {
        if let Some(region) = self.memory.iter().nth(last.0.load(Relaxed))
            && let Ok(offset) = usize::try_from(address.wrapping_sub(region.start_addr().raw_value()))
            && let Ok(slice) = region.as_volatile_slice()
            && let Ok(entry) = slice.get_ref(offset)
        {
            return Ok(entry.load());
        }
        self.fetch_elsewhere(last, address)
    }

    #[inline(never)]
    fn fetch_elsewhere<T: ByteValued>(&self, last: &LastRegion, address: u64) -> Result<T, HardwareError> {
        let holds = |region: &M::R| region.to_region_addr(GuestAddress(address)).is_some();
        if self.config.faults.memory.is_empty()
            && let Some(region) = self.memory.iter().position(holds)
        {
            last.0.store(region, Relaxed);
        }
        self.fetch(address)
    }

    #[cold]
    fn fetch_with_care<T: ByteValued>(&self, address: u64) -> Result<T, HardwareError> {
        if let Some(error) = self.config.faults.on_read(address, size_of::<T>()) {
            return Err(error);
        }
        self.memory
            .read_obj(GuestAddress(address))
            .map_err(|_| HardwareError::MasterAbort)
    }

    /// Stores 64 bits, little-endian, at an aligned address.
    pub(super) fn store(&self, address: u64, value: u64) -> Result<(), HardwareError> {
        if let Some(error) = self.config.faults.on_store(address, 8) {
            return Err(error);
        }
        self.memory
            .store(value.to_le(), GuestAddress(address), Release)
            .map_err(|_| HardwareError::MasterAbort)
    }

    /// Stores bytes.
    pub(super) fn store_bytes(&self, address: u64, bytes: &[u8]) -> Result<(), HardwareError> {
        if let Some(error) = self.config.faults.on_store(address, bytes.len()) {
            return Err(error);
        }
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .map_err(|_| HardwareError::MasterAbort)
    }

    #[inline(always)]
    pub(super) fn read_dte(&self, address: u64) -> Result<RawDte, HardwareError> {
        let dte: RawDte = self.fetch_near(&self.dte_region, address)?;
        Ok(dte.map(u64::from_le))
    }

    #[inline(always)]
    pub(super) fn read_irte(&self, address: u64, format: IrteFormat) -> Result<RawIrte, HardwareError> {
        Ok(match format {
            IrteFormat::Bits32 => u32::from_le(self.fetch_near(&self.irte_region, address)?).into(),
            IrteFormat::Bits128 { .. } => {
                let [low, high]: [u64; 2] = self.fetch_near(&self.irte_region, address)?;
                let [low, high] = [low, high].map(u64::from_le);
                u128::from(high) << 64 | u128::from(low)
            }
        })
    }

    /// Hits what is current now, which may be newer than the walk.
    #[inline(always)]
    pub(super) fn cached_dte(&self, device: RequesterId) -> Option<Dte> {
        let found = self
            .dte_cache
            .find(device.0.into(), |words| Some(lookup_dte(words)));
        self.counters.count(
            CacheKind::Dte,
            match found {
                Some(_) => CacheEvent::Hit,
                None => CacheEvent::Miss,
            },
        );
        found.map(|(_, lookup)| self.dte(lookup))
    }

    #[inline(always)]
    pub(super) fn cache_dte(&self, device: RequesterId, guard: Guard, address: u64, raw: RawDte) -> Dte {
        let inserted = if self.dte_cache.is_disabled() {
            Inserted::Refused
        } else {
            self.insert_dte(device, guard, address, raw)
        };
        self.count_insertion(CacheKind::Dte, inserted);
        let from = match inserted {
            Inserted::Filled { .. } => LookupFrom::Fill,
            Inserted::Refused => LookupFrom::Uncached,
        };
        self.dte(Lookup { from, address, raw })
    }

    #[inline(never)]
    fn insert_dte(&self, device: RequesterId, guard: Guard, address: u64, raw: RawDte) -> Inserted {
        let key = device.0.into();
        let guard = if self.config.faults.fill_races_invalidation {
            self.dte_cache.guard(key)
        } else {
            guard
        };
        let [a, b, c, d] = raw;
        self.dte_cache
            .insert(key, [address, a, b, c, d], guard, |_| true, |_, _| true)
    }

    #[inline]
    fn dte(&self, lookup: Lookup<RawDte>) -> Dte {
        let cached = lookup.from != LookupFrom::Uncached;
        Dte {
            lookup,
            knowable: cached && self.config.dte_cache.replacement() != Replacement::TrueLru,
        }
    }

    /// Like [`Self::cached_dte`].
    #[inline(always)]
    pub(super) fn cached_irte(&self, walk: &Walk, index: u16) -> Option<CachedIrte> {
        if self.control().irt_cache_dis() {
            self.counters.count(CacheKind::Irt, CacheEvent::Miss);
            return None;
        }
        let device = walk.request.requester;
        let generation = self.irt_generations.of(device);
        let key = irte_key(walk.control.ga_en(), device, index.into());
        let found = self.irt_cache.find(key, |words| {
            (word(words, GENERATION) == generation).then(|| lookup_irte(words))
        });
        self.counters.count(
            CacheKind::Irt,
            match found {
                Some(_) => CacheEvent::Hit,
                None => CacheEvent::Miss,
            },
        );
        found.map(|(place, lookup)| CachedIrte { lookup, place })
    }

    /// Moves with all that may change what a hit in both caches comes to.
    #[inline(always)]
    pub(super) fn irt_stamp(&self, device: RequesterId) -> u64 {
        self.dte_cache.listener().interrupts.of(device).get()
    }

    /// A hit in both caches that is known. With [`Lines::First`] only plain requests, so that most take the shortest
    /// path. Threads without counters of their own know none.
    #[inline(always)]
    pub(super) fn known_hit(&self, request: &InterruptRequest, lines: Lines) -> Option<Interrupt> {
        let mapped = match lines {
            Lines::First => is_plain(request),
            Lines::All if is_plain(request) => self.irt_cache.has_other_lines(),
            Lines::All => self.mode().maps(request),
        };
        if !mapped {
            return None;
        }
        let counters = self.counters.own()?;
        let stamp = self.irt_stamp(request.requester);
        // The stamp knows of the format.
        let key = irte_key(false, request.requester, request.data & 0x7ff);
        let interrupt = self.irt_cache.recall(lines, key, stamp)?;
        counters.count(Count::KnownHit);
        Some(Interrupt::from_bits(interrupt))
    }

    /// Notes what a hit in both caches came to.
    #[inline(always)]
    pub(super) fn know(&self, walk: &Walk, irte: Place, interrupt: Interrupt) {
        let key = irte_key(
            walk.control.ga_en(),
            walk.request.requester,
            interrupt.index().into(),
        );
        self.irt_cache
            .remember(irte, key, walk.stamp, interrupt.into_bits());
    }

    /// Caches an entry, and what it came to with a cached DTE.
    #[inline(always)]
    pub(super) fn cache_irte(
        &self,
        walk: &Walk,
        target: &IrteTarget,
        raw: RawIrte,
        interrupt: Option<Interrupt>,
    ) -> LookupFrom {
        let inserted = if self.irt_cache.is_disabled() {
            Inserted::Refused
        } else {
            self.insert_irte(walk, target, raw, interrupt)
        };
        self.count_insertion(CacheKind::Irt, inserted);
        match inserted {
            Inserted::Filled { .. } => LookupFrom::Fill,
            Inserted::Refused => LookupFrom::Uncached,
        }
    }

    #[inline(always)]
    fn insert_irte(
        &self,
        walk: &Walk,
        target: &IrteTarget,
        raw: RawIrte,
        interrupt: Option<Interrupt>,
    ) -> Inserted {
        let device = walk.request.requester;
        let key = irte_key(walk.control.ga_en(), device, target.index.into());
        let cacheable = (IrteFlags::of(raw).remap_en
            || self.config.policies.cache_remap_en_clear == CacheRemapEnClear::Yes)
            && !self.control().irt_cache_dis();
        let (generation, guard) = if self.config.faults.fill_races_invalidation {
            (self.irt_generations.of(device), self.irt_cache.guard(key))
        } else {
            (walk.irt_generation, walk.irt_guard)
        };
        if !cacheable || generation != self.irt_generations.of(device) {
            return Inserted::Refused;
        }
        let words = [generation, target.address, raw as u64, (raw >> 64) as u64];
        let live = |key: u64, words: &Words<IRTE_WORDS>| {
            word(words, GENERATION) == self.irt_generations.of(device_of_irte_key(key))
        };
        let value = interrupt.map(Interrupt::into_bits);
        self.irt_cache
            .insert_and_remember(key, words, guard, live, walk.stamp, value)
    }

    /// INVALIDATE_DEVTAB_ENTRY.
    pub(super) fn invalidate_dte(&self, device: RequesterId) {
        self.counters
            .count_alone(CacheKind::Dte, CacheEvent::Invalidation(InvalidationCause::One));
        self.dte_cache.drop_key(device.0.into());
        // As a generation is: counted before the lookups in flight are looked at.
        fence(SeqCst);
        if self.config.policies.devtab_invalidation == DevtabInvalidation::DteAndIrtes {
            self.invalidate_irtes(device);
        }
    }

    /// INVALIDATE_INTERRUPT_TABLE.
    #[inline]
    pub(super) fn invalidate_irtes(&self, device: RequesterId) {
        self.counters
            .count_alone(CacheKind::Irt, CacheEvent::Invalidation(InvalidationCause::One));
        let began_anew = self.irt_generations.invalidate(device, || {
            self.irt_cache
                .drop_where(|key, _| device_of_irte_key(key) == device);
        });
        // Whoever sees it moved sees the generation too, and so what is known from then on.
        self.dte_cache.listener().interrupts.of(device).move_on();
        if began_anew {
            self.counters.count_alone(
                CacheKind::Irt,
                CacheEvent::Invalidation(InvalidationCause::GenerationWrap),
            );
        }
    }

    /// INVALIDATE_IOMMU_ALL.
    pub(super) fn invalidate_all(&self) {
        let all = CacheEvent::Invalidation(InvalidationCause::All);
        self.counters.count_alone(CacheKind::Dte, all);
        self.counters.count_alone(CacheKind::Iotlb, all);
        self.drop_all_but_irtes();
        if !self.config.faults.invalidate_all_keeps_irt {
            self.counters.count_alone(CacheKind::Irt, all);
            self.drop_irtes();
        }
        fence(SeqCst);
    }

    /// The same without a command.
    pub(super) fn drop_all(&self) {
        self.drop_all_but_irtes();
        self.drop_irtes();
        fence(SeqCst);
    }

    /// Control.IRTCacheDis is 0 again, by policy.
    pub(super) fn drop_irtes(&self) {
        self.irt_cache.drop_where(|_, _| true);
    }

    fn drop_all_but_irtes(&self) {
        self.dte_cache.drop_where(|_, _| true);
        self.translations.iotlb.invalidate_all();
    }

    #[inline(always)]
    pub(super) fn count_insertion(&self, cache: CacheKind, inserted: Inserted) {
        let event = match inserted {
            Inserted::Filled { .. } => CacheEvent::Fill,
            Inserted::Refused => CacheEvent::Uncached,
        };
        self.counters.count(cache, event);
        if let Inserted::Filled { evicted: true, .. } = inserted {
            self.counters.count(cache, CacheEvent::Eviction);
        }
    }
}
