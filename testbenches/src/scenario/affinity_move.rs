use super::{Scenario, Steps, stale_without_alias_flush};
use crate::rig::Rig;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "affinity-move",
    sentence: "interrupt under every ID, move to another CPU, wait two jiffies, interrupt under every ID again",
    run: |rig| Box::pin(run(rig)) as Steps,
    expected: stale_without_alias_flush,
};

async fn run(rig: &Rig) -> Result<(), crate::rig::ScenarioError> {
    rig.step("request the interrupt on CPU 1");
    let irqs = rig.request_ntb_irqs(1, 1).await?;
    rig.step("interrupt under every ID");
    rig.ring_under_every_id(0).await;
    rig.step("move to CPU 2");
    rig.move_irq(irqs[0], 2).await?;
    rig.step("wait two jiffies: the old vector is freed");
    rig.wait_jiffies(2).await;
    rig.step("interrupt under every ID");
    rig.ring_under_every_id(0).await;
    Ok(())
}
