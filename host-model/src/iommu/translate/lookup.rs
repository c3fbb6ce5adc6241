//! Memory requests on their way: caches, table reads, outcome.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release, SeqCst};

use sim_bridge::RequesterId;
use vm_memory::GuestMemory;

use super::super::Iommu;
use super::super::cache::{CacheEvent, CacheKind, Count, Guard, Inserted, InvalidationCause, Lines};
use super::super::config::Config;
use super::super::in_flight::{InFlightGuard, LookupKind};
use super::super::outcome::{LookupFrom, Observer};
use super::super::remap::TableEntry;
use super::super::spec::command::PageRange;
use super::super::spec::dte::{MemoryDteRules, RawDte};
use super::super::spec::event::HardwareError;
use super::super::spec::registers::{Control, ExclusionBase, ExclusionLimit};
use super::super::sync::fence;
use super::super::tables::Dte;
use super::iotlb::{Began, FillGuard, Iotlb};
use super::observed::{PageLookup, PteRead};
use super::page_walk::{PageWalk, WalkStep};
use super::request::{Addressing, MemoryRequest, Translation, TranslationOutcome, TranslationResponse};
use super::verdict::{Domain, DteVerdict, Exclusion, MemoryJudge, Refusal};

/// What memory requests look at beside the device table.
#[derive(Debug)]
pub(in super::super) struct Translations {
    pub(in super::super) iotlb: Iotlb,
    rules: MemoryDteRules,
    /// 1 if IommuEn is set and no address is excluded.
    translates_all: AtomicU64,
    /// Copies of the registers.
    exclusion_base: AtomicU64,
    exclusion_limit: AtomicU64,
    /// Times that [`ReportedFaults`] forgot. It is counted after the DTE was dropped, and walks read it without a lock.
    forgets: AtomicU64,
}

impl Translations {
    pub(in super::super) fn new(config: &Config) -> Self {
        Self {
            iotlb: Iotlb::new(config.iotlb),
            rules: MemoryDteRules::new(&config.features),
            translates_all: AtomicU64::new(0),
            exclusion_base: AtomicU64::new(0),
            exclusion_limit: AtomicU64::new(0),
            forgets: AtomicU64::new(0),
        }
    }

    fn count_forget(&self) -> u64 {
        self.forgets.fetch_add(1, Release) + 1
    }

    /// Whether requests begin or cease to be translated, and so nothing is known any more.
    pub(in super::super) fn set_registers(
        &self,
        control: Control,
        (base, limit): (ExclusionBase, ExclusionLimit),
    ) -> bool {
        self.exclusion_limit.store(limit.into_bits(), Release);
        self.exclusion_base.store(base.into_bits(), Release);
        let all = control.iommu_en() && !base.enable();
        self.translates_all.swap(all.into(), AcqRel) != u64::from(all)
    }

    fn exclusion(&self) -> Exclusion {
        Exclusion {
            base: ExclusionBase::from_bits(self.exclusion_base.load(Acquire)),
            limit: ExclusionLimit::from_bits(self.exclusion_limit.load(Acquire)),
        }
    }
}

/// Devices with SE whose page fault was reported under the DTE that they have.
#[derive(Debug, Default)]
pub(in super::super) struct ReportedFaults {
    devices: HashSet<RequesterId>,
    /// When each device was last forgotten alone; cleared when all are.
    forgotten: HashMap<RequesterId, u64>,
    all_forgotten: u64,
}

impl ReportedFaults {
    /// INVALIDATE_DEVTAB_ENTRY.
    pub(in super::super) fn forget(&mut self, device: RequesterId, translations: &Translations) {
        self.devices.remove(&device);
        self.forgotten.insert(device, translations.count_forget());
    }

    /// INVALIDATE_IOMMU_ALL.
    pub(in super::super) fn forget_all(&mut self, translations: &Translations) {
        self.devices.clear();
        self.forgotten.clear();
        self.all_forgotten = translations.count_forget();
    }

