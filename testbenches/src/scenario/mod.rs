//! Scenarios: what is done to an NTB and its interrupts, and which verdict that should have.

mod affinity_move;
mod free_and_reuse;
mod mask_and_pending;
mod no_alias;

use std::future::Future;
use std::pin::Pin;

use host_model::checker::{FindingKind, Verdict};
use host_model::linux::{Profile, TableIds};

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

/// A kernel that invalidates one ID leaves the entries of all others stale, one that invalidates the DMA aliases that of
/// an alias on another bus. Under an ID without a table nothing is remapped, so nothing is cached.
fn stale_without_alias_flush(profile: Profile, topology: &Topology) -> Verdict {
    let kernel = kernel_version(&profile);
    let left_out = match (profile.flushes_aliases(), profile.table_ids) {
        (true, _) => topology.ids_beside_the_walk(kernel).len(),
        (false, TableIds::AllAliases) => topology.ids().len() - 1,
        (false, TableIds::OwnAndIvrs) => topology.ivrs().aliases.contains_key(&topology.ntb()).into(),
    };
    match left_out {
        0 => Verdict::Coherent,
        _ => Verdict::Bad(FindingKind::Stale),
    }
}

fn coherent(_: Profile, _: &Topology) -> Verdict {
    Verdict::Coherent
}
