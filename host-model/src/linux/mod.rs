//! A model of Linux's AMD IOMMU driver: the same commands with the same bits, in the same order, into the same ring
//! with the same tail writes, for each kernel [`Profile`].
//!
//! Functions carry the names of those in `drivers/iommu/amd/{init,iommu}.c` that they model. Devices are attached to
//! the identity domain, as with `iommu=pt`.

mod boot;
mod command_queue;
mod device_table;
mod firmware;
#[cfg(test)]
mod golden;
mod irq_table;
mod irte;
mod profile;
#[cfg(test)]
pub(crate) mod tests;

pub use firmware::{Ivhd, Ivrs};
pub use profile::{Attach, IrtFlush, Profile};

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use async_trait::async_trait;
use sim_bridge::RequesterId;

use crate::driver::{DriverError, Entry, IommuDriver, MsiMessage, Target};
use crate::exec::SpinLock;
use crate::iommu::spec::command::{Command, PageRange};
use crate::iommu::spec::dte::DTE_BYTES;
use crate::machine::{Cpu, Memory};
use crate::pci::PciTree;
use crate::trace::Lock;
use command_queue::CommandQueue;
use device_table::Domain;
use irq_table::IrqTable;
use irte::Format;

/// Kernel parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// `amd_iommu=irtcachedis`.
    pub irtcachedis: bool,
}

/// The driver of one IOMMU.
pub struct LinuxDriver {
    profile: Profile,
    options: Options,
    ivrs: Ivrs,
    tree: Rc<RefCell<PciTree>>,
    device_table: u64,
    device_table_bytes: u64,
    event_log: u64,
    queue: CommandQueue,
    irte_format: Cell<Format>,
    /// `irtcachedis_enabled`: asked for, and the hardware kept the bit.
    irtcachedis: Cell<bool>,
    /// `iommu_table_lock`.
    table_lock: SpinLock<()>,
    /// `irq_lookup_table`.
    tables: RefCell<HashMap<RequesterId, Rc<IrqTable>>>,
    dev_data: RefCell<HashMap<RequesterId, DevData>>,
    entries: RefCell<HashMap<Entry, EntryState>>,
}

/// `struct iommu_dev_data`.
struct DevData {
    dte_lock: Rc<SpinLock<()>>,
    domain: Option<u16>,
}

/// A remapping entry as the driver remembers it.
struct EntryState {
    table: Rc<IrqTable>,
    target: Target,
}

const PAGE: u64 = 4096;
/// `MAX_DEV_TABLE_ENTRIES` times the size of an entry.
const MAX_DEVICE_TABLE: u64 = 0x1_0000 * DTE_BYTES;

impl LinuxDriver {
    /// Allocates the driver's tables and rings; no register is touched.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new(
        profile: Profile,
        options: Options,
        ivrs: Ivrs,
        tree: Rc<RefCell<PciTree>>,
        memory: &Memory,
    ) -> Result<Self, DriverError> {
        let allocate = |bytes| memory.allocate(bytes, PAGE).ok_or(DriverError::NoMemory);
        let listed = (u64::from(ivrs.last_bdf.0) + 1) * DTE_BYTES;
        let device_table_bytes = listed.next_power_of_two().clamp(PAGE, MAX_DEVICE_TABLE);
        let format = match ivrs.ivhd {
            Ivhd::Type11(efr) if efr.ga_sup() => Format::Bits128,
            Ivhd::Type10 | Ivhd::Type11(_) => Format::Bits32,
        };
        Ok(Self {
            profile,
            options,
            ivrs,
            tree,
            device_table: allocate(device_table_bytes)?,
            device_table_bytes,
            event_log: allocate(command_queue::RING_BYTES.into())?,
            queue: CommandQueue::new(allocate(command_queue::RING_BYTES.into())?, allocate(PAGE)?),
            irte_format: Cell::new(format),
            irtcachedis: Cell::new(false),
            table_lock: SpinLock::new(Lock::IommuTable, ()),
            tables: RefCell::default(),
            dev_data: RefCell::default(),
            entries: RefCell::default(),
        })
    }

    /// Where Linux drops the result: a queue that takes no commands stops nothing, it is in the kernel's log.
    async fn queue_unchecked(&self, cpu: &Cpu, command: Command) {
        let _ = self.queue.queue(cpu, command).await;
    }

    /// Likewise.
    async fn wait_unchecked(&self, cpu: &Cpu) {
        let _ = self.queue.completion_wait(cpu).await;
    }

    fn add_dev_data(&self, id: RequesterId) {
        self.with_dev_data(id, |_| ());
    }

    fn dte_lock(&self, id: RequesterId) -> Rc<SpinLock<()>> {
        self.with_dev_data(id, |data| data.dte_lock.clone())
    }

    /// `find_dev_data`: what there is of this ID, made if need be.
    fn with_dev_data<T>(&self, id: RequesterId, look: impl FnOnce(&mut DevData) -> T) -> T {
        look(self.dev_data.borrow_mut().entry(id).or_insert_with(|| DevData {
            dte_lock: Rc::new(SpinLock::new(Lock::Dte(id), ())),
            domain: None,
        }))
    }

    /// Remembers the function's domain; returns the ID of the one before.
    fn set_domain(&self, id: RequesterId, domain: Domain) -> Option<u16> {
        self.with_dev_data(id, |data| data.domain.replace(domain.id()))
    }

    fn table_of(&self, id: RequesterId) -> Option<Rc<IrqTable>> {
        self.tables.borrow().get(&id).cloned()
    }

    fn set_table(&self, id: RequesterId, table: Rc<IrqTable>) {
        self.tables.borrow_mut().insert(id, table);
    }

    fn target_of(&self, entry: Entry) -> Result<Target, DriverError> {
        self.entries
            .borrow()
            .get(&entry)
            .map(|state| state.target)
            .ok_or(DriverError::NoDevice(entry.device))
    }
}

