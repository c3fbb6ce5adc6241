//! Alias topologies: where an NTB's DMA aliases come from. A file describes each, the built-in ones included
//! (`testbenches/topologies/`).

mod check;
mod error;
mod file;
mod second;
#[cfg(test)]
mod tests;

pub use error::{FileError, ParseTopologyError, Problem};

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use host_model::linux::Profile;
use host_model::pci::quirks;
use host_model::pci::{Function, KernelVersion, PciTree};
use ntb_rtl::{NtbConfig, RidMode};
use sim_bridge::RequesterId;

use file::File;

/// Where an NTB's DMA aliases come from; clones share it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Topology(Arc<Inner>);

#[derive(PartialEq, Eq, Hash)]
struct Inner {
    name: String,
    sentence: String,
    /// All functions but the NTB, which is found over the link; as no kernel has looked at them.
    tree: PciTree,
    ntb: Ntb,
    neighbours: Vec<RequesterId>,
    ivrs: IvrsDevices,
    /// Under which the NTB's messages arrive, its own first, each once.
    ids: Vec<RequesterId>,
}

/// An NTB that the RTL can be.
#[derive(PartialEq, Eq, Hash)]
struct Ntb {
    /// As no kernel has looked at it.
    function: Function,
    table_size: u16,
    table_first: u8,
}

/// The device entries of the IVRS table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct IvrsDevices {
    /// From a device ID to the one it sends under.
    pub aliases: BTreeMap<RequesterId, RequesterId>,
    /// IOAPIC IDs and the requester IDs of their messages.
    pub ioapics: BTreeMap<u8, RequesterId>,
    /// HPET numbers and the requester IDs of their messages.
    pub hpets: BTreeMap<u8, RequesterId>,
}

macro_rules! built_in {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../topologies/", $name, ".toml")))),*]
    };
}

/// By name.
const BUILT_IN: [(&str, &str); 9] = built_in!["none" "func1" "mic-x200" "switchtec" "vca" "plx" "pci-bridge" "ivrs-same-bus" "ivrs-other-bus"];

/// With this one the number of table entries is part of the name.
const SWITCHTEC: &str = "switchtec";
/// Of that, unless another number is given.
const SWITCHTEC_ENTRIES: u16 = 4;

