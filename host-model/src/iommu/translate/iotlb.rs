//! The cache of translations.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use bitfield_struct::bitfield;

use super::super::cache::{Cache, CacheShape, Guard, Inserted, KEY, Words};
use super::super::spec::command::PageRange;
use super::super::spec::page_table::{PAGE_SHIFT, Page, Permissions};
use super::super::sync::AtomicU64;

/// Translations by domain and 4 KiB of address. A larger page has an entry for each 4 KiB of it that was used, and
/// each of them goes when any of the page is invalidated. Directory entries are not cached, nor is what maps
/// nothing.
#[derive(Debug)]
pub(in super::super) struct Iotlb {
    cache: Cache<WORDS>,
    /// Invalidations so far.
    invalidations: AtomicU64,
    /// Whether a fill ever began: otherwise there is nothing to invalidate.
    used: AtomicU64,
}

/// Invalidations when a lookup began.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Began(u64);

/// What must not have changed since a walk began for its page to be cached; `None` if it has already.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct FillGuard(Option<Guard>);

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
    #[bits(6)]
    shift: u8,
    read: bool,
    write: bool,
    untranslated_only: bool,
    force_coherent: bool,
    #[bits(2)]
    __: u8,
    /// Physical address bits 51:12 of the page.
    #[bits(40)]
    frame: u64,
    #[bits(4)]
    domain_high: u8,
    #[bits(8)]
    __: u8,
}

impl Tag {
    #[inline]
    fn of(domain: u16, address: u64) -> Self {
        Self::new()
            .with_domain_low(domain & 0xfff)
            .with_page(address >> PAGE_SHIFT)
    }

    /// Spreads addresses that differ by large powers of two, and domains with the same addresses.
    #[inline]
    fn key(self, domain: u16) -> u64 {
        let page = self.page() ^ u64::from(domain) << 9;
        (page ^ page >> 26) & KEY
    }
}

impl Mapping {
    fn of(domain: u16, page: &Page) -> Self {
        Self::new()
            .with_shift(page.shift)
            .with_read(page.permissions.read)
            .with_write(page.permissions.write)
            .with_untranslated_only(page.untranslated_only)
            .with_force_coherent(page.force_coherent)
            .with_frame(page.address >> PAGE_SHIFT)
            .with_domain_high((domain >> 12) as u8)
    }

    #[inline]
    fn page(self) -> Page {
        Page {
            address: self.frame() << PAGE_SHIFT,
            shift: self.shift(),
            permissions: Permissions {
                read: self.read(),
                write: self.write(),
            },
            untranslated_only: self.untranslated_only(),
            force_coherent: self.force_coherent(),
        }
    }
}

fn tag(words: &Words<WORDS>) -> Tag {
    Tag::from_bits(words[0].load(Relaxed))
}

fn mapping(words: &Words<WORDS>) -> Mapping {
    Mapping::from_bits(words[1].load(Relaxed))
}

fn is_of(words: &Words<WORDS>, wanted: Tag, domain: u16) -> bool {
    tag(words) == wanted && u16::from(mapping(words).domain_high()) == domain >> 12
}

impl Iotlb {
    pub(in super::super) fn new(shape: CacheShape) -> Self {
        Self {
            cache: Cache::new(shape, ()),
            invalidations: AtomicU64::new(0),
            used: AtomicU64::new(0),
        }
    }

    /// The page of that address, if `wanted` makes something of it.
    #[inline]
    pub(in super::super) fn find<R>(
        &self,
        domain: u16,
        address: u64,
        wanted: impl Fn(&Page) -> Option<R>,
    ) -> Option<R> {
        let tag = Tag::of(domain, address);
        let found = self.cache.find(tag.key(domain), |words| {
            is_of(words, tag, domain)
                .then(|| wanted(&mapping(words).page()))
                .flatten()
        });
        found.map(|(_, wanted)| wanted)
    }

    /// To be called before the first memory read of a lookup, once that has been entered as in flight.
    pub(in super::super) fn begin(&self) -> Began {
        Began(self.invalidations.load(SeqCst))
    }

    /// To be called before a walk's first page table entry is read: the domain is known only now, and what says so
    /// may have been read before an invalidation.
    pub(in super::super) fn guard(&self, domain: u16, address: u64, began: Began) -> FillGuard {
        self.used.store(1, SeqCst);
        let guard = self.cache.guard(Tag::of(domain, address).key(domain));
        // After the guard: an invalidation counts itself before it moves guards.
        FillGuard((self.invalidations.load(SeqCst) == began.0).then_some(guard))
    }

    /// The guard of a fill that takes no notice of invalidations.
    pub(in super::super) fn racing_guard(&self, domain: u16, address: u64) -> FillGuard {
        self.guard(domain, address, self.begin())
    }

    pub(in super::super) fn insert(
        &self,
        domain: u16,
        address: u64,
        page: &Page,
        FillGuard(guard): FillGuard,
    ) -> Inserted {
        let Some(guard) = guard else {
            return Inserted::Refused;
        };
        let tag = Tag::of(domain, address);
        let words = [tag.into_bits(), Mapping::of(domain, page).into_bits()];
        let same = |words: &Words<WORDS>| is_of(words, tag, domain);
        self.cache
            .insert(tag.key(domain), words, guard, same, |_, _| true)
    }

    /// Drops every translation of the domain that maps any of these addresses.
    pub(in super::super) fn invalidate(&self, domain: u16, addresses: PageRange) {
        self.drop_where(|words| {
            let mapping = mapping(words);
            let of = tag(words).domain_low() | u16::from(mapping.domain_high()) << 12;
            let page = PageRange::new(tag(words).page() << PAGE_SHIFT, mapping.shift().into());
            of == domain && page.overlaps(addresses)
        });
    }

    pub(in super::super) fn invalidate_all(&self) {
        self.drop_where(|_| true);
    }

    fn drop_where(&self, which: impl Fn(&Words<WORDS>) -> bool) {
        self.invalidations.fetch_add(1, SeqCst);
        if self.used.load(SeqCst) != 0 {
            self.cache.drop_where(|_, words| which(words));
        }
    }
}
