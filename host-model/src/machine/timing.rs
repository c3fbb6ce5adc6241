use sim_bridge::SimTime;

/// How long things take in the host. Round figures of a current server part; no verdict depends on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// A register write of a CPU, until it has taken effect.
    pub mmio_write: SimTime,
    /// An atomic operation of a CPU on memory that another CPU wrote last.
    pub atomic: SimTime,
    /// A register read of a CPU from something inside the host.
    pub mmio_read: SimTime,
    /// A table read of the IOMMU, from issue to answer.
    pub iommu_memory_read: SimTime,
    /// A request that hits the IOMMU's caches. Of a memory request, what it takes beside the reads of tables.
    pub iommu_hit: SimTime,
    /// One step of the IOMMU's own work.
    pub iommu_step: SimTime,
    /// From the IOMMU to the local APIC.
    pub apic: SimTime,
    /// From the local APIC to the first instruction of the handler.
    pub interrupt_entry: SimTime,
    /// A timer tick: 1 / `HZ`.
    pub jiffy: SimTime,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            mmio_write: SimTime::from_ns(100),
            mmio_read: SimTime::from_ns(400),
            atomic: SimTime::from_ns(50),
            iommu_memory_read: SimTime::from_ns(120),
            iommu_hit: SimTime::from_ns(10),
            iommu_step: SimTime::from_ns(50),
            apic: SimTime::from_ns(50),
            interrupt_entry: SimTime::from_ns(300),
            jiffy: SimTime::from_us(4_000),
        }
    }
}
