//! Interrupt remapping tables (Linux drivers/iommu/amd/iommu.c, `alloc_irq_table`, `alloc_irq_index`,
//! `irq_remapping_alloc`).

use std::cell::Cell;
use std::rc::Rc;

use sim_bridge::RequesterId;

use super::aliases::AliasStep;
use super::irte::Format;
use super::profile::TableIds;
use super::{EntryState, LinuxDriver};
use crate::driver::{Allocation, DriverError, Entry, Interrupts, MsiMessage, Target};
use crate::exec::SpinLock;
use crate::iommu::spec::command::Command;
use crate::machine::Cpu;
use crate::pci::Function;
use crate::trace::Lock;

/// `MAX_IRQS_PER_TABLE_512`.
pub(super) const ENTRIES_512: u16 = 512;
/// `MAX_IRQS_PER_TABLE_2K`.
pub(super) const ENTRIES_2K: u16 = 2048;
/// Entries kept for the pins of an IOAPIC, in a table that has served one.
const IOAPIC_ENTRIES: u16 = 32;
/// Most messages of a function's MSI (PCI Local Bus spec 3.0 6.8.1.3).
const MSI_MESSAGES: u8 = 32;
/// Alignment of tables: the kmem cache's, or whole pages.
const ALIGN: u64 = 128;
const PAGE: u64 = 4096;
/// Address of the local APICs.
const MSI_ADDRESS: u64 = 0xfee0_0000;
/// DM, where tables of 2048 are supported.
const MSI_ADDRESS_DM: u64 = 1 << 2;

/// A table, shared by all requester IDs whose DTEs point at it.
pub(super) struct IrqTable {
    pub(super) address: u64,
    /// Entries from here on are for others than an IOAPIC.
    min_index: Cell<u16>,
    /// `table->lock`.
    pub(super) lock: SpinLock<()>,
}

impl LinuxDriver {
    /// `irq_remapping_alloc`.
    pub(super) async fn alloc_entries(
        &self,
        cpu: &Cpu,
        device: RequesterId,
        interrupts: Interrupts,
        target: Target,
    ) -> Result<Allocation, DriverError> {
        let max_irqs = self.max_irqs(device);
        let (count, index, table) = match interrupts {
            Interrupts::Msix | Interrupts::Msi { .. } => {
                let count = match interrupts {
                    Interrupts::Msi { count } => count,
                    _ => 1,
                };
                if !(1..=MSI_MESSAGES).contains(&count) {
                    return Err(DriverError::Invalid("a function's MSI has 1 to 32 messages"));
                }
                if self.search_dev_data(device, |_| ()).is_none() {
                    return Err(DriverError::NoDevice(device));
                }
                let function = self.function(device)?;
                let table = self
                    .alloc_irq_table(cpu, device, Some(&function), max_irqs)
                    .await?;
                let count = u16::from(count);
                let alignment = match interrupts {
                    Interrupts::Msi { .. } => count.next_power_of_two(),
                    _ => 1,
                };
                let index = self
                    .alloc_irq_index(cpu, device, &table, count, alignment, max_irqs)
                    .await?;
                (count, index, table)
            }
            Interrupts::IoApic { pin } => {
                let index = u16::from(pin);
                if index >= IOAPIC_ENTRIES {
                    return Err(DriverError::Invalid("an IOAPIC has pins 0 to 31"));
                }
                self.check_is_ours(device)?;
                let table = self.alloc_irq_table(cpu, device, None, max_irqs).await?;
                if table.min_index.get() == 0 {
                    table.min_index.set(IOAPIC_ENTRIES);
                    for index in 0..IOAPIC_ENTRIES {
                        self.store_irte(cpu, device, &table, index, self.irte_format.allocated());
                    }
                }
                (1, index, table)
            }
            Interrupts::Hpet => {
                self.check_is_ours(device)?;
                let table = self.alloc_irq_table(cpu, device, None, max_irqs).await?;
                let index = self.alloc_irq_index(cpu, device, &table, 1, 1, max_irqs).await?;
                (1, index, table)
            }
        };
        let entries: Vec<Entry> = (index..index + count)
            .map(|index| Entry { device, index })
            .collect();
        self.entries.borrow_mut().extend(entries.iter().map(|entry| {
            let state = EntryState {
                table: table.clone(),
                target,
                valid: true,
                guest: None,
            };
            (*entry, state)
        }));
        Ok(Allocation {
            entries,
            message: self.msi_message(index),
        })
    }

    /// `fill_msi_msg`.
    fn msi_message(&self, index: u16) -> MsiMessage {
        let dm = if self.has_tables_of_2048() {
            MSI_ADDRESS_DM
        } else {
            0
        };
        MsiMessage {
            address: MSI_ADDRESS | dm,
            data: index.into(),
        }
    }

