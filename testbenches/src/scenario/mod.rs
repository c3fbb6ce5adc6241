//! Scenarios: what is done to an NTB and its interrupts, and what should be found.
//!
//! A scenario is a function that adds steps to a [`Plan`], and one that says what it should find under a kernel profile
//! and an alias topology. Each has a file here.

mod affinity_move;
mod alias_beyond_table;
mod alias_of_no_iommu;
mod cpu_unplug;
mod driver_reload;
mod dte_change;
mod expected;
mod free_and_reuse;
mod hot_plug;
mod irtcachedis;
mod ivrs_alias_first;
mod ivrs_other_bus;
mod mask_and_pending;
mod mask_while_moving;
mod move_under_load;
mod multi_msi;
mod no_alias;
mod no_translation;
mod one_ntb_removed;
mod parameter;
mod plan;
mod reasons;
mod removed_function;
mod ring_full;
mod ring_nearly_full;
mod sibling;
mod sibling_first;
mod suspend_resume;
mod tables_of_2048;
mod teardown_in_flight;
#[cfg(test)]
mod tests;
mod two_ntbs;
mod two_vectors;
mod wait_never_completes;

pub use expected::{Difference, Expectation, Expected};
pub use parameter::{Parameter, ParameterError, Values, check_names};
pub use plan::{Chosen, Plan, Steps, StepsError};

use crate::run::Spec;

/// A scenario: one of [`ALL`](Self::ALL), or anybody's own.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// As users name it.
    pub name: &'static str,
    /// What it does.
    pub sentence: &'static str,
    /// Numbers that the command line may give.
    pub parameters: &'static [Parameter],
    /// Says what is done, step by step.
    pub plan: fn(&mut Plan<'_>),
    /// What it should find.
    pub expected: fn(&Spec) -> Expected,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 29] = [
        affinity_move::SCENARIO,
        move_under_load::SCENARIO,
        two_vectors::SCENARIO,
        two_ntbs::SCENARIO,
        one_ntb_removed::SCENARIO,
        multi_msi::SCENARIO,
        cpu_unplug::SCENARIO,
        mask_and_pending::SCENARIO,
        mask_while_moving::SCENARIO,
        no_alias::SCENARIO,
        free_and_reuse::SCENARIO,
        teardown_in_flight::SCENARIO,
        driver_reload::SCENARIO,
        hot_plug::SCENARIO,
        suspend_resume::SCENARIO,
        dte_change::SCENARIO,
        ring_nearly_full::SCENARIO,
        ring_full::SCENARIO,
        wait_never_completes::SCENARIO,
        irtcachedis::KEPT,
        irtcachedis::DROPPED,
        ivrs_other_bus::SCENARIO,
        ivrs_alias_first::SCENARIO,
        alias_beyond_table::SCENARIO,
        alias_of_no_iommu::SCENARIO,
        sibling_first::SCENARIO,
        tables_of_2048::SCENARIO,
        no_translation::SCENARIO,
        removed_function::SCENARIO,
    ];

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name == name)
    }
}
