use super::{Expected, Plan, Scenario};
use crate::rig::Rig;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "no-alias",
    sentence: "moves and frees as the others do, but the NTB sends under its own ID only",
    parameters: &[],
    plan,
    expected: |_| Expected::coherent("every kernel invalidates under the function's own ID"),
};

fn plan(plan: &mut Plan<'_>) {
    plan.step("request the interrupt on CPU 1", async |rig: &Rig| {
        rig.request_ntb_irqs(1, 1).await?;
        rig.ring_under(0, rig.own_id()).await
    });
    plan.step("move to CPU 2", async |rig: &Rig| rig.move_irq(0, 2).await);
    plan.step("wait two jiffies: the old vector is freed", async |rig: &Rig| {
        rig.wait_jiffies(2).await;
        rig.ring_under(0, rig.own_id()).await
    });
    plan.step("free the interrupt", async |rig: &Rig| rig.free_ntb_irqs().await);
    plan.step("another device gets an interrupt", async |rig: &Rig| {
        rig.request_neighbour_irq(2).await
    });
    plan.step(
        "the peer's device goes on sending the old message",
        async |rig: &Rig| {
            rig.send_message_under(rig.message(0)?, rig.own_id()).await;
            Ok(())
        },
    );
}
