//! The domains of devices whose requests were translated lately.

use std::array;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use sim_bridge::RequesterId;

use super::super::cache::Stamp;
use super::super::spec::page_table::{PAGE_SHIFT, Permissions};
use super::super::sync::AtomicU64;
use super::iotlb::DomainHash;

/// What hits need of cached DTEs.
#[derive(Debug)]
pub(in super::super) struct KnownDomains(Box<[KnownDomain; PLACES]>);

#[cfg(not(loom))]
const PLACES: usize = 4096;
/// The model checker creates them anew for each order of events.
#[cfg(loom)]
const PLACES: usize = 64;

/// The domain of a device, under a stamp: a DTE that goes moves that, and so does an IOMMU that begins or ceases to
/// translate. Devices that share a place only forget each other.
#[derive(Debug)]
#[repr(align(32))]
pub(in super::super) struct KnownDomain {
    stamp: Stamp,
    /// A [`DteDomain`] XORed with [`whose`] it is.
    domain: AtomicU64,
    /// The domain's. One that is another's finds nothing.
    hash: AtomicU64,
}

/// What a DTE says of untranslated requests: they are translated by the page tables of a domain, all addresses are, and
/// that goes for reads and writes. Linux's DTEs are like that, and its domain IDs the lowest that are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DteDomain(u64);

impl DteDomain {
    /// Of a domain ID that is known: as many as an address within a page has, which pages are known without.
    pub(super) const BITS: u32 = PAGE_SHIFT as u32;
    /// The first domain ID that is not known: with the last page it would be like nothing.
    const END: u64 = (1 << Self::BITS) - 1;

    /// `None` if it is not like that, or the domain ID too high.
    pub(super) fn of(id: u16, permissions: Permissions) -> Option<Self> {
        let domain = u64::from(id);
        (domain < Self::END && permissions == Permissions::ALL).then_some(Self(domain))
    }

    #[inline(always)]
    pub(super) fn into_bits(self) -> u64 {
        self.0
    }
}

/// Differs above a domain's bits for all devices.
#[inline(always)]
fn whose(device: RequesterId, stamp: u64) -> u64 {
    const DEVICE: u32 = 12;
    const { assert!(DEVICE >= DteDomain::BITS && DEVICE + u16::BITS == Stamp::SHIFT) };
    u64::from(device.0) << DEVICE ^ stamp
}

impl KnownDomains {
    pub(in super::super) fn new() -> Self {
        let known = |_| KnownDomain {
            stamp: Stamp::new(),
            domain: AtomicU64::new(0),
            hash: AtomicU64::new(0),
        };
        Self(Box::new(array::from_fn(known)))
    }

    #[inline(always)]
    pub(in super::super) fn of(&self, device: RequesterId) -> &KnownDomain {
        &self.0[usize::from(device.0) % PLACES]
    }

    pub(in super::super) fn forget_all(&self) {
        self.0.iter().for_each(KnownDomain::forget);
    }
}

impl KnownDomain {
    #[inline(always)]
    pub(super) fn stamp(&self) -> u64 {
        self.stamp.get()
    }

    pub(in super::super) fn forget(&self) {
        self.stamp.move_on();
    }

    #[inline(always)]
    pub(super) fn recall(&self, device: RequesterId, stamp: u64) -> Option<(DteDomain, DomainHash)> {
        let hash = DomainHash(self.hash.load(Relaxed));
        let domain = self.domain.load(Acquire) ^ whose(device, stamp);
        (domain < DteDomain::END).then_some((DteDomain(domain), hash))
    }

    /// `stamp` was captured before anything was looked up, and the DTE is cached.
    pub(super) fn remember(&self, device: RequesterId, stamp: u64, domain: DteDomain) {
        if Stamp::can_move(stamp) {
            self.hash.store(DomainHash::of(domain.0).0, Relaxed);
            self.domain.store(domain.0 ^ whose(device, stamp), Release);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const DEVICE: RequesterId = RequesterId(0x4100);

    fn domain(id: u16) -> DteDomain {
        DteDomain::of(id, Permissions::ALL).expect("below 4095")
    }

    fn recalled(domains: &KnownDomains, device: RequesterId) -> Option<DteDomain> {
        let known = domains.of(device);
        Some(known.recall(device, known.stamp())?.0)
    }

    fn remember(domains: &KnownDomains, device: RequesterId, domain: DteDomain) {
        let known = domains.of(device);
        known.remember(device, known.stamp(), domain);
    }

    #[test]
    fn domains_below_4095_that_allow_reads_and_writes_can_be_known() {
        let read = Permissions::new().with_read(true);
        let write = Permissions::new().with_write(true);
        for (id, permissions, is_known) in [
            (0, Permissions::ALL, true),
            (0xffe, Permissions::ALL, true),
            (0xfff, Permissions::ALL, false),
            (0x1000, Permissions::ALL, false),
            (0xffff, Permissions::ALL, false),
            (1, read, false),
            (1, write, false),
            (1, Permissions::new(), false),
        ] {
            let domain = DteDomain::of(id, permissions);
            assert_eq!(
                domain.map(DteDomain::into_bits),
                is_known.then_some(id.into()),
                "{id:#x} {permissions:?}"
            );
        }
    }

    #[test]
    fn a_domain_is_recalled_until_it_is_forgotten() {
        let domains = KnownDomains::new();
        let forget: [fn(&KnownDomains); 2] =
            [|domains| domains.of(DEVICE).forget(), KnownDomains::forget_all];
        for forget in forget {
            remember(&domains, DEVICE, domain(0xffe));
            assert_eq!(recalled(&domains, DEVICE), Some(domain(0xffe)));
            forget(&domains);
            assert_eq!(recalled(&domains, DEVICE), None);
        }
    }

    #[test]
    fn nothing_is_known_at_first() {
        let domains = KnownDomains::new();
        for device in 0..=u16::MAX {
            assert_eq!(recalled(&domains, RequesterId(device)), None);
        }
    }

    #[test]
    fn devices_that_share_a_place_are_told_apart() {
        let domains = KnownDomains::new();
        let sharing = (0..16).map(|n| RequesterId(n << 12 | 0x100));
        for device in sharing.clone() {
            remember(&domains, device, domain(device.0 >> 4));
            for other in sharing.clone() {
                let known = (other == device).then_some(domain(device.0 >> 4));
                assert_eq!(recalled(&domains, other), known);
            }
        }
    }

    #[test]
    fn under_the_last_stamp_nothing_is_known() {
        let domains = KnownDomains::new();
        domains.of(DEVICE).stamp.move_to_last();
        remember(&domains, DEVICE, domain(1));
        assert_eq!(recalled(&domains, DEVICE), None);
    }
}
