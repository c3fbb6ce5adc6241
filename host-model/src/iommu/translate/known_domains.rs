//! The domains of devices whose requests were translated lately.

use std::array;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use bitfield_struct::bitfield;
use sim_bridge::RequesterId;

use super::super::cache::Stamp;
use super::super::spec::page_table::Permissions;
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

/// What a DTE says of untranslated requests: they are translated by page tables, all addresses are, and this is the
/// same for all of them.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub(super) struct DteDomain {
    #[bits(2)]
    pub(super) permissions: Permissions,
    pub(super) id: u16,
    #[bits(46)]
    __: u64,
}

impl DteDomain {
    /// Bits.
    pub(super) const USED: u32 = 18;
}

/// Differs above a domain's bits for all that share a place.
#[inline(always)]
fn whose(device: RequesterId, stamp: u64) -> u64 {
    const DEVICE: u32 = 12;
    const { assert!(DEVICE + u16::BITS == Stamp::SHIFT && DteDomain::USED - DEVICE <= PLACES.ilog2()) };
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
        (domain < 1 << DteDomain::USED).then(|| (DteDomain::from_bits(domain), hash))
    }

    /// `stamp` was captured before anything was looked up, and the DTE is cached.
    pub(super) fn remember(&self, device: RequesterId, stamp: u64, domain: DteDomain) {
        if Stamp::can_move(stamp) {
            self.hash.store(DomainHash::of(domain.id()).0, Relaxed);
            self.domain
                .store(domain.into_bits() ^ whose(device, stamp), Release);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const DEVICE: RequesterId = RequesterId(0x4100);

    fn domain(id: u16) -> DteDomain {
        DteDomain::new().with_id(id).with_permissions(Permissions::ALL)
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
    fn a_domain_is_recalled_until_it_is_forgotten() {
        let domains = KnownDomains::new();
        let forget: [fn(&KnownDomains); 2] =
            [|domains| domains.of(DEVICE).forget(), KnownDomains::forget_all];
        for forget in forget {
            remember(&domains, DEVICE, domain(0xffff));
            assert_eq!(recalled(&domains, DEVICE), Some(domain(0xffff)));
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
            remember(&domains, device, domain(device.0));
            for other in sharing.clone() {
                let known = (other == device).then_some(domain(device.0));
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
