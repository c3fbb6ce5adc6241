use host_model::iommu::PowerOnCaches;

use super::reasons::and_blocked_without_table;
use super::{Expected, Parameter, Plan, Scenario};
use crate::rig::{Rig, Sleep};

const STATE: Parameter = Parameter {
    name: "state",
    sentence: "ACPI's sleep state: below 3 nothing loses its power, and in 0 the IOMMU's driver is not asked; in 3 all but \
               memory does",
    range: 0..=3,
    default: 3,
};
const CACHES: Parameter = Parameter {
    name: "caches",
    sentence: "what the IOMMU's caches hold when power comes back: 0 nothing, 1 what they held before",
    range: 0..=1,
    default: 1,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "suspend-resume",
    sentence: "interrupt under every ID, suspend to memory and resume, interrupt under every ID again",
    parameters: &[STATE, CACHES],
    plan,
    expected: |spec| {
        let coherent = Expected::coherent("resume programs the IOMMU anew and invalidates everything");
        and_blocked_without_table(spec, coherent)
    },
};

fn plan(plan: &mut Plan<'_>) {
    let sleep = match plan.value(&STATE) {
        0 => Sleep::Idle,
        1 | 2 => Sleep::Standby,
        _ => Sleep::Memory,
    };
    plan.host.iommu.policies.power_on_caches = match plan.value(&CACHES) {
        0 => PowerOnCaches::Empty,
        _ => PowerOnCaches::Kept,
    };
    plan.request_interrupt(1);
    plan.interrupt_under_every_id(1);
    plan.step("suspend", async move |rig: &Rig| rig.suspend(sleep).await);
    plan.step("sleep", async move |rig: &Rig| rig.sleep(sleep).await);
    plan.step("resume", async move |rig: &Rig| rig.resume(sleep).await);
    plan.interrupt_under_every_id(1);
}
