//! Interrupts of a device, allocated and given back (Linux drivers/pci/msi/msi.c, arch/x86/kernel/{apic/io_apic,hpet}.c).

use super::chip::Chip;
use super::descriptor::Descriptor;
use super::hpet::HpetDevice;
use super::io_apic::IoApicDevice;
use super::life::with;
use super::managed::spread;
use super::msi::MsiDevice;
use super::msix::MsixDevice;
use super::{CpuMask, Irq, IrqCore, IrqError};
use crate::driver::{Allocation, DriverError, Interrupts};
use crate::machine::Cpu;
use crate::pci::config;

impl IrqCore {
    /// `pci_alloc_irq_vectors`: allocates `count` MSI-X vectors and activates their entries, pointing nowhere yet.
    ///
    /// # Errors
    /// The device or the remapping table has not that many. After an [oops](IrqError::is_oops) nothing is put in order.
    pub async fn allocate_vectors(
        &self,
        cpu: &Cpu,
        device: &MsixDevice,
        count: u16,
    ) -> Result<Vec<Irq>, IrqError> {
        self.allocate_msix(cpu, device, &vec![None; count.into()]).await
    }

    /// `pci_alloc_irq_vectors_affinity`: as many as `count` and at most one for each CPU, spread over the CPUs for good.
    ///
    /// # Errors
    /// The device, the remapping table or a CPU has not that many.
    pub async fn allocate_managed_vectors(
        &self,
        cpu: &Cpu,
        device: &MsixDevice,
        count: u16,
    ) -> Result<Vec<Irq>, IrqError> {
        let masks = spread(count.into(), cpu.machine().cpus());
        let masks: Vec<_> = masks.into_iter().map(Some).collect();
        self.allocate_msix(cpu, device, &masks).await
    }

