//! Taking CPUs away and giving them back (Linux kernel/irq/cpuhotplug.c, arch/x86/kernel/{irq,smpboot}.c).

use sim_bridge::SimTime;

use super::affinity::{MoveError, do_set_affinity};
use super::life::{activate, deactivate, lock_of, retrigger, shutdown, startup, with};
use super::vectors::VectorIrq;
use super::{Irq, IrqCore, IrqError};
use crate::machine::Cpu;

/// Why a CPU is not taken away or given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HotplugError {
    /// There is no such CPU.
    #[error("ENODEV: there is no CPU {0}")]
    NoSuchCpu(u32),
    /// The boot CPU stays.
    #[error("EPERM: CPU {0} is the boot CPU")]
    BootCpu(u32),
    /// It is already as it should be.
    #[error("EINVAL: CPU {cpu} is {} already", if *online { "online" } else { "offline" })]
    Already {
        /// Which.
        cpu: u32,
        /// As it is.
        online: bool,
    },
    /// The other CPUs can't take its vectors.
    #[error("ENOSPC: CPU {cpu} has {has} vectors, {available} available. Cannot disable CPU")]
    NoVectors {
        /// Which.
        cpu: u32,
        /// Vectors that it has.
        has: u32,
        /// Vectors that the others have left.
        available: u32,
    },
}

/// `mdelay(1)` in `fixup_irqs`, for interrupts that are under way.
const SETTLE: SimTime = SimTime::from_us(1_000);

impl IrqCore {
    /// `cpu_down`: takes a CPU away. All CPUs stop with interrupts off while its interrupts are moved, each under its
    /// `irq_desc->lock`.
    ///
    /// # Errors
    /// See [`HotplugError`]. Nothing has changed then.
    pub async fn cpu_down(&self, cpu: &Cpu, down: u32) -> Result<(), HotplugError> {
        let machine = cpu.machine();
        if machine.apic(down).is_none() {
            return Err(HotplugError::NoSuchCpu(down));
        }
        if down == 0 {
            return Err(HotplugError::BootCpu(down));
        }
        machine.stop_machine(down, take_cpu_down).await
    }

    /// `cpu_up`: gives a CPU back, with no interrupt but those that the kernel manages.
    ///
    /// # Errors
    /// See [`HotplugError`].
    pub async fn cpu_up(&self, cpu: &Cpu, up: u32) -> Result<(), HotplugError> {
        cpu.until_resumed().await;
        let machine = cpu.machine();
        let apic = machine.apic(up).ok_or(HotplugError::NoSuchCpu(up))?;
        if machine.irqs().online().contains(up) {
            return Err(HotplugError::Already {
                cpu: up,
                online: true,
            });
        }
        apic.reset();
        machine.irqs_mut().vectors.online(up);
        affinity_online_cpu(&machine.cpu(up)).await;
        Ok(())
    }
}

/// `native_cpu_disable`, on the CPU itself.
async fn take_cpu_down(cpu: Cpu) -> Result<(), HotplugError> {
    let id = cpu.id();
    {
        let state = cpu.machine().irqs();
        if !state.online().contains(id) {
            return Err(HotplugError::Already {
                cpu: id,
                online: false,
            });
        }
        let (has, available, reserved) = state.vectors.unplug_balance(id);
        drop(state);
        if available < has {
            cpu.log(format!(
                "CPU {id} has {has} vectors, {available} available. Cannot disable CPU"
            ));
            return Err(HotplugError::NoVectors {
                cpu: id,
                has,
                available,
            });
        }
        if available < reserved {
            cpu.log(format!(
                "Reserved vectors {reserved} > available {available}. IRQ request may fail"
            ));
        }
    }
    cpu.machine().irqs_mut().vectors.leave_online_mask(id);
    migrate_all_off_this_cpu(&cpu).await;
    cpu.delay(SETTLE).await;
    send_on_what_waits(&cpu).await;
    cpu.machine().irqs_mut().vectors.offline(id);
    if let Some(apic) = cpu.machine().apic(id) {
        apic.disable();
    }
    Ok(())
}

fn all_irqs(cpu: &Cpu) -> Vec<Irq> {
    cpu.machine().irqs().descriptors.keys().copied().collect()
}

