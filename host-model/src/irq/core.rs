use std::rc::Rc;

use sim_bridge::{RequesterId, SimTime};

use super::msix::MsixDevice;
use super::state::{Descriptor, Handler, Irq, Slot};
use crate::driver::{Allocation, DriverError, Interrupts, IommuDriver, MsiMessage, Target};
use crate::exec::SpinLock;
use crate::machine::Cpu;
use crate::pci::config;
use crate::trace::Lock;

/// Why the interrupt core refuses or fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IrqError {
    /// No such interrupt.
    #[error("EINVAL: there is no interrupt {}", .0.0)]
    NoSuchIrq(Irq),
    /// The device's table is smaller.
    #[error("ENOSPC: {device} has {have} MSI-X vectors, {want} are wanted")]
    TooManyVectors {
        /// The device.
        device: RequesterId,
        /// Vectors asked for.
        want: u16,
        /// Vectors of its table.
        have: u16,
    },
    /// No free vector there.
    #[error("ENOSPC: CPU {0} has no free vector")]
    NoVector(u32),
    /// It is requested already, or not freed yet.
    #[error("EBUSY: interrupt {} is requested", .0.0)]
    Requested(Irq),
    /// It is not requested.
    #[error("EINVAL: interrupt {} is not requested", .0.0)]
    NotRequested(Irq),
    /// The vector from before the last move is still in use.
    #[error("EBUSY: interrupt {} is being moved", .0.0)]
    Busy(Irq),
    /// The IOMMU driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// The interrupt core of an operating system with an IOMMU driver below it.
#[derive(Clone)]
pub struct IrqCore {
    driver: Rc<dyn IommuDriver>,
}

/// `MANAGED_IRQ_SHUTDOWN_VECTOR`: where an interrupt points that nobody has requested.
const SHUTDOWN_VECTOR: u8 = 0xef;

impl IrqCore {
    /// On top of a driver.
    pub fn new(driver: Rc<dyn IommuDriver>) -> Self {
        Self { driver }
    }

    /// `pci_alloc_irq_vectors`: allocates `count` MSI-X vectors and activates their entries, pointing nowhere yet.
    ///
    /// # Errors
    /// The device or the remapping table has not that many.
    pub async fn allocate_vectors(
        &self,
        cpu: &Cpu,
        device: &MsixDevice,
        count: u16,
    ) -> Result<Vec<Irq>, IrqError> {
        if count > device.vectors {
            return Err(IrqError::TooManyVectors {
                device: device.id,
                want: count,
                have: device.vectors,
            });
        }
        device
            .set_control(cpu, config::MSIX_ENABLE | config::MSIX_MASK_ALL, 0)
            .await;
        let target = Target {
            apic_id: 0,
            vector: SHUTDOWN_VECTOR,
        };
        // msix_setup_msi_descs caches what each Vector Control says.
        let mut masked = Vec::new();
        for msi_index in 0..count {
            masked.push(device.is_masked(cpu, msi_index).await);
        }
        let mut irqs = Vec::new();
        for (msi_index, masked) in (0..).zip(masked) {
            match self.allocate_vector(cpu, device, msi_index, masked, target).await {
                Ok(irq) => irqs.push(irq),
                Err(error) => {
                    self.free_vectors(cpu, device, &irqs).await?;
                    return Err(error);
                }
            }
        }
        for msi_index in 0..device.vectors {
            cpu.writel(
                device.field(msi_index, MsixDevice::VECTOR_CONTROL),
                MsixDevice::MASKED,
            )
            .await;
        }
        device.set_control(cpu, 0, config::MSIX_MASK_ALL).await;
        Ok(irqs)
    }

