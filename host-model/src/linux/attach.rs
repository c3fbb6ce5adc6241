//! Taking over functions and letting go of them (Linux drivers/iommu/amd/iommu.c, `amd_iommu_probe_device`,
//! `attach_device`, `amd_iommu_release_device`).

use sim_bridge::RequesterId;

use super::LinuxDriver;
use super::dev_data::Device;
use super::irq_table::{ENTRIES_2K, ENTRIES_512};
use super::profile::{AttachStores, CloneAlias};
use crate::driver::DriverError;
use crate::exec::SpinLock;
use crate::machine::Cpu;
use crate::trace::Lock;

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
    pub(super) const IDENTITY_ID: u16 = 1;

    fn words(self) -> [u64; 2] {
        match self {
            Self::Identity => [READ_WRITE | VALID, Self::IDENTITY_ID.into()],
            Self::Blocked => [VALID, 0],
        }
    }
}

/// `domain->lock` of the only domain that there is.
pub(super) fn identity_domain_lock() -> SpinLock<()> {
    SpinLock::new(Lock::Domain(Domain::IDENTITY_ID), ())
}

impl LinuxDriver {
    /// `amd_iommu_probe_device`.
    pub(super) async fn probe_device(&self, cpu: &Cpu, id: RequesterId) -> Result<(), DriverError> {
        self.check_device(id)?;
        self.function(id)?;
        self.find_dev_data(id, |data| data.device = Device::Probed);
        self.setup_aliases(cpu, id).await?;
        if self.has_no_translation() {
            return Ok(());
        }
        self.wait_unchecked(cpu).await;
        let max_irqs = if self.has_tables_of_2048() {
            ENTRIES_2K
        } else {
            ENTRIES_512
        };
        self.find_dev_data(id, |data| data.max_irqs = max_irqs);
        Ok(())
    }

    /// Attaches to the identity domain. Without DMA translation there are no domains.
    pub(super) async fn attach(&self, cpu: &Cpu, id: RequesterId) -> Result<(), DriverError> {
        if self.has_no_translation() {
            return Ok(());
        }
        let under = self.profile.attach.under_domain_lock.then_some(&self.domain_lock);
        let _guard = match under {
            Some(lock) => Some(lock.lock_irqsave(cpu).await),
            None => None,
        };
        self.write_dtes(cpu, id, Domain::Identity).await?;
        if self.profile.attach.flushes_domain {
            self.flush_domain(cpu).await;
        }
        self.wait_unchecked(cpu).await;
        Ok(())
    }

    /// `amd_iommu_release_device`: blocks DMA. What the driver knows of the function stays.
    pub(super) async fn release_device(&self, cpu: &Cpu, id: RequesterId) -> Result<(), DriverError> {
        if self.search_dev_data(id, |data| data.device) != Some(Device::Probed) {
            return Ok(());
        }
        if self.dte(cpu, id)[1] as u16 == Domain::IDENTITY_ID {
            let whole = self.profile.attach.under_domain_lock;
            let mut guard = None;
            if whole {
                guard = Some(self.domain_lock.lock_irqsave(cpu).await);
            }
            self.write_dtes(cpu, id, Domain::Blocked).await?;
            if !self.profile.attach.flushes_domain {
                self.wait_unchecked(cpu).await;
            }
            if !whole {
                guard = Some(self.domain_lock.lock_irqsave(cpu).await);
            }
            self.flush_domain(cpu).await;
            self.wait_unchecked(cpu).await;
            drop(guard);
        }
        let released = Device::Released {
            at: cpu.machine().now(),
            on: cpu.id(),
        };
        self.find_dev_data(id, |data| data.device = released);
        Ok(())
    }

    /// The function's DTE, those of its aliases, and their flush without a wait.
    async fn write_dtes(&self, cpu: &Cpu, id: RequesterId, domain: Domain) -> Result<(), DriverError> {
        let [translation, domain_word] = domain.words();
        match self.profile.attach.stores {
            AttachStores::Plain => self.store_dte(cpu, id, 0, &[translation, domain_word], 1),
            AttachStores::LockedAndFlushed => {
                let [_, _, interrupts, rest] = self.dte(cpu, id);
                self.update_dte256(cpu, id, [translation, domain_word, interrupts, rest])
                    .await;
            }
        }
        let mut ids = vec![id];
        if self.profile.clone_alias == CloneAlias::OneAlias {
            let alias = self.one_alias(id)?;
            if alias != id {
                self.store_dte(cpu, alias, 0, &[translation, domain_word], 1);
                ids.push(alias);
            }
        } else {
            self.clone_aliases(cpu, id).await?;
            let function = self.function(id)?;
            ids = self.dma_aliases(&function);
            ids.extend(self.ivrs_alias(id));
        }
        self.flush_dtes(cpu, &ids).await;
        Ok(())
    }

    /// `amd_iommu_domain_flush_tlb_pde`, without its wait.
    async fn flush_domain(&self, cpu: &Cpu) {
        self.queue_unchecked(cpu, super::invalidate_all_pages(Domain::IDENTITY_ID))
            .await;
    }
}
