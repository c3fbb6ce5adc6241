use host_model::checker::FindingKind;

use super::reasons::{RING, and_blocked_without_table, flush_commands, why_stale};
use super::{Expected, Plan, Scenario};
use crate::rig::Rig;
use crate::run::Spec;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "ring-full",
    sentence: "two moves while the IOMMU takes no commands: the second flush finds the ring full, gives up, and the \
               commands that were queued run later",
    parameters: &[],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    plan.step("request two interrupts on CPU 1", async |rig: &Rig| {
        rig.request_ntb_irqs(2, 1).await
    });
    plan.interrupt_under_every_id(2);
    plan.step("the IOMMU takes no more commands", async |rig: &Rig| {
        rig.stall_commands(true).await;
        Ok(())
    });
    plan.step("move vector 0 to CPU 2", async |rig: &Rig| {
        rig.move_irq(0, 2).await
    });
    plan.step("move vector 1 to CPU 2", async |rig: &Rig| {
        rig.move_irq(1, 2).await
    });
    plan.step("the IOMMU takes commands again", async |rig: &Rig| {
        rig.stall_commands(false).await;
        rig.wait_jiffies(2).await;
        Ok(())
    });
    plan.interrupt_under_every_id(2);
}

fn expected(spec: &Spec) -> Expected {
    let commands = flush_commands(spec);
    if 2 * commands <= RING {
        return Expected::senseless("two flushes don't fill the ring");
    }
    let expected = match why_stale(spec) {
        Some(why) => Expected::finds([FindingKind::Stale], why),
        // The second flush stops part of the way; the first one's commands name the same IDs and run after both changes.
        None => Expected::coherent("all IDs are named by commands that run after both changes"),
    };
    let held = "the ring stays full, and the wait before that incomplete: 100 ms each with interrupts off";
    and_blocked_without_table(spec, expected.and(FindingKind::Held, held))
}
