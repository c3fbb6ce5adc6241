//! What the interrupt core asks of an operating system's IOMMU driver.

use async_trait::async_trait;
use sim_bridge::RequesterId;

use crate::machine::Cpu;

/// Where an interrupt is to arrive: Linux's `irq_cfg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The local APIC.
    pub apic_id: u32,
    /// The vector there.
    pub vector: u8,
}

/// What a device is told to write where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiMessage {
    /// In 0xFEEx_xxxx.
    pub address: u64,
    /// With remapping, the index of the entry.
    pub data: u32,
}

/// What interrupts, and so how many remapping entries it needs and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interrupts {
    /// A vector of a function's MSI-X table: one entry.
    Msix,
    /// A function's MSI with `count` messages: as many consecutive entries, the first at a multiple of the next power
    /// of two.
    Msi {
        /// 1 to 32.
        count: u8,
    },
    /// A pin of an IOAPIC: the entry of that number.
    IoApic {
        /// 0 to 31.
        pin: u8,
    },
    /// A timer of an HPET: one entry.
    Hpet,
}

/// Allocated remapping entries, and what selects them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Consecutive.
    pub entries: Vec<Entry>,
    /// Selects the first entry; data + n selects entry n. An IOAPIC is told the same: Linux puts bits 7:0 of the data
    /// into the vector and bits 10:8 into the delivery mode of its redirection entry.
    pub message: MsiMessage,
}

/// Where an interrupt for a virtual CPU is to be posted: Linux's `amd_iommu_pi_data` and `vcpu_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GuestTarget {
    /// Physical address of the virtual CPU's vAPIC backing page.
    pub backing_page: u64,
    /// The guest's vector.
    pub vector: u8,
    /// Names the virtual CPU in the GA log.
    pub ga_tag: u32,
    /// The APIC ID of the CPU that runs the virtual CPU; `None` while none does.
    pub runs_on: Option<u32>,
}

/// An allocated remapping entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The function, IOAPIC or HPET that it was allocated for.
    pub device: RequesterId,
    /// Its index in that ID's table.
    pub index: u16,
}

/// How a driver call failed: Linux's error numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// EIO: the IOMMU doesn't take commands.
    #[error("EIO: the IOMMU does not take commands")]
    Io,
    /// ENOMEM.
    #[error("ENOMEM: out of memory")]
    NoMemory,
    /// ENODEV: no IOMMU driver has probed the function.
    #[error("ENODEV: {0} is not managed by the IOMMU driver")]
    NoDevice(RequesterId),
    /// EINVAL.
    #[error("EINVAL: {0}")]
    Invalid(&'static str),
    /// ENOSPC: no free remapping entry.
    #[error("ENOSPC: the interrupt remapping table of {0} is full")]
    NoSpace(RequesterId),
    /// No error number: a kernel oopses, and the task is dead. The locks that it held stay held.
    #[error("Oops: {function} dereferences NULL, {table}[{device}]")]
    NullDereference {
        /// The driver's function that does.
        function: &'static str,
        /// Where the pointer is from.
        table: &'static str,
        /// Whose it is there.
        device: RequesterId,
    },
}

impl DriverError {
    /// The task is dead: its caller never learns of it, and puts nothing in order.
    pub fn is_oops(&self) -> bool {
        matches!(self, Self::NullDereference { .. })
    }
}

/// What a function of a driver does, by which findings name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A call of [`IommuDriver`], by name.
    Call(&'static str),
    /// Invalidates a remapping entry that has changed.
    FlushIrte,
    /// Invalidates the memory half of a device table entry that has changed.
    FlushDte,
    /// Invalidates translations of a domain.
    FlushPages,
    /// Gives a function's aliases the memory half of its device table entry.
    CloneDte,
    /// Points device table entries at a remapping table, and invalidates them.
    SetTable,
}

/// An IOMMU driver. Every call runs on a CPU and takes simulated time.
#[async_trait(?Send)]
pub trait IommuDriver {
    /// Enables the IOMMU, before any device is looked at.
    async fn enable(&self, cpu: &Cpu) -> Result<(), DriverError>;

    /// Takes over the functions found at start-up, and enables the event log.
    async fn take_devices(&self, cpu: &Cpu, functions: &[RequesterId]) -> Result<(), DriverError>;

    /// Takes over a function, at start-up or when it was plugged in later.
    async fn probe(&self, cpu: &Cpu, function: RequesterId) -> Result<(), DriverError>;

    /// Allocates remapping entries, not yet valid. `device` is a function that was probed, or the ID of an IOAPIC or an
    /// HPET, which may be a function's too.
    async fn allocate(
        &self,
        cpu: &Cpu,
        device: RequesterId,
        interrupts: Interrupts,
        target: Target,
    ) -> Result<Allocation, DriverError>;

    /// Makes the entry valid.
    async fn activate(&self, cpu: &Cpu, entry: Entry, target: Target) -> Result<(), DriverError>;

    /// Points the entry elsewhere.
    async fn set_affinity(&self, cpu: &Cpu, entry: Entry, target: Target) -> Result<(), DriverError>;

    /// Makes the entry invalid; it stays allocated.
    async fn deactivate(&self, cpu: &Cpu, entry: Entry) -> Result<(), DriverError>;

    /// Gives the entry back.
    async fn free(&self, cpu: &Cpu, entry: Entry) -> Result<(), DriverError>;

    /// Posts the entry's interrupts to a virtual CPU from now on.
    async fn activate_guest_mode(
        &self,
        cpu: &Cpu,
        entry: Entry,
        target: GuestTarget,
    ) -> Result<(), DriverError>;

    /// Tells the entry where its virtual CPU runs now. Without guest mode nothing happens.
    async fn update_guest(&self, cpu: &Cpu, entry: Entry, runs_on: Option<u32>) -> Result<(), DriverError>;

    /// Points the entry at a CPU again.
    async fn deactivate_guest_mode(&self, cpu: &Cpu, entry: Entry, target: Target)
    -> Result<(), DriverError>;

    /// Lets go of a function whose entries are all free, because it is removed.
    async fn release(&self, cpu: &Cpu, function: RequesterId) -> Result<(), DriverError>;

    /// Switches the IOMMU off. Nothing else runs until [`resume`](Self::resume).
    async fn suspend(&self, cpu: &Cpu) -> Result<(), DriverError>;

    /// Switches the IOMMU, which may have lost its registers and caches, on again.
    async fn resume(&self, cpu: &Cpu) -> Result<(), DriverError>;

    /// The function that does this, by its name in the driver's source; `None` if that is not known.
    fn function(&self, _role: Role) -> Option<&'static str> {
        None
    }
}