    /// Whether the fault of a walk that began after so many forgets repeats one that was reported. It is taken as
    /// reported from here on.
    fn repeats(&mut self, device: RequesterId, forgets: u64) -> bool {
        let forgotten = self.forgotten.get(&device).unwrap_or(&self.all_forgotten);
        // A walk that was overtaken may have gone by the old DTE, which says nothing of faults under the new one.
        forgets >= *forgotten && !self.devices.insert(device)
    }
}

/// One request on its way through the tables.
#[derive(Debug, Clone, Copy)]
struct Walk {
    request: MemoryRequest,
    /// Captured before everything else: what the DTE says is known only while it does not move.
    stamp: u64,
    /// As of the request.
    exclusion: Exclusion,
    /// Captured before anything was looked up: what the walk caches may depend on all that it saw.
    dte_guard: Guard,
    /// Likewise.
    began: Began,
    /// Likewise: of [`ReportedFaults`].
    forgets: u64,
}

/// A table read in progress. The bytes were sampled when the token was given out.
///
/// Dropping it abandons the request: it is then answered as far as invalidations are concerned.
#[derive(Debug)]
#[must_use]
pub struct TranslationToken<'a> {
    walk: Walk,
    read: TableRead,
    guard: InFlightGuard<'a>,
}

/// What was read.
#[derive(Debug)]
enum TableRead {
    Dte {
        address: u64,
        raw: Result<RawDte, HardwareError>,
    },
    Pte {
        domain: Domain,
        walk: PageWalk,
        fill: FillGuard,
        raw: Result<u64, HardwareError>,
    },
}

impl TranslationToken<'_> {
    /// The request that waits.
    pub fn request(&self) -> &MemoryRequest {
        &self.walk.request
    }

    /// What is being read.
    pub fn entry(&self) -> TableEntry {
        match &self.read {
            TableRead::Dte { .. } => TableEntry::Dte,
            TableRead::Pte { walk, .. } => TableEntry::Pte { level: walk.level() },
        }
    }

    /// Guest physical address that is being read.
    pub fn address(&self) -> u64 {
        match &self.read {
            TableRead::Dte { address, .. } => *address,
            TableRead::Pte { walk, .. } => walk.entry_address(),
        }
    }
}

