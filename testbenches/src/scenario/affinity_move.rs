use super::reasons::stale_where_not_flushed;
use super::{Parameter, Plan, Scenario};
use crate::rig::Rig;

const TO: Parameter = Parameter {
    name: "to",
    sentence: "the CPU that the interrupt is moved to",
    range: 0..=3,
    default: 2,
};
const JIFFIES: Parameter = Parameter {
    name: "jiffies",
    sentence: "timer ticks to wait: the old vector is freed on the first",
    range: 0..=100,
    default: 2,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "affinity-move",
    sentence: "interrupt under every ID, move to another CPU, wait two jiffies, interrupt under every ID again",
    parameters: &[TO, JIFFIES],
    plan,
    expected: stale_where_not_flushed,
};

fn plan(plan: &mut Plan<'_>) {
    let (to, jiffies) = (plan.value(&TO) as u32, plan.value(&JIFFIES));
    steps(plan, to, jiffies);
}

/// Interrupt under every ID, move, wait, interrupt again.
pub(super) fn steps(plan: &mut Plan<'_>, to: u32, jiffies: u64) {
    plan.request_interrupt(1);
    plan.interrupt_under_every_id(1);
    plan.step(format!("move to CPU {to}"), async move |rig: &Rig| {
        rig.move_irq(0, to).await
    });
    let wait = match jiffies {
        2 => "wait two jiffies: the old vector is freed".to_owned(),
        n => format!("wait {n} jiffies"),
    };
    plan.step(wait, async move |rig: &Rig| {
        rig.wait_jiffies(jiffies).await;
        Ok(())
    });
    plan.interrupt_under_every_id(1);
}
