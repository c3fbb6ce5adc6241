//! Interrupt remapping table entries (Linux drivers/iommu/amd/iommu.c, `irte_32_ops`, `irte_128_ops`).

use sim_bridge::RequesterId;

use super::guest::guest_irte;
use super::irq_table::IrqTable;
use super::{EntryState, LinuxDriver};
use crate::driver::{DriverError, Entry, Target};
use crate::iommu::spec::irte::{Irte32, Irte128High, Irte128Low, IrteFormat};
use crate::machine::Cpu;
use crate::trace::{Kind, Source};

/// The entries' format: `amd_iommu_guest_ir` legacy, or GA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Bits32,
    Bits128,
}

impl Format {
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::Bits32 => 4,
            Self::Bits128 => 16,
        }
    }

    /// The same as the specification has it; the driver model has no x2APIC mode.
    fn of_hardware(self) -> IrteFormat {
        match self {
            Self::Bits32 => IrteFormat::Bits32,
            Self::Bits128 => IrteFormat::Bits128 { xt: false },
        }
    }

    /// A fixed interrupt to a physical destination.
    pub(super) fn irte(self, target: Target, valid: bool) -> u128 {
        match self {
            Self::Bits32 => Irte32::new()
                .with_remap_en(valid)
                .with_destination(target.apic_id as u8)
                .with_vector(target.vector)
                .into_bits()
                .into(),
            Self::Bits128 => {
                let low = Irte128Low::new()
                    .with_remap_en(valid)
                    .with_destination(target.apic_id & 0xff_ffff);
                let high = Irte128High::new()
                    .with_vector(target.vector)
                    .with_destination((target.apic_id >> 24) as u8);
                u128::from(high.into_bits()) << 64 | u128::from(low.into_bits())
            }
        }
    }

    /// The marker of an entry that is allocated and not active.
    pub(super) fn allocated(self) -> u128 {
        match self {
            Self::Bits32 => 0xffff_fffe,
            Self::Bits128 => u128::from(Irte128High::new().with_vector(0xff).into_bits()) << 64,
        }
    }

    pub(super) fn is_allocated(self, raw: u128) -> bool {
        match self {
            Self::Bits32 => raw as u32 != 0,
            Self::Bits128 => Irte128High::from_bits((raw >> 64) as u64).vector() != 0,
        }
    }
}

impl LinuxDriver {
    /// One store: 32 bits, or a locked 128-bit exchange.
    pub(super) fn store_irte(&self, cpu: &Cpu, device: RequesterId, table: &IrqTable, index: u16, raw: u128) {
        let len = self.irte_format.bytes();
        cpu.store(
            table.address + len * u64::from(index),
            &raw.to_le_bytes()[..len as usize],
        );
        cpu.record(
            Source::Driver(cpu.id()),
            Kind::IrteWritten {
                device,
                index,
                raw,
                format: self.irte_format.of_hardware(),
            },
        );
    }

    /// `irq_remapping_activate`, `irq_remapping_deactivate`.
    pub(super) async fn set_valid(&self, cpu: &Cpu, entry: Entry, valid: bool) -> Result<(), DriverError> {
        self.modify_irte(cpu, entry, |state| state.valid = valid).await
    }

    /// `amd_ir_update_irte`: points the entry elsewhere. In guest mode it is somebody else's to say where.
    pub(super) async fn set_target(
        &self,
        cpu: &Cpu,
        entry: Entry,
        target: Target,
    ) -> Result<(), DriverError> {
        if self.is_guest(entry)? {
            return Ok(());
        }
        self.modify_irte(cpu, entry, |state| state.target = target).await
    }

    pub(super) fn is_guest(&self, entry: Entry) -> Result<bool, DriverError> {
        let entries = self.entries.borrow();
        let state = entries.get(&entry).ok_or(DriverError::NoDevice(entry.device))?;
        Ok(state.guest.is_some())
    }

    /// `modify_irte`: stores the changed entry and flushes it. That the flush failed is not noticed.
    pub(super) async fn modify_irte(
        &self,
        cpu: &Cpu,
        entry: Entry,
        change: impl FnOnce(&mut EntryState),
    ) -> Result<(), DriverError> {
        self.write_irte(cpu, entry, change).await?;
        self.flush_unchecked(cpu, entry).await;
        Ok(())
    }

    /// `__modify_irte_ga`: the same without a flush.
    pub(super) async fn write_irte(
        &self,
        cpu: &Cpu,
        entry: Entry,
        change: impl FnOnce(&mut EntryState),
    ) -> Result<(), DriverError> {
        let (table, raw) = {
            let mut entries = self.entries.borrow_mut();
            let state = entries
                .get_mut(&entry)
                .ok_or(DriverError::NoDevice(entry.device))?;
            change(state);
            let raw = match state.guest {
                Some(guest) => guest_irte(guest, state.valid),
                None => self.irte_format.irte(state.target, state.valid),
            };
            (state.table.clone(), raw)
        };
        let _guard = table.lock.lock_irqsave(cpu).await;
        self.store_irte(cpu, entry.device, &table, entry.index, raw);
        Ok(())
    }

    /// `free_irte`: clears the entry, which is free from then on, and flushes it.
    pub(super) async fn free_irte(&self, cpu: &Cpu, entry: Entry) -> Result<(), DriverError> {
        let removed = self.entries.borrow_mut().remove(&entry);
        let EntryState { table, .. } = removed.ok_or(DriverError::NoDevice(entry.device))?;
        {
            let _guard = table.lock.lock_irqsave(cpu).await;
            self.store_irte(cpu, entry.device, &table, entry.index, 0);
        }
        self.flush_unchecked(cpu, entry).await;
        Ok(())
    }

    /// Linux drops the result: a queue that takes no commands leaves the caches as they are.
    async fn flush_unchecked(&self, cpu: &Cpu, entry: Entry) {
        let _ = self.flush_irt_and_complete(cpu, entry.device).await;
    }
}
