//! Interrupt remapping table entries and their flush (Linux drivers/iommu/amd/iommu.c, `irte_32_ops`, `irte_128_ops`,
//! `iommu_flush_irt_and_complete`).

use sim_bridge::RequesterId;

use super::irq_table::IrqTable;
use super::profile::IrtFlush;
use super::{EntryState, LinuxDriver};
use crate::driver::{DriverError, Entry, Target};
use crate::iommu::spec::command::Command;
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
    /// One store under `table->lock`: 32 bits, or a locked 128-bit exchange.
    pub(super) fn store_irte(&self, cpu: &Cpu, device: RequesterId, table: &IrqTable, index: u16, raw: u128) {
        let len = self.irte_format.get().bytes();
        cpu.store(
            table.address + len * u64::from(index),
            &raw.to_le_bytes()[..len as usize],
        );
        cpu.record(
            Source::Driver,
            Kind::IrteWritten {
                device,
                index,
                raw,
                format: self.irte_format.get().of_hardware(),
            },
        );
    }

    /// `modify_irte`: stores the entry and flushes it. That the flush failed is not noticed, as in Linux.
    pub(super) async fn modify_irte(
        &self,
        cpu: &Cpu,
        entry: Entry,
        target: Target,
        valid: bool,
    ) -> Result<(), DriverError> {
        let table = {
            let mut entries = self.entries.borrow_mut();
            let state = entries
                .get_mut(&entry)
                .ok_or(DriverError::NoDevice(entry.device))?;
            state.target = target;
            state.table.clone()
        };
        let raw = self.irte_format.get().irte(target, valid);
        self.write_and_flush(cpu, entry, &table, raw).await;
        Ok(())
    }

    /// `free_irte`: clears the entry, which is free from then on, and flushes it.
    pub(super) async fn free_irte(&self, cpu: &Cpu, entry: Entry) -> Result<(), DriverError> {
        let removed = self.entries.borrow_mut().remove(&entry);
        let EntryState { table, .. } = removed.ok_or(DriverError::NoDevice(entry.device))?;
        self.write_and_flush(cpu, entry, &table, 0).await;
        Ok(())
    }

    async fn write_and_flush(&self, cpu: &Cpu, entry: Entry, table: &IrqTable, raw: u128) {
        {
            let _guard = table.lock.lock_irqsave(cpu).await;
            self.store_irte(cpu, entry.device, table, entry.index, raw);
        }
        // Linux drops the result: a queue that takes no commands leaves the caches as they are.
        let _ = self.flush_irt_and_complete(cpu, entry.device).await;
    }

    /// `iommu_flush_irt_and_complete`.
    async fn flush_irt_and_complete(&self, cpu: &Cpu, id: RequesterId) -> Result<(), DriverError> {
        if self.irtcachedis.get() {
            return Ok(());
        }
        let ids = match self.profile.irt_flush {
            IrtFlush::OwnId => vec![id],
            IrtFlush::DmaAliases => self
                .function(id)
                .map_or_else(|_| vec![id], |function| self.dma_aliases(&function)),
        };
        let locked = self.queue.lock(cpu).await;
        let sequence = self.queue.next_sequence(&locked);
        for id in ids {
            self.queue
                .queue_sync(cpu, &locked, Command::InvalidateInterruptTable(id), true)
                .await?;
        }
        self.queue.queue_wait(cpu, &locked, sequence).await?;
        drop(locked);
        self.queue.wait_on_semaphore(cpu, sequence).await
    }
}
