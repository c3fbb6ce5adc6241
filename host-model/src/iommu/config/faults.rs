//! What an IOMMU can be made to do wrong, to test what ought to notice.

use std::ops::Range;

use super::super::spec::event::HardwareError;

/// Deliberate faults; the default is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    /// A fill that an invalidation overtakes is cached all the same (VirtualBox, whose invalidation sees only what
    /// is cached already).
    pub fill_races_invalidation: bool,
    /// COMPLETION_WAIT stores before older invalidations have taken effect: they do when the ring is empty
    /// (openvmm, which collects them for the end of a batch).
    pub wait_before_invalidate: bool,
    /// INVALIDATE_IOMMU_ALL leaves cached interrupt remapping table entries alone (VirtualBox).
    pub invalidate_all_keeps_irt: bool,
    /// The high half of a 128-bit interrupt remapping table entry is read when the fill completes, and the low half
    /// when it begins: no source promises that the two are one access.
    pub torn_irte_read: bool,
    /// Memory that answers with an error. An access that touches several of these gets the first.
    pub memory: Vec<MemoryFault>,
}

/// Memory that answers with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryFault {
    /// Guest physical addresses.
    pub addresses: Range<u64>,
    /// What an access gets: aborts concern reads and stores, poison ([`HardwareError::DataError`]) only reads.
    pub error: HardwareError,
}

impl Faults {
    /// Of a read of `bytes` at `address`.
    pub(in super::super) fn on_read(&self, address: u64, bytes: usize) -> Option<HardwareError> {
        self.on_access(address, bytes, |_| true)
    }

    /// Of a store of `bytes` at `address`.
    pub(in super::super) fn on_store(&self, address: u64, bytes: usize) -> Option<HardwareError> {
        self.on_access(address, bytes, |error| error != HardwareError::DataError)
    }

    fn on_access(
        &self,
        address: u64,
        bytes: usize,
        counts: impl Fn(HardwareError) -> bool,
    ) -> Option<HardwareError> {
        let end = address.saturating_add(bytes as u64);
        let touched = |fault: &&MemoryFault| {
            counts(fault.error) && fault.addresses.start < end && address < fault.addresses.end
        };
        self.memory.iter().find(touched).map(|fault| fault.error)
    }
}
