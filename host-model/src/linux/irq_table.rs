//! Interrupt remapping tables (Linux drivers/iommu/amd/iommu.c, `alloc_irq_table`, `alloc_irq_index`).

use std::rc::Rc;

use sim_bridge::RequesterId;

use super::LinuxDriver;
use super::irte::Format;
use crate::driver::DriverError;
use crate::exec::SpinLock;
use crate::iommu::spec::command::Command;
use crate::machine::Cpu;
use crate::trace::Lock;

/// `MAX_IRQS_PER_TABLE_512`.
const ENTRIES: u16 = 512;
/// The same as DTE.IntTabLen has it: log2.
const INT_TAB_LEN: u8 = 9;
/// Alignment of tables.
const ALIGN: u64 = 128;

/// A table, shared by all requester IDs whose DTEs point at it.
pub(super) struct IrqTable {
    pub(super) address: u64,
    /// `table->lock`.
    pub(super) lock: SpinLock<()>,
}

impl LinuxDriver {
    /// `alloc_irq_table`: the function's table, allocated and made known to all of its aliases if it has none.
    pub(super) async fn alloc_irq_table(
        &self,
        cpu: &Cpu,
        id: RequesterId,
    ) -> Result<Rc<IrqTable>, DriverError> {
        let _guard = self.table_lock.lock_irqsave(cpu).await;
        if let Some(table) = self.table_of(id) {
            return Ok(table);
        }
        if let Some(alias) = self.ivrs_alias(id)
            && let Some(table) = self.table_of(alias)
        {
            self.set_remap_table_entry(cpu, id, &table).await;
            self.wait_unchecked(cpu).await;
            return Ok(table);
        }
        let bytes = self.irte_format.get().bytes() * u64::from(ENTRIES);
        let address = cpu
            .machine()
            .memory()
            .allocate(bytes, ALIGN)
            .ok_or(DriverError::NoMemory)?;
        let table = Rc::new(IrqTable {
            address,
            lock: SpinLock::new(Lock::Table(id), ()),
        });
        let function = self.function(id)?;
        for alias in self.dma_aliases(&function).into_iter().chain(self.ivrs_alias(id)) {
            self.set_remap_table_entry(cpu, alias, &table).await;
        }
        self.wait_unchecked(cpu).await;
        Ok(table)
    }

    /// `set_remap_table_entry`.
    async fn set_remap_table_entry(&self, cpu: &Cpu, id: RequesterId, table: &Rc<IrqTable>) {
        self.set_table(id, table.clone());
        self.set_dte_irq_entry(cpu, id, table.address, INT_TAB_LEN);
        self.queue_unchecked(cpu, Command::InvalidateDevtabEntry(id))
            .await;
    }

    /// `alloc_irq_index` for one entry: takes the first free one and marks it allocated, without a command.
    pub(super) async fn alloc_irq_index(
        &self,
        cpu: &Cpu,
        id: RequesterId,
        table: &IrqTable,
    ) -> Result<u16, DriverError> {
        let format = self.irte_format.get();
        let _guard = table.lock.lock_irqsave(cpu).await;
        let free = (0..ENTRIES).find(|&index| !format.is_allocated(self.load_irte(cpu, table, index)));
        let index = free.ok_or(DriverError::NoSpace(id))?;
        self.store_irte(cpu, id, table, index, format.allocated());
        Ok(index)
    }

    pub(super) fn load_irte(&self, cpu: &Cpu, table: &IrqTable, index: u16) -> u128 {
        let format = self.irte_format.get();
        let address = table.address + format.bytes() * u64::from(index);
        match format {
            Format::Bits32 => u32::from_le_bytes(cpu.load(address)).into(),
            Format::Bits128 => u128::from_le_bytes(cpu.load(address)),
        }
    }
}
