use host_model::checker::FindingKind;
use host_model::linux::CloneAlias;

use super::affinity_move::steps;
use super::reasons::{attached_when_plugged_in, stale_where_not_flushed};
use super::{Expected, Plan, Scenario};
use crate::rig::{Rig, ScenarioError};
use crate::run::Spec;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "hot-plug",
    sentence: "an NTB that is plugged in after start-up, and so is probed before its final fixups, writes to memory under \
               every ID; then affinity-move; then it writes again",
    parameters: &[],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    plan.host.hot_plug = true;
    plan.step("the NTB writes to memory under every ID", write_memory);
    steps(plan, 2, 2);
    plan.step("the NTB writes to memory under every ID", write_memory);
}

async fn write_memory(rig: &Rig) -> Result<(), ScenarioError> {
    let address = rig.allocate_dma()?;
    rig.write_memory_under_every_id(address).await;
    Ok(())
}

fn expected(spec: &Spec) -> Expected {
    let expected = stale_where_not_flushed(spec);
    let attached = attached_when_plugged_in(spec);
    if spec.topology.ids().iter().all(|id| attached.contains(id)) {
        return expected;
    }
    let because = if spec.profile.clone_alias == CloneAlias::OneAlias {
        "the probe gives one alias the function's domain, and no other"
    } else {
        "the probe gives the DMA aliases that it knows the function's domain, and nothing does later: those of final fixups \
         come too late"
    };
    expected.and(FindingKind::Blocked, because)
}
