use sim_bridge::RequesterId;

use super::{BridgeKind, Function, PciTree};

/// Device/function numbers 0 to 255 on one bus: Linux's `dma_alias_mask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DmaAliasMask([u128; 2]);

impl DmaAliasMask {
    /// Adds one.
    pub fn insert(&mut self, devfn: u8) {
        self.0[usize::from(devfn >> 7)] |= 1 << (devfn & 0x7f);
    }

    /// Whether it is there.
    pub fn contains(&self, devfn: u8) -> bool {
        self.0[usize::from(devfn >> 7)] >> (devfn & 0x7f) & 1 != 0
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=u8::MAX).filter(|&devfn| self.contains(devfn))
    }
}

impl PciTree {
    /// The requester IDs under which `function`'s requests can arrive, in the order of Linux's
    /// `pci_for_each_dma_alias` (drivers/pci/search.c): its own, those of its alias mask (its own again if it is in the
    /// mask), then what the bridges above make of it, nearest first.
    pub fn dma_aliases(&self, function: &Function) -> Vec<RequesterId> {
        let mut ids = vec![function.id];
        ids.extend(
            function
                .dma_aliases
                .iter()
                .map(|devfn| RequesterId::from_devfn(function.id.bus(), devfn)),
        );
        let mut bus = function.id.bus();
        while let Some((above, bridge)) = self.bridge_to(bus) {
            match bridge.kind {
                BridgeKind::PciePort => {}
                BridgeKind::PcieToPci => ids.push(RequesterId::new(bridge.subordinate, 0, 0)),
                BridgeKind::PciToPcie | BridgeKind::Conventional => ids.push(above.id),
            }
            bus = above.id.bus();
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NTB: (u16, u16) = (0x10b5, 0x87b0);

    fn id(text: &str) -> RequesterId {
        text.parse().expect("a requester ID")
    }

    fn tree(bridges: &[(&str, BridgeKind, u8, u8)]) -> PciTree {
        let mut tree = PciTree::default();
        for &(at, kind, secondary, subordinate) in bridges {
            tree.add(Function::bridge(id(at), kind, secondary, subordinate))
                .expect("fits");
        }
        tree
    }

    #[test]
    fn without_aliases_there_is_the_own_id_alone() {
        let tree = tree(&[("00:01.1", BridgeKind::PciePort, 0x41, 0x41)]);
        let ntb = Function::endpoint(id("41:00.0"), NTB, 0);
        assert_eq!(tree.dma_aliases(&ntb), [id("41:00.0")]);
    }

    #[test]
    fn mask_bits_follow_the_own_id_and_repeat_it() {
        let mut ntb = Function::endpoint(id("41:08.0"), NTB, 0);
        for devfn in [0xff, 0x40, 0x01] {
            ntb.dma_aliases.insert(devfn);
        }
        let expected = ["41:08.0", "41:00.1", "41:08.0", "41:1f.7"].map(id);
        assert_eq!(PciTree::default().dma_aliases(&ntb), expected);
    }

    #[test]
    fn a_pcie_to_pci_bridge_sends_under_its_secondary_bus() {
        let tree = tree(&[
            ("00:01.1", BridgeKind::PciePort, 2, 3),
            ("02:00.0", BridgeKind::PcieToPci, 3, 3),
        ]);
        let ntb = Function::endpoint(id("03:04.0"), NTB, 0);
        assert_eq!(tree.dma_aliases(&ntb), [id("03:04.0"), id("03:00.0")]);
    }

    #[test]
    fn conventional_and_reverse_bridges_send_under_their_own_id_nearest_first() {
        let tree = tree(&[
            ("00:01.1", BridgeKind::PciToPcie, 2, 3),
            ("02:00.0", BridgeKind::Conventional, 3, 3),
        ]);
        let ntb = Function::endpoint(id("03:04.0"), NTB, 0);
        assert_eq!(
            tree.dma_aliases(&ntb),
            [id("03:04.0"), id("02:00.0"), id("00:01.1")]
        );
    }
}
