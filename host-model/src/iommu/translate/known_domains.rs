//! The domains of devices whose requests were translated lately.

use std::array;
use std::sync::atomic::Ordering::{Acquire, Release};

use bitfield_struct::bitfield;
use sim_bridge::RequesterId;

use super::super::spec::page_table::Permissions;
use super::super::sync::AtomicU64;
use super::verdict::Domain;

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
    /// Requester ID bits 15:8.
    bus: u8,
    #[bits(2)]
    __: u8,
    #[bits(36)]
    stamp: u64,
}

const STAMP_SHIFT: u32 = 28;

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
        let is_current = known.stamp() == stamp >> STAMP_SHIFT;
        (is_current && known.bus() == bus(device)).then_some(known)
    }

    /// `stamp` was captured before anything was looked up, and the DTE is cached.
    pub(super) fn remember(&self, device: RequesterId, stamp: u64, domain: &Domain) {
        let known = KnownDomain::new()
            .with_id(domain.id)
            .with_permissions(domain.tables.permissions)
            .with_bus(bus(device))
            .with_stamp(stamp >> STAMP_SHIFT);
        self.place(device).store(known.into_bits(), Release);
    }
}

#[inline]
fn bus(RequesterId(device): RequesterId) -> u8 {
    (device >> 8) as u8
}
