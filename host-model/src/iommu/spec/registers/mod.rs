//! MMIO registers (AMD IOMMU spec 3.4): offsets and bits.
//!
//! `WRITABLE` of a register is the bits that software can write, `WRITE_1_TO_CLEAR` those that a written 1 clears.
//! Every other bit is read-only or reserved.

pub mod offset;

mod control;
mod device_specific;
mod device_table;
mod exclusion;
mod hardware_event;
mod msi;
mod ring;
mod status;
mod xt_interrupt;

pub use control::Control;
pub use device_specific::DeviceSpecific;
pub use device_table::{DevTabBase, DevTabSegmentBase};
pub use exclusion::{ExclusionBase, ExclusionLimit};
pub use hardware_event::HardwareEventStatus;
pub use msi::{MsiAddressLow, MsiCapHeader, MsiData, MsiMappingCap, MsiVector0, MsiVector1};
pub use ring::{GaLogTailAddress, ReservedRingLength, Ring, RingBase, RingPointer};
pub use status::Status;
pub use xt_interrupt::XtInterruptControl;
