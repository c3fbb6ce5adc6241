use super::reasons::stale_where_not_flushed;
use super::{Parameter, Plan, Scenario};
use crate::rig::Rig;

const ROUNDS: Parameter = Parameter {
    name: "rounds",
    sentence: "how often it interrupts meanwhile",
    range: 1..=100,
    default: 2,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "mask-while-moving",
    sentence: "the peer rings while one CPU moves the interrupt and another masks it",
    parameters: &[ROUNDS],
    plan,
    expected: stale_where_not_flushed,
};

fn plan(plan: &mut Plan<'_>) {
    let rounds = plan.value(&ROUNDS);
    plan.request_interrupt(1);
    plan.interrupt_under_every_id(1);
    // These three begin at the same time; the seed decides who goes first wherever they meet.
    plan.step("the peer rings", async move |rig: &Rig| {
        rig.storm(0, rounds).await;
        Ok(())
    });
    plan.meanwhile("CPU 2 moves it there", async |rig: &Rig| {
        rig.on(2).move_irq(0, 2).await
    });
    plan.meanwhile("CPU 3 masks it and unmasks it", async |rig: &Rig| {
        let cpu = rig.on(3).cpu;
        rig.ntb().msix.set_mask(&cpu, 0, true).await;
        rig.ntb().msix.set_mask(&cpu, 0, false).await;
        Ok(())
    });
    plan.settle("wait for what is under way, and two jiffies");
    plan.interrupt_under_every_id(1);
}
