use std::rc::Rc;

use sim_bridge::{RequesterId, SimTime};

use super::state::{Descriptor, Handler, Irq};
use crate::driver::{DriverError, IommuDriver, MsiMessage, Target};
use crate::machine::Cpu;
use crate::pci::config;

/// A function with an MSI-X table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixDevice {
    /// Its ID.
    pub id: RequesterId,
    /// Offset of the MSI-X capability in configuration space.
    pub capability: u16,
    /// Entries of the table.
    pub vectors: u16,
    /// Physical address of the table.
    pub table: u64,
}

impl MsixDevice {
    const ADDRESS: u64 = 0;
    const ADDRESS_HIGH: u64 = 4;
    const DATA: u64 = 8;
    const VECTOR_CONTROL: u64 = 12;
    const MASKED: u32 = 1;

    fn field(&self, index: u16, field: u64) -> u64 {
        self.table + 16 * u64::from(index) + field
    }

    /// Masks or unmasks one vector.
    pub async fn set_mask(&self, cpu: &Cpu, index: u16, masked: bool) {
        let control = self.field(index, Self::VECTOR_CONTROL);
        cpu.writel(control, if masked { Self::MASKED } else { 0 }).await;
        if masked {
            // Linux reads back so that the mask has reached the device (pci_msix_mask).
            cpu.readl(control).await;
        }
    }

    /// Writes the message of a masked vector.
    async fn write_message(&self, cpu: &Cpu, index: u16, message: MsiMessage) {
        cpu.writel(self.field(index, Self::ADDRESS), message.address as u32)
            .await;
        cpu.writel(
            self.field(index, Self::ADDRESS_HIGH),
            (message.address >> 32) as u32,
        )
        .await;
        cpu.writel(self.field(index, Self::DATA), message.data).await;
        cpu.readl(self.field(index, Self::DATA)).await;
    }

    async fn set_control(&self, cpu: &Cpu, set: u32, clear: u32) {
        let control = cpu.config_read(self.id, self.capability).await;
        cpu.config_write(self.id, self.capability, control & !clear | set)
            .await;
    }
}

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
        let mut irqs = Vec::new();
        for msi_index in 0..count {
            let (entry, message) = cpu
                .call("allocate", async |cpu| {
                    self.driver.allocate(&cpu, device.id, target).await
                })
                .await?;
            cpu.call("activate", async |cpu| {
                self.driver.activate(&cpu, entry, target).await
            })
            .await?;
            device.write_message(cpu, msi_index, message).await;
            irqs.push(cpu.machine().irqs_mut().add(Descriptor {
                device: device.id,
                msi_index,
                entry,
                message,
                slot: None,
                previous: None,
                handler: None,
                lock: Rc::default(),
            }));
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

    /// `request_irq`: installs a handler on `on`, points the entry there and unmasks the device's vector.
    ///
    /// # Errors
    /// `on` has no free vector, or the driver fails.
    pub async fn request(
        &self,
        cpu: &Cpu,
        device: &MsixDevice,
        irq: Irq,
        on: u32,
        handler: Handler,
    ) -> Result<(), IrqError> {
        let lock = self.lock_of(cpu, irq)?;
        let interrupts_off = cpu.disable_interrupts();
        let guard = lock.lock().await;
        let (entry, message, msi_index, target) = {
            let mut irqs = cpu.machine().irqs_mut();
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
        drop(interrupts_off);
        Ok(())
    }

    /// `irq_set_affinity`: moves the interrupt to a new vector of CPU `to`. The old vector is freed by a timer.
    ///
    /// # Errors
    /// An earlier move has not ended, `to` has no free vector, or the driver fails.
    pub async fn set_affinity(&self, cpu: &Cpu, irq: Irq, to: u32) -> Result<(), IrqError> {
        let lock = self.lock_of(cpu, irq)?;
        let interrupts_off = cpu.disable_interrupts();
        let guard = lock.lock().await;
        let (entry, slot) = {
            let mut irqs = cpu.machine().irqs_mut();
            let descriptor = irqs.descriptors.get(&irq).ok_or(IrqError::NoSuchIrq(irq))?;
            let (entry, current) = (descriptor.entry, descriptor.slot);
            match current {
                // The current CPU will do: the same content is written and flushed again.
                Some(slot) if slot.0 == to => (entry, slot),
                _ if descriptor.previous.is_some() => return Err(IrqError::Busy(irq)),
                _ => {
                    let slot = irqs.allocate_vector(to, irq).ok_or(IrqError::NoVector(to))?;
                    let descriptor = irqs.descriptors.get_mut(&irq).ok_or(IrqError::NoSuchIrq(irq))?;
                    descriptor.previous = current;
                    descriptor.slot = Some(slot);
                    (entry, slot)
                }
            }
        };
        let target = target(slot);
        cpu.call("set_affinity", async |cpu| {
            self.driver.set_affinity(&cpu, entry, target).await
        })
        .await?;
        schedule_cleanup(cpu, irq);
        drop(guard);
        drop(interrupts_off);
        Ok(())
    }

    /// `free_irq`: masks the device's vector, makes the entry invalid and gives the vectors back.
    ///
    /// # Errors
    /// The driver fails.
    pub async fn free_irq(&self, cpu: &Cpu, device: &MsixDevice, irq: Irq) -> Result<(), IrqError> {
        let lock = self.lock_of(cpu, irq)?;
        let (entry, msi_index) = {
            let irqs = cpu.machine().irqs();
            let descriptor = irqs.descriptors.get(&irq).ok_or(IrqError::NoSuchIrq(irq))?;
            (descriptor.entry, descriptor.msi_index)
        };
        device.set_mask(cpu, msi_index, true).await;
        let interrupts_off = cpu.disable_interrupts();
        let guard = lock.lock().await;
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
        drop(interrupts_off);
        Ok(())
    }

    /// `pci_free_irq_vectors`: disables MSI-X and gives the entries back.
    ///
    /// # Errors
    /// The driver fails.
    pub async fn free_vectors(&self, cpu: &Cpu, device: &MsixDevice, irqs: &[Irq]) -> Result<(), IrqError> {
        for index in 0..device.vectors.min(irqs.len() as u16) {
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

    fn lock_of(&self, cpu: &Cpu, irq: Irq) -> Result<Rc<crate::exec::SpinLock<()>>, IrqError> {
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
fn schedule_cleanup(cpu: &Cpu, irq: Irq) {
    let machine = cpu.machine().clone();
    let pending = machine
        .irqs()
        .descriptors
        .get(&irq)
        .and_then(|descriptor| descriptor.previous);
    let Some((old_cpu, old_vector)) = pending else {
        return;
    };
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
