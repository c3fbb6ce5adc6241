//! The domains of devices whose requests were translated lately.

use std::array;
use std::sync::atomic::Ordering::{Acquire, Release};

use bitfield_struct::bitfield;
use sim_bridge::RequesterId;

use super::super::cache::Stamps;
use super::super::spec::page_table::Permissions;
use super::super::sync::AtomicU64;

/// What hits need of a cached DTE, under the stamp of its requester ID: a DTE that goes moves the stamp, and so does
/// an IOMMU that begins or ceases to translate. Devices that share a place only forget each other.
#[derive(Debug)]
pub(super) struct KnownDomains(Box<[AtomicU64; PLACES]>);

#[cfg(not(loom))]
const PLACES: usize = 4096;
#[cfg(loom)]
const PLACES: usize = 2;

/// Untranslated requests are translated by page tables, and all addresses are.
#[bitfield(u64)]
pub(super) struct KnownDomain {
    pub(super) id: u16,
    #[bits(2)]
    pub(super) permissions: Permissions,
    #[bits(2)]
    __: u8,
    /// Requester ID bits 15:8.
    bus: u8,
    #[bits(36)]
    stamp: u64,
}

impl KnownDomain {
    const WHOSE: u64 = Self::new().with_bus(0xff).with_stamp((1 << 36) - 1).into_bits();

    #[inline(always)]
    fn whose(device: RequesterId, stamp: u64) -> u64 {
        const BUS: u32 = KnownDomain::new().with_bus(1).into_bits().trailing_zeros();
        u64::from(device.0 >> 8) << BUS | stamp
    }
}

impl KnownDomains {
    pub(super) fn new() -> Self {
        Self(Box::new(array::from_fn(|_| AtomicU64::new(0))))
    }

    #[inline]
    fn place(&self, device: RequesterId) -> &AtomicU64 {
        &self.0[usize::from(device.0) % PLACES]
    }

    #[inline]
    pub(super) fn recall(&self, device: RequesterId, stamp: u64) -> Option<KnownDomain> {
        let known = KnownDomain::from_bits(self.place(device).load(Acquire));
        (known.into_bits() & KnownDomain::WHOSE == KnownDomain::whose(device, stamp)).then_some(known)
    }

    /// `stamp` was captured before anything was looked up, and the DTE is cached.
    pub(super) fn remember(&self, device: RequesterId, stamp: u64, id: u16, permissions: Permissions) {
        if !Stamps::can_move(stamp) {
            return;
        }
        let known = KnownDomain::new().with_id(id).with_permissions(permissions);
        let known = known.into_bits() | KnownDomain::whose(device, stamp);
        self.place(device).store(known, Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const DEVICE: RequesterId = RequesterId(0x4100);
    const STAMP: u64 = 5 << Stamps::SHIFT;

    fn recalled(domains: &KnownDomains, device: RequesterId, stamp: u64) -> Option<(u16, Permissions)> {
        let known = domains.recall(device, stamp)?;
        Some((known.id(), known.permissions()))
    }

    #[test]
    fn a_domain_is_recalled_under_its_stamp() {
        let (domains, read) = (KnownDomains::new(), Permissions::new().with_read(true));
        domains.remember(DEVICE, STAMP, 0xffff, read);
        assert_eq!(recalled(&domains, DEVICE, STAMP), Some((0xffff, read)));
        assert_eq!(recalled(&domains, DEVICE, STAMP + (1 << Stamps::SHIFT)), None);
    }

    #[test]
    fn nothing_is_known_of_a_device_at_first() {
        let domains = KnownDomains::new();
        let first = Stamps::new().of(RequesterId(0));
        assert_eq!(recalled(&domains, RequesterId(0), first), None);
    }

    #[test]
    fn devices_that_share_a_place_are_told_apart() {
        let (domains, other) = (KnownDomains::new(), RequesterId(0x5100));
        domains.remember(DEVICE, STAMP, 1, Permissions::ALL);
        assert_eq!(recalled(&domains, other, STAMP), None);
        domains.remember(other, STAMP, 2, Permissions::ALL);
        assert_eq!(recalled(&domains, DEVICE, STAMP), None);
        assert_eq!(recalled(&domains, other, STAMP), Some((2, Permissions::ALL)));
    }

    #[test]
    fn under_the_last_stamp_nothing_is_known() {
        let domains = KnownDomains::new();
        domains.remember(DEVICE, 1 << 63, 1, Permissions::ALL);
        assert_eq!(recalled(&domains, DEVICE, 1 << 63), None);
    }
}