    /// One vector for each element: managed for these CPUs, or not.
    async fn allocate_msix(
        &self,
        cpu: &Cpu,
        device: &MsixDevice,
        managed: &[Option<CpuMask>],
    ) -> Result<Vec<Irq>, IrqError> {
        cpu.until_resumed().await;
        check_count(device.id, managed.len(), device.vectors)?;
        device
            .set_control(cpu, config::MSIX_ENABLE | config::MSIX_MASK_ALL, 0)
            .await;
        // msix_setup_msi_descs caches what each Vector Control says.
        let mut masked = Vec::new();
        for (msi_index, _) in (0..).zip(managed) {
            masked.push(device.is_masked(cpu, msi_index).await);
        }
        let mut irqs = Vec::new();
        for ((index, managed), masked) in (0..).zip(managed).zip(masked) {
            let chip = Chip::Msix {
                device: *device,
                index,
            };
            let allocated = self
                .allocate(cpu, &[chip], Interrupts::Msix, managed.as_ref())
                .await;
            let ready = match &allocated {
                Ok(new) => {
                    irqs.extend(new);
                    self.activate_early(cpu, new, masked).await
                }
                Err(error) => Err(error.clone()),
            };
            if let Err(error) = ready {
                if error.is_oops() {
                    return Err(error);
                }
                self.shut_down(cpu, &irqs).await;
                device.set_control(cpu, 0, config::MSIX_ENABLE).await;
                self.give_back(cpu, &irqs).await?;
                return Err(error);
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

    /// `pci_alloc_irq_vectors` with `PCI_IRQ_MSI`: `count` (1 to 32) messages of a function's MSI capability, with
    /// consecutive entries and vectors of their own.
    ///
    /// # Errors
    /// The device or the remapping table has not that many.
    pub async fn allocate_msi(&self, cpu: &Cpu, device: &MsiDevice, count: u8) -> Result<Vec<Irq>, IrqError> {
        cpu.until_resumed().await;
        check_count(device.id, count.into(), device.messages.into())?;
        if count == 0 {
            return Ok(Vec::new());
        }
        device.enable(cpu, false).await;
        device.mask_all(cpu, count).await;
        let chips: Vec<_> = (0..count)
            .map(|message| Chip::Msi {
                device: *device,
                message,
                of: count,
            })
            .collect();
        let irqs = self
            .allocate(cpu, &chips, Interrupts::Msi { count }, None)
            .await?;
        if let Err(error) = self.activate_early(cpu, &irqs, true).await {
            self.give_back(cpu, &irqs).await?;
            return Err(error);
        }
        device.enable(cpu, true).await;
        Ok(irqs)
    }

    /// `mp_map_pin_to_irq`: the interrupt of an I/O APIC's pin, `level`-triggered or by edge. Its redirection entry is
    /// written when it is requested.
    ///
    /// # Errors
    /// The pin is taken, or the IOMMU driver does not have it.
    pub async fn allocate_io_apic_pin(
        &self,
        cpu: &Cpu,
        device: &IoApicDevice,
        pin: u8,
        level: bool,
    ) -> Result<Irq, IrqError> {
        cpu.until_resumed().await;
        let taken = cpu.machine().irqs().descriptors.iter().find_map(|(irq, other)| {
            matches!(&other.chip, Chip::IoApic { device: of, pin: taken, .. } if of.id == device.id && *taken == pin)
                .then_some(*irq)
        });
        if let Some(irq) = taken {
            return Err(IrqError::Taken(irq));
        }
        let chip = Chip::IoApic {
            device: device.clone(),
            pin,
            level,
        };
        self.allocate_one(cpu, chip, Interrupts::IoApic { pin }).await
    }

    /// `hpet_assign_irq`: the interrupt of an HPET's timer.
    ///
    /// # Errors
    /// The IOMMU driver has no entry.
    pub async fn allocate_hpet_timer(
        &self,
        cpu: &Cpu,
        device: &HpetDevice,
        timer: u8,
    ) -> Result<Irq, IrqError> {
        cpu.until_resumed().await;
        let chip = Chip::Hpet {
            device: *device,
            timer,
        };
        self.allocate_one(cpu, chip, Interrupts::Hpet).await
    }

    async fn allocate_one(&self, cpu: &Cpu, chip: Chip, interrupts: Interrupts) -> Result<Irq, IrqError> {
        let device = chip.device();
        let irqs = self.allocate(cpu, &[chip], interrupts, None).await?;
        let irq = irqs.first().copied();
        irq.ok_or(IrqError::Driver(DriverError::NoSpace(device)))
    }

    /// `irq_domain_alloc_irqs`: vectors are reserved and entries allocated, all or none.
    async fn allocate(
        &self,
        cpu: &Cpu,
        chips: &[Chip],
        interrupts: Interrupts,
        managed: Option<&CpuMask>,
    ) -> Result<Vec<Irq>, IrqError> {
        let Some(device) = chips.first().map(Chip::device) else {
            return Ok(Vec::new());
        };
        let irqs = reserve(cpu, chips.len(), managed)?;
        let target = cpu.machine().irqs().vectors.shutdown_target();
        let allocated = cpu
            .call("allocate", async |cpu| {
                self.driver.allocate(&cpu, device, interrupts, target).await
            })
            .await;
        let mut state = cpu.machine().irqs_mut();
        let affinity = managed.cloned().unwrap_or_else(|| state.online().clone());
        let Allocation { entries, message } = match allocated {
            Ok(allocated) => allocated,
            Err(error) => {
                if !error.is_oops() {
                    irqs.iter().for_each(|irq| state.vectors.free(*irq, &affinity));
                }
                return Err(error.into());
            }
        };
        for (n, ((irq, chip), entry)) in (0..).zip(irqs.iter().zip(chips).zip(entries)) {
            let mut message = message;
            message.data = chip.sent(message.data + n);
            let descriptor = Descriptor::new(
                *irq,
                chip.clone(),
                self.driver.clone(),
                (entry, message),
                affinity.clone(),
                managed.is_some(),
            );
            state.descriptors.insert(*irq, descriptor);
        }
        Ok(irqs)
    }

    /// `msi_domain_activate` at allocation: the message is needed before a driver may ask for the interrupt.
    async fn activate_early(&self, cpu: &Cpu, irqs: &[Irq], masked: bool) -> Result<(), IrqError> {
        for &irq in irqs {
            let (chip, entry, message, target) = {
                let state = cpu.machine().irqs();
                let descriptor = state.get(irq)?;
                (
                    descriptor.chip.clone(),
                    descriptor.entry,
                    descriptor.message,
                    state.vectors.shutdown_target(),
                )
            };
            cpu.call("activate", async |cpu| {
                self.driver.activate(&cpu, entry, target).await
            })
            .await?;
            chip.write_message(cpu, message, masked).await;
        }
        Ok(())
    }

    /// `pci_free_irq_vectors` and the like: disables MSI or MSI-X and gives the entries back. All are one device's.
    ///
    /// # Errors
    /// One is requested still, or the driver fails.
    pub async fn free_vectors(&self, cpu: &Cpu, irqs: &[Irq]) -> Result<(), IrqError> {
        cpu.until_resumed().await;
        let mut last = None;
        for &irq in irqs {
            let state = cpu.machine().irqs();
            let descriptor = state.get(irq)?;
            if descriptor.handler.is_some() {
                return Err(IrqError::Requested(irq));
            }
            last = Some(descriptor.chip.clone());
        }
        match last {
            Some(Chip::Msix { device, .. }) => {
                self.shut_down(cpu, irqs).await;
                device.set_control(cpu, 0, config::MSIX_ENABLE).await;
            }
            Some(Chip::Msi { device, of, .. }) => {
                device.enable(cpu, false).await;
                device.unmask_all(cpu, of).await;
            }
            Some(Chip::IoApic { .. } | Chip::Hpet { .. }) | None => {}
        }
        self.give_back(cpu, irqs).await
    }

    /// Masks them, as `pci_msix_shutdown` does.
    async fn shut_down(&self, cpu: &Cpu, irqs: &[Irq]) {
        for &irq in irqs {
            if let Some(chip) = with(cpu, irq, |descriptor| descriptor.chip.clone()) {
                chip.mask(cpu).await;
            }
        }
    }

    /// `irq_remapping_free` and `x86_vector_free_irqs`, of all of them, whatever the driver says of one.
    async fn give_back(&self, cpu: &Cpu, irqs: &[Irq]) -> Result<(), IrqError> {
        let mut result = Ok(());
        for &irq in irqs {
            let entry = cpu.machine().irqs().get(irq)?.entry;
            let freed = cpu
                .call("free", async |cpu| self.driver.free(&cpu, entry).await)
                .await;
            result = result.and(freed);
            let mut state = cpu.machine().irqs_mut();
            if let Some(descriptor) = state.descriptors.remove(&irq) {
                state.vectors.free(irq, &descriptor.affinity);
            }
        }
        Ok(result?)
    }
}

fn check_count(device: sim_bridge::RequesterId, want: usize, have: u16) -> Result<(), IrqError> {
    match u16::try_from(want) {
        Ok(want) if want <= have => Ok(()),
        want => Err(IrqError::TooManyVectors {
            device,
            want: want.unwrap_or(u16::MAX),
            have,
        }),
    }
}

/// `x86_vector_alloc_irqs`.
fn reserve(cpu: &Cpu, count: usize, managed: Option<&CpuMask>) -> Result<Vec<Irq>, IrqError> {
    let mut irqs = Vec::new();
    for _ in 0..count {
        let mut state = cpu.machine().irqs_mut();
        let irq = state.new_irq();
        match state.vectors.allocate(irq, managed) {
            Ok(true) => {}
            Ok(false) => {
                drop(state);
                cpu.log("Interrupt reservation exceeds available resources");
            }
            Err(_) => {
                let affinity = managed.cloned().unwrap_or_default();
                irqs.iter().for_each(|irq| state.vectors.free(*irq, &affinity));
                return Err(IrqError::NoVector(affinity));
            }
        }
        irqs.push(irq);
    }
    Ok(irqs)
}
