//! Device table entries: probing, attaching and aliases (Linux drivers/iommu/amd/iommu.c, `setup_aliases`,
//! `clone_alias`, `device_flush_dte`, `set_dte_irq_entry`).

use sim_bridge::RequesterId;

use super::LinuxDriver;
use super::profile::Attach;
use crate::driver::DriverError;
use crate::iommu::spec::command::Command;
use crate::iommu::spec::dte::{DTE_BYTES, DteInterrupts, RawDte};
use crate::machine::Cpu;
use crate::pci::Function;
use crate::trace::{Kind, Source};

/// DTE.IntCtl: remap.
const INT_CTL_REMAP: u8 = 2;
/// V, TV.
const VALID: u64 = 0x3;
/// IR, IW: reads and writes are allowed.
const READ_WRITE: u64 = 0x6000_0000_0000_0000;

/// A domain that a function is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Domain {
    /// DMA passes untranslated (`iommu=pt`).
    Identity,
    /// DMA is refused.
    Blocked,
}

impl Domain {
    /// Of the only identity domain.
    const IDENTITY_ID: u16 = 1;

    pub(super) fn id(self) -> u16 {
        match self {
            Self::Identity => Self::IDENTITY_ID,
            Self::Blocked => 0,
        }
    }

    fn words(self) -> [u64; 2] {
        match self {
            Self::Identity => [READ_WRITE | VALID, Self::IDENTITY_ID.into()],
            Self::Blocked => [VALID, 0],
        }
    }
}

impl LinuxDriver {
    pub(super) fn dte(&self, cpu: &Cpu, id: RequesterId) -> RawDte {
        bytemuck::must_cast::<[u8; 32], RawDte>(cpu.load(self.dte_address(id))).map(u64::from_le)
    }

    pub(super) fn dte_address(&self, id: RequesterId) -> u64 {
        self.device_table + DTE_BYTES * u64::from(id.0)
    }

    /// Stores the words from `first` on, `at_once` at a time, the later ones first.
    fn store_dte(&self, cpu: &Cpu, id: RequesterId, first: usize, words: &[u64], at_once: usize) {
        for (n, chunk) in words.chunks(at_once).enumerate().rev() {
            let bytes: Vec<u8> = chunk.iter().flat_map(|word| word.to_le_bytes()).collect();
            cpu.store(self.dte_address(id) + 8 * (first + n * at_once) as u64, &bytes);
        }
        cpu.record(
            Source::Driver,
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

    /// `pci_for_each_dma_alias`.
    pub(super) fn dma_aliases(&self, function: &Function) -> Vec<RequesterId> {
        self.tree.borrow().dma_aliases(function)
    }

    /// The function's alias by firmware, unless it is the function.
    pub(super) fn ivrs_alias(&self, id: RequesterId) -> Option<RequesterId> {
        Some(self.ivrs.alias(id)).filter(|alias| *alias != id)
    }

    /// `amd_iommu_probe_device`.
    pub(super) async fn probe_device(&self, cpu: &Cpu, id: RequesterId) -> Result<(), DriverError> {
        self.function(id)?;
        self.add_dev_data(id);
        // setup_aliases
        if let Some(alias) = self.ivrs_alias(id)
            && alias.bus() == id.bus()
            && let Some(function) = self.tree.borrow_mut().get_mut(id)
        {
            function.dma_aliases.insert(alias.devfn());
        }
        self.clone_aliases(cpu, id).await?;
        self.wait_unchecked(cpu).await;
        Ok(())
    }

    /// `clone_aliases`: gives every alias the function's DTE, its own interrupt half kept, each with a wait.
    async fn clone_aliases(&self, cpu: &Cpu, id: RequesterId) -> Result<(), DriverError> {
        let function = self.function(id)?;
        let others = self
            .dma_aliases(&function)
            .into_iter()
            .filter(|alias| *alias != id);
        for alias in self.ivrs_alias(id).into_iter().chain(others) {
            self.add_dev_data(alias);
            let own = self.dte(cpu, id);
            let kept = self.dte(cpu, alias)[2];
            self.update_dte256(cpu, alias, [own[0], own[1], kept, own[3]])
                .await;
        }
        Ok(())
    }

    /// `update_dte256`: two 128-bit stores, then an invalidation and a wait, all under `dte_lock`.
    async fn update_dte256(&self, cpu: &Cpu, id: RequesterId, raw: RawDte) {
        let lock = self.dte_lock(id);
        let _guard = lock.lock_irqsave(cpu).await;
        self.store_dte(cpu, id, 0, &raw, 2);
        self.queue_unchecked(cpu, Command::InvalidateDevtabEntry(id))
            .await;
        self.wait_unchecked(cpu).await;
    }

    /// Attaches to a domain.
    pub(super) async fn attach(&self, cpu: &Cpu, id: RequesterId, domain: Domain) -> Result<(), DriverError> {
        let old = self.set_domain(id, domain).filter(|old| *old != 0);
        let [translation, domain_word] = domain.words();
        let raw = self.dte(cpu, id);
        match self.profile.attach {
            Attach::PlainStores => {
                self.store_dte(cpu, id, 0, &[translation, domain_word], 1);
                self.flush_domain(cpu, old).await;
            }
            Attach::LockedAndFlushed => {
                self.update_dte256(cpu, id, [translation, domain_word, raw[2], raw[3]])
                    .await;
            }
        }
        self.clone_aliases(cpu, id).await?;
        self.flush_dtes(cpu, id).await?;
        if self.profile.attach == Attach::LockedAndFlushed {
            self.flush_domain(cpu, old).await;
        }
        Ok(())
    }

    async fn flush_domain(&self, cpu: &Cpu, domain: Option<u16>) {
        let Some(domain) = domain else { return };
        self.queue_unchecked(cpu, super::invalidate_all_pages(domain))
            .await;
        self.wait_unchecked(cpu).await;
    }

    /// `device_flush_dte` and a wait: every DMA alias, then the alias by firmware, up to the first that fails.
    async fn flush_dtes(&self, cpu: &Cpu, id: RequesterId) -> Result<(), DriverError> {
        let function = self.function(id)?;
        for alias in self.dma_aliases(&function).into_iter().chain(self.ivrs_alias(id)) {
            let queued = self.queue.queue(cpu, Command::InvalidateDevtabEntry(alias)).await;
            if queued.is_err() {
                break;
            }
        }
        self.wait_unchecked(cpu).await;
        Ok(())
    }

    /// `set_dte_irq_entry`: points the DTE at a table; the length is OR-ed in.
    pub(super) fn set_dte_irq_entry(&self, cpu: &Cpu, id: RequesterId, table: u64, length: u8) {
        let old = DteInterrupts::from_bits(self.dte(cpu, id)[2]);
        let new = old
            .with_table_root(table >> 6)
            .with_int_ctl(INT_CTL_REMAP)
            .with_table_length(old.table_length() | length)
            .with_valid(true);
        self.store_dte(cpu, id, 2, &[new.into_bits()], 1);
    }
}
