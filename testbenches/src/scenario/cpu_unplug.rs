use super::reasons::stale_where_not_flushed;
use super::{Plan, Scenario};
use crate::rig::Rig;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "cpu-unplug",
    sentence: "interrupt under every ID, take the CPU away, which moves the interrupt, interrupt under every ID again",
    parameters: &[],
    plan,
    expected: stale_where_not_flushed,
};

fn plan(plan: &mut Plan<'_>) {
    plan.request_interrupt(1);
    plan.interrupt_under_every_id(1);
    plan.step("CPU 1 goes away", async |rig: &Rig| {
        Ok(rig.core().cpu_down(&rig.cpu, 1).await?)
    });
    plan.interrupt_under_every_id(1);
}
