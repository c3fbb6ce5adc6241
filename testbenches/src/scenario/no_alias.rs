use super::{Scenario, Steps, coherent};
use crate::rig::{Rig, ScenarioError};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "no-alias",
    sentence: "moves and frees as the others do, but the NTB sends under its own ID only",
    run: |rig| Box::pin(run(rig)) as Steps,
    expected: coherent,
};

async fn run(rig: &Rig) -> Result<(), ScenarioError> {
    let own = &rig.ids()[..1];
    rig.step("request the interrupt on CPU 1");
    let irqs = rig.request_ntb_irqs(1, 1).await?;
    let message = rig.cpu.machine().irqs().message(irqs[0]);
    rig.ring_under(0, own).await;
    rig.step("move to CPU 2");
    rig.move_irq(irqs[0], 2).await?;
    rig.step("wait two jiffies: the old vector is freed");
    rig.wait_jiffies(2).await;
    rig.ring_under(0, own).await;
    rig.step("free the interrupt");
    rig.core.free_irq(&rig.cpu, irqs[0]).await?;
    rig.core.free_vectors(&rig.cpu, &irqs).await?;
    rig.step("another device gets an interrupt");
    rig.request_neighbour_irq(2).await?;
    rig.step("the peer's device goes on sending the old message");
    if let Some(message) = message {
        rig.send_message_under(message, own).await;
    }
    Ok(())
}
