//! What happens to one interrupt between `request_irq` and `free_irq` (Linux kernel/irq/{chip,manage}.c). All of it runs
//! under `irq_desc->lock`.

use std::rc::Rc;

use super::affinity::do_set_affinity;
use super::descriptor::Descriptor;
use super::matrix::NoVector;
use super::vectors::AssignError;
use super::{CpuMask, Irq, IrqError};
use crate::driver::MsiMessage;
use crate::exec::SpinLock;
use crate::machine::{Cpu, Machine};

/// `irq_desc->lock` of an interrupt.
pub(super) fn lock_of(machine: &Machine, irq: Irq) -> Result<Rc<SpinLock<()>>, IrqError> {
    Ok(machine.irqs().get(irq)?.lock.clone())
}

/// Looks at an interrupt. `None` where it is gone.
pub(super) fn with<T>(cpu: &Cpu, irq: Irq, look: impl FnOnce(&mut Descriptor) -> T) -> Option<T> {
    cpu.machine().irqs_mut().get_mut(irq).ok().map(look)
}

/// `irq_activate`: gives the interrupt a vector, and points its entry and its message there.
pub(super) async fn activate(cpu: &Cpu, irq: Irq) -> Result<(), IrqError> {
    let (driver, entry, message, chip, target) = {
        let mut state = cpu.machine().irqs_mut();
        let affinity = state.get(irq)?.affinity.clone();
        let online = state.online().clone();
        state
            .vectors
            .activate(irq, &affinity)
            .map_err(|error| match error {
                AssignError::No(NoVector::EmptyMask) => IrqError::NoOnlineCpu(affinity.clone()),
                AssignError::No(NoVector::Full) | AssignError::Busy => IrqError::NoVector(online),
            })?;
        if let Some((on, _)) = state.vectors.slot(irq)
            && !affinity.contains(on)
        {
            drop(state);
            cpu.log(format!(
                "irq {}: Affinity broken due to vector space exhaustion.",
                irq.0
            ));
            state = cpu.machine().irqs_mut();
        }
        let target = state.vectors.target(irq);
        let descriptor = state.get(irq)?;
        (
            descriptor.driver.clone(),
            descriptor.entry,
            descriptor.message,
            descriptor.chip.clone(),
            target,
        )
    };
    let activated = cpu
        .call("activate", async |cpu| driver.activate(&cpu, entry, target).await)
        .await;
    if let Err(error) = activated {
        cpu.machine().irqs_mut().vectors.deactivate(irq);
        return Err(error.into());
    }
    chip.write_message(cpu, message, true).await;
    Ok(())
}

/// `irq_startup`: points the interrupt at its CPUs, then unmasks it. What came too early comes again.
pub(super) async fn startup(cpu: &Cpu, irq: Irq) {
    let Some(mask) = with_state(cpu, |state| setup_mask(state, irq)) else {
        return;
    };
    // irq_setup_affinity's result is dropped.
    let _ = do_set_affinity(cpu, irq, &mask).await;
    let Some((chip, resend)) = with(cpu, irq, |descriptor| {
        descriptor.started = true;
        descriptor.disabled = false;
        descriptor.masked = false;
        (descriptor.chip.clone(), std::mem::take(&mut descriptor.pending))
    }) else {
        return;
    };
    chip.unmask(cpu).await;
    if resend {
        retrigger(cpu.machine(), irq);
    }
}

fn with_state<T>(cpu: &Cpu, ask: impl FnOnce(&mut super::IrqState) -> Option<T>) -> Option<T> {
    ask(&mut cpu.machine().irqs_mut())
}

/// `irq_setup_affinity`'s mask: what was asked for, or all CPUs where none of that is online.
fn setup_mask(state: &mut super::IrqState, irq: Irq) -> Option<CpuMask> {
    let online = state.online().clone();
    let descriptor = state.get_mut(irq).ok()?;
    if !descriptor.managed && !descriptor.affinity_set {
        return Some(online);
    }
    let wanted = descriptor.affinity.and(&online);
    if wanted.is_empty() {
        descriptor.affinity_set = false;
        return Some(online);
    }
    Some(wanted)
}

/// `irq_shutdown`: masks the interrupt.
pub(super) async fn shutdown(cpu: &Cpu, irq: Irq) {
    let chip = with(cpu, irq, |descriptor| {
        descriptor.started = false;
        descriptor.disabled = true;
        descriptor.masked = true;
        descriptor.chip.clone()
    });
    if let Some(chip) = chip {
        chip.mask(cpu).await;
    }
}

/// `irq_domain_deactivate_irq`: clears the message, makes the entry invalid and gives the vectors back, whatever the IOMMU
/// driver says.
pub(super) async fn deactivate(cpu: &Cpu, irq: Irq) -> Result<(), IrqError> {
    let (chip, driver, entry) = {
        let state = cpu.machine().irqs();
        let descriptor = state.get(irq)?;
        (
            descriptor.chip.clone(),
            descriptor.driver.clone(),
            descriptor.entry,
        )
    };
    chip.write_message(cpu, MsiMessage { address: 0, data: 0 }, true)
        .await;
    let deactivated = cpu
        .call("deactivate", async |cpu| driver.deactivate(&cpu, entry).await)
        .await;
    cpu.machine().irqs_mut().vectors.deactivate(irq);
    Ok(deactivated?)
}

/// `apic_retrigger_irq`: raises the interrupt where it arrives, by an interrupt between CPUs.
pub(super) fn retrigger(machine: &Machine, irq: Irq) {
    let slot = machine.irqs().slot(irq);
    if let Some((cpu, vector)) = slot {
        machine.interrupt_cpu(cpu, vector);
    }
}
