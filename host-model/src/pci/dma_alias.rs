use std::convert::Infallible;
use std::ops::ControlFlow;

use sim_bridge::RequesterId;

use super::{BridgeKind, Function, PciTree};

/// Device/function numbers 0 to 255 on one bus: Linux's `dma_alias_mask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DmaAliasMask([u128; 2]);

impl DmaAliasMask {
    /// Adds one.
    pub fn insert(&mut self, devfn: u8) {
        self.0[usize::from(devfn >> 7)] |= 1 << (devfn & 0x7f);
    }

    /// Takes one out.
    pub fn remove(&mut self, devfn: u8) {
        self.0[usize::from(devfn >> 7)] &= !(1 << (devfn & 0x7f));
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

impl Extend<u8> for DmaAliasMask {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, devfns: T) {
        devfns.into_iter().for_each(|devfn| self.insert(devfn));
    }
}

impl PciTree {
    /// `pci_for_each_dma_alias` (Linux drivers/pci/search.c): calls back with each requester ID under which the requests
    /// of `function` can arrive, and with whom that ID is due to. First the own ID, then those of the alias mask (the
    /// own one again if it is in the mask), then what the bridges above make of it, nearest first. A function behind a
    /// VMD has the IDs of that. Ends with the first break.
    pub fn for_each_dma_alias<B>(
        &self,
        function: &Function,
        mut callback: impl FnMut(&Function, RequesterId) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let device = self.real_dma_dev(function);
        let bus = device.id.bus();
        callback(device, device.id)?;
        for devfn in device.dma_aliases.iter() {
            callback(device, RequesterId::from_devfn(bus, devfn))?;
        }
        // Virtual buses have no bridge, and are passed over.
        for (above, bridge) in self.bridges_above(bus) {
            if bridge.flags.xlate_root {
                break;
            }
            // Linux's `subordinate->number` is the number of the bus behind the bridge.
            let behind = RequesterId::new(bridge.secondary, 0, 0);
            let alias = match bridge.kind {
                BridgeKind::PciePort | BridgeKind::Vmd => continue,
                BridgeKind::PcieToPci if bridge.flags.no_alias => continue,
                BridgeKind::PcieToPci => behind,
                BridgeKind::Conventional if bridge.flags.pcie_bridge_alias => behind,
                BridgeKind::PciToPcie | BridgeKind::Conventional => above.id,
            };
            callback(above, alias)?;
        }
        ControlFlow::Continue(())
    }

    /// All IDs of [`for_each_dma_alias`](Self::for_each_dma_alias).
    pub fn dma_aliases(&self, function: &Function) -> Vec<RequesterId> {
        let mut ids = Vec::new();
        let ControlFlow::Continue(()) = self.for_each_dma_alias::<Infallible>(function, |_, id| {
            ids.push(id);
            ControlFlow::Continue(())
        });
        ids
    }

