//! The cache of translations.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use bitfield_struct::bitfield;

use super::super::cache::{
    Cache, CacheShape, Guard, Inserted, KEY_BITS, KnownHits, Lines, Place, Words, hash,
};
use super::super::spec::command::PageRange;
use super::super::spec::page_table::{PAGE_SHIFT, Page, PageAttributes, Permissions};
use super::super::sync::AtomicU64;
use super::known_domains::DteDomain;
use super::request::Translation;
use super::verdict::Domain;

/// Translations by domain and 4 KiB of address. A larger page has an entry for each 4 KiB of it that was used, and
/// each of them goes when any of the page is invalidated. Directory entries are not cached, nor is what maps
/// nothing.
#[derive(Debug)]
pub(in super::super) struct Iotlb {
    cache: Cache<WORDS, KnownHits, true>,
    /// log2 of the sets.
    sets: u32,
    /// Invalidations so far.
    invalidations: AtomicU64,
    /// log2 of the largest page that may be cached; 0 if none was since all were dropped.
    largest: AtomicU64,
}

/// Invalidations when a lookup began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Began(u64);

/// What must not have changed since a walk began for its page to be cached; `None` if it has already.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct FillGuard(Option<(Guard, Began)>);

const WORDS: usize = 2;

/// First word of an entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
struct Tag {
    #[bits(12)]
    domain_low: u16,
    /// Address bits 63:12.
    #[bits(52)]
    page: u64,
}

/// Second word.
#[bitfield(u64)]
struct Mapping {
    #[bits(12)]
    attributes: u16,
    /// Physical address bits 51:12 of the page.
    #[bits(40)]
    frame: u64,
    #[bits(4)]
    domain_high: u8,
    #[bits(8)]
    __: u8,
}

impl Tag {
    const DOMAIN: u64 = Self::new().with_domain_low(0xfff).into_bits();

    #[inline]
    fn of(domain: u16, address: u64) -> Self {
        Self::from_bits(address & !Self::DOMAIN | u64::from(domain) & Self::DOMAIN)
    }

    /// Of a domain of which it has all bits.
    #[inline(always)]
    fn of_known(domain: DteDomain, address: u64) -> Self {
        const { assert!(DteDomain::BITS == Self::DOMAIN.count_ones()) };
        Self::from_bits(address & !Self::DOMAIN | domain.into_bits())
    }
}

/// The part of a tag's hash that is of a domain's known bits, to be known with them: then the longest part of a lookup
/// can begin before the domain is.
#[derive(Debug, Clone, Copy)]
pub(super) struct DomainHash(pub(super) u64);

impl DomainHash {
    pub(super) fn of(known_bits: u64) -> Self {
        Self(hash(known_bits))
    }

    /// [`hash`] of a sum is the sum of theirs.
    #[inline(always)]
    fn with_page(self, address: u64) -> u64 {
        hash(address & !Tag::DOMAIN).wrapping_add(self.0)
    }
}

/// With the domain's highest bits, which are no part of the tag: domains that differ in them only have sets of their own.
fn key(domain: u16, address: u64) -> u64 {
    let tag = Tag::of(domain, address).into_bits();
    hash(tag ^ u64::from(domain >> 12) << 60) >> (u64::BITS - KEY_BITS)
}

/// What is known of 4 KiB of a page.
#[bitfield(u64)]
pub(super) struct KnownPage {
    /// [`PageAttributes`], but with the permissions that there are not.
    #[bits(10)]
    inverted: u16,
    /// Of the physical address, which has bits 51:12 at most.
    #[bits(46)]
    frame: u64,
    __: u8,
}

impl KnownPage {
    const INVERTED: u16 = PageAttributes::new()
        .with_permissions(Permissions::ALL)
        .into_bits();

    fn of(page: &Page, address: u64) -> Self {
        Self::new()
            .with_inverted(page.attributes.into_bits() ^ Self::INVERTED)
            .with_frame(page.physical(address) >> PAGE_SHIFT)
    }

    #[inline(always)]
    pub(super) fn allows(self, wanted: Permissions) -> bool {
        self.inverted() as u8 & wanted.into_bits() == 0
    }

    /// Of a request's first byte.
    #[inline(always)]
    pub(super) fn translation(self, address: u64) -> Translation {
        Translation {
            address: self.frame() << PAGE_SHIFT | address & ((1 << PAGE_SHIFT) - 1),
            attributes: PageAttributes::from_bits(self.inverted() ^ Self::INVERTED),
        }
    }
}

impl Mapping {
    fn of(domain: u16, page: &Page) -> Self {
        Self::new()
            .with_attributes(page.attributes.into_bits())
            .with_frame(page.address >> PAGE_SHIFT)
            .with_domain_high((domain >> 12) as u8)
    }

    #[inline]
    fn page(self) -> Page {
        Page {
            address: self.frame() << PAGE_SHIFT,
            attributes: PageAttributes::from_bits(self.attributes()),
        }
    }
}

#[inline]
fn tag(words: &Words<WORDS>) -> Tag {
    Tag::from_bits(words[0].load(Relaxed))
}

#[inline]
fn mapping(words: &Words<WORDS>) -> Mapping {
    Mapping::from_bits(words[1].load(Relaxed))
}

