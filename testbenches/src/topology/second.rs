//! The same once more, for a machine with two NTBs.

use std::sync::Arc;

use sim_bridge::RequesterId;

use super::{Inner, IvrsDevices, Ntb, Topology};

impl Topology {
    /// The same on buses of its own, with the NTB, the bridges, the neighbours and the IVRS aliases that belong to it:
    /// 41:00.0 is 91:00.0 there. Its bus 00 is another root bus, so that neither changes the other's aliases. I/O APICs
    /// and HPETs are the machine's and not there again. `None` if half of all bus numbers are not enough for one.
    ///
    /// It has the same name, as the RTL is the same.
    pub fn second(&self) -> Option<Self> {
        let by = (self.last_bus() | 0xf).checked_add(1)?;
        let moved = |id: &RequesterId| id.moved(by);
        let mut function = self.0.ntb.function.clone();
        function.id = function.id.moved(by)?;
        let aliases = self.0.ivrs.aliases.iter();
        Some(Self(Arc::new(Inner {
            name: self.0.name.clone(),
            sentence: self.0.sentence.clone(),
            tree: self.0.tree.moved(by)?,
            ntb: Ntb {
                function,
                table_size: self.0.ntb.table_size,
                table_first: self.0.ntb.table_first,
            },
            neighbours: self.0.neighbours.iter().map(moved).collect::<Option<_>>()?,
            ivrs: IvrsDevices {
                aliases: aliases
                    .map(|(from, to)| Some((moved(from)?, moved(to)?)))
                    .collect::<Option<_>>()?,
                ..IvrsDevices::default()
            },
            ids: self.0.ids.iter().map(moved).collect::<Option<_>>()?,
        })))
    }

    /// The highest bus that anything is on or sends under.
    fn last_bus(&self) -> u8 {
        let bridges = self.0.tree.functions().filter_map(|function| function.bridge);
        let ivrs = &self.0.ivrs;
        let named = ivrs
            .aliases
            .values()
            .chain(ivrs.ioapics.values())
            .chain(ivrs.hpets.values());
        let named = named.chain(self.ids()).map(|id| id.bus());
        let all = named.chain(bridges.map(|bridge| bridge.subordinate));
        all.fold(self.last_bdf().bus(), u8::max)
    }
}

#[cfg(test)]
mod tests {
    use host_model::pci::KernelVersion;

    use super::*;

    fn shown(ids: &[RequesterId]) -> Vec<String> {
        ids.iter().map(RequesterId::to_string).collect()
    }

    fn second(name: &str) -> Topology {
        let first: Topology = name.parse().expect("built in");
        first.second().expect("there are bus numbers")
    }

    #[test]
    fn all_that_belongs_to_it_is_on_buses_of_its_own() {
        let second = second("ivrs-other-bus");
        assert_eq!(second.to_string(), "ivrs-other-bus");
        assert_eq!(shown(second.ids()), ["53:04.0", "53:00.0", "52:01.0"]);
        assert_eq!(shown(second.neighbours()), ["92:00.0"]);
        let aliases = second.ivrs().aliases.iter();
        let aliases: Vec<String> = aliases.map(|(from, to)| format!("{from} {to}")).collect();
        assert_eq!(aliases, ["53:04.0 52:01.0"]);
        assert_eq!(second.last_bdf().to_string(), "92:1f.7");
    }

    #[test]
    fn every_built_in_one_fits_beside_itself_and_has_as_many_aliases_under_every_kernel() {
        for first in Topology::built_in() {
            let second = first.second().expect("there are bus numbers");
            for kernel in [KernelVersion::NEWEST, "5.4.16".parse().expect("a version")] {
                let mut tree = first.tree(kernel);
                tree.join(second.tree(kernel)).expect("no bus is there twice");
                for topology in [first, &second] {
                    let ntb = topology.expected_ntb(kernel);
                    assert_eq!(
                        tree.dma_aliases(&ntb),
                        topology.tree(kernel).dma_aliases(&ntb),
                        "{first}"
                    );
                }
                assert_eq!(first.walk(kernel).len(), second.walk(kernel).len());
            }
            assert!(first.ids().iter().all(|id| !second.ids().contains(id)), "{first}");
            assert_eq!(first.rtl(), second.rtl());
        }
    }

    #[test]
    fn one_that_needs_more_than_half_of_all_buses_has_no_second() {
        let with_bus = |bus: u8| {
            let text = include_str!("../../topologies/none.toml").replace("0x42", &format!("{bus:#x}"));
            let text = text.replace("42:00.0", &format!("{bus:02x}:00.0"));
            Topology::parse("high", &text).expect("a topology").second()
        };
        let second = with_bus(0x7f).expect("just enough");
        assert_eq!(shown(second.neighbours()), ["ff:00.0"]);
        assert!(with_bus(0x80).is_none());
    }
}
