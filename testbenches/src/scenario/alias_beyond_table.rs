use host_model::checker::FindingKind;
use sim_bridge::RequesterId;

use super::{Expected, Plan, Scenario};
use crate::rig::Rig;
use crate::run::Spec;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "alias-beyond-table",
    sentence: "the IVRS table has as the NTB's alias the first ID behind the device table; the NTB interrupts under its own \
               ID and under that one",
    parameters: &[],
    plan,
    expected,
};

/// Fewest entries of a device table: a page.
const FEWEST: u32 = 128;

/// The first ID for which the device table, sized by the highest ID that the IVRS table lists, has no entry. What is an
/// alias only does not count as listed. `None` if it has entries for all.
fn beyond(spec: &Spec) -> Option<RequesterId> {
    let listed = u32::from(spec.topology.last_bdf().0) + 1;
    let entries = listed.next_power_of_two().max(FEWEST);
    u16::try_from(entries).ok().map(RequesterId)
}

fn plan(plan: &mut Plan<'_>) {
    let own = plan.spec.topology.ntb();
    let under = beyond(plan.spec).unwrap_or(own);
    plan.host.ivrs_aliases = [(own, under)].into();
    plan.step("request the interrupt on CPU 1", async move |rig: &Rig| {
        rig.cpu.machine().irqs_mut().add_function(own, [under]);
        rig.request_ntb_irqs(1, 1).await
    });
    plan.step(format!("interrupt under {own}"), async move |rig: &Rig| {
        rig.ring_under(0, &[own]).await
    });
    plan.step(
        format!("the same message under {under}"),
        async move |rig: &Rig| {
            rig.send_message_under(rig.message(0)?, &[under]).await;
            Ok(())
        },
    );
}

fn expected(spec: &Spec) -> Expected {
    if beyond(spec).is_none() {
        return Expected::senseless("the device table has entries for all IDs");
    }
    Expected::finds(
        [FindingKind::Blocked, FindingKind::Overrun],
        "no kernel checks that an alias is in the device table, which is sized by the IDs that the IVRS table lists; the \
         IOMMU refuses what is sent under it",
    )
}
