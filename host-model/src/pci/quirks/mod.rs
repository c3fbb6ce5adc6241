//! Quirks of Linux's `drivers/pci/quirks.c` that give a function DMA aliases, or change the walk over them.

pub mod switchtec;
mod table;

pub use table::QUIRKS;

use super::kernel_version::Since;
use super::{BridgeFlags, BridgeKind, Function, KernelVersion, PciTree};

/// A quirk and the functions that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirk {
    /// Linux's function.
    pub name: &'static str,
    /// When it runs.
    pub fixup: Fixup,
    /// What it does.
    pub effect: Effect,
    /// Base class and subclass that the function must have.
    class: Option<u32>,
    devices: &'static [Devices],
}

/// When Linux runs a quirk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixup {
    /// As soon as the function is found.
    Header,
    /// At start-up when all functions are found, before the IOMMU probes them; on hot-add after the IOMMU has probed it.
    Final,
}

/// What a quirk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The function sends under this function of its slot too.
    FunctionOfSlot(u8),
    /// The same for any device/function numbers.
    Devfns(&'static [u8]),
    /// The same if it has one of these subsystem IDs.
    DevfnOfSubsystems(u8, &'static [(u16, u16)]),
    /// Functions 0 to this one of all slots.
    FunctionsOfAllSlots(u8),
    /// All 256 device/function numbers.
    AllDevfns,
    /// Those in the requester-ID table, which is read over MMIO.
    SwitchtecTable,
    /// Sets [`BridgeFlags::xlate_root`].
    XlateRoot,
    /// Sets [`BridgeFlags::no_alias`].
    NoAlias,
    /// Sets [`BridgeFlags::pcie_bridge_alias`] of a bridge without a PCIe capability below a PCIe port.
    PcieBridgeAlias,
}

/// Devices of one vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Devices {
    vendor: u16,
    ids: &'static [u16],
    since: Since,
}

/// Until then the walk leaves out device/function number 0xff, the last of the mask ("PCI: Fix pci_add_dma_alias()
/// bitmask size").
const WHOLE_MASK: Since = Since::mainline(5, 6);

impl Quirk {
    /// The quirks that `kernel` runs for a function.
    pub fn of(
        function: &Function,
        fixup: Fixup,
        kernel: KernelVersion,
    ) -> impl Iterator<Item = &'static Self> + use<> {
        let ((vendor, device), class) = (function.vendor_device, function.class >> 8);
        QUIRKS.iter().filter(move |quirk| {
            quirk.fixup == fixup
                && quirk.class.is_none_or(|wanted| wanted == class)
                && quirk.devices.iter().any(|row| {
                    row.vendor == vendor && row.ids.contains(&device) && row.since.includes(kernel)
                })
        })
    }
}

/// Runs `kernel`'s header fixups on a function, of which `above` leads to its bus.
pub fn header_fixups(function: &mut Function, above: Option<&Function>, kernel: KernelVersion) {
    for quirk in Quirk::of(function, Fixup::Header, kernel) {
        let (own, aliases) = (function.id.devfn(), &mut function.dma_aliases);
        match quirk.effect {
            // Linux leaves the own one out here.
            Effect::FunctionOfSlot(f) => aliases.extend(Some(own & !7 | f).filter(|devfn| *devfn != own)),
            Effect::Devfns(devfns) => aliases.extend(devfns.iter().copied()),
            Effect::DevfnOfSubsystems(devfn, subsystems) => {
                aliases.extend(subsystems.contains(&function.subsystem).then_some(devfn));
            }
            Effect::FunctionsOfAllSlots(last) => {
                aliases.extend((0..=u8::MAX).filter(|devfn| devfn & 7 <= last))
            }
            Effect::AllDevfns => aliases.extend(0..=u8::MAX),
            Effect::SwitchtecTable => {}
            Effect::XlateRoot => set_flag(function, |flags| flags.xlate_root = true),
            Effect::NoAlias => set_flag(function, |flags| flags.no_alias = true),
            Effect::PcieBridgeAlias => {
                let kind = |f: &Function| f.bridge.map(|bridge| bridge.kind);
                let below_pcie = matches!(
                    above.and_then(kind),
                    Some(BridgeKind::PciePort | BridgeKind::PciToPcie)
                );
                if kind(function) == Some(BridgeKind::Conventional) && below_pcie {
                    set_flag(function, |flags| flags.pcie_bridge_alias = true);
                }
            }
        }
    }
    cut_mask(function, kernel);
}

/// Whether `kernel` reads the proxy IDs of this function, as a final fixup.
pub fn reads_proxy_ids(function: &Function, kernel: KernelVersion) -> bool {
    Quirk::of(function, Fixup::Final, kernel).any(|quirk| quirk.effect == Effect::SwitchtecTable)
}

/// Adds the proxy IDs that a final fixup has read.
pub fn add_proxy_ids(function: &mut Function, devfns: impl IntoIterator<Item = u8>, kernel: KernelVersion) {
    function.dma_aliases.extend(devfns);
    cut_mask(function, kernel);
}

fn cut_mask(function: &mut Function, kernel: KernelVersion) {
    if !WHOLE_MASK.includes(kernel) {
        function.dma_aliases.remove(u8::MAX);
    }
}

fn set_flag(function: &mut Function, set: impl FnOnce(&mut BridgeFlags)) {
    if let Some(bridge) = &mut function.bridge {
        set(&mut bridge.flags);
    }
}

impl PciTree {
    /// Runs `kernel`'s header fixups on all functions.
    pub fn header_fixups(&mut self, kernel: KernelVersion) {
        let functions: Vec<Function> = self.functions().cloned().collect();
        for mut function in functions {
            let above = self.bridge_to(function.id.bus()).map(|(above, _)| above);
            header_fixups(&mut function, above, kernel);
            self.replace(function);
        }
    }
}

#[cfg(test)]
mod tests;