    async fn allocate_vector(
        &self,
        cpu: &Cpu,
        device: &MsixDevice,
        msi_index: u16,
        masked: bool,
        target: Target,
    ) -> Result<Irq, IrqError> {
        let Allocation { entries, message } = cpu
            .call("allocate", async |cpu| {
                self.driver
                    .allocate(&cpu, device.id, Interrupts::Msix, target)
                    .await
            })
            .await?;
        let entry = *entries.first().ok_or(DriverError::NoSpace(device.id))?;
        cpu.call("activate", async |cpu| {
            self.driver.activate(&cpu, entry, target).await
        })
        .await?;
        let control = device.field(msi_index, MsixDevice::VECTOR_CONTROL);
        if !masked {
            cpu.writel(control, MsixDevice::MASKED).await;
        }
        device.write_message(cpu, msi_index, message).await;
        if !masked {
            cpu.writel(control, 0).await;
        }
        Ok(cpu.machine().irqs_mut().add(|irq| Descriptor {
            device: device.id,
            msi_index,
            entry,
            message,
            slot: None,
            previous: None,
            handler: None,
            running: Rc::default(),
            lock: Rc::new(SpinLock::new(Lock::IrqDesc(irq.0), ())),
        }))
    }

    /// `request_irq`: installs a handler on `on`, points the entry there and unmasks the device's vector.
    ///
    /// # Errors
    /// It is requested, `on` has no free vector, or the driver fails.
    pub async fn request(
        &self,
        cpu: &Cpu,
        device: &MsixDevice,
        irq: Irq,
        on: u32,
        handler: Handler,
    ) -> Result<(), IrqError> {
        let lock = self.lock_of(cpu, irq)?;
        let guard = lock.lock_irqsave(cpu).await;
        let (entry, message, msi_index, target) = {
            let mut irqs = cpu.machine().irqs_mut();
            if irqs.is_requested(irq) {
                return Err(IrqError::Requested(irq));
            }
            let slot = irqs.allocate_vector(on, irq).ok_or(IrqError::NoVector(on))?;
            let descriptor = irqs.descriptors.get_mut(&irq).ok_or(IrqError::NoSuchIrq(irq))?;
            descriptor.handler = Some(handler);
            descriptor.slot = Some(slot);
            (
                descriptor.entry,
                descriptor.message,
                descriptor.msi_index,
                target(slot),
            )
        };
        cpu.call("activate", async |cpu| {
            self.driver.activate(&cpu, entry, target).await
        })
        .await?;
        device.write_message(cpu, msi_index, message).await;
        // irq_setup_affinity, before the unmask.
        cpu.call("set_affinity", async |cpu| {
            self.driver.set_affinity(&cpu, entry, target).await
        })
        .await?;
        device.set_mask(cpu, msi_index, false).await;
        drop(guard);
        Ok(())
    }

    /// `irq_set_affinity`: moves the interrupt to a new vector of CPU `to`. The old vector is freed by a timer.
    ///
    /// # Errors
    /// It is not requested, an earlier move has not ended, `to` has no free vector, or the driver fails.
    pub async fn set_affinity(&self, cpu: &Cpu, irq: Irq, to: u32) -> Result<(), IrqError> {
        let lock = self.lock_of(cpu, irq)?;
        let guard = lock.lock_irqsave(cpu).await;
        let (entry, slot, moved) = {
            let mut irqs = cpu.machine().irqs_mut();
            let descriptor = irqs.descriptors.get(&irq).ok_or(IrqError::NoSuchIrq(irq))?;
            let entry = descriptor.entry;
            let current = descriptor.slot.ok_or(IrqError::NotRequested(irq))?;
            if current.0 == to {
                // The current CPU will do: the same content is written and flushed again.
                (entry, current, None)
            } else if descriptor.previous.is_some() {
                return Err(IrqError::Busy(irq));
            } else {
                let slot = irqs.allocate_vector(to, irq).ok_or(IrqError::NoVector(to))?;
                let descriptor = irqs.descriptors.get_mut(&irq).ok_or(IrqError::NoSuchIrq(irq))?;
                descriptor.previous = Some(current);
                descriptor.slot = Some(slot);
                (entry, slot, Some(current))
            }
        };
        let target = target(slot);
        cpu.call("set_affinity", async |cpu| {
            self.driver.set_affinity(&cpu, entry, target).await
        })
        .await?;
        if let Some(old) = moved {
            schedule_cleanup(cpu, irq, old);
        }
        drop(guard);
        Ok(())
    }