/// `irq_migrate_all_off_this_cpu`. Interrupts are off.
async fn migrate_all_off_this_cpu(cpu: &Cpu) {
    for irq in all_irqs(cpu) {
        let Ok(lock) = lock_of(cpu.machine(), irq) else {
            continue;
        };
        let guard = lock.lock(cpu).await;
        let broken = migrate_one_irq(cpu, irq).await;
        drop(guard);
        if broken {
            // Printed for debugging only since 6.13.
            cpu.log(format!("IRQ {}: no longer affine to CPU{}", irq.0, cpu.id()));
        }
    }
}

/// `migrate_one_irq`: whether the interrupt is now where it should not be.
async fn migrate_one_irq(cpu: &Cpu, irq: Irq) -> bool {
    let (completed, arrives_here, online) = {
        let mut state = cpu.machine().irqs_mut();
        let completed = state.vectors.force_complete_move(irq, cpu.id());
        (
            completed,
            state.effective_affinity(irq) == Some(cpu.id()),
            state.online().clone(),
        )
    };
    if let Some((true, vector)) = completed {
        cpu.log(format!(
            "IRQ fixup: irq {} move in progress, old vector {vector}",
            irq.0
        ));
    }
    let wanted = with(cpu, irq, |descriptor| {
        let needs_fixup = descriptor.started && arrives_here;
        // irq_fixup_move_pending
        let pending = match &descriptor.pending_mask {
            Some(mask) if !mask.intersects(&online) => {
                descriptor.pending_mask = None;
                None
            }
            Some(_) if needs_fixup => descriptor.pending_mask.take(),
            _ => None,
        };
        needs_fixup.then(|| {
            (
                pending.unwrap_or_else(|| descriptor.affinity.clone()),
                descriptor.managed,
            )
        })
    });
    let Some(Some((affinity, managed))) = wanted else {
        return false;
    };
    if affinity.intersects(&online) {
        return match do_set_affinity(cpu, irq, &affinity).await {
            Err(MoveError::Other(IrqError::NoVector(_))) if !managed => {
                moved(cpu, irq, do_set_affinity(cpu, irq, &online).await)
            }
            result => {
                moved(cpu, irq, result);
                false
            }
        };
    }
    if managed {
        // irq_shutdown_and_deactivate, until one of its CPUs is back.
        with(cpu, irq, |descriptor| descriptor.managed_shutdown = true);
        shutdown(cpu, irq).await;
        let _ = deactivate(cpu, irq).await;
        return false;
    }
    moved(cpu, irq, do_set_affinity(cpu, irq, &online).await)
}

fn moved(cpu: &Cpu, irq: Irq, result: Result<(), MoveError>) -> bool {
    let error = match result {
        Ok(()) => return true,
        Err(MoveError::Busy) => "EBUSY".to_owned(),
        Err(MoveError::Other(error)) => error.to_string(),
    };
    cpu.log(format!("IRQ{}: set affinity failed({error}).", irq.0));
    false
}

/// `fixup_irqs`' end: what waits in the local APIC is raised where it arrives now, and nothing is installed here any more.
async fn send_on_what_waits(cpu: &Cpu) {
    let machine = cpu.machine();
    let installed = machine.irqs().vectors.installed(cpu.id());
    for (vector, irq) in installed {
        let slot = (cpu.id(), vector);
        let waits = machine
            .apic(cpu.id())
            .is_some_and(|apic| apic.is_requested(vector));
        if waits && let Ok(lock) = lock_of(machine, irq) {
            let _guard = lock.lock(cpu).await;
            retrigger(machine, irq);
            machine.irqs_mut().vectors.set(slot, VectorIrq::Retriggered);
        } else {
            machine.irqs_mut().vectors.set(slot, VectorIrq::Unused);
        }
    }
}

/// `irq_affinity_online_cpu`: starts the managed interrupts that were shut down for want of this CPU.
async fn affinity_online_cpu(cpu: &Cpu) {
    for irq in all_irqs(cpu) {
        let Ok(lock) = lock_of(cpu.machine(), irq) else {
            continue;
        };
        let _guard = lock.lock_irqsave(cpu).await;
        let restart = with(cpu, irq, |descriptor| {
            descriptor.handler.is_some()
                && descriptor.affinity.contains(cpu.id())
                && std::mem::take(&mut descriptor.managed_shutdown)
        });
        if restart == Some(true) && activate(cpu, irq).await.is_ok() {
            startup(cpu, irq).await;
        }
    }
}
