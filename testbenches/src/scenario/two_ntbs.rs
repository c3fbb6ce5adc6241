use super::reasons::{and_held_where_numbers_pass_each_other, stale_where_not_flushed};
use super::{Expected, Parameter, Plan, Scenario};
use crate::rig::{Rig, ScenarioError};
use crate::run::Spec;

const MOVES: Parameter = Parameter {
    name: "moves",
    sentence: "how often each is moved",
    range: 1..=100,
    default: 2,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "two-ntbs",
    sentence: "two CPUs move an interrupt each, of two NTBs behind one IOMMU that go on interrupting under every ID, then \
               both interrupt again",
    parameters: &[MOVES],
    plan,
    expected,
};

/// Of the second move the second NTB comes to where the first one's old entries lead, which were first cached on CPU 0.
const FIRST_GOES_TO: [u32; 2] = [2, 3];
const SECOND_GOES_TO: [u32; 2] = [3, 0];

fn plan(plan: &mut Plan<'_>) {
    let moves = plan.value(&MOVES);
    plan.host.second = plan.spec.topology.second();
    plan.step("request an interrupt of each NTB on CPU 0", async |rig: &Rig| {
        rig.request_ntb_irqs(1, 0).await?;
        rig.second()?.request_ntb_irqs(1, 0).await
    });
    plan.step("both interrupt under every ID", both);
    for n in 0..moves as usize {
        let (first, second) = (FIRST_GOES_TO[n % 2], SECOND_GOES_TO[n % 2]);
        plan.step(
            format!("CPU 1 moves the first's to CPU {first}"),
            async move |rig: &Rig| rig.on(1).move_irq(0, first).await,
        );
        plan.meanwhile(
            format!("CPU 2 moves the second's to CPU {second}"),
            async move |rig: &Rig| rig.on(2).second()?.move_irq(0, second).await,
        );
        plan.meanwhile("the first interrupts without a pause", async |rig: &Rig| {
            rig.on(0).storm(0, 1).await;
            Ok(())
        });
        plan.meanwhile("the second interrupts without a pause", async |rig: &Rig| {
            rig.on(3).second()?.storm(0, 1).await;
            Ok(())
        });
        plan.settle("wait for what is under way, and two jiffies: the old vectors are freed");
    }
    plan.step("both interrupt under every ID", both);
}

async fn both(rig: &Rig) -> Result<(), ScenarioError> {
    rig.ring_under_every_id(0).await?;
    rig.second()?.ring_under_every_id(0).await
}

fn expected(spec: &Spec) -> Expected {
    if spec.topology.second().is_none() {
        return Expected::senseless(NO_ROOM);
    }
    and_held_where_numbers_pass_each_other(spec, stale_where_not_flushed(spec))
}

pub(super) const NO_ROOM: &str = "the topology leaves no bus numbers for a second NTB";
