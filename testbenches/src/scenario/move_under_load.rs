use super::reasons::stale_where_not_flushed;
use super::{Parameter, Plan, Scenario};
use crate::rig::Rig;

const ROUNDS: Parameter = Parameter {
    name: "rounds",
    sentence: "how often it interrupts under every ID meanwhile",
    range: 1..=1000,
    default: 4,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "move-under-load",
    sentence: "interrupt under every ID without a pause while another CPU moves the interrupt there and back",
    parameters: &[ROUNDS],
    plan,
    expected: stale_where_not_flushed,
};

fn plan(plan: &mut Plan<'_>) {
    let rounds = plan.value(&ROUNDS);
    plan.request_interrupt(1);
    plan.interrupt_under_every_id(1);
    for (name, to) in [
        ("CPU 3 moves it to CPU 2", 2),
        ("CPU 3 moves it back to CPU 1", 1),
    ] {
        plan.step("interrupt without a pause", async move |rig: &Rig| {
            rig.storm(0, rounds).await;
            Ok(())
        });
        plan.meanwhile(name, async move |rig: &Rig| rig.on(3).move_irq(0, to).await);
        plan.settle("wait for what is under way, and two jiffies");
    }
    plan.interrupt_under_every_id(1);
}
