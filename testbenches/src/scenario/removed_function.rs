use host_model::driver::{Interrupts, Target};
use host_model::pci::Function;
use sim_bridge::RequesterId;

use super::reasons::used_after_release;
use super::{Expected, Plan, Scenario};
use crate::rig::{Rig, ScenarioError};
use crate::run::Spec;

/// The FCH's SMBus function, under whose ID its IOAPIC sends too.
const FCH: RequesterId = RequesterId::new(0, 0x14, 0);
const PIN: Interrupts = Interrupts::IoApic { pin: 9 };
const BEFORE: Target = Target {
    apic_id: 1,
    vector: 0x31,
};
const AFTER: Target = Target {
    apic_id: 2,
    vector: 0x31,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "removed-function",
    sentence: "an IOAPIC sends under the ID of a function, 00:14.0; the function is removed, then the IOAPIC's interrupt \
               moves",
    parameters: &[],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    plan.host
        .functions
        .push(Function::endpoint(FCH, (0x1022, 0x790b), 0x0c_05_00));
    plan.step("the function is removed", async |rig: &Rig| {
        rig.release(FCH).await
    });
    plan.step(
        "the IOAPIC's pin 9 gets an entry, and moves",
        async |rig: &Rig| move_pin(rig).await,
    );
}

async fn move_pin(rig: &Rig) -> Result<(), ScenarioError> {
    let allocated = rig.cpu.call("allocate", async |cpu| {
        rig.driver().allocate(&cpu, FCH, PIN, BEFORE).await
    });
    let entry = allocated.await?.entries[0];
    for target in [BEFORE, AFTER] {
        let moved = rig.cpu.call("set_affinity", async |cpu| {
            rig.driver().set_affinity(&cpu, entry, target).await
        });
        moved.await?;
    }
    Ok(())
}

fn expected(spec: &Spec) -> Expected {
    if spec.profile.flushes_aliases() {
        used_after_release(
            "iommu_flush_irt_and_complete looks the ID up and uses the device, which release_device leaves in place",
        )
    } else {
        Expected::coherent("the kernel asks nothing of the device to flush its entries")
    }
}
