use host_model::linux::TableIds;

use super::reasons::{blocked, stolen};
use super::sibling::Sibling;
use super::{Expected, Plan, Scenario};
use crate::rig::Rig;
use crate::run::Spec;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "sibling-first",
    sentence: "a function whose ID is one of the NTB's aliases gets an interrupt, then the NTB does, then the function \
               interrupts",
    parameters: &[],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    let Sibling { id, sends_as, .. } = Sibling::of(plan.spec);
    plan.host.functions.push(Sibling::of(plan.spec).function());
    plan.step(
        format!("{id} gets an interrupt on CPU 2"),
        async move |rig: &Rig| rig.request_irq_of(id, 2).await,
    );
    plan.step("request the NTB's interrupt on CPU 1", async |rig: &Rig| {
        rig.request_ntb_irqs(1, 1).await
    });
    plan.step(
        format!("{id} interrupts, as {sends_as}"),
        async move |rig: &Rig| rig.send_message_of(id, sends_as).await,
    );
}

fn expected(spec: &Spec) -> Expected {
    let Sibling { id, sends_as, shares } = Sibling::of(spec);
    let own_only = spec.profile.table_ids == TableIds::OwnAndIvrs;
    if own_only && sends_as != id {
        return blocked("the kernel gives no table to what a bridge sends under");
    }
    if !shares || own_only {
        return Expected::coherent("the kernel takes no ID of the function for the NTB's");
    }
    let ivrs = &spec.topology.ivrs().aliases;
    if let (Some(one), Some(other)) = (ivrs.get(&id), ivrs.get(&spec.topology.ntb()))
        && one == other
    {
        return Expected::coherent("both have one IVRS alias, and so one table");
    }
    stolen("alloc_irq_table points every DMA alias at the NTB's table, whoever's it was")
}
