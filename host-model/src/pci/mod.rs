//! PCI functions and bridges as the operating system sees them.

mod dma_alias;
mod enumerate;
mod function;
mod kernel_version;
pub mod quirks;
mod saved_state;
mod tree;

pub use dma_alias::DmaAliasMask;
pub use enumerate::{EnumerateError, Found, enumerate};
pub use function::{Bridge, BridgeFlags, BridgeKind, Function};
pub use kernel_version::{KernelVersion, ParseKernelVersionError};
pub use saved_state::SavedState;
pub use tree::{PciTree, TreeError};

/// Offsets in configuration space (PCI Local Bus spec 3.0 6.1, PCIe Base spec 7.5.1).
pub mod config {
    /// Vendor ID, device ID.
    pub const ID: u16 = 0x00;
    /// Command, status.
    pub const COMMAND: u16 = 0x04;
    /// Memory Space Enable and Bus Master Enable in [`COMMAND`].
    pub const COMMAND_MEMORY_AND_MASTER: u32 = 0x6;
    /// Revision and class code.
    pub const CLASS: u16 = 0x08;
    /// The first base address register.
    pub const BAR0: u16 = 0x10;
    /// Subsystem vendor ID, subsystem ID.
    pub const SUBSYSTEM: u16 = 0x2c;
    /// Offset of the first capability.
    pub const CAPABILITIES: u16 = 0x34;
    /// Capability ID of MSI-X.
    pub const CAPABILITY_MSIX: u8 = 0x11;
    /// MSI-X Enable in the capability's first double word.
    pub const MSIX_ENABLE: u32 = 1 << 31;
    /// Function Mask in the capability's first double word.
    pub const MSIX_MASK_ALL: u32 = 1 << 30;
}
