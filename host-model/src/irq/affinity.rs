//! Moving interrupts between CPUs (Linux kernel/irq/{manage,migration}.c, `amd_ir_set_affinity`).

use sim_bridge::SimTime;

use super::life::{lock_of, with};
use super::matrix::NoVector;
use super::vectors::{AssignError, Cleanup};
use super::{CpuMask, Irq, IrqCore, IrqError};
use crate::machine::{Cpu, Machine};

/// Why an interrupt does not move.
#[derive(Debug)]
pub(super) enum MoveError {
    /// -EBUSY: the old vector from the move before is still in use.
    Busy,
    Other(IrqError),
}

impl IrqCore {
    /// `irq_set_affinity`: moves the interrupt to one of these CPUs, unless it is on one; there its entry is written and
    /// flushed again with the same content. While the old vector of the move before is in use the move waits, and is
    /// made when the next interrupt arrives. Of an interrupt that is not requested it says where `request_irq` puts it.
    ///
    /// # Errors
    /// None of the CPUs is online or has a free vector, the affinity is managed, or the IOMMU driver fails.
    pub async fn set_affinity(&self, cpu: &Cpu, irq: Irq, to: impl Into<CpuMask>) -> Result<(), IrqError> {
        let to = to.into();
        let lock = lock_of(cpu.machine(), irq)?;
        cpu.until_resumed().await;
        let _guard = lock.lock_irqsave(cpu).await;
        {
            let mut state = cpu.machine().irqs_mut();
            let descriptor = state.get_mut(irq)?;
            if descriptor.managed {
                return Err(IrqError::Managed(irq));
            }
            if descriptor.handler.is_none() {
                // irq_set_affinity_deactivated
                descriptor.affinity = to;
                descriptor.affinity_set = true;
                return Ok(());
            }
            if descriptor.pending_mask.is_some() {
                descriptor.pending_mask = Some(to);
                descriptor.affinity_set = true;
                return Ok(());
            }
        }
        let moved = match do_set_affinity(cpu, irq, &to).await {
            Err(MoveError::Busy) => {
                with(cpu, irq, |descriptor| descriptor.pending_mask = Some(to));
                Ok(())
            }
            Err(MoveError::Other(error)) => Err(error),
            Ok(()) => Ok(()),
        };
        with(cpu, irq, |descriptor| descriptor.affinity_set = true);
        moved
    }

    /// `irq_update_affinity_hint`: tells `irqbalance` where the device's driver would like the interrupt, or no more.
    ///
    /// # Errors
    /// There is no such interrupt.
    pub async fn update_affinity_hint(
        &self,
        cpu: &Cpu,
        irq: Irq,
        hint: Option<CpuMask>,
    ) -> Result<(), IrqError> {
        let lock = lock_of(cpu.machine(), irq)?;
        cpu.until_resumed().await;
        let _guard = lock.lock_irqsave(cpu).await;
        cpu.machine().irqs_mut().get_mut(irq)?.affinity_hint = hint;
        Ok(())
    }

    /// `irq_set_affinity_hint`, later called `irq_set_affinity_and_hint`: the same, and moves the interrupt there. What
    /// becomes of the move is not told.
    ///
    /// # Errors
    /// There is no such interrupt.
    pub async fn set_affinity_hint(
        &self,
        cpu: &Cpu,
        irq: Irq,
        hint: Option<CpuMask>,
    ) -> Result<(), IrqError> {
        self.update_affinity_hint(cpu, irq, hint.clone()).await?;
        if let Some(mask) = hint {
            let _ = self.set_affinity(cpu, irq, mask).await;
        }
        Ok(())
    }
}

