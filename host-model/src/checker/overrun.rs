//! Device table entries that the driver stores outside of the device table.

use sim_bridge::{RequesterId, SimTime};

use super::finding::{FindingKind, Half, Mistake, Overrun, OverrunStore, Subject};
use super::history::Change;
use super::{CallId, Checker};
use crate::driver::Role;
use crate::iommu::spec::dte::DTE_BYTES;

impl Checker {
    /// The driver has written the DTE of an ID. Its last store says which half.
    pub(super) fn dte_written(&mut self, device: RequesterId, call: Option<CallId>, time: SimTime) {
        let Some((address, table)) = self.walk.dte_outside_of_table(device) else {
            return;
        };
        let half = match self.last_store.checked_sub(address) {
            Some(0..16) => Half::Memory,
            Some(16..DTE_BYTES) => Half::Interrupts,
            // The driver goes by another table than the IOMMU.
            _ => return,
        };
        let moment = self.next(time);
        let store = OverrunStore {
            half,
            written: self.told(Some(Change { moment, call })),
            function: self.function(match half {
                Half::Memory => Role::CloneDte,
                Half::Interrupts => Role::SetTable,
            }),
        };
        let over = self.walk.ring_at(address);
        let mistake = || {
            Mistake::Overrun(Overrun {
                address,
                table,
                over,
                stores: Vec::new(),
            })
        };
        let finding = self.finding((Subject::Device(device), FindingKind::Overrun), None, mistake);
        finding.function = finding.function.or(store.function);
        if let Mistake::Overrun(overrun) = &mut finding.mistake
            && overrun.stores.iter().all(|known| known.half != half)
        {
            overrun.stores.push(store);
        }
    }
}
