use super::reasons::{and_held_where_numbers_pass_each_other, stale_where_not_flushed};
use super::{Expected, Parameter, Plan, Scenario};
use crate::rig::Rig;
use crate::run::Spec;

const MOVES: Parameter = Parameter {
    name: "moves",
    sentence: "how often each is moved",
    range: 1..=100,
    default: 2,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "two-vectors",
    sentence: "two CPUs move two vectors of the NTB at the same time, then both interrupt under every ID",
    parameters: &[MOVES],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    let moves = plan.value(&MOVES);
    plan.step("request two interrupts on CPU 0", async |rig: &Rig| {
        rig.request_ntb_irqs(2, 0).await
    });
    plan.interrupt_under_every_id(2);
    for n in 0..moves {
        // Never back to where it was first cached.
        let to = if n % 2 == 0 { 3 } else { 2 };
        plan.step(
            format!("CPU 1 moves vector 0 to CPU {to}"),
            async move |rig: &Rig| rig.on(1).move_irq(0, to).await,
        );
        plan.meanwhile(
            format!("CPU 2 moves vector 1 to CPU {to}"),
            async move |rig: &Rig| rig.on(2).move_irq(1, to).await,
        );
        plan.step(
            "wait two jiffies: the old vectors are freed",
            async |rig: &Rig| {
                rig.wait_jiffies(2).await;
                Ok(())
            },
        );
    }
    plan.interrupt_under_every_id(2);
}

fn expected(spec: &Spec) -> Expected {
    and_held_where_numbers_pass_each_other(spec, stale_where_not_flushed(spec))
}
