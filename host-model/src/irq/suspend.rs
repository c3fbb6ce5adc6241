//! Interrupts while the machine sleeps (Linux kernel/irq/pm.c, drivers/pci/msi/msi.c).

use std::rc::Rc;

use sim_bridge::RequesterId;

use super::chip::Chip;
use super::life::{lock_of, retrigger, with};
use super::{Irq, IrqCore};
use crate::driver::MsiMessage;
use crate::exec::SpinLock;
use crate::machine::Cpu;

impl IrqCore {
    /// `suspend_device_irqs`: no handler runs from now on, and none does any more. What comes waits.
    pub async fn suspend_device_irqs(&self, cpu: &Cpu) {
        for (irq, lock) in all(cpu) {
            let ended = {
                let _guard = lock.lock_irqsave(cpu).await;
                let suspended = with(cpu, irq, |descriptor| {
                    descriptor.suspended = descriptor.handler.is_some();
                    descriptor.suspended.then(|| descriptor.ended.clone())
                });
                suspended.flatten()
            };
            if let Some(ended) = ended {
                // synchronize_irq
                ended
                    .wait_until(|| with(cpu, irq, |descriptor| descriptor.in_progress) != Some(true))
                    .await;
            }
        }
    }

    /// `resume_device_irqs`: what came meanwhile comes again.
    pub async fn resume_device_irqs(&self, cpu: &Cpu) {
        for (irq, lock) in all(cpu) {
            let _guard = lock.lock_irqsave(cpu).await;
            let resumed = with(cpu, irq, |descriptor| {
                let was = std::mem::take(&mut descriptor.suspended);
                (was && !descriptor.disabled).then(|| {
                    let unmask = std::mem::take(&mut descriptor.masked);
                    let chip = descriptor.chip.clone();
                    (unmask.then_some(chip), std::mem::take(&mut descriptor.pending))
                })
            });
            if let Some(Some((unmask, resend))) = resumed {
                if let Some(chip) = unmask {
                    chip.unmask(cpu).await;
                }
                if resend {
                    retrigger(cpu.machine(), irq);
                }
            }
        }
    }

    /// `pci_restore_msi_state`: a function that has lost its MSI-X table or its MSI capability gets it back.
    pub async fn restore_msi_state(&self, cpu: &Cpu, function: RequesterId) {
        let chips = chips_of(cpu, function);
        let mut msix = Vec::new();
        let mut masked_msi = 0;
        for (chip, message, masked) in &chips {
            match chip {
                Chip::Msix { index, .. } => msix.push((*index, *message, *masked)),
                Chip::Msi { message: bit, .. } => masked_msi |= u32::from(*masked) << bit,
                Chip::IoApic { .. } | Chip::Hpet { .. } => {}
            }
        }
        // Of several messages the first stands for all.
        match chips.first() {
            Some((Chip::Msix { device, .. }, ..)) => device.restore(cpu, &msix).await,
            Some((Chip::Msi { device, of, .. }, first, _)) => {
                device.restore(cpu, *first, *of, masked_msi).await;
            }
            _ => {}
        }
    }
}

/// A function's interrupts in order, their messages, and whether they are masked.
fn chips_of(cpu: &Cpu, function: RequesterId) -> Vec<(Chip, MsiMessage, bool)> {
    let state = cpu.machine().irqs();
    let of_function = state
        .descriptors
        .values()
        .filter(|descriptor| descriptor.chip.device() == function);
    of_function
        .map(|descriptor| (descriptor.chip.clone(), descriptor.message, descriptor.masked))
        .collect()
}

/// All interrupts, each with its `irq_desc->lock`.
fn all(cpu: &Cpu) -> Vec<(Irq, Rc<SpinLock<()>>)> {
    let irqs: Vec<Irq> = cpu.machine().irqs().descriptors.keys().copied().collect();
    irqs.into_iter()
        .filter_map(|irq| Some((irq, lock_of(cpu.machine(), irq).ok()?)))
        .collect()
}
