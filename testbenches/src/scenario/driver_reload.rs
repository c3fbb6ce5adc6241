use host_model::checker::FindingKind;
use host_model::linux::{CloneAlias, CloneSource};

use super::reasons::{blocked, stale_where_not_flushed, unflushed_ids};
use super::{Expected, Plan, Scenario};
use crate::rig::Rig;
use crate::run::Spec;
use crate::topology::kernel_version;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "driver-reload",
    sentence: "interrupt under every ID, free, remove the NTB, find it again, request on another CPU, interrupt again",
    parameters: &[],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    plan.request_interrupt(1);
    plan.interrupt_under_every_id(1);
    plan.step("free the interrupt", async |rig: &Rig| rig.free_ntb_irqs().await);
    plan.step("the NTB is removed", async |rig: &Rig| {
        rig.release(rig.ids()[0]).await
    });
    plan.step("the NTB is found again", async |rig: &Rig| {
        rig.probe(rig.ids()[0]).await
    });
    plan.request_interrupt(2);
    plan.interrupt_under_every_id(1);
}

fn expected(spec: &Spec) -> Expected {
    if spec.profile.clone_alias == CloneAlias::CopiesEntry(CloneSource::Walked) {
        let own = spec.topology.ntb();
        let mask = spec
            .topology
            .expected_ntb(kernel_version(&spec.profile))
            .dma_aliases;
        let ivrs = spec.topology.ivrs().aliases.get(&own);
        let by_bridge =
            |id: &_| *id != own && ivrs != Some(id) && !mask.iter().any(|devfn| devfn == id.devfn());
        // All that isn't invalidated has lost its table.
        let unflushed = unflushed_ids(spec);
        if !unflushed.is_empty() && unflushed.iter().all(by_bridge) {
            let blocked = blocked(
                "probing it again copies the bridge's DTE over that of what the bridge sends under, which has no table",
            );
            return blocked.and(FindingKind::Left, "and its entries stay cached");
        }
    }
    stale_where_not_flushed(spec)
}
