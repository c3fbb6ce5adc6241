//! The host: guest memory, PCI topology, root complex, AMD IOMMU, APICs and the Linux driver model.

pub mod iommu;
