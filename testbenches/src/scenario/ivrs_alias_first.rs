use super::reasons::blocked;
use super::{Expected, Plan, Scenario};
use crate::rig::Rig;
use crate::run::Spec;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "ivrs-alias-first",
    sentence: "the function that the IVRS table has as the NTB's alias gets an interrupt first; then the NTB interrupts \
               under every ID",
    parameters: &[],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    let (ntb, neighbour) = (plan.spec.topology.ntb(), plan.spec.topology.neighbours()[0]);
    plan.host.ivrs_aliases = [(ntb, neighbour)].into();
    plan.step(
        format!("{neighbour} gets an interrupt on CPU 2"),
        async |rig: &Rig| rig.request_neighbour_irq(2).await,
    );
    plan.step("request the NTB's interrupt on CPU 1", async |rig: &Rig| {
        rig.request_ntb_irqs(1, 1).await
    });
    plan.interrupt_under_every_id(1);
}

fn expected(spec: &Spec) -> Expected {
    match spec.topology.ids() {
        [_] => Expected::coherent("the NTB has one ID, which shares the alias's table"),
        _ => blocked(
            "where the IVRS alias has a table already, the kernel points the function's own ID at it, and no alias",
        ),
    }
}
