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

/// An allocated remapping entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The function that it was allocated for.
    pub device: RequesterId,
    /// Its index in that function's table.
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
    /// ENOSPC: no free remapping entry.
    #[error("ENOSPC: the interrupt remapping table of {0} is full")]
    NoSpace(RequesterId),
}

/// An IOMMU driver. Every call runs on a CPU and takes simulated time.
#[async_trait(?Send)]
pub trait IommuDriver {
    /// Enables the IOMMU, before any device is looked at.
    async fn enable(&self, cpu: &Cpu) -> Result<(), DriverError>;

    /// Takes over the functions found at start-up, and enables the event log.
    async fn take_devices(&self, cpu: &Cpu, functions: &[RequesterId]) -> Result<(), DriverError>;

    /// Takes over a function.
    async fn probe(&self, cpu: &Cpu, function: RequesterId) -> Result<(), DriverError>;

    /// Allocates a remapping entry, not yet valid, and returns the message that selects it.
    async fn allocate(
        &self,
        cpu: &Cpu,
        function: RequesterId,
        target: Target,
    ) -> Result<(Entry, MsiMessage), DriverError>;

    /// Makes the entry valid.
    async fn activate(&self, cpu: &Cpu, entry: Entry, target: Target) -> Result<(), DriverError>;

    /// Points the entry elsewhere.
    async fn set_affinity(&self, cpu: &Cpu, entry: Entry, target: Target) -> Result<(), DriverError>;

    /// Makes the entry invalid; it stays allocated.
    async fn deactivate(&self, cpu: &Cpu, entry: Entry) -> Result<(), DriverError>;

    /// Gives the entry back.
    async fn free(&self, cpu: &Cpu, entry: Entry) -> Result<(), DriverError>;

    /// Lets go of a function whose entries are all free.
    async fn release(&self, cpu: &Cpu, function: RequesterId) -> Result<(), DriverError>;
}
