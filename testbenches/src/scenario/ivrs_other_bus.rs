use host_model::checker::FindingKind;

use super::reasons::{NOTHING_CACHED, caches_entries, why_stale};
use super::{Expected, Plan, Scenario};
use crate::rig::Rig;
use crate::run::Spec;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "ivrs-other-bus",
    sentence: "interrupt under the IVRS alias on another bus, move, interrupt under it again",
    parameters: &[],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    let own = plan.spec.topology.ntb();
    let under = plan
        .spec
        .topology
        .ivrs()
        .aliases
        .get(&own)
        .copied()
        .unwrap_or(own);
    plan.request_interrupt(1);
    plan.step(format!("interrupt under {under}"), async move |rig: &Rig| {
        rig.ring_under(0, &[under]).await
    });
    plan.step("move to CPU 2", async |rig: &Rig| rig.move_irq(0, 2).await);
    plan.step("wait two jiffies: the old vector is freed", async |rig: &Rig| {
        rig.wait_jiffies(2).await;
        Ok(())
    });
    plan.step(format!("interrupt under {under}"), async move |rig: &Rig| {
        rig.ring_under(0, &[under]).await
    });
}

fn expected(spec: &Spec) -> Expected {
    let own = spec.topology.ntb();
    match spec.topology.ivrs().aliases.get(&own) {
        Some(alias) if alias.bus() != own.bus() => match why_stale(spec).filter(|_| caches_entries(spec)) {
            Some(why) => Expected::finds([FindingKind::Stale], why),
            None => Expected::coherent(NOTHING_CACHED),
        },
        _ => Expected::senseless("the IVRS table has no alias on another bus"),
    }
}
