use sim_bridge::RequesterId;

use super::DmaAliasMask;

/// A PCI function: what Linux keeps of it in `struct pci_dev`, as far as DMA aliases and interrupts go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Function {
    /// Bus, device, function.
    pub id: RequesterId,
    /// Vendor ID and device ID.
    pub vendor_device: (u16, u16),
    /// Subsystem vendor ID and subsystem ID; zeros where it has none.
    pub subsystem: (u16, u16),
    /// Base class, subclass, programming interface.
    pub class: u32,
    /// Device/function numbers on the same bus under which the function sends too (`dma_alias_mask`).
    pub dma_aliases: DmaAliasMask,
    /// Set where the function is a bridge.
    pub bridge: Option<Bridge>,
}

impl Function {
    /// A function without subsystem IDs and aliases.
    pub fn endpoint(id: RequesterId, vendor_device: (u16, u16), class: u32) -> Self {
        Self {
            id,
            vendor_device,
            subsystem: (0, 0),
            class,
            dma_aliases: DmaAliasMask::default(),
            bridge: None,
        }
    }

    /// A bridge to the buses from `secondary` to `subordinate`.
    pub fn bridge(id: RequesterId, kind: BridgeKind, secondary: u8, subordinate: u8) -> Self {
        let bridge = Bridge {
            kind,
            secondary,
            subordinate,
            flags: BridgeFlags::default(),
        };
        Self {
            bridge: Some(bridge),
            ..Self::endpoint(id, (0x1022, 0x1483), 0x06_04_00)
        }
    }
}

/// What makes a function a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bridge {
    /// By its PCIe capability.
    pub kind: BridgeKind,
    /// The bus behind it.
    pub secondary: u8,
    /// The last bus behind it.
    pub subordinate: u8,
    /// What quirks have set.
    pub flags: BridgeFlags,
}

/// A bridge by the device/port type of its PCIe capability (PCIe Base spec 7.5.3.2), which decides whether it changes
/// the requester IDs of what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BridgeKind {
    /// Root port, switch upstream or downstream port: leaves requester IDs alone.
    PciePort,
    /// PCIe to PCI or PCI-X: sends under its secondary bus, device 0, function 0.
    PcieToPci,
    /// PCI or PCI-X to PCIe: sends under its own ID.
    PciToPcie,
    /// Without a PCIe capability: sends under its own ID.
    Conventional,
    /// Intel VMD, an endpoint to its own bus: sends under its own ID, and what is behind it under no other.
    Vmd,
}

/// Those of Linux's `dev_flags` that change the walk over a function's aliases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BridgeFlags {
    /// `PCI_DEV_FLAGS_BRIDGE_XLATE_ROOT`: aliases above it mean nothing.
    pub xlate_root: bool,
    /// `PCI_DEV_FLAGS_PCI_BRIDGE_NO_ALIAS`: a PCIe-to-PCI bridge that leaves requester IDs alone.
    pub no_alias: bool,
    /// `PCI_DEV_FLAG_PCIE_BRIDGE_ALIAS`: a PCIe-to-PCI bridge without a PCIe capability.
    pub pcie_bridge_alias: bool,
}