/// `irq_do_set_affinity` under `irq_desc->lock`: a vector on one of the CPUs, the entry written anew, and the old vector
/// to be freed by a timer.
pub(super) async fn do_set_affinity(cpu: &Cpu, irq: Irq, mask: &CpuMask) -> Result<(), MoveError> {
    let (driver, entry, target) = {
        let mut state = cpu.machine().irqs_mut();
        let wanted = mask.and(state.online());
        if wanted.is_empty() {
            return Err(MoveError::Other(IrqError::NoOnlineCpu(mask.clone())));
        }
        let allowed = {
            let descriptor = state.get(irq).map_err(MoveError::Other)?;
            if descriptor.managed {
                wanted.and(&descriptor.affinity)
            } else {
                wanted
            }
        };
        state.vectors.assign(irq, &allowed).map_err(|error| match error {
            AssignError::Busy => MoveError::Busy,
            AssignError::No(NoVector::Full) => MoveError::Other(IrqError::NoVector(allowed.clone())),
            AssignError::No(NoVector::EmptyMask) => MoveError::Other(IrqError::NoOnlineCpu(allowed)),
        })?;
        let target = state.vectors.target(irq);
        let descriptor = state.get(irq).map_err(MoveError::Other)?;
        (descriptor.driver.clone(), descriptor.entry, target)
    };
    let written = cpu
        .call("set_affinity", async |cpu| {
            driver.set_affinity(&cpu, entry, target).await
        })
        .await;
    schedule_cleanup(cpu, irq);
    written.map_err(|error| MoveError::Other(error.into()))?;
    with(cpu, irq, |descriptor| descriptor.affinity = mask.clone());
    Ok(())
}

/// `irq_move_irq`, when an interrupt arrives: makes the move that had to wait.
pub(super) async fn move_pending(cpu: &Cpu, irq: Irq) {
    let pending = with(cpu, irq, |descriptor| {
        if descriptor.disabled {
            return None;
        }
        let mask = descriptor.pending_mask.clone()?;
        Some((mask, descriptor.masked, descriptor.chip.clone()))
    });
    let Some(Some((mask, masked, chip))) = pending else {
        return;
    };
    if !masked {
        chip.mask(cpu).await;
    }
    with(cpu, irq, |descriptor| descriptor.pending_mask = None);
    let moved = do_set_affinity(cpu, irq, &mask).await;
    if matches!(moved, Err(MoveError::Busy)) {
        with(cpu, irq, |descriptor| descriptor.pending_mask = Some(mask));
    }
    if !masked {
        chip.unmask(cpu).await;
    }
}

/// `vector_schedule_cleanup`.
fn schedule_cleanup(cpu: &Cpu, irq: Irq) {
    let machine = cpu.machine();
    let cleanup = machine.irqs_mut().vectors.schedule_cleanup(irq);
    match cleanup {
        Cleanup::Nothing => {}
        Cleanup::StartTimer(old) => {
            let timer = cleanup_timer(machine.clone(), old);
            machine
                .executor()
                .spawn(format!("vector cleanup on CPU {old}"), timer);
        }
        Cleanup::Interrupt(old) => {
            let vector = machine.irqs().vectors.cleanup_vector();
            if let Some(vector) = vector {
                machine.interrupt_cpu(old, vector);
            }
        }
        Cleanup::Offline(old) => cpu.log(format!("IRQ {} schedule cleanup for offline CPU {old}", irq.0)),
    }
}

/// `irq_move_cleanup`, on the interrupted CPU: frees the vectors from before moves, or has itself interrupted again after
/// those that wait.
pub(super) fn move_cleanup(cpu: &Cpu, vector: u8) {
    let machine = cpu.machine();
    let is_pending = |vector| {
        machine
            .apic(cpu.id())
            .is_some_and(|apic| apic.is_requested(vector))
    };
    let kept = machine.irqs_mut().vectors.clean_up(cpu.id(), is_pending);
    if !kept.is_empty() {
        machine.interrupt_cpu(cpu.id(), vector);
    }
}

/// Frees the vectors from before moves on the next timer tick, or on a later one while an interrupt waits there.
async fn cleanup_timer(machine: Machine, cpu: u32) {
    let jiffy = machine.timing().jiffy.as_ps().max(1);
    while machine.irqs().vectors.is_timer_pending(cpu) {
        let next_tick = (machine.now().as_ps() / jiffy + 1) * jiffy;
        machine.executor().sleep_until(SimTime::from_ps(next_tick)).await;
        machine.cpu(cpu).until_resumed().await;
        let is_pending = |vector| machine.apic(cpu).is_some_and(|apic| apic.is_requested(vector));
        let (kept, warned) = {
            let mut state = machine.irqs_mut();
            if !state.vectors.is_timer_pending(cpu) {
                return;
            }
            let kept = state.vectors.clean_up(cpu, is_pending);
            let warned = state.warned_of_pending;
            state.warned_of_pending |= !kept.is_empty();
            (kept, warned)
        };
        if let (Some(irq), false) = (kept.first(), warned) {
            machine
                .cpu(cpu)
                .log(format!("Moved interrupt pending in old target APIC {}", irq.0));
        }
    }
}