    /// `alloc_irq_table`: the ID's table, allocated and made known to all aliases of `function` if it has none.
    async fn alloc_irq_table(
        &self,
        cpu: &Cpu,
        id: RequesterId,
        function: Option<&Function>,
        max_irqs: u16,
    ) -> Result<Rc<IrqTable>, DriverError> {
        let guard = self.table_lock.lock_irqsave(cpu).await;
        if let Some(table) = self.existing_table(cpu, id).await {
            return Ok(table);
        }
        drop(guard);
        let new = self.new_table(cpu, id, max_irqs)?;
        let guard = self.table_lock.lock_irqsave(cpu).await;
        // Another CPU may have been faster.
        if let Some(table) = self.existing_table(cpu, id).await {
            return Ok(table);
        }
        match function.filter(|_| self.profile.table_ids == TableIds::AllAliases) {
            Some(function) => {
                if let Err(oops) = self.set_remap_table_entries(cpu, function, &new).await {
                    guard.die();
                    return Err(oops);
                }
            }
            None => self.set_remap_table_entry(cpu, id, &new).await,
        }
        if let Some(alias) = self.ivrs_alias(id) {
            self.set_remap_table_entry(cpu, alias, &new).await;
        }
        self.wait_unchecked(cpu).await;
        Ok(new)
    }

    /// `pci_for_each_dma_alias` with `set_remap_table_entry_alias`.
    ///
    /// # Errors
    /// An alias has no IOMMU in `rlookup_table`: the task is dead.
    async fn set_remap_table_entries(
        &self,
        cpu: &Cpu,
        function: &Function,
        table: &Rc<IrqTable>,
    ) -> Result<(), DriverError> {
        for AliasStep { due_to, alias } in self.alias_steps(function) {
            // -EINVAL, which ends the walk, at a bridge that has no IOMMU.
            if self.profile.pci_segments && self.rlookup(due_to).is_none() {
                break;
            }
            self.point_at_table(cpu, alias, table).await;
            let caller = "set_remap_table_entry_alias";
            self.flush_dte_by_rlookup(cpu, caller, Lock::IommuTable, alias)
                .await?;
        }
        Ok(())
    }

    /// The ID's own table, or else that of its IVRS alias, which is then its own too.
    async fn existing_table(&self, cpu: &Cpu, id: RequesterId) -> Option<Rc<IrqTable>> {
        if let Some(table) = self.table_of(id) {
            return Some(table);
        }
        let table = self.table_of(self.ivrs_alias(id)?)?;
        self.set_remap_table_entry(cpu, id, &table).await;
        self.wait_unchecked(cpu).await;
        Some(table)
    }

    fn new_table(&self, cpu: &Cpu, id: RequesterId, max_irqs: u16) -> Result<Rc<IrqTable>, DriverError> {
        let bytes = self.irte_format.bytes() * u64::from(max_irqs);
        let (bytes, align) = if self.profile.tables_of_2048 {
            (bytes.next_multiple_of(PAGE).max(PAGE), PAGE)
        } else {
            (bytes, ALIGN)
        };
        let address = cpu.machine().memory().allocate(bytes, align);
        Ok(Rc::new(IrqTable {
            address: address.ok_or(DriverError::NoMemory)?,
            min_index: Cell::new(0),
            lock: SpinLock::new(Lock::Table(id), ()),
        }))
    }

    /// `set_remap_table_entry`.
    async fn set_remap_table_entry(&self, cpu: &Cpu, id: RequesterId, table: &Rc<IrqTable>) {
        self.point_at_table(cpu, id, table).await;
        self.queue_unchecked(cpu, Command::InvalidateDevtabEntry(id))
            .await;
    }

    /// `irq_lookup_table` and the DTE.
    async fn point_at_table(&self, cpu: &Cpu, id: RequesterId, table: &Rc<IrqTable>) {
        self.set_table(id, table.clone());
        // Not by how many entries the table has, but by what is known of this ID.
        let entries = if self.max_irqs(id) == ENTRIES_2K {
            ENTRIES_2K
        } else {
            ENTRIES_512
        };
        self.set_dte_irq_entry(cpu, id, table.address, entries.ilog2() as u8)
            .await;
    }

    /// `alloc_irq_index`: takes the first `count` free entries in a row and marks them allocated, without a command.
    async fn alloc_irq_index(
        &self,
        cpu: &Cpu,
        id: RequesterId,
        table: &IrqTable,
        count: u16,
        alignment: u16,
        max_irqs: u16,
    ) -> Result<u16, DriverError> {
        let format = self.irte_format;
        let _guard = table.lock.lock_irqsave(cpu).await;
        let mut free = 0;
        let mut index = table.min_index.get().next_multiple_of(alignment);
        while index < max_irqs {
            if format.is_allocated(self.load_irte(cpu, table, index)) {
                free = 0;
                index = (index + 1).next_multiple_of(alignment);
                continue;
            }
            free += 1;
            if free == count {
                let first = index + 1 - count;
                for index in first..=index {
                    self.store_irte(cpu, id, table, index, format.allocated());
                }
                return Ok(first);
            }
            index += 1;
        }
        Err(DriverError::NoSpace(id))
    }

    pub(super) fn load_irte(&self, cpu: &Cpu, table: &IrqTable, index: u16) -> u128 {
        let format = self.irte_format;
        let address = table.address + format.bytes() * u64::from(index);
        match format {
            Format::Bits32 => u32::from_le_bytes(cpu.load(address)).into(),
            Format::Bits128 => u128::from_le_bytes(cpu.load(address)),
        }
    }
}
