//! Alias topologies: where an NTB's DMA aliases come from.

use std::fmt;
use std::str::FromStr;

use host_model::pci::{BridgeKind, Function, PciTree, TreeError};
use ntb_rtl::{NtbConfig, RidMode};
use sim_bridge::RequesterId;

/// Where an NTB's DMA aliases come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topology {
    /// It has none.
    None,
    /// It sends under function 1 of its slot too.
    Func1,
    /// Its requester-ID table has this many entries, 1 to 256.
    Switchtec(u16),
    /// It sends under all 256 device/function numbers of its bus.
    Plx,
    /// It sits behind a PCIe-to-PCI bridge.
    PciBridge,
}

/// A PLX NTB, and any without a quirk.
const CLASS_BRIDGE_OTHER: u32 = 0x06_80_00;
/// The first proxy ID of the Switchtec table: 08.0.
const SWITCHTEC_FIRST: u8 = 0x40;

impl Topology {
    /// Those that run if none is named.
    pub const DEFAULT: [Self; 5] = [
        Self::None,
        Self::Func1,
        Self::Switchtec(4),
        Self::Plx,
        Self::PciBridge,
    ];

    /// As `list` explains it.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::None => "the NTB sends under its own ID only",
            Self::Func1 => "also under function 1 of its slot (Marvell 1b4b:9123)",
            Self::Switchtec(_) => "also under the N proxy IDs of its table, 1 to 256 (Microchip 11f8:8531)",
            Self::Plx => "under all 256 IDs of its bus (PLX 10b5:87b0)",
            Self::PciBridge => "behind a PCIe-to-PCI bridge, which sends under 03:00.0",
        }
    }

    /// The NTB's ID.
    pub fn ntb(self) -> RequesterId {
        match self {
            Self::PciBridge => RequesterId::new(3, 4, 0),
            _ => RequesterId::new(0x41, 0, 0),
        }
    }

    /// Of the function that interrupts are misrouted to.
    pub fn neighbour(self) -> RequesterId {
        RequesterId::new(0x42, 0, 0)
    }

    /// What the RTL is before software touches it.
    pub fn rtl(self) -> NtbConfig {
        let (vendor_id, device_id, table_size) = match self {
            Self::None | Self::PciBridge => (0x1022, 0x145b, 0),
            Self::Func1 => (0x1b4b, 0x9123, 0),
            Self::Switchtec(entries) => (0x11f8, 0x8531, entries),
            Self::Plx => (0x10b5, 0x87b0, 0),
        };
        NtbConfig {
            vendor_id,
            device_id,
            class_code: CLASS_BRIDGE_OTHER,
            table_size,
            table_first_devfn: SWITCHTEC_FIRST,
            rid_mode: RidMode::Own,
        }
    }

    /// Whether `ntb`, as it was found, is this topology's.
    pub fn is_met_by(self, ntb: &Function) -> bool {
        let rtl = self.rtl();
        ntb.vendor_device == (rtl.vendor_id, rtl.device_id)
            && match self {
                Self::Switchtec(entries) => ntb.dma_aliases.iter().count() == usize::from(entries),
                _ => true,
            }
    }

    /// How the RTL is told to send under `id`.
    pub fn rid_mode(self, id: RequesterId) -> RidMode {
        match self {
            _ if id == self.ntb() => RidMode::Own,
            Self::Switchtec(_) => RidMode::TableEntry(id.devfn().wrapping_sub(SWITCHTEC_FIRST).into()),
            _ => RidMode::Given(id),
        }
    }

    /// The bridges and the neighbour; the NTB is found over the link.
    ///
    /// # Errors
    /// None that a test would not have shown.
    pub fn tree(self) -> Result<PciTree, TreeError> {
        let mut tree = PciTree::default();
        let root_port = |function, bus| {
            Function::bridge(RequesterId::new(0, 1, function), BridgeKind::PciePort, bus, bus)
        };
        if self == Self::PciBridge {
            tree.add(Function::bridge(
                RequesterId::new(0, 1, 1),
                BridgeKind::PciePort,
                2,
                3,
            ))?;
            tree.add(Function::bridge(
                RequesterId::new(2, 0, 0),
                BridgeKind::PcieToPci,
                3,
                3,
            ))?;
        } else {
            tree.add(root_port(1, 0x41))?;
        }
        tree.add(root_port(2, 0x42))?;
        tree.add(Function::endpoint(self.neighbour(), (0x144d, 0xa80a), 0x01_08_02))?;
        Ok(tree)
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Func1 => f.pad("func1"),
            Self::Switchtec(entries) => f.pad(&format!("switchtec:{entries}")),
            Self::Plx => f.pad("plx"),
            Self::PciBridge => f.pad("pci-bridge"),
        }
    }
}

/// No alias topology has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTopologyError {
    /// Unknown.
    #[error("there is no alias topology `{0}`")]
    Unknown(String),
    /// `switchtec` without a number that it can have.
    #[error("`{0}`: a Switchtec table has 1 to 256 entries, such as switchtec:4")]
    Entries(String),
}

impl FromStr for Topology {
    type Err = ParseTopologyError;

    fn from_str(name: &str) -> Result<Self, ParseTopologyError> {
        match name.split_once(':') {
            Some(("switchtec", entries)) => match entries.parse() {
                Ok(entries @ 1..=256) => Ok(Self::Switchtec(entries)),
                _ => Err(ParseTopologyError::Entries(name.to_owned())),
            },
            None if name == "switchtec" => Err(ParseTopologyError::Entries(name.to_owned())),
            _ => Self::DEFAULT
                .into_iter()
                .find(|topology| topology.to_string() == name)
                .ok_or_else(|| ParseTopologyError::Unknown(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_as_they_are_shown() {
        for topology in Topology::DEFAULT.into_iter().chain([Topology::Switchtec(256)]) {
            assert_eq!(topology.to_string().parse(), Ok(topology));
        }
    }

    #[test]
    fn wrong_names_say_what_is_wrong() {
        for name in [
            "switchtec",
            "switchtec:0",
            "switchtec:257",
            "switchtec:four",
            "switchtec:",
        ] {
            assert_eq!(
                name.parse::<Topology>(),
                Err(ParseTopologyError::Entries(name.to_owned()))
            );
        }
        assert_eq!(
            "plxx".parse::<Topology>(),
            Err(ParseTopologyError::Unknown("plxx".to_owned()))
        );
    }

    #[test]
    fn every_topology_has_a_tree() {
        for topology in Topology::DEFAULT {
            assert!(topology.tree().is_ok(), "{topology}");
        }
    }
}
