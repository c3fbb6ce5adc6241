use host_model::driver::{Interrupts, Target};
use host_model::irq::IrqError;

use super::reasons::{blocked, remapped_ids};
use super::{Expected, Plan, Scenario};
use crate::rig::Rig;
use crate::run::{IrteFormat, Spec};

/// EFR2.NumIntRemapSup: 2048 entries.
const SUPPORTED: u8 = 1;
/// `MAX_IRQS_PER_TABLE_512`.
const ENTRIES: u16 = 512;
/// `MANAGED_IRQ_SHUTDOWN_VECTOR`.
const SHUTDOWN: Target = Target {
    apic_id: 0,
    vector: 0xef,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "tables-of-2048",
    sentence: "a table of 2048 entries, the first 512 taken: the NTB interrupts by the next, under every ID",
    parameters: &[],
    plan,
    expected,
};

fn plan(plan: &mut Plan<'_>) {
    plan.host.efr2 = plan.host.efr2.with_num_int_remap_sup(SUPPORTED);
    plan.step("take 512 entries of the NTB's table", async |rig: &Rig| {
        for _ in 0..ENTRIES {
            rig.cpu
                .call("allocate", async |cpu| {
                    rig.driver()
                        .allocate(&cpu, rig.ids()[0], Interrupts::Msix, SHUTDOWN)
                        .await
                })
                .await
                .map_err(IrqError::from)?;
        }
        Ok(())
    });
    plan.request_interrupt(1);
    plan.interrupt_under_every_id(1);
}

fn expected(spec: &Spec) -> Expected {
    if !spec.profile.tables_of_2048 {
        return Expected::senseless("the kernel has tables of 512 entries only");
    }
    if spec.irte == IrteFormat::Bits32 {
        return Expected::senseless("an IVHD of type 0x10 does not tell of them");
    }
    match remapped_ids(spec)[..] {
        [_] => Expected::coherent("the DTE of the NTB's own ID has the table's length"),
        _ => blocked("set_dte_irq_entry gives the DTEs of aliases, whose max_irqs is 0, a length of 512"),
    }
}
