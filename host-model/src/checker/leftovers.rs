//! What stays cached when the driver has freed it.

use std::collections::BTreeSet;

use sim_bridge::RequesterId;

use super::finding::{Cached, FindingKind, Subject};
use super::{CallId, Checker, IrteFill, Missed};
use crate::driver::Role;
use crate::iommu::spec::irte::IrteFlags;

/// The call after which nothing of a function may be cached.
const RELEASE: &str = "release";

impl Checker {
    /// A call has returned that changed these entries: what it freed must not be cached any more.
    pub(super) fn look_for_leftovers(&mut self, call: CallId, changed: &BTreeSet<u64>) {
        let freed: BTreeSet<u64> = changed
            .iter()
            .filter(|&&at| self.walk.index_at(at).is_some() && !IrteFlags::of(self.walk.irte(at)).remap_en)
            .copied()
            .collect();
        let mut left: Vec<(Subject, Missed)> = Vec::new();
        if !freed.is_empty() {
            for (&(requester, index), filled) in &self.irtes {
                if freed.contains(&filled.address)
                    && let Some(missed) = self.left_irte(requester, index, filled)
                {
                    left.push((Subject::Entry { requester, index }, missed));
                }
            }
        }
        if self.changes.name_of(call) == RELEASE {
            for (&requester, filled) in &self.dtes {
                let half = self.walk.dte_memory(requester).start;
                if changed.contains(&half)
                    && !self.is_invalidated(Cached::Dte(requester), filled.at)
                    && let Some(missed) = self.missed_dte(requester, half, &filled.raw[..2], Role::FlushDte)
                {
                    left.push((Subject::Device(requester), missed));
                }
            }
        }
        for (subject, missed) in left {
            let known = |kind| self.findings.contains_key(&(subject, kind));
            // What was used when it was stale already needs no second finding.
            if !known(FindingKind::Stale) && !known(FindingKind::Left) {
                self.not_invalidated(subject, FindingKind::Left, &missed, None);
            }
        }
    }

    fn left_irte(&self, requester: RequesterId, index: u16, filled: &IrteFill) -> Option<Missed> {
        if self.is_invalidated(Cached::Irte(requester, index), filled.at) {
            return None;
        }
        self.missed_irte(requester, index, filled, filled.address)
    }

    fn is_invalidated(&self, cached: Cached, since: super::Moment) -> bool {
        self.commands.invalidated_after(cached, since)
    }
}
