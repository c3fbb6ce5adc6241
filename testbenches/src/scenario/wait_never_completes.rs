use host_model::checker::FindingKind;

use super::reasons::{and_blocked_without_table, caches_entries, nothing_cached};
use super::{Expected, Plan, Scenario};
use crate::rig::Rig;
use crate::run::Spec;

/// Why locks are held long.
const TIMEOUT: &str = "irq_desc->lock is held with interrupts off until the wait times out, after 100 ms";

pub(super) const SCENARIO: Scenario = Scenario {
    name: "wait-never-completes",
    sentence: "the IOMMU takes no commands while an interrupt is moved: the wait times out, and Linux goes on",
    parameters: &[],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    plan.request_interrupt(1);
    plan.interrupt_under_every_id(1);
    plan.step("the IOMMU takes no more commands", async |rig: &Rig| {
        rig.stall_commands(true).await;
        Ok(())
    });
    plan.step("move to CPU 2", async |rig: &Rig| rig.move_irq(0, 2).await);
    plan.step("wait two jiffies: the old vector is freed", async |rig: &Rig| {
        rig.wait_jiffies(2).await;
        Ok(())
    });
    plan.interrupt_under_every_id(1);
}

fn expected(spec: &Spec) -> Expected {
    if !caches_entries(spec) {
        return nothing_cached(spec);
    }
    let stale = Expected::finds(
        [FindingKind::Stale],
        "no kernel looks at the result of the wait: the move counts as done, and nothing was invalidated",
    );
    let stale = stale.and(FindingKind::Held, TIMEOUT);
    and_blocked_without_table(spec, stale)
}
