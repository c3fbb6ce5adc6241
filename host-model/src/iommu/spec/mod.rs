//! Bit layouts of the AMD I/O Virtualization Technology (IOMMU) Specification, 48882, without behaviour.
//!
//! Each layout has a raw form in which every bit survives, and a parsed form that only legal bits become. Parsing
//! names the field that it refuses.

pub mod command;
pub mod dte;
pub mod event;
pub mod features;
pub mod irte;
pub mod log;
pub mod msi;
pub mod page_table;
mod pasid;
pub mod registers;

pub use pasid::Pasid;