#[async_trait(?Send)]
impl IommuDriver for LinuxDriver {
    async fn enable(&self, cpu: &Cpu) -> Result<(), DriverError> {
        self.early_enable(cpu).await;
        Ok(())
    }

    async fn take_devices(&self, cpu: &Cpu, functions: &[RequesterId]) -> Result<(), DriverError> {
        self.init_pci(cpu, functions).await
    }

    async fn probe(&self, cpu: &Cpu, function: RequesterId) -> Result<(), DriverError> {
        self.probe_device(cpu, function).await?;
        self.attach(cpu, function, Domain::Identity).await
    }

    async fn allocate(
        &self,
        cpu: &Cpu,
        function: RequesterId,
        target: Target,
    ) -> Result<(Entry, MsiMessage), DriverError> {
        if !self.dev_data.borrow().contains_key(&function) {
            return Err(DriverError::NoDevice(function));
        }
        let table = self.alloc_irq_table(cpu, function).await?;
        let index = self.alloc_irq_index(cpu, function, &table).await?;
        let entry = Entry {
            device: function,
            index,
        };
        self.entries
            .borrow_mut()
            .insert(entry, EntryState { table, target });
        // fill_msi_msg
        Ok((
            entry,
            MsiMessage {
                address: 0xfee0_0000,
                data: index.into(),
            },
        ))
    }

    async fn activate(&self, cpu: &Cpu, entry: Entry, target: Target) -> Result<(), DriverError> {
        // irq_remapping_activate makes the entry valid as it was last written, amd_ir_update_irte points it anew.
        let last = self.target_of(entry)?;
        self.modify_irte(cpu, entry, last, true).await?;
        self.modify_irte(cpu, entry, target, true).await
    }

    async fn set_affinity(&self, cpu: &Cpu, entry: Entry, target: Target) -> Result<(), DriverError> {
        self.modify_irte(cpu, entry, target, true).await
    }

    async fn deactivate(&self, cpu: &Cpu, entry: Entry) -> Result<(), DriverError> {
        let last = self.target_of(entry)?;
        self.modify_irte(cpu, entry, last, false).await
    }

    async fn free(&self, cpu: &Cpu, entry: Entry) -> Result<(), DriverError> {
        self.free_irte(cpu, entry).await
    }

    async fn release(&self, cpu: &Cpu, function: RequesterId) -> Result<(), DriverError> {
        let attached = self
            .dev_data
            .borrow()
            .get(&function)
            .is_some_and(|data| data.domain.is_some());
        if attached {
            self.attach(cpu, function, Domain::Blocked).await?;
        }
        Ok(())
    }
}

/// INVALIDATE_IOMMU_PAGES for all of a domain (`CMD_INV_IOMMU_ALL_PAGES_ADDRESS`, S and PDE).
fn invalidate_all_pages(domain: u16) -> Command {
    Command::InvalidateIommuPages {
        domain,
        pasid: 0,
        range: PageRange::ALL,
        directory: true,
        guest: false,
    }
}
