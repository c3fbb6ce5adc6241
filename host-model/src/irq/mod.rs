//! The interrupt core: what Linux's irq core, x86 vector domain and MSI-X code do, whichever IOMMU driver is below.

mod core;
mod state;

pub use core::{IrqCore, IrqError, MsixDevice};
pub use state::{Handler, Irq, IrqState};
