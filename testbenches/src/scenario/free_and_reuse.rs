use super::reasons::stale_where_not_flushed;
use super::{Plan, Scenario};
use crate::rig::Rig;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "free-and-reuse",
    sentence: "interrupt under every ID, free, another device gets the vector, send the old message under every ID",
    parameters: &[],
    plan,
    expected: stale_where_not_flushed,
};

fn plan(plan: &mut Plan<'_>) {
    plan.request_interrupt(1);
    plan.interrupt_under_every_id(1);
    plan.step("free the interrupt", async |rig: &Rig| rig.free_ntb_irqs().await);
    plan.step("another device gets the CPU and vector", async |rig: &Rig| {
        rig.request_neighbour_irq(1).await
    });
    plan.step(
        "the peer's device goes on sending the old message, under every ID",
        async |rig: &Rig| {
            rig.send_message_under(rig.message(0)?, rig.ids()).await;
            Ok(())
        },
    );
}
