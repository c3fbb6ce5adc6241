use host_model::checker::FindingKind;

use super::reasons::{and_blocked_without_table, caches_entries, why_stale};
use super::{Expected, Parameter, Plan, Scenario};
use crate::rig::Rig;
use crate::run::Spec;

const ROUNDS: Parameter = Parameter {
    name: "rounds",
    sentence: "how often it interrupts under every ID meanwhile",
    range: 1..=1000,
    default: 2,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "teardown-in-flight",
    sentence: "interrupt under every ID without a pause while another CPU frees the interrupt",
    parameters: &[ROUNDS],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    let rounds = plan.value(&ROUNDS);
    plan.request_interrupt(1);
    plan.interrupt_under_every_id(1);
    plan.step("interrupt without a pause", async move |rig: &Rig| {
        rig.storm(0, rounds).await;
        Ok(())
    });
    plan.meanwhile("CPU 2 frees the interrupt", async |rig: &Rig| {
        rig.on(2).free_ntb_irqs().await
    });
    plan.step("wait for what is under way", async |rig: &Rig| {
        rig.settle().await;
        Ok(())
    });
}

fn expected(spec: &Spec) -> Expected {
    // The vector is masked before its entry changes, and what was sent before arrives first: nothing is used that is stale.
    let expected = match why_stale(spec).filter(|_| caches_entries(spec)) {
        Some(why) => Expected::finds([FindingKind::Left], why),
        None => Expected::coherent("the kernel invalidates under every ID that has a table"),
    };
    and_blocked_without_table(spec, expected)
}
