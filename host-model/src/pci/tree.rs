use std::collections::BTreeMap;

use sim_bridge::RequesterId;

use super::DmaAliasMask;

/// A PCI function: what Linux keeps of it in `struct pci_dev`, as far as DMA aliases and interrupts go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Bus, device, function.
    pub id: RequesterId,
    /// Vendor ID and device ID.
    pub vendor_device: (u16, u16),
    /// Base class, subclass, programming interface.
    pub class: u32,
    /// Device/function numbers on the same bus under which the function sends too (`dma_alias_mask`).
    pub dma_aliases: DmaAliasMask,
    /// Set where the function is a bridge.
    pub bridge: Option<Bridge>,
}

impl Function {
    /// A function without aliases.
    pub fn endpoint(id: RequesterId, vendor_device: (u16, u16), class: u32) -> Self {
        Self {
            id,
            vendor_device,
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
        };
        Self {
            bridge: Some(bridge),
            ..Self::endpoint(id, (0x1022, 0x1483), 0x06_04_00)
        }
    }
}

/// What makes a function a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridge {
    /// By its PCIe capability.
    pub kind: BridgeKind,
    /// The bus behind it.
    pub secondary: u8,
    /// The last bus behind it.
    pub subordinate: u8,
}

/// A bridge by the device/port type of its PCIe capability (PCIe Base spec 7.5.3.2), which decides whether it changes
/// the requester IDs of what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeKind {
    /// Root port, switch upstream or downstream port: leaves requester IDs alone.
    PciePort,
    /// PCIe to PCI or PCI-X: sends under its secondary bus, device 0, function 0.
    PcieToPci,
    /// PCI or PCI-X to PCIe: sends under its own ID.
    PciToPcie,
    /// Without a PCIe capability: sends under its own ID.
    Conventional,
}

/// The functions of one PCI segment.
#[derive(Debug, Clone, Default)]
pub struct PciTree {
    functions: BTreeMap<RequesterId, Function>,
}

/// A function that can't be where it was put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Two functions with one ID.
    #[error("{0} is there twice")]
    Duplicate(RequesterId),
    /// No bridge leads to the bus, and it isn't the root bus 0.
    #[error("{0} is on a bus that no bridge leads to")]
    NoBridge(RequesterId),
    /// The buses behind a bridge are its own or lower ones, or taken.
    #[error("bridge {bridge} can't lead to buses {secondary:02x}-{subordinate:02x}")]
    Buses {
        /// The bridge.
        bridge: RequesterId,
        /// Its secondary bus.
        secondary: u8,
        /// Its subordinate bus.
        subordinate: u8,
    },
}

impl PciTree {
    /// Adds a function; the bridge above it must be there already.
    ///
    /// # Errors
    /// See [`TreeError`].
    pub fn add(&mut self, function: Function) -> Result<(), TreeError> {
        let id = function.id;
        if self.functions.contains_key(&id) {
            return Err(TreeError::Duplicate(id));
        }
        if id.bus() != 0 && self.bridge_to(id.bus()).is_none() {
            return Err(TreeError::NoBridge(id));
        }
        if let Some(Bridge {
            secondary,
            subordinate,
            ..
        }) = function.bridge
        {
            let parent_end = self
                .bridge_to(id.bus())
                .map_or(0xff, |(_, parent)| parent.subordinate);
            let inside = id.bus() < secondary && secondary <= subordinate && subordinate <= parent_end;
            let taken = self
                .functions
                .values()
                .filter_map(|f| Some((f.id, f.bridge?)))
                .any(|(other, b)| {
                    other.bus() == id.bus() && b.secondary <= subordinate && secondary <= b.subordinate
                });
            if !inside || taken {
                return Err(TreeError::Buses {
                    bridge: id,
                    secondary,
                    subordinate,
                });
            }
        }
        self.functions.insert(id, function);
        Ok(())
    }

    /// The function with this ID.
    pub fn get(&self, id: RequesterId) -> Option<&Function> {
        self.functions.get(&id)
    }

    /// The function with this ID, to be changed.
    pub fn get_mut(&mut self, id: RequesterId) -> Option<&mut Function> {
        self.functions.get_mut(&id)
    }

    /// All functions, by ascending ID.
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.values()
    }

    /// The bridge whose secondary bus this is.
    pub fn bridge_to(&self, bus: u8) -> Option<(&Function, Bridge)> {
        let leads_here = |f: &&Function| f.bridge.is_some_and(|bridge| bridge.secondary == bus);
        self.functions
            .values()
            .find(leads_here)
            .and_then(|f| Some((f, f.bridge?)))
    }
}
