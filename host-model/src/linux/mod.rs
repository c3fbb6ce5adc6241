//! A model of Linux's AMD IOMMU driver: the same commands with the same bits, in the same order, into the same ring
//! with the same tail writes, for each kernel [`Profile`].
//!
//! Functions carry the names of those in `drivers/iommu/amd/{init,iommu}.c` that they model. Devices are attached to
//! the identity domain, as with `iommu=pt`.

mod aliases;
mod attach;
mod boot;
mod command_queue;
mod dev_data;
mod device_table;
mod firmware;
mod flush;
mod functions;
#[cfg(test)]
mod golden;
mod guest;
mod irq_table;
mod irte;
mod power;
mod profile;
mod rlookup;
#[cfg(test)]
pub(crate) mod tests;

pub use firmware::{Ivhd, Ivrs};
pub use profile::{
    Attach, AttachStores, Boot, CloneAlias, CloneSource, CompletionWait, FlushedIds, IrtCacheDisable,
    IrtFlush, LockSections, NothingQueued, Profile, SatisfiedBy, TableIds, TailWrites, UnknownProfile,
    WaitNumber,
};
pub use rlookup::Owner;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use async_trait::async_trait;
use sim_bridge::RequesterId;

use crate::driver::{Allocation, DriverError, Entry, GuestTarget, Interrupts, IommuDriver, Role, Target};
use crate::exec::SpinLock;
use crate::iommu::spec::command::{Command, PageRange};
use crate::iommu::spec::dte::DTE_BYTES;
use crate::iommu::spec::features::{Efr, Efr2};
use crate::machine::{Cpu, Memory};
use crate::pci::PciTree;
use crate::trace::Lock;
use command_queue::CommandQueue;
use dev_data::DevData;
use irq_table::IrqTable;
use irte::Format;
use rlookup::RlookupTable;

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
    ga_log: u64,
    ga_log_tail: u64,
    queue: CommandQueue,
    irte_format: Format,
    /// `amd_iommu_efr`.
    efr: Cell<Efr>,
    /// `amd_iommu_efr2`.
    efr2: Cell<Efr2>,
    /// `irtcachedis_enabled`: asked for, and the hardware kept the bit.
    irtcachedis: Cell<bool>,
    /// `AMD_IOMMU_GUEST_IR_VAPIC`, and the hardware has it.
    vapic: Cell<bool>,
    /// `iommu_table_lock`.
    table_lock: SpinLock<()>,
    /// Of the only domain that there is.
    domain_lock: SpinLock<()>,
    /// `rlookup_table`: whose IOMMU an ID is.
    rlookup_table: RefCell<RlookupTable>,
    /// `irq_lookup_table`.
    tables: RefCell<HashMap<RequesterId, Rc<IrqTable>>>,
    dev_data: RefCell<HashMap<RequesterId, DevData>>,
    entries: RefCell<HashMap<Entry, EntryState>>,
}

