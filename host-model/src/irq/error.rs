use sim_bridge::RequesterId;

use super::{CpuMask, Irq};
use crate::driver::DriverError;

/// Why the interrupt core refuses or fails: Linux's error numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IrqError {
    /// No such interrupt.
    #[error("EINVAL: there is no interrupt {}", .0.0)]
    NoSuchIrq(Irq),
    /// The device can't have as many.
    #[error("ENOSPC: {device} has {have} vectors, {want} are wanted")]
    TooManyVectors {
        /// The device.
        device: RequesterId,
        /// Vectors asked for.
        want: u16,
        /// Vectors that it has.
        have: u16,
    },
    /// No free vector there.
    #[error("ENOSPC: no CPU of {0} has a free vector")]
    NoVector(CpuMask),
    /// None of these is online.
    #[error("EINVAL: no CPU of `{0}` is online")]
    NoOnlineCpu(CpuMask),
    /// It is requested already, or not freed yet.
    #[error("EBUSY: interrupt {} is requested", .0.0)]
    Requested(Irq),
    /// It is not requested.
    #[error("EINVAL: interrupt {} is not requested", .0.0)]
    NotRequested(Irq),
    /// The pin has an interrupt.
    #[error("EBUSY: the pin has interrupt {}", .0.0)]
    Taken(Irq),
    /// The kernel spreads it over the CPUs, and nobody else.
    #[error("EIO: the affinity of interrupt {} is managed", .0.0)]
    Managed(Irq),
    /// The IOMMU driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl IrqError {
    /// The task is dead: [`DriverError::is_oops`].
    pub fn is_oops(&self) -> bool {
        matches!(self, Self::Driver(error) if error.is_oops())
    }
}
