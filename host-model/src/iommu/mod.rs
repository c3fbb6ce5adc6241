//! The interrupt half of an AMD IOMMU.