/// A remapping entry as the driver remembers it: `struct amd_ir_data`.
struct EntryState {
    table: Rc<IrqTable>,
    target: Target,
    valid: bool,
    /// In guest mode, where to.
    guest: Option<GuestTarget>,
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
        let (efr, efr2) = ivrs.ivhd.features();
        let ring_bytes = command_queue::RING_BYTES.into();
        Ok(Self {
            profile,
            options,
            tree,
            device_table: allocate(device_table_bytes)?,
            device_table_bytes,
            event_log: allocate(ring_bytes)?,
            queue: CommandQueue::new(profile.completion_wait, allocate(ring_bytes)?, allocate(PAGE)?),
            ga_log: allocate(PAGE)?,
            ga_log_tail: allocate(PAGE)?,
            irte_format: if efr.ga_sup() {
                Format::Bits128
            } else {
                Format::Bits32
            },
            efr: Cell::new(efr),
            efr2: Cell::new(efr2),
            rlookup_table: RefCell::new(ivrs.rlookup_table()),
            ivrs,
            irtcachedis: Cell::new(false),
            vapic: Cell::new(false),
            table_lock: SpinLock::new(Lock::IommuTable, ()),
            domain_lock: attach::identity_domain_lock(),
            tables: RefCell::default(),
            dev_data: RefCell::default(),
            entries: RefCell::default(),
        })
    }

    /// `FEATURE_NUM_INT_REMAP_SUP_2K`, in a version that knows it.
    fn has_tables_of_2048(&self) -> bool {
        self.profile.tables_of_2048 && self.efr2.get().num_int_remap_sup() == 1
    }

    /// `PD_MODE_NONE`: firmware says that neither host nor guest page tables are there.
    fn has_no_translation(&self) -> bool {
        let (efr, _) = self.ivrs.ivhd.features();
        let has_guest_tables = efr.gt_sup() && efr.gio_sup();
        self.profile.tables_of_2048 && efr.host_levels().is_none() && !has_guest_tables
    }

    /// Where Linux drops the result: a queue that takes no commands stops nothing, it is in the kernel's log.
    async fn queue_unchecked(&self, cpu: &Cpu, command: Command) {
        let _ = self.queue.queue(cpu, command).await;
    }

    /// Likewise.
    async fn wait_unchecked(&self, cpu: &Cpu) {
        let _ = self.queue.completion_wait(cpu).await;
    }

    fn table_of(&self, id: RequesterId) -> Option<Rc<IrqTable>> {
        self.tables.borrow().get(&id).cloned()
    }

    fn set_table(&self, id: RequesterId, table: Rc<IrqTable>) {
        self.tables.borrow_mut().insert(id, table);
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
        self.attach(cpu, function).await
    }

    async fn allocate(
        &self,
        cpu: &Cpu,
        device: RequesterId,
        interrupts: Interrupts,
        target: Target,
    ) -> Result<Allocation, DriverError> {
        self.alloc_entries(cpu, device, interrupts, target).await
    }

    async fn activate(&self, cpu: &Cpu, entry: Entry, target: Target) -> Result<(), DriverError> {
        // irq_remapping_activate makes the entry valid as it was last written, amd_ir_update_irte points it anew.
        self.set_valid(cpu, entry, true).await?;
        self.set_target(cpu, entry, target).await
    }

    async fn set_affinity(&self, cpu: &Cpu, entry: Entry, target: Target) -> Result<(), DriverError> {
        self.set_target(cpu, entry, target).await
    }

    async fn deactivate(&self, cpu: &Cpu, entry: Entry) -> Result<(), DriverError> {
        self.set_valid(cpu, entry, false).await
    }

    async fn free(&self, cpu: &Cpu, entry: Entry) -> Result<(), DriverError> {
        self.free_irte(cpu, entry).await
    }

    async fn activate_guest_mode(
        &self,
        cpu: &Cpu,
        entry: Entry,
        target: GuestTarget,
    ) -> Result<(), DriverError> {
        self.enter_guest_mode(cpu, entry, target).await
    }

    async fn update_guest(&self, cpu: &Cpu, entry: Entry, runs_on: Option<u32>) -> Result<(), DriverError> {
        self.update_ga(cpu, entry, runs_on).await
    }

    async fn deactivate_guest_mode(
        &self,
        cpu: &Cpu,
        entry: Entry,
        target: Target,
    ) -> Result<(), DriverError> {
        self.leave_guest_mode(cpu, entry, target).await
    }

    async fn release(&self, cpu: &Cpu, function: RequesterId) -> Result<(), DriverError> {
        self.release_device(cpu, function).await
    }

    async fn suspend(&self, cpu: &Cpu) -> Result<(), DriverError> {
        self.power_down(cpu).await;
        Ok(())
    }

    async fn resume(&self, cpu: &Cpu) -> Result<(), DriverError> {
        self.power_up(cpu).await;
        Ok(())
    }

    fn function(&self, role: Role) -> Option<&'static str> {
        self.profile.function(role)
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
