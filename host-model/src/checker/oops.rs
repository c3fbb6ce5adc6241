//! NULL pointers that the driver follows.

use sim_bridge::{RequesterId, SimTime};

use super::finding::{FindingKind, Mistake, NullDereference, Subject};
use super::history::Change;
use super::{CallId, Checker};
use crate::iommu::spec::command::Command;
use crate::trace::Lock;

impl Checker {
    /// The driver was to invalidate the DTE of an ID on an IOMMU that is none.
    pub(super) fn dereferenced_null(
        &mut self,
        device: RequesterId,
        call: Option<CallId>,
        (function, table, lock): (&'static str, &'static str, Lock),
        time: SimTime,
    ) {
        let moment = self.next(time);
        let dte = self.changes.last(self.walk.dte_interrupts(device));
        let dereference = NullDereference {
            died: self.told(Some(Change { moment, call })),
            function,
            table,
            lock,
            dte: dte.map(|change| self.told(Some(change))),
        };
        let mistake = || Mistake::NullDereference(dereference);
        let finding = self.finding((Subject::Device(device), FindingKind::Oops), None, mistake);
        finding.missing = vec![Command::InvalidateDevtabEntry(device)];
        finding.function = Some(function);
    }
}
