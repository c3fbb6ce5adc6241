//! The interrupt core: what Linux's irq core, x86 vector domain and MSI-X code do, whichever IOMMU driver is below.
//!
//! [`IrqCore`] is what drivers of devices call. An interrupt's way from a CPU's vector to its handler is in `flow`, who
//! has which vector in `vectors` and `matrix`.

mod affinity;
mod allocate;
mod chip;
mod core;
mod cpu_mask;
mod descriptor;
mod error;
mod flow;
mod hotplug;
mod hpet;
mod io_apic;
mod life;
mod managed;
mod matrix;
mod msi;
mod msix;
mod ratelimit;
mod spurious;
mod state;
mod suspend;
#[cfg(test)]
mod tests;
mod vectors;

pub use core::IrqCore;
pub use cpu_mask::CpuMask;
pub use descriptor::{Handler, Irq, IrqCounts, IrqReturn};
pub use error::IrqError;
pub(crate) use flow::common_interrupt;
pub use hotplug::HotplugError;
pub use hpet::HpetDevice;
pub use io_apic::IoApicDevice;
pub use msi::MsiDevice;
pub use msix::MsixDevice;
pub use state::IrqState;
