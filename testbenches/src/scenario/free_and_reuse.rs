use super::{Scenario, Steps, stale_without_alias_flush};
use crate::rig::{Rig, ScenarioError};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "free-and-reuse",
    sentence: "interrupt under every ID, free, another device gets the vector, send the old message under every ID",
    run: |rig| Box::pin(run(rig)) as Steps,
    expected: stale_without_alias_flush,
};

async fn run(rig: &Rig) -> Result<(), ScenarioError> {
    rig.step("request the interrupt on CPU 1");
    let irqs = rig.request_ntb_irqs(1, 1).await?;
    let (slot, message) = {
        let state = rig.cpu.machine().irqs();
        (
            state.slot(irqs[0]),
            state
                .message(irqs[0])
                .ok_or(host_model::irq::IrqError::NoSuchIrq(irqs[0]))?,
        )
    };
    rig.step("interrupt under every ID");
    rig.ring_under_every_id(0).await;
    rig.step("free the interrupt");
    rig.core.free_irq(&rig.cpu, irqs[0]).await?;
    rig.core.free_vectors(&rig.cpu, &irqs).await?;
    rig.step("another device gets the CPU and vector");
    let other = rig.request_neighbour_irq(1).await?;
    let taken = rig.cpu.machine().irqs().slot(other);
    debug_assert_eq!(taken, slot, "the freed vector is the lowest free one");
    rig.step("the peer's device goes on sending the old message, under every ID");
    rig.send_message_under(message, rig.ids()).await;
    Ok(())
}
