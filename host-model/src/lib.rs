//! The host: guest memory, PCI topology, root complex, AMD IOMMU, local APICs and the Linux driver model.
//!
//! A [`machine::Machine`] runs operating-system code on its CPUs in simulated time ([`exec`]) and has a device at the
//! other end of a [`sim_bridge::link::Link`]. Its [`iommu`] remaps the device's interrupts by tables that a
//! [`driver::IommuDriver`] keeps in memory; [`linux`] is the model of Linux's. The [`checker`] says of every cached
//! answer whether memory still agrees, and the [`trace`] holds everything observable.

pub mod checker;
pub mod driver;
pub mod exec;
pub mod iommu;
pub mod irq;
pub mod linux;
pub mod machine;
pub mod pci;
#[cfg(test)]
mod scripted;
pub mod trace;
