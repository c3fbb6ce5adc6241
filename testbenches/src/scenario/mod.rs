//! Scenarios: what is done to an NTB and its interrupts, and which verdict that should have.

mod affinity_move;
mod free_and_reuse;
mod mask_and_pending;
mod no_alias;

use std::future::Future;
use std::pin::Pin;

use host_model::checker::{FindingKind, Verdict};
use host_model::linux::{IrtCacheDisable, Profile, TableIds};

use crate::rig::{Rig, ScenarioError};
use crate::topology::{Topology, kernel_version};

/// A scenario: one of [`ALL`](Self::ALL), or anybody's own.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// As users name it.
    pub name: &'static str,
    /// What it does.
    pub sentence: &'static str,
    /// Does it. Each step waits until the interrupts that it raised have ended somewhere.
    pub run: for<'a> fn(&'a Rig) -> Steps<'a>,
    /// The verdict that it should have.
    pub expected: fn(Profile, &Topology) -> Verdict,
}

/// What a scenario's function returns.
pub type Steps<'a> = Pin<Box<dyn Future<Output = Result<(), ScenarioError>> + 'a>>;

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 4] = [
        affinity_move::SCENARIO,
        free_and_reuse::SCENARIO,
        mask_and_pending::SCENARIO,
        no_alias::SCENARIO,
    ];

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name == name)
    }

    /// The verdict that this scenario should have.
    pub fn expected(&self, profile: Profile, topology: &Topology) -> Verdict {
        (self.expected)(profile, topology)
    }
}

/// What shares the NTB's table and is not invalidated goes stale: all aliases where a kernel invalidates one ID, and an
/// IVRS alias on another bus where it invalidates the DMA aliases. Under an ID without a table nothing is remapped, so
/// nothing is cached.
fn stale_without_alias_flush(profile: Profile, topology: &Topology) -> Verdict {
    let kernel = kernel_version(&profile);
    let own = topology.ntb();
    let flush = profile.irt_flush;
    let flushed = match profile.flushes_aliases() {
        true => topology.walk(kernel),
        false => vec![own],
    };
    let with_table = match profile.table_ids {
        TableIds::AllAliases => topology.ids_with_table(kernel),
        TableIds::OwnAndIvrs => [own].into_iter().chain(topology.ivrs_alias()).collect(),
    };
    let nothing_is_cached = flush.irtcachedis == IrtCacheDisable::Always;
    let flushes_all = flush
        .all_above
        .is_some_and(|most| flushed.len() > usize::from(most));
    if nothing_is_cached || flushes_all || with_table.iter().all(|id| flushed.contains(id)) {
        Verdict::Coherent
    } else {
        Verdict::Bad(FindingKind::Stale)
    }
}

fn coherent(_: Profile, _: &Topology) -> Verdict {
    Verdict::Coherent
}
