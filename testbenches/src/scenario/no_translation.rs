use host_model::checker::FindingKind;
use host_model::driver::DriverError;
use host_model::irq::IrqError;

use super::{Expected, Plan, Scenario};
use crate::rig::{Rig, ScenarioError};
use crate::run::{IrteFormat, Spec};

/// EFR.HATS: there are no host page tables.
const NO_HOST_PAGE_TABLES: u8 = 3;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "no-translation",
    sentence: "an IOMMU that remaps interrupts and translates nothing: request an interrupt, ring the doorbell",
    parameters: &[],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    plan.host.efr = plan.host.efr.with_hats(NO_HOST_PAGE_TABLES);
    plan.step("request the interrupt on CPU 1", async |rig: &Rig| {
        match rig.request_ntb_irqs(1, 1).await {
            Err(ScenarioError::Irq(IrqError::Driver(error @ DriverError::NoSpace(_)))) => {
                rig.cpu.log(format!("the NTB's driver gets {error}"));
                Ok(())
            }
            other => other,
        }
    });
    plan.step("the peer rings the doorbell", async |rig: &Rig| {
        rig.ring(0, rig.ids()[0]).await;
        rig.raised(1).await;
        Ok(())
    });
}

fn expected(spec: &Spec) -> Expected {
    if !spec.profile.tables_of_2048 {
        return Expected::senseless("the kernel does not know such hardware");
    }
    if spec.irte == IrteFormat::Bits32 {
        return Expected::senseless("an IVHD of type 0x10 does not tell of page tables");
    }
    Expected::finds(
        [FindingKind::Lost],
        "amd_iommu_probe_device leaves before it sets max_irqs: no vector can be had (-ENOSPC), and nothing arrives",
    )
}
