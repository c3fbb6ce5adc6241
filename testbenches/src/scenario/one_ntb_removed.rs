use host_model::checker::FindingKind;

use super::reasons::{
    and_held_where_numbers_pass_each_other, caches_entries, stale_where_not_flushed, why_stale,
};
use super::two_ntbs::NO_ROOM;
use super::{Expected, Plan, Scenario};
use crate::rig::Rig;
use crate::run::Spec;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "one-ntb-removed",
    sentence: "one of two NTBs behind one IOMMU is removed while the other interrupts and another CPU moves its interrupt",
    parameters: &[],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    plan.host.second = plan.spec.topology.second();
    plan.step("request an interrupt of each NTB on CPU 1", async |rig: &Rig| {
        rig.request_ntb_irqs(1, 1).await?;
        rig.second()?.request_ntb_irqs(1, 1).await
    });
    plan.step("both interrupt under every ID", async |rig: &Rig| {
        rig.ring_under_every_id(0).await?;
        rig.second()?.ring_under_every_id(0).await
    });
    plan.step(
        "CPU 3 frees the second's, which is then removed",
        async |rig: &Rig| {
            let second = rig.on(3).second()?;
            second.free_ntb_irqs().await?;
            second.release(second.ids()[0]).await
        },
    );
    plan.meanwhile("CPU 2 moves the first's to CPU 0", async |rig: &Rig| {
        rig.on(2).move_irq(0, 0).await
    });
    plan.meanwhile("the first interrupts without a pause", async |rig: &Rig| {
        rig.storm(0, 1).await;
        Ok(())
    });
    plan.settle("wait for what is under way, and two jiffies: the old vector is freed");
    plan.step("the first interrupts under every ID", async |rig: &Rig| {
        rig.ring_under_every_id(0).await
    });
}

fn expected(spec: &Spec) -> Expected {
    if spec.topology.second().is_none() {
        return Expected::senseless(NO_ROOM);
    }
    let expected = and_held_where_numbers_pass_each_other(spec, stale_where_not_flushed(spec));
    match why_stale(spec).filter(|_| caches_entries(spec)) {
        // The one that is gone uses its old entries no more.
        Some(why) => expected.and(FindingKind::Left, why),
        None => expected,
    }
}
