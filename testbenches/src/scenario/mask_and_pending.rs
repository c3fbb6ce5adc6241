use ntb_rtl::registers;

use super::reasons::{and_blocked_without_table, remapped_ids};
use super::{Expected, Plan, Scenario};
use crate::rig::{Rig, ScenarioError};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "mask-and-pending",
    sentence: "interrupts while masked set pending bits and arrive on unmask, once each",
    parameters: &[],
    plan,
    expected: |spec| {
        let mut first = spec.topology.ids().iter().take(VECTORS.into());
        let remapped = remapped_ids(spec);
        let unchanged = Expected::coherent("no entry changes after it is cached");
        if first.all(|id| remapped.contains(id)) {
            unchanged
        } else {
            and_blocked_without_table(spec, unchanged)
        }
    },
};

/// Each under another ID, as far as there are that many.
const VECTORS: u16 = 4;

fn plan(plan: &mut Plan<'_>) {
    plan.step("request four interrupts on CPU 1", async |rig: &Rig| {
        rig.request_ntb_irqs(VECTORS, 1).await
    });
    plan.step("mask them", async |rig: &Rig| set_masks(rig, true).await);
    plan.step("ring each of them twice", async |rig: &Rig| {
        rig.irq((VECTORS - 1).into())?;
        for _ in 0..2 {
            for (vector, id) in (0..VECTORS.into()).zip(rig.ids().iter().cycle()) {
                rig.ring(vector, *id).await;
            }
        }
        expect_pending(rig, (1 << VECTORS) - 1).await
    });
    plan.step("unmask one after the other", async |rig: &Rig| {
        if rig.read(registers::MSIX_PENDING, 8).await == 0 {
            return Err(ScenarioError::NotApplicable("a pending interrupt"));
        }
        for vector in 0..VECTORS {
            rig.ntb().msix.set_mask(&rig.cpu, vector, false).await;
            rig.raised(1).await;
        }
        expect_pending(rig, 0).await
    });
}

async fn set_masks(rig: &Rig, masked: bool) -> Result<(), ScenarioError> {
    for vector in 0..VECTORS {
        rig.ntb().msix.set_mask(&rig.cpu, vector, masked).await;
    }
    Ok(())
}

async fn expect_pending(rig: &Rig, expected: u64) -> Result<(), ScenarioError> {
    match rig.read(registers::MSIX_PENDING, 8).await {
        got if got == expected => {
            rig.note(format!("the pending bits are {got:#x}"));
            Ok(())
        }
        got => Err(ScenarioError::Register {
            register: "pending bit array",
            got,
            expected,
        }),
    }
}
