//! The interrupt core: what Linux's irq core, x86 vector domain and MSI-X code do, whichever IOMMU driver is below.

mod core;
mod msix;
mod state;
#[cfg(test)]
mod tests;

pub use core::{IrqCore, IrqError};
pub use msix::MsixDevice;
pub use state::{Handler, Irq, IrqState};
