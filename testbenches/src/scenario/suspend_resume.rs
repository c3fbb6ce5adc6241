use super::reasons::and_blocked_without_table;
use super::{Expected, Plan, Scenario};
use crate::rig::Rig;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "suspend-resume",
    sentence: "interrupt under every ID, suspend and resume the IOMMU, interrupt under every ID again",
    parameters: &[],
    plan,
    expected: |spec| {
        let coherent = Expected::coherent("resume programs the IOMMU anew and invalidates everything");
        and_blocked_without_table(spec, coherent)
    },
};

fn plan(plan: &mut Plan<'_>) {
    plan.step("request the interrupt on CPU 1", async |rig: &Rig| {
        rig.request_ntb_irqs(1, 1).await
    });
    plan.step("interrupt under every ID", async |rig: &Rig| {
        rig.ring_under_every_id(0).await
    });
    plan.step("suspend", async |rig: &Rig| {
        let suspended = rig
            .cpu
            .call("suspend", async |cpu| rig.driver().suspend(&cpu).await);
        Ok(suspended.await?)
    });
    plan.step("resume", async |rig: &Rig| {
        let resumed = rig
            .cpu
            .call("resume", async |cpu| rig.driver().resume(&cpu).await);
        Ok(resumed.await?)
    });
    plan.step("interrupt under every ID", async |rig: &Rig| {
        rig.ring_under_every_id(0).await
    });
}
