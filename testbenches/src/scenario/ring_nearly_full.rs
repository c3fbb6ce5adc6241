use host_model::checker::FindingKind;
use sim_bridge::SimTime;

use super::reasons::{RING, flush_commands, stale_where_not_flushed};
use super::{Expected, Parameter, Plan, Scenario};
use crate::rig::Rig;
use crate::run::Spec;

const STEP_NS: Parameter = Parameter {
    name: "step-ns",
    sentence: "nanoseconds that the IOMMU takes for each step of a command",
    range: 50..=20_000,
    default: 2_000,
};

/// Of 509 commands that fit, PLX's 257 invalidations and a wait are more than half.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "ring-nearly-full",
    sentence: "two CPUs flush at the same time while the IOMMU is slow: who finds the ring full spins, nothing is lost",
    parameters: &[STEP_NS],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    plan.host.timing.iommu_step = SimTime::from_ns(plan.value(&STEP_NS));
    plan.step("request two interrupts on CPU 0", async |rig: &Rig| {
        rig.request_ntb_irqs(2, 0).await
    });
    plan.interrupt_under_every_id(2);
    plan.step("CPU 1 moves vector 0 to CPU 3", async |rig: &Rig| {
        rig.on(1).move_irq(0, 3).await
    });
    plan.meanwhile("CPU 2 moves vector 1 to CPU 3", async |rig: &Rig| {
        rig.on(2).move_irq(1, 3).await
    });
    plan.step(
        "wait two jiffies: the old vectors are freed",
        async |rig: &Rig| {
            rig.wait_jiffies(2).await;
            Ok(())
        },
    );
    plan.interrupt_under_every_id(2);
}

fn expected(spec: &Spec) -> Expected {
    let expected = stale_where_not_flushed(spec);
    let slow = spec.values.get(&STEP_NS) >= STEP_NS.default;
    if slow && 2 * flush_commands(spec) > RING {
        let held = "hundreds of commands are queued and waited for with interrupts off: milliseconds, if the IOMMU is slow";
        return expected.and(FindingKind::Held, held);
    }
    // How long is a matter of the parameter.
    expected.or_else([FindingKind::Held])
}
