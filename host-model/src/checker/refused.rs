//! Memory requests that are refused though software lets the device make them.

use std::ops::Range;

use sim_bridge::{RequesterId, SimTime};

use super::Checker;
use super::finding::{FindingKind, Mistake, Refused, Subject};
use crate::driver::Role;
use crate::iommu::translate::{MemoryRequest, TranslationError};

/// Memory that a function may access.
pub(super) struct Mapping {
    function: RequesterId,
    /// As the device sees them.
    addresses: Range<u64>,
}

impl Checker {
    /// Software lets a function access these addresses, as the device sees them, under whichever of its IDs
    /// (`dma_map_single` and the like).
    pub fn map(&mut self, function: RequesterId, ids: &[RequesterId], addresses: Range<u64>) {
        for &id in ids {
            let addresses = addresses.clone();
            self.mappings
                .entry(id)
                .or_default()
                .push(Mapping { function, addresses });
        }
    }

    /// Fresh tables refused a request.
    pub(super) fn refused(&mut self, request: &MemoryRequest, reason: TranslationError, time: SimTime) {
        let requester = request.requester;
        let mappings = self.mappings.get(&requester).map_or(&[][..], Vec::as_slice);
        let mapping = mappings
            .iter()
            .find(|mapping| mapping.addresses.contains(&request.address));
        let Some(&Mapping { function, .. }) = mapping else {
            return;
        };
        let written = self.changes.last(self.walk.dte_memory(requester));
        let refused = Refused {
            at: time,
            function,
            access: request.access,
            reason,
            dte: written.map(|change| self.told(Some(change))),
            words: [requester, function].map(|id| self.walk.dte_in_words(id)),
        };
        let by = self.function(Role::CloneDte).filter(|_| requester != function);
        let key = (Subject::Device(requester), FindingKind::Blocked);
        self.finding(key, None, || Mistake::Refused(refused)).function = by;
    }
}
