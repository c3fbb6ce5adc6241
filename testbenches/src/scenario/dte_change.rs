use host_model::checker::FindingKind;

use super::reasons::and_blocked_without_table;
use super::{Expected, Plan, Scenario};
use crate::rig::Rig;

/// What a patch that forgets it would do.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "dte-change",
    sentence: "interrupt under every ID, switch interrupts off in the NTB's DTE without invalidating it, interrupt again",
    parameters: &[],
    plan,
    expected: |spec| {
        let stale = Expected::finds(
            [FindingKind::Stale],
            "nobody invalidated the device table entry, which every kernel's IOMMU has cached",
        );
        and_blocked_without_table(spec, stale)
    },
};

fn plan(plan: &mut Plan<'_>) {
    plan.request_interrupt(1);
    plan.interrupt_under_every_id(1);
    plan.step(
        "switch interrupts off in the DTE, without a command",
        async |rig: &Rig| {
            rig.abort_interrupts("forgetful_patch", rig.ids()[0]).await;
            Ok(())
        },
    );
    plan.interrupt_under_every_id(1);
}