impl Topology {
    /// Those that run if none is named: all that are built in.
    pub fn built_in() -> &'static [Self] {
        static ALL: LazyLock<Vec<Topology>> = LazyLock::new(|| {
            let file = |(name, text)| match name {
                SWITCHTEC => Topology::switchtec(text, SWITCHTEC_ENTRIES),
                _ => Topology::parse(name, text),
            };
            // They are part of the program: a test has read them.
            let built_in = BUILT_IN.map(|row| file(row).unwrap_or_else(|error| panic!("{error}")));
            built_in.into()
        });
        &ALL
    }

    /// Reads a topology file; `name` is what it is called, in errors and results.
    ///
    /// # Errors
    /// The text is no topology.
    pub fn parse(name: &str, text: &str) -> Result<Self, FileError> {
        File::parse(text)
            .and_then(|file| check::topology(name, &file))
            .map_err(|mistake| mistake.at(name, text))
    }

    fn switchtec(text: &str, entries: u16) -> Result<Self, FileError> {
        let name = format!("{SWITCHTEC}:{entries}");
        let mut file = File::parse(text).map_err(|mistake| mistake.at(&name, text))?;
        file.set_table_size(entries);
        check::topology(&name, &file).map_err(|mistake| mistake.at(&name, text))
    }

    /// As `list` explains it.
    pub fn sentence(&self) -> &str {
        &self.0.sentence
    }

    /// The file that it was read from; `None` if it is built in.
    pub fn path(&self) -> Option<&Path> {
        is_path(&self.0.name).then(|| Path::new(&self.0.name))
    }

    /// The name with `N` for what may be chosen.
    pub fn pattern(&self) -> String {
        match self.0.name.split_once(':') {
            Some((SWITCHTEC, _)) => format!("{SWITCHTEC}:N"),
            _ => self.0.name.clone(),
        }
    }

    /// The NTB's ID.
    pub fn ntb(&self) -> RequesterId {
        self.0.ntb.function.id
    }

    /// Whether a function has this ID.
    pub fn has(&self, id: RequesterId) -> bool {
        id == self.ntb() || self.0.tree.get(id).is_some()
    }

    /// Of the functions that interrupts are misrouted to; at least one.
    pub fn neighbours(&self) -> &[RequesterId] {
        &self.0.neighbours
    }

    /// Under which the NTB's messages arrive, its own first, each once.
    pub fn ids(&self) -> &[RequesterId] {
        &self.0.ids
    }

    /// What the IVRS table says of devices.
    pub fn ivrs(&self) -> &IvrsDevices {
        &self.0.ivrs
    }

    /// The highest device ID of which the IVRS table tells: the last one of the highest bus with a function.
    pub fn last_bdf(&self) -> RequesterId {
        let buses = self.0.tree.functions().map(|function| function.id.bus());
        let aliased = self.0.ivrs.aliases.keys().map(|device| device.bus());
        let last = buses.chain(aliased).fold(self.ntb().bus(), u8::max);
        RequesterId::from_devfn(last, u8::MAX)
    }

    /// What the RTL is before software touches it.
    pub fn rtl(&self) -> NtbConfig {
        let Ntb {
            function,
            table_size,
            table_first,
        } = &self.0.ntb;
        NtbConfig {
            vendor_id: function.vendor_device.0,
            device_id: function.vendor_device.1,
            class_code: function.class,
            subsystem: Some(function.subsystem),
            table_size: *table_size,
            table_first_devfn: *table_first,
            rid_mode: RidMode::Own,
        }
    }

    /// The NTB as `kernel` has it after its fixups.
    pub fn expected_ntb(&self, kernel: KernelVersion) -> Function {
        self.0.ntb.as_seen_by(kernel)
    }

    /// How the RTL is told to send under `id`.
    pub fn rid_mode(&self, id: RequesterId) -> RidMode {
        let own = self.ntb();
        let entry = id.devfn().wrapping_sub(self.0.ntb.table_first);
        if id == own {
            RidMode::Own
        } else if id.bus() == own.bus() && u16::from(entry) < self.0.ntb.table_size {
            RidMode::TableEntry(entry.into())
        } else {
            RidMode::Given(id)
        }
    }

    /// All functions but the NTB, which is found over the link, with `kernel`'s header fixups.
    pub fn tree(&self, kernel: KernelVersion) -> PciTree {
        let mut tree = self.0.tree.clone();
        tree.header_fixups(kernel);
        tree
    }

    /// `pci_for_each_dma_alias` of the NTB once `kernel`'s IOMMU driver has probed it: an IVRS alias on the same bus is in
    /// its mask.
    pub fn walk(&self, kernel: KernelVersion) -> Vec<RequesterId> {
        self.walk_of(self.expected_ntb(kernel), kernel)
    }

    fn walk_of(&self, mut ntb: Function, kernel: KernelVersion) -> Vec<RequesterId> {
        let alias = self.ivrs_alias().filter(|alias| alias.bus() == ntb.id.bus());
        ntb.dma_aliases.extend(alias.map(RequesterId::devfn));
        self.tree(kernel).dma_aliases(&ntb)
    }

    /// The same of an NTB that was plugged in, when it is probed: the final fixups have not run.
    pub fn walk_when_plugged_in(&self, kernel: KernelVersion) -> Vec<RequesterId> {
        let mut ntb = self.0.ntb.function.clone();
        quirks::header_fixups(&mut ntb, None, kernel);
        self.walk_of(ntb, kernel)
    }

    /// Those of [`ids`](Self::ids) that `kernel` lets share the NTB's interrupt remapping table: of the walk, and the
    /// IVRS alias. Messages under others are blocked.
    pub fn ids_with_table(&self, kernel: KernelVersion) -> Vec<RequesterId> {
        let walk = self.walk(kernel);
        let known = |id: &&RequesterId| walk.contains(id) || self.ivrs_alias() == Some(**id);
        self.ids().iter().filter(known).copied().collect()
    }

    /// Another ID that firmware says the NTB sends under.
    pub fn ivrs_alias(&self) -> Option<RequesterId> {
        let own = self.ntb();
        self.0
            .ivrs
            .aliases
            .get(&own)
            .copied()
            .filter(|alias| *alias != own)
    }
}

impl Ntb {
    fn table(&self) -> impl Iterator<Item = u8> {
        let first = self.table_first;
        (0..self.table_size).map(move |entry| first.wrapping_add(entry as u8))
    }

    fn as_seen_by(&self, kernel: KernelVersion) -> Function {
        let mut function = self.function.clone();
        quirks::header_fixups(&mut function, None, kernel);
        if quirks::reads_proxy_ids(&function, kernel) {
            quirks::add_proxy_ids(&mut function, self.table(), kernel);
        }
        function
    }
}

/// The release that a profile follows, for its quirks.
pub fn kernel_version(profile: &Profile) -> KernelVersion {
    // A test reads them all.
    profile.release.parse().unwrap_or(KernelVersion::NEWEST)
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.name)
    }
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topology({})", self.0.name)
    }
}

fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".toml")
}

/// A built-in name, or what has a `/` or ends with `.toml`: the path of a topology file.
impl FromStr for Topology {
    type Err = ParseTopologyError;

    fn from_str(name: &str) -> Result<Self, ParseTopologyError> {
        if is_path(name) {
            let text = fs::read_to_string(Path::new(name)).map_err(|error| ParseTopologyError::Read {
                path: name.to_owned(),
                why: error.to_string(),
            })?;
            return Ok(Self::parse(name, &text)?);
        }
        let (family, entries) = match name.split_once(':') {
            Some((family, entries)) => (family, Some(entries)),
            None => (name, None),
        };
        let (_, text) = BUILT_IN
            .into_iter()
            .find(|(built_in, _)| *built_in == family)
            .ok_or_else(|| ParseTopologyError::Unknown(name.to_owned()))?;
        match (family, entries) {
            (SWITCHTEC, entries) => match entries.and_then(|entries| entries.parse().ok()) {
                Some(entries @ 1..=256) => Ok(Self::switchtec(text, entries)?),
                _ => Err(ParseTopologyError::Entries(name.to_owned())),
            },
            (_, Some(_)) => Err(ParseTopologyError::Unknown(name.to_owned())),
            (_, None) => Ok(Self::parse(name, text)?),
        }
    }
}
