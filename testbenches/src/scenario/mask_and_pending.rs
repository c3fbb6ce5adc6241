use ntb_rtl::registers;

use super::{Scenario, Steps, coherent};
use crate::rig::{Rig, ScenarioError};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "mask-and-pending",
    sentence: "interrupts while masked set pending bits and arrive on unmask, once each",
    run: |rig| Box::pin(run(rig)) as Steps,
    expected: coherent,
};

/// Each under another ID, as far as there are that many.
const VECTORS: u16 = 4;

async fn run(rig: &Rig) -> Result<(), ScenarioError> {
    rig.step("request four interrupts on CPU 1");
    rig.request_ntb_irqs(VECTORS, 1).await?;
    rig.step("mask them");
    for vector in 0..VECTORS {
        rig.ntb.msix.set_mask(&rig.cpu, vector, true).await;
    }
    rig.step("ring each of them twice");
    for _ in 0..2 {
        for (vector, id) in (0..VECTORS.into()).zip(rig.ids().iter().cycle()) {
            rig.ring(vector, *id).await;
        }
    }
    expect_pending(rig, (1 << VECTORS) - 1).await?;
    rig.step("unmask one after the other");
    for vector in 0..VECTORS {
        rig.ntb.msix.set_mask(&rig.cpu, vector, false).await;
        rig.raised(1).await;
    }
    expect_pending(rig, 0).await
}

async fn expect_pending(rig: &Rig, expected: u64) -> Result<(), ScenarioError> {
    match rig.read(registers::MSIX_PENDING, 8).await {
        got if got == expected => {
            rig.step(format!("the pending bits are {got:#x}"));
            Ok(())
        }
        got => Err(ScenarioError::Register {
            register: "pending bit array",
            got,
            expected,
        }),
    }
}
