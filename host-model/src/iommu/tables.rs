//! Table entries: from the caches, from memory, into the caches.

use sim_bridge::RequesterId;
use vm_memory::{Bytes, GuestAddress, GuestMemory};

use super::Iommu;
use super::config::{CacheRemapEnClear, OutOfRangeDevice};
use super::outcome::{Lookup, LookupFrom};
use super::remap::Walk;
use super::spec::dte::{DTE_BYTES, RawDte};
use super::spec::irte::{IrteFlags, IrteFormat, RawIrte};
use super::verdict::IrteTarget;

/// Key in the IRT cache. It holds the format, because an entry of one is no entry of the other.
fn irte_key(walk: &Walk, index: u16) -> u64 {
    let (ga, device) = (
        u64::from(walk.control.ga_en()),
        u64::from(walk.request.requester.0),
    );
    ga << 27 | device << 11 | u64::from(index)
}

fn device_of_irte_key(key: u64) -> RequesterId {
    RequesterId((key >> 11) as u16)
}

impl<M: GuestMemory> Iommu<M> {
    /// Where the DTE is; `None` if it is beyond the table.
    pub(super) fn dte_address(&self, device: RequesterId) -> Option<u64> {
        let table = self.dev_tab_base();
        let offset = u64::from(device.0) * DTE_BYTES;
        let unchecked = self.config.policies.out_of_range_device == OutOfRangeDevice::Unchecked;
        (offset < table.length() || unchecked).then(|| table.address() + offset)
    }

    pub(super) fn read_dte(&self, address: u64) -> Option<RawDte> {
        let mut bytes = [0; DTE_BYTES as usize];
        self.memory.read_slice(&mut bytes, GuestAddress(address)).ok()?;
        Some(bytemuck::must_cast::<_, RawDte>(bytes).map(u64::from_le))
    }

    pub(super) fn read_irte(&self, address: u64, format: IrteFormat) -> Option<RawIrte> {
        let mut bytes = [0; 16];
        let entry = &mut bytes[..format.bytes() as usize];
        self.memory.read_slice(entry, GuestAddress(address)).ok()?;
        Some(RawIrte::from_le_bytes(bytes))
    }

    /// Hits what is current now, which may be newer than the walk.
    pub(super) fn cached_dte(&self, device: RequesterId) -> Option<Lookup<RawDte>> {
        let [address, raw @ ..] = self
            .dte_cache
            .get(device.0.into(), self.dte_generations.of(device))?;
        Some(Lookup {
            from: LookupFrom::Hit,
            address,
            raw,
        })
    }

    pub(super) fn cache_dte(&self, walk: &Walk, address: u64, raw: &RawDte) -> LookupFrom {
        let device = walk.request.requester;
        let [a, b, c, d] = *raw;
        let live = |key: u64, generation| self.dte_generations.of(RequesterId(key as u16)) == generation;
        filled(
            walk.dte_generation == self.dte_generations.of(device)
                && self
                    .dte_cache
                    .insert(device.0.into(), walk.dte_generation, [address, a, b, c, d], live),
        )
    }

    /// Like [`Self::cached_dte`].
    pub(super) fn cached_irte(&self, walk: &Walk, index: u16) -> Option<Lookup<RawIrte>> {
        if self.control().irt_cache_dis() {
            return None;
        }
        let generation = self.irt_generations.of(walk.request.requester);
        let [address, low, high] = self.irt_cache.get(irte_key(walk, index), generation)?;
        Some(Lookup {
            from: LookupFrom::Hit,
            address,
            raw: u128::from(high) << 64 | u128::from(low),
        })
    }

    pub(super) fn cache_irte(&self, walk: &Walk, target: &IrteTarget, raw: RawIrte) -> LookupFrom {
        let cacheable = IrteFlags::of(raw).remap_en
            || self.config.policies.cache_remap_en_clear == CacheRemapEnClear::Yes;
        let live = |key: u64, generation| self.irt_generations.of(device_of_irte_key(key)) == generation;
        filled(
            cacheable
                && !self.control().irt_cache_dis()
                && walk.irt_generation == self.irt_generations.of(walk.request.requester)
                && self.irt_cache.insert(
                    irte_key(walk, target.index),
                    walk.irt_generation,
                    [target.address, raw as u64, (raw >> 64) as u64],
                    live,
                ),
        )
    }
}

fn filled(cached: bool) -> LookupFrom {
    if cached {
        LookupFrom::Fill
    } else {
        LookupFrom::Uncached
    }
}