    /// `free_irq`: masks the device's vector, waits for running handlers, makes the entry invalid and gives the
    /// vectors back.
    ///
    /// # Errors
    /// It is not requested, or the driver fails.
    pub async fn free_irq(&self, cpu: &Cpu, device: &MsixDevice, irq: Irq) -> Result<(), IrqError> {
        let lock = self.lock_of(cpu, irq)?;
        let (entry, msi_index, running) = {
            let irqs = cpu.machine().irqs();
            let descriptor = irqs.descriptors.get(&irq).ok_or(IrqError::NoSuchIrq(irq))?;
            if descriptor.handler.is_none() {
                return Err(IrqError::NotRequested(irq));
            }
            (descriptor.entry, descriptor.msi_index, descriptor.running.clone())
        };
        {
            let _guard = lock.lock_irqsave(cpu).await;
            device.set_mask(cpu, msi_index, true).await;
        }
        running.wait_for_end().await;
        let guard = lock.lock_irqsave(cpu).await;
        device
            .write_message(cpu, msi_index, MsiMessage { address: 0, data: 0 })
            .await;
        cpu.call("deactivate", async |cpu| {
            self.driver.deactivate(&cpu, entry).await
        })
        .await?;
        let mut irqs = cpu.machine().irqs_mut();
        if let Some(descriptor) = irqs.descriptors.get_mut(&irq) {
            descriptor.handler = None;
            for slot in [descriptor.slot.take(), descriptor.previous.take()]
                .into_iter()
                .flatten()
            {
                irqs.free_vector(slot);
            }
        }
        drop(irqs);
        drop(guard);
        Ok(())
    }

    /// `pci_free_irq_vectors`: disables MSI-X and gives the entries back.
    ///
    /// # Errors
    /// One is requested still, or the driver fails.
    pub async fn free_vectors(&self, cpu: &Cpu, device: &MsixDevice, irqs: &[Irq]) -> Result<(), IrqError> {
        let mut indices = Vec::new();
        for &irq in irqs {
            let state = cpu.machine().irqs();
            let descriptor = state.descriptors.get(&irq).ok_or(IrqError::NoSuchIrq(irq))?;
            if descriptor.handler.is_some() {
                return Err(IrqError::Requested(irq));
            }
            indices.push(descriptor.msi_index);
        }
        for index in indices {
            device.set_mask(cpu, index, true).await;
        }
        device.set_control(cpu, 0, config::MSIX_ENABLE).await;
        for irq in irqs {
            let entry = cpu
                .machine()
                .irqs()
                .descriptors
                .get(irq)
                .ok_or(IrqError::NoSuchIrq(*irq))?
                .entry;
            cpu.call("free", async |cpu| self.driver.free(&cpu, entry).await)
                .await?;
            cpu.machine().irqs_mut().descriptors.remove(irq);
        }
        Ok(())
    }

    fn lock_of(&self, cpu: &Cpu, irq: Irq) -> Result<Rc<SpinLock<()>>, IrqError> {
        let irqs = cpu.machine().irqs();
        Ok(irqs
            .descriptors
            .get(&irq)
            .ok_or(IrqError::NoSuchIrq(irq))?
            .lock
            .clone())
    }
}

fn target((apic_id, vector): (u32, u8)) -> Target {
    Target { apic_id, vector }
}

/// Frees the vector from before a move on the next timer tick, or on a later one while an interrupt waits there.
fn schedule_cleanup(cpu: &Cpu, irq: Irq, (old_cpu, old_vector): Slot) {
    let machine = cpu.machine().clone();
    machine
        .clone()
        .executor()
        .spawn(format!("vector cleanup on CPU {old_cpu}"), async move {
            let jiffy = machine.timing().jiffy.as_ps().max(1);
            loop {
                let next_tick = (machine.now().as_ps() / jiffy + 1) * jiffy;
                machine.executor().sleep_until(SimTime::from_ps(next_tick)).await;
                if !machine
                    .apic(old_cpu)
                    .is_some_and(|apic| apic.is_requested(old_vector))
                {
                    break;
                }
            }
            let mut irqs = machine.irqs_mut();
            if let Some(descriptor) = irqs.descriptors.get_mut(&irq)
                && descriptor.previous == Some((old_cpu, old_vector))
            {
                descriptor.previous = None;
                irqs.free_vector((old_cpu, old_vector));
            }
        });
}
