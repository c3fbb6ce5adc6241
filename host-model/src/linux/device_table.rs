//! Device table entries: what is stored when, and their flush (Linux drivers/iommu/amd/iommu.c, `update_dte256`,
//! `device_flush_dte`, `set_dte_irq_entry`).

use sim_bridge::RequesterId;

use super::LinuxDriver;
use crate::driver::DriverError;
use crate::iommu::spec::command::Command;
use crate::iommu::spec::dte::{DTE_BYTES, DteInterrupts, RawDte};
use crate::machine::Cpu;
use crate::pci::Function;
use crate::trace::{Kind, Source};

/// DTE.IntCtl: remap.
const INT_CTL_REMAP: u8 = 2;

impl LinuxDriver {
    pub(super) fn dte(&self, cpu: &Cpu, id: RequesterId) -> RawDte {
        bytemuck::must_cast::<[u8; 32], RawDte>(cpu.load(self.dte_address(id))).map(u64::from_le)
    }

    pub(super) fn dte_address(&self, id: RequesterId) -> u64 {
        self.device_table + DTE_BYTES * u64::from(id.0)
    }

    /// Stores the words from `first` on, `at_once` at a time, the later ones first.
    pub(super) fn store_dte(&self, cpu: &Cpu, id: RequesterId, first: usize, words: &[u64], at_once: usize) {
        for (n, chunk) in words.chunks(at_once).enumerate().rev() {
            let bytes: Vec<u8> = chunk.iter().flat_map(|word| word.to_le_bytes()).collect();
            cpu.store(self.dte_address(id) + 8 * (first + n * at_once) as u64, &bytes);
        }
        cpu.record(
            Source::Driver(cpu.id()),
            Kind::DteWritten {
                device: id,
                raw: self.dte(cpu, id),
            },
        );
    }

    pub(super) fn function(&self, id: RequesterId) -> Result<Function, DriverError> {
        self.tree
            .borrow()
            .get(id)
            .cloned()
            .ok_or(DriverError::NoDevice(id))
    }

    /// `update_dte256`: two 128-bit stores, the interrupt half kept, then an invalidation and a wait, all under
    /// `dte_lock`.
    pub(super) async fn update_dte256(&self, cpu: &Cpu, id: RequesterId, [low, high, _, rest]: RawDte) {
        let lock = self.find_dev_data(id, |data| data.dte_lock.clone());
        let _guard = lock.lock_irqsave(cpu).await;
        let interrupts = self.dte(cpu, id)[2];
        self.store_dte(cpu, id, 0, &[low, high, interrupts, rest], 2);
        self.queue_unchecked(cpu, Command::InvalidateDevtabEntry(id))
            .await;
        self.wait_unchecked(cpu).await;
    }

    /// `device_flush_dte`: invalidates these in order, up to the first that fails.
    pub(super) async fn flush_dtes(&self, cpu: &Cpu, ids: &[RequesterId]) {
        for &id in ids {
            let queued = self.queue.queue(cpu, Command::InvalidateDevtabEntry(id)).await;
            if queued.is_err() {
                break;
            }
        }
    }

    /// `set_dte_irq_entry`: points the DTE at a table; the length is OR-ed in.
    pub(super) async fn set_dte_irq_entry(&self, cpu: &Cpu, id: RequesterId, table: u64, length: u8) {
        let lock = self.search_dev_data(id, |data| data.dte_lock.clone());
        let lock = lock.filter(|_| self.profile.irq_entry_under_dte_lock);
        let _guard = match &lock {
            Some(lock) => Some(lock.lock(cpu).await),
            None => None,
        };
        let old = DteInterrupts::from_bits(self.dte(cpu, id)[2]);
        let new = old
            .with_table_root(table >> 6)
            .with_int_ctl(INT_CTL_REMAP)
            .with_table_length(old.table_length() | length)
            .with_valid(true);
        self.store_dte(cpu, id, 2, &[new.into_bits()], 1);
    }
}
