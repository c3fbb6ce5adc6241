use std::rc::Rc;

use host_model::irq::{IoApicDevice, IrqReturn};
use host_model::pci::Function;
use sim_bridge::RequesterId;

use super::reasons::used_after_release;
use super::{Expected, Plan, Scenario};
use crate::rig::Rig;
use crate::run::Spec;

/// The FCH's SMBus function, under whose ID its IOAPIC sends too.
const FCH: RequesterId = RequesterId::new(0, 0x14, 0);
/// Where Linux finds the first IOAPIC.
const IO_APIC: u64 = 0xfec0_0000;
const PINS: u8 = 24;
const PIN: u8 = 9;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "removed-function",
    sentence: "an IOAPIC sends under the ID of a function, the first that the IVRS table names or 00:14.0; the function is \
               removed, then the IOAPIC's interrupt is requested and moves",
    parameters: &[],
    plan,
    expected,
};

/// Under which ID the IOAPIC sends.
fn io_apic_id(spec: &Spec) -> RequesterId {
    let named = spec.topology.ivrs().ioapics.values().next();
    named.copied().unwrap_or(FCH)
}

fn plan(plan: &mut Plan<'_>) {
    let id = io_apic_id(plan.spec);
    if !plan.spec.topology.has(id) {
        let function = Function::endpoint(id, (0x1022, 0x790b), 0x0c_05_00);
        plan.host.functions.push(function);
    }
    plan.step(format!("{id} is removed"), async move |rig: &Rig| {
        rig.release(id).await
    });
    plan.step(
        "pin 9 of the IOAPIC is requested on CPU 1 and moves to CPU 2",
        async move |rig: &Rig| {
            rig.cpu.machine().add_io_apic(IO_APIC, id, PINS);
            let io_apic = IoApicDevice::new(id, IO_APIC);
            let core = rig.core();
            let irq = core.allocate_io_apic_pin(&rig.cpu, &io_apic, PIN, false).await?;
            let handler = Rc::new(|_| Box::pin(async { IrqReturn::Handled }) as _);
            core.request(&rig.cpu, irq, 1, handler).await?;
            core.set_affinity(&rig.cpu, irq, 2).await?;
            Ok(())
        },
    );
}

fn expected(spec: &Spec) -> Expected {
    if io_apic_id(spec) > spec.topology.last_bdf() {
        return Expected::senseless(
            "the IVRS table lists no function with the IOAPIC's ID, and none behind it",
        );
    }
    if spec.profile.flushes_aliases() {
        used_after_release(
            "iommu_flush_irt_and_complete looks the ID up and uses the device, which release_device leaves in place",
        )
    } else {
        Expected::coherent("the kernel asks nothing of the device to flush its entries")
    }
}