impl<M: GuestMemory> Iommu<M> {
    /// A memory request. What the caches hold is answered at once, as of some moment during the call.
    #[inline]
    pub fn translate(&self, request: &MemoryRequest) -> TranslationResponse<'_> {
        self.translate_observed(request, &mut ())
    }

    /// The memory read of a fill is back. `token` must be this IOMMU's.
    #[inline]
    pub fn complete_translation<'a>(&'a self, token: TranslationToken<'a>) -> TranslationResponse<'a> {
        self.complete_translation_observed(token, &mut ())
    }

    /// Like [`Self::translate`], for somebody who looks at the table entries.
    #[inline]
    pub fn translate_observed<O: Observer>(
        &self,
        request: &MemoryRequest,
        observer: &mut O,
    ) -> TranslationResponse<'_> {
        if !O::LOOKS
            && let Some(translation) = self.known_translation(request, Lines::First)
        {
            return translated(translation);
        }
        self.walk_tables(request, observer)
    }

    /// [`Self::translate`] and [`Self::complete_translation`] in one, for whoever has no clock: table reads take no
    /// time.
    #[inline(always)]
    pub fn translate_at_once(&self, request: &MemoryRequest) -> TranslationOutcome {
        match self.known_translation(request, Lines::First) {
            Some(translation) => TranslationOutcome::Translated(translation),
            None => self.translate_by_tables(request),
        }
    }

    #[cold]
    #[inline(never)]
    fn translate_by_tables(&self, request: &MemoryRequest) -> TranslationOutcome {
        let mut response = self.walk_tables(request, &mut ());
        loop {
            response = match response {
                TranslationResponse::Answer(outcome) => return outcome,
                TranslationResponse::Fill(token) => self.complete_translation(token),
            }
        }
    }

    /// Like [`Self::complete_translation`], for somebody who looks at the table entries.
    pub fn complete_translation_observed<'a>(
        &'a self,
        token: TranslationToken<'a>,
        observer: &mut impl Observer,
    ) -> TranslationResponse<'a> {
        let TranslationToken { walk, read, guard } = token;
        let judge = self.memory_judge(&walk.request, walk.exclusion);
        match read {
            TableRead::Dte {
                address,
                raw: Ok(raw),
            } => {
                let dte = self.cache_dte(walk.request.requester, walk.dte_guard, address, raw);
                self.by_dte(walk, &dte, guard, observer)
            }
            TableRead::Dte {
                address,
                raw: Err(error),
            } => self.refuse(&walk, judge.unreadable_dte(address, error)),
            TableRead::Pte {
                domain,
                walk: tables,
                fill,
                raw: Ok(raw),
            } => {
                observer.pte(PteRead {
                    address: tables.entry_address(),
                    raw,
                });
                match judge.entry(&domain, tables, raw) {
                    Ok(WalkStep::Entry(tables)) => self.read_entry(walk, domain, tables, fill, guard),
                    Ok(WalkStep::Page(page)) => {
                        let (iotlb, address) = (&self.translations.iotlb, walk.request.address);
                        let fill = if self.config.faults.fill_races_invalidation {
                            iotlb.racing_guard(domain.id, address)
                        } else {
                            fill
                        };
                        let inserted = iotlb.insert(&domain, address, &page, fill);
                        self.count_insertion(CacheKind::Iotlb, inserted);
                        observer.page(PageLookup {
                            from: match inserted {
                                Inserted::Filled { .. } => LookupFrom::Fill,
                                Inserted::Refused => LookupFrom::Uncached,
                            },
                            domain: domain.id,
                            page,
                        });
                        translated(judge.translation(&domain, &page))
                    }
                    Err(refusal) => self.refuse(&walk, refusal),
                }
            }
            TableRead::Pte {
                domain,
                walk: tables,
                raw: Err(error),
                ..
            } => self.refuse(&walk, judge.unreadable_entry(&domain, &tables, error)),
        }
    }

    /// INVALIDATE_IOMMU_PAGES. Nothing of guest translations is cached.
    pub(in super::super) fn invalidate_pages(&self, domain: u16, addresses: PageRange, guest: bool) {
        if !guest {
            self.translations.iotlb.invalidate(domain, addresses);
        }
        self.invalidated_pages();
    }

    /// PREFETCH_IOMMU_PAGES with Inval. It names a device and no domain: more goes than it asks for.
    pub(in super::super) fn invalidate_for_prefetch(&self) {
        self.translations.iotlb.invalidate_all();
        self.invalidated_pages();
    }

    fn invalidated_pages(&self) {
        // Dropped before the lookups in flight are looked at.
        fence(SeqCst);
        let cause = CacheEvent::Invalidation(InvalidationCause::One);
        self.counters.count(CacheKind::Iotlb, cause);
    }

    /// An untranslated request that the caches allow, without a lock or a shared write.
    #[inline(always)]
    fn known_translation(&self, request: &MemoryRequest, lines: Lines) -> Option<Translation> {
        let iotlb = &self.translations.iotlb;
        if request.addressing != Addressing::UNTRANSLATED {
            return None;
        }
        let counters = self.counters.own()?;
        let known = self.dte_cache.listener().domains.of(request.requester);
        let stamp = known.stamp();
        let domain = known.recall(request.requester, stamp)?;
        let page = iotlb.recall(lines, domain, request.address)?;
        // With the stamp of before, there was a moment when the DTE and the translation were both cached.
        if !page.allows(request.access.needs()) || known.stamp() != stamp {
            return None;
        }
        counters.count(Count::TranslationHit);
        Some(page.translation(request.address))
    }

    fn walk_tables<O: Observer>(&self, request: &MemoryRequest, observer: &mut O) -> TranslationResponse<'_> {
        if !O::LOOKS
            && self.translations.iotlb.has_other_lines()
            && let Some(translation) = self.known_translation(request, Lines::All)
        {
            return translated(translation);
        }
        let device = request.requester;
        // First of all: an invalidation that is not seen below waits for this walk.
        let guard = self.in_flight.begin(device, LookupKind::Memory);
        let stamp = self.dte_cache.listener().domains.of(device).stamp();
        let walk = Walk {
            request: *request,
            stamp,
            exclusion: self.translations.exclusion(),
            dte_guard: self.dte_cache.guard(device.0.into()),
            began: self.translations.iotlb.begin(),
            forgets: self.translations.forgets.load(Acquire),
        };
        let judge = self.memory_judge(request, walk.exclusion);
        match judge.before_tables(self.control().iommu_en()) {
            Ok(None) => {}
            Ok(Some(outcome)) => return TranslationResponse::Answer(outcome),
            Err(refusal) => return self.refuse(&walk, refusal),
        }
        if let Some(dte) = self.cached_dte(device) {
            return self.by_dte(walk, &dte, guard, observer);
        }
        let Some(address) = self.dte_address(device) else {
            return self.refuse(&walk, judge.out_of_range_device());
        };
        let read = TableRead::Dte {
            address,
            raw: self.read_dte(address),
        };
        TranslationResponse::Fill(TranslationToken { walk, read, guard })
    }

    fn by_dte<'a>(
        &'a self,
        walk: Walk,
        dte: &Dte,
        guard: InFlightGuard<'a>,
        observer: &mut impl Observer,
    ) -> TranslationResponse<'a> {
        observer.dte(dte.lookup);
        let judge = self.memory_judge(&walk.request, walk.exclusion);
        let domain = match judge.dte(&dte.lookup.raw) {
            Ok(DteVerdict::Answer(outcome)) => return TranslationResponse::Answer(outcome),
            Ok(DteVerdict::Translate(domain)) => domain,
            Err(refusal) => return self.refuse(&walk, refusal),
        };
        let device = walk.request.requester;
        if dte.knowable
            && !walk.exclusion.base.enable()
            && let Some(known) = domain.known()
        {
            let domains = &self.dte_cache.listener().domains;
            domains.of(device).remember(device, walk.stamp, known);
        }
        let (iotlb, address) = (&self.translations.iotlb, walk.request.address);
        let hit = iotlb
            .find(&domain, address)
            .and_then(|page| Some((page, judge.hit(&domain, &page)?)));
        if let Some((page, hit)) = hit {
            self.counters.count(CacheKind::Iotlb, CacheEvent::Hit);
            observer.page(PageLookup {
                from: LookupFrom::Hit,
                domain: domain.id,
                page,
            });
            return translated(hit);
        }
        self.counters.count(CacheKind::Iotlb, CacheEvent::Miss);
        let fill = iotlb.guard(domain.id, address, walk.began);
        match judge.walk(&domain) {
            Ok(tables) => self.read_entry(walk, domain, tables, fill, guard),
            Err(refusal) => self.refuse(&walk, refusal),
        }
    }

    fn read_entry<'a>(
        &'a self,
        walk: Walk,
        domain: Domain,
        tables: PageWalk,
        fill: FillGuard,
        guard: InFlightGuard<'a>,
    ) -> TranslationResponse<'a> {
        let read = TableRead::Pte {
            domain,
            walk: tables,
            fill,
            raw: self.fetch(tables.entry_address()).map(u64::from_le),
        };
        TranslationResponse::Fill(TranslationToken { walk, read, guard })
    }

    #[inline]
    fn memory_judge<'a>(&'a self, request: &'a MemoryRequest, exclusion: Exclusion) -> MemoryJudge<'a> {
        MemoryJudge {
            policies: &self.config.policies,
            rules: &self.translations.rules,
            exclusion,
            request,
        }
    }

    /// Queues the event, unless it repeats one that is enough.
    #[cold]
    fn refuse(&self, walk: &Walk, refusal: Refusal) -> TranslationResponse<'_> {
        let Refusal {
            reason,
            mut event,
            suppress_repeats,
        } = refusal;
        let state = &mut *self.lock();
        let device = walk.request.requester;
        if event.is_some() && suppress_repeats && state.reported_faults.repeats(device, walk.forgets) {
            event = None;
        }
        state.registers.report(event);
        TranslationResponse::Answer(TranslationOutcome::Refused { reason, event })
    }
}

fn translated(translation: Translation) -> TranslationResponse<'static> {
    TranslationResponse::Answer(TranslationOutcome::Translated(translation))
}
