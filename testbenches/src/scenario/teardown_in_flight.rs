use super::{Expected, Parameter, Plan, Scenario};
use crate::rig::Rig;

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
    expected: |_| {
        Expected::coherent(
            "the vector is masked before its entry changes, and what was sent before arrives first",
        )
    },
};

fn plan(plan: &mut Plan<'_>) {
    let rounds = plan.value(&ROUNDS);
    plan.step("request the interrupt on CPU 1", async |rig: &Rig| {
        rig.request_ntb_irqs(1, 1).await
    });
    plan.step("interrupt under every ID", async |rig: &Rig| {
        rig.ring_under_every_id(0).await
    });
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