    /// `pci_real_dma_dev`: the VMD above, or the function itself.
    fn real_dma_dev<'a>(&'a self, function: &'a Function) -> &'a Function {
        self.bridges_above(function.id.bus())
            .find(|(_, bridge)| bridge.kind == BridgeKind::Vmd)
            .map_or(function, |(vmd, _)| vmd)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pci::{BridgeFlags, TreeError};

    const NTB: (u16, u16) = (0x10b5, 0x87b0);

    fn id(text: &str) -> RequesterId {
        text.parse().expect("a requester ID")
    }

    fn ids(text: &str) -> Vec<RequesterId> {
        text.split_whitespace().map(id).collect()
    }

    fn tree(bridges: &[(&str, BridgeKind, u8, u8)]) -> PciTree {
        let mut tree = PciTree::default();
        for &(at, kind, secondary, subordinate) in bridges {
            tree.add(Function::bridge(id(at), kind, secondary, subordinate))
                .expect("fits");
        }
        tree
    }

    fn flag(tree: &mut PciTree, bridge: &str, set: fn(&mut BridgeFlags)) {
        let bridge = tree.get_mut(id(bridge)).and_then(|f| f.bridge.as_mut());
        set(&mut bridge.expect("a bridge").flags);
    }

    #[test]
    fn each_kind_of_bridge_adds_the_id_that_linux_expects_of_it() {
        use BridgeKind::*;
        let port = ("00:01.1", PciePort, 2, 5);
        let cases: &[(&[_], _)] = &[
            (&[port, ("02:00.0", PciePort, 3, 3)], "03:04.0"),
            // The bus behind the bridge, not the last one.
            (&[port, ("02:01.0", PcieToPci, 3, 5)], "03:04.0 03:00.0"),
            (&[port, ("02:01.0", Conventional, 3, 3)], "03:04.0 02:01.0"),
            (&[("00:01.1", PciToPcie, 3, 3)], "03:04.0 00:01.1"),
            (
                &[("00:01.1", PciToPcie, 2, 5), ("02:01.0", PcieToPci, 3, 5)],
                "03:04.0 03:00.0 00:01.1",
            ),
            (&[("00:0e.0", Vmd, 2, 5), ("02:01.0", PcieToPci, 3, 5)], "00:0e.0"),
        ];
        for (bridges, expected) in cases {
            let ntb = Function::endpoint(id("03:04.0"), NTB, 0);
            assert_eq!(tree(bridges).dma_aliases(&ntb), ids(expected), "{bridges:?}");
        }
    }

    #[test]
    fn flags_change_what_a_bridge_adds() {
        let chain = [
            ("00:01.0", BridgeKind::Conventional, 1, 3),
            ("01:00.0", BridgeKind::PciToPcie, 2, 3),
            ("02:01.0", BridgeKind::PcieToPci, 3, 3),
        ];
        type Set = fn(&mut BridgeFlags);
        let cases: [(&str, Set, &str); 5] = [
            ("02:01.0", |_| (), "03:04.0 03:00.0 01:00.0 00:01.0"),
            ("02:01.0", |f| f.no_alias = true, "03:04.0 01:00.0 00:01.0"),
            ("01:00.0", |f| f.xlate_root = true, "03:04.0 03:00.0"),
            (
                "00:01.0",
                |f| f.pcie_bridge_alias = true,
                "03:04.0 03:00.0 01:00.0 01:00.0",
            ),
            // It says something of PCIe-to-PCI bridges only.
            (
                "00:01.0",
                |f| f.no_alias = true,
                "03:04.0 03:00.0 01:00.0 00:01.0",
            ),
        ];
        for (bridge, set, expected) in cases {
            let mut tree = tree(&chain);
            flag(&mut tree, bridge, set);
            let ntb = Function::endpoint(id("03:04.0"), NTB, 0);
            assert_eq!(tree.dma_aliases(&ntb), ids(expected), "{bridge}");
        }
    }

    #[test]
    fn buses_without_a_bridge_are_passed_over() {
        let mut tree = tree(&[("00:01.0", BridgeKind::PcieToPci, 2, 5)]);
        tree.add_virtual_bus(3, 2).expect("fits");
        let function = Function::endpoint(id("03:04.0"), NTB, 0);
        assert_eq!(tree.dma_aliases(&function), ids("03:04.0 02:00.0"));
    }

    #[test]
    fn mask_bits_follow_the_own_id_and_repeat_it() {
        let mut ntb = Function::endpoint(id("41:08.0"), NTB, 0);
        ntb.dma_aliases.extend([0xff, 0x40, 0x01]);
        assert_eq!(
            PciTree::default().dma_aliases(&ntb),
            ids("41:08.0 41:00.1 41:08.0 41:1f.7")
        );
    }

    #[test]
    fn a_plx_ntb_has_257_callbacks_its_own_id_twice() {
        let mut ntb = Function::endpoint(id("41:00.0"), NTB, 0);
        ntb.dma_aliases.extend(0..=u8::MAX);
        let walk = PciTree::default().dma_aliases(&ntb);
        assert_eq!(walk.len(), 257);
        assert_eq!(walk.iter().filter(|alias| **alias == ntb.id).count(), 2);
    }

    #[test]
    fn the_walk_names_who_an_id_is_due_to_and_ends_with_the_first_break() {
        let tree = tree(&[
            ("00:01.1", BridgeKind::PciePort, 2, 3),
            ("02:01.0", BridgeKind::PcieToPci, 3, 3),
        ]);
        let mut ntb = Function::endpoint(id("03:04.0"), NTB, 0);
        ntb.dma_aliases.insert(0x21);
        let steps = ["03:04.0 03:04.0", "03:04.0 03:04.1", "02:01.0 03:00.0"];
        for last in 0..steps.len() {
            let mut walked = Vec::new();
            let ended = tree.for_each_dma_alias(&ntb, |device, alias| {
                walked.push(format!("{} {alias}", device.id));
                match walked.len() > last {
                    true => ControlFlow::Break(-5),
                    false => ControlFlow::Continue(()),
                }
            });
            assert_eq!(
                (ended, &*walked),
                (ControlFlow::Break(-5), &steps.map(String::from)[..=last])
            );
        }
    }

    /// What to add: where, which kind and flags of bridge, its buses; or a virtual bus.
    type Step = (u16, u8, [bool; 3], u8, u8);

    fn add(tree: &mut PciTree, (at, kind, [a, b, c], secondary, subordinate): Step) -> Result<(), TreeError> {
        use BridgeKind::*;
        let Some(&kind) = [PciePort, PcieToPci, PciToPcie, Conventional, Vmd].get(usize::from(kind)) else {
            return tree.add_virtual_bus(secondary, subordinate);
        };
        let mut bridge = Function::bridge(RequesterId(at), kind, secondary, subordinate);
        bridge.bridge = bridge.bridge.map(|bridge| crate::pci::Bridge {
            flags: BridgeFlags {
                xlate_root: a,
                no_alias: b,
                pcie_bridge_alias: c,
            },
            ..bridge
        });
        tree.add(bridge)
    }

    proptest! {
        /// Bridges that do not fit are refused; whatever is left can be walked.
        #[test]
        fn a_walk_on_any_tree_ends_and_begins_with_the_function_or_a_vmd(
            // Few and low buses, so that bridges meet.
            steps in prop::collection::vec((0u16..0x900, 0u8..6, any::<[bool; 3]>(), 0u8..10, 0u8..10), 0..40),
            function in 0u16..0xa00,
            mask in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let mut tree = PciTree::default();
            for step in steps {
                let before = tree.clone();
                if add(&mut tree, step).is_err() {
                    prop_assert_eq!(&tree, &before);
                }
            }
            let mut function = Function::endpoint(RequesterId(function), NTB, 0);
            function.dma_aliases.extend(mask);
            let walk = tree.dma_aliases(&function);
            // One ID of each bridge at most, and every bridge is on another bus.
            prop_assert!(walk.len() <= 1 + function.dma_aliases.iter().count() + 9);
            let first = tree.get(walk[0]).and_then(|f| f.bridge).map(|b| b.kind);
            prop_assert!(walk[0] == function.id || first == Some(BridgeKind::Vmd), "{walk:?}");
        }
    }
}
