use super::reasons::stale_where_not_flushed;
use super::{Plan, Scenario};
use crate::rig::Rig;

/// As many as a function can have.
const MESSAGES: u8 = 32;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "multi-msi",
    sentence: "32 messages of the NTB's MSI, each under the next ID: interrupt, move all of them, interrupt again",
    parameters: &[],
    plan,
    expected: stale_where_not_flushed,
};

fn plan(plan: &mut Plan<'_>) {
    plan.step("request 32 messages on CPU 1", async |rig: &Rig| {
        rig.request_ntb_msi(MESSAGES, 1).await
    });
    plan.step("interrupt by each, under the next ID", each);
    plan.step("move each to CPU 2", async |rig: &Rig| {
        for message in 0..MESSAGES {
            rig.move_irq(message.into(), 2).await?;
        }
        Ok(())
    });
    plan.step(
        "wait two jiffies: the old vectors are freed",
        async |rig: &Rig| {
            rig.wait_jiffies(2).await;
            Ok(())
        },
    );
    plan.step("interrupt by each, under the next ID", each);
}

async fn each(rig: &Rig) -> Result<(), crate::rig::ScenarioError> {
    for (message, &id) in (0..MESSAGES.into()).zip(rig.ids().iter().cycle()) {
        rig.ring_under(message, &[id]).await?;
    }
    Ok(())
}