/// The page, if the entry is of that domain and address.
#[inline]
fn page_of(words: &Words<WORDS>, wanted: Tag, domain: u16) -> Option<Page> {
    let mapping = mapping(words);
    let is_of = tag(words) == wanted && u16::from(mapping.domain_high()) == domain >> 12;
    is_of.then(|| mapping.page())
}

impl Iotlb {
    pub(in super::super) fn new(shape: CacheShape) -> Self {
        Self {
            cache: Cache::new(shape, KnownHits::new(shape)),
            sets: shape.sets().max(1).ilog2(),
            invalidations: AtomicU64::new(0),
            largest: AtomicU64::new(0),
        }
    }

    #[inline(always)]
    pub(super) fn has_other_lines(&self) -> bool {
        self.cache.has_other_lines()
    }

    /// The page of that address, if it was found before and nothing has happened to it.
    #[inline(always)]
    pub(super) fn recall(
        &self,
        lines: Lines,
        (domain, hash): (DteDomain, DomainHash),
        address: u64,
    ) -> Option<KnownPage> {
        let tag = Tag::of_known(domain, address).into_bits();
        let page = self.cache.recall_as(lines, hash.with_page(address), tag)?;
        Some(KnownPage::from_bits(page))
    }

    /// The page of that address.
    pub(super) fn find(&self, domain: &Domain, address: u64) -> Option<Page> {
        let tag = Tag::of(domain.id, address);
        let of_tag = |words: &Words<WORDS>| page_of(words, tag, domain.id);
        let (place, page) = self.cache.find(key(domain.id, address), of_tag)?;
        self.remember(place, domain, address, &page);
        Some(page)
    }

    fn remember(&self, place: Place, domain: &Domain, address: u64, page: &Page) {
        if let Some(known) = domain.known() {
            let tag = Tag::of_known(known, address).into_bits();
            let page = KnownPage::of(page, address).into_bits();
            self.cache.remember_as(place, hash(tag), tag, page);
        }
    }

    /// To be called before the first memory read of a lookup, once that has been entered as in flight.
    pub(in super::super) fn begin(&self) -> Began {
        Began(self.invalidations.load(SeqCst))
    }

    /// To be called before a walk's first page table entry is read: the domain is known only now, and what says so
    /// may have been read before an invalidation.
    pub(in super::super) fn guard(&self, domain: u16, address: u64, began: Began) -> FillGuard {
        self.largest.fetch_max(PAGE_SHIFT.into(), SeqCst);
        let guard = self.cache.guard(key(domain, address));
        // Last: an invalidation counts itself before it looks at `largest` and moves guards.
        FillGuard((self.begin() == began).then_some((guard, began)))
    }

    /// The guard of a fill that takes no notice of invalidations.
    pub(in super::super) fn racing_guard(&self, domain: u16, address: u64) -> FillGuard {
        self.guard(domain, address, self.begin())
    }

    pub(super) fn insert(
        &self,
        domain: &Domain,
        address: u64,
        page: &Page,
        FillGuard(guard): FillGuard,
    ) -> Inserted {
        let Some((guard, began)) = guard else {
            return Inserted::Refused;
        };
        let shift = page.attributes.shift();
        if shift > PAGE_SHIFT {
            // An invalidation that found only small pages moved no guards but those of its own addresses.
            self.largest.fetch_max(shift.into(), SeqCst);
            if self.begin() != began {
                return Inserted::Refused;
            }
        }
        let id = domain.id;
        let tag = Tag::of(id, address);
        let words = [tag.into_bits(), Mapping::of(id, page).into_bits()];
        let same = |words: &Words<WORDS>| page_of(words, tag, id).is_some();
        let inserted = self
            .cache
            .insert(key(id, address), words, guard, same, |_, _| true);
        if let Inserted::Filled { place, .. } = inserted {
            self.remember(place, domain, address, page);
        }
        inserted
    }

    /// Drops every translation of the domain that maps any of these addresses.
    pub(in super::super) fn invalidate(&self, domain: u16, addresses: PageRange) {
        let pages = addresses.log2() - u32::from(PAGE_SHIFT);
        match self.count_invalidation() {
            0 => {}
            largest if largest == u64::from(PAGE_SHIFT) && pages <= self.sets => {
                for page in 0..1 << pages {
                    let address = addresses.start() + (page << PAGE_SHIFT);
                    let tag = Tag::of(domain, address);
                    let is_of = |words: &Words<WORDS>| page_of(words, tag, domain).is_some();
                    self.cache.drop_key_where(key(domain, address), is_of);
                }
            }
            _ => {
                self.cache.drop_where(|_, words| {
                    let (tag, mapping) = (tag(words), mapping(words));
                    let of = tag.domain_low() | u16::from(mapping.domain_high()) << 12;
                    let shift = mapping.page().attributes.shift();
                    let page = PageRange::new(tag.page() << PAGE_SHIFT, shift.into());
                    of == domain && page.overlaps(addresses)
                });
            }
        }
    }

    pub(in super::super) fn invalidate_all(&self) {
        // Before the count: a fill that set what is lost here began before the count, and so is refused or dropped. One
        // that sets it from here on is not lost.
        let before = self.largest.swap(0, SeqCst);
        if before.max(self.count_invalidation()) != 0 {
            self.cache.drop_where(|_, _| true);
        }
    }

    /// `largest`, which a fill that has not seen the count has set.
    fn count_invalidation(&self) -> u64 {
        self.invalidations.fetch_add(1, SeqCst);
        self.largest.load(SeqCst)
    }
}
