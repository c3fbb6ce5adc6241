//! From a file's rows to a topology that makes sense.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use host_model::pci::{Function, KernelVersion, PciTree, TreeError};
use sim_bridge::RequesterId;
use toml::Spanned;

use super::error::{Mistake, Problem};
use super::file::{BusRow, File, FunctionRow, Id, IvrsKind, IvrsRow, Kind, Located, Pair, Role};
use super::{Inner, IvrsDevices, Ntb, Topology};

/// The classes of what isn't told: a bridge to a bus, and an "other bridge", as NTBs are.
const CLASS_PCI_BRIDGE: u32 = 0x06_04_00;
const CLASS_BRIDGE_OTHER: u32 = 0x06_80_00;
const CLASS_MAX: u32 = 0xff_ffff;
/// Where only the place of a function matters.
const ANY_DEVICE: (u16, u16) = (0x1022, 0x1483);
/// Entry 0 of the RTL's table is 08.0, unless it is told.
const TABLE_FIRST: u8 = 0x40;

/// A row and its number in the file.
#[derive(Clone, Copy)]
struct Row<'a> {
    number: usize,
    row: &'a FunctionRow,
}

impl<'a> Row<'a> {
    fn at<T>(self, key: &str, value: &'a Spanned<T>) -> Located<'a, T> {
        Located::new("function", self.number, key, value)
    }

    fn refuse<T>(self, key: &str, value: &'a Option<Spanned<T>>, problem: Problem) -> Result<(), Mistake> {
        match value {
            Some(value) => Err(self.at(key, value).mistake(problem)),
            None => Ok(()),
        }
    }

    /// A key that is not there, or whose place is not known: it is told with the line of the ID.
    fn without_place(self, key: &str, problem: Problem) -> Mistake {
        let id: Located<'_, Id> = Located::new("function", self.number, key, &self.row.id);
        id.mistake(problem)
    }

    fn id(self) -> RequesterId {
        self.row.id.get_ref().0
    }

    fn role(self) -> Option<Role> {
        self.row.role.as_ref().map(|role| *role.get_ref())
    }

    /// Without what leads to its bus.
    fn function(self) -> Result<Function, Mistake> {
        let row = self.row;
        let id = self.at("id", &row.id);
        if self.id() == RequesterId::default() {
            return Err(id.mistake(Problem::RootComplex));
        }
        let mut function = match row.kind.bridge() {
            Some(kind) => {
                let secondary = row.secondary.as_ref();
                let secondary = secondary
                    .ok_or_else(|| self.without_place("secondary", Problem::NeededBy("a bridge")))?;
                let secondary = *secondary.get_ref();
                let subordinate = row.subordinate.as_ref().map_or(secondary, |last| *last.get_ref());
                Function::bridge(self.id(), kind, secondary, subordinate)
            }
            None => {
                for (key, bus) in [("secondary", &row.secondary), ("subordinate", &row.subordinate)] {
                    self.refuse(key, bus, Problem::NotOf("an endpoint"))?;
                }
                Function::endpoint(self.id(), (0, 0), CLASS_BRIDGE_OTHER)
            }
        };
        if let (Some(role), Some(_)) = (&row.role, function.bridge) {
            return Err(self.at("role", role).mistake(Problem::BridgeRole));
        }
        if self.role() != Some(Role::Ntb) {
            let not_of = || Problem::NotOf("a function that is not the NTB");
            self.refuse("table", &row.table, not_of())?;
            self.refuse("first", &row.first, not_of())?;
            if row.aliases.is_some() {
                return Err(self.without_place("aliases", not_of()));
            }
        }
        function.vendor_device = self.pair("device", &row.device)?.unwrap_or(ANY_DEVICE);
        function.subsystem = self.pair("subsystem", &row.subsystem)?.unwrap_or(match row.kind {
            Kind::Endpoint => function.vendor_device,
            _ => (0, 0),
        });
        function.class = match &row.class {
            Some(class) => {
                let class = self.at("class", class);
                class.at_most(CLASS_MAX)?
            }
            None if row.kind == Kind::Endpoint => CLASS_BRIDGE_OTHER,
            None => CLASS_PCI_BRIDGE,
        };
        Ok(function)
    }

    fn pair(self, key: &str, pair: &'a Option<Spanned<Pair>>) -> Result<Option<(u16, u16)>, Mistake> {
        let Some(pair) = pair else { return Ok(None) };
        match *pair.get_ref() {
            Pair(u16::MAX, _) => Err(self.at(key, pair).mistake(Problem::NoVendor)),
            Pair(vendor, device) => Ok(Some((vendor, device))),
        }
    }

    /// Where in the file a function that does not fit is wrong.
    fn misfit(self, error: TreeError) -> Mistake {
        let row = self.row;
        let (secondary, subordinate) = (row.secondary.as_ref(), row.subordinate.as_ref());
        let at = match &error {
            TreeError::Backwards { .. } | TreeError::Taken { .. } => {
                secondary.map(|at| self.at("secondary", at))
            }
            TreeError::Empty { .. } | TreeError::Outside { .. } => subordinate
                .map(|at| self.at("subordinate", at))
                .or(secondary.map(|at| self.at("secondary", at))),
            TreeError::Duplicate(_) | TreeError::NoBus(_) | TreeError::Virtual { .. } => None,
        };
        match at {
            Some(at) => at.mistake(error),
            None => self.at("id", &row.id).mistake(error),
        }
    }
}

pub(super) fn topology(name: &str, file: &File) -> Result<Topology, Mistake> {
    let rows = file.function.iter().enumerate();
    let rows: Vec<Row<'_>> = rows
        .map(|(number, row)| Row {
            number,
            row: row.get_ref(),
        })
        .collect();
    let (mut functions, mut ntbs, mut neighbours) = (Vec::new(), Vec::new(), Vec::new());
    for &row in &rows {
        let function = row.function()?;
        match row.role() {
            Some(Role::Ntb) => ntbs.push((row, function)),
            role => {
                neighbours.extend(role.map(|_| function.id));
                functions.push((row, function));
            }
        }
    }
    let tree = tree(functions, &file.bus)?;
    let (row, function) = only(ntbs)?;
    tree.clone()
        .add(function.clone())
        .map_err(|error| row.misfit(error))?;
    let ntb = ntb(row, function)?;
    if neighbours.is_empty() {
        return Err(nobody_is("neighbour"));
    }
    let ivrs = ivrs(&file.ivrs)?;
    let ids = match &row.row.aliases {
        Some(aliases) => given_ids(row, aliases)?,
        None => ids(&tree, &ntb, &ivrs),
    };
    Ok(Topology(Arc::new(Inner {
        name: name.to_owned(),
        sentence: file.sentence.clone(),
        tree,
        ntb,
        neighbours,
        ivrs,
        ids,
    })))
}

/// Something is not there: no place in the file is wrong.
fn nobody_is(role: &'static str) -> Mistake {
    Mistake {
        span: 0..0,
        key: "function.role".to_owned(),
        problem: Problem::NoRole(role),
    }
}

fn only(ntbs: Vec<(Row<'_>, Function)>) -> Result<(Row<'_>, Function), Mistake> {
    let mut ntbs = ntbs.into_iter();
    let (row, function) = ntbs.next().ok_or_else(|| nobody_is("ntb"))?;
    match ntbs.next() {
        Some((second, _)) => Err(second
            .at("id", &second.row.id)
            .mistake(Problem::SecondNtb(function.id))),
        None => Ok((row, function)),
    }
}

fn ntb(row: Row<'_>, function: Function) -> Result<Ntb, Mistake> {
    if function.id.function() != 0 {
        let id = row.at("id", &row.row.id);
        return Err(id.mistake(Problem::NtbFunction(function.id)));
    }
    let table_size = match &row.row.table {
        Some(table) => row
            .at("table", table)
            .at_most(ntb_rtl::registers::MAX_TABLE_SIZE as u16)?,
        None => {
            row.refuse("first", &row.row.first, Problem::NotOf("an NTB without a table"))?;
            0
        }
    };
    Ok(Ntb {
        function,
        table_size,
        table_first: row
            .row
            .first
            .as_ref()
            .map_or(TABLE_FIRST, |first| first.get_ref().0),
    })
}

/// The functions on the lower buses lead to those on the higher ones.
fn tree(mut functions: Vec<(Row<'_>, Function)>, buses: &[Spanned<BusRow>]) -> Result<PciTree, Mistake> {
    // A loop has a bridge to its own bus or one above, and nothing that leads to the others.
    for (row, function) in &functions {
        if let Some(bridge) = function.bridge
            && bridge.secondary <= function.id.bus()
        {
            return Err(row.misfit(TreeError::Backwards {
                bridge: function.id,
                secondary: bridge.secondary,
            }));
        }
    }
    functions.sort_by_key(|(_, function)| function.id.bus());
    let mut buses: Vec<(usize, &BusRow)> = buses.iter().map(Spanned::get_ref).enumerate().collect();
    buses.sort_by_key(|(_, row)| *row.number.get_ref());
    let mut buses = buses.into_iter().peekable();
    let mut tree = PciTree::default();
    for (row, function) in functions {
        while let Some((number, bus)) = buses.next_if(|(_, bus)| *bus.number.get_ref() <= function.id.bus()) {
            add_bus(&mut tree, number, bus)?;
        }
        tree.add(function).map_err(|error| row.misfit(error))?;
    }
    for (number, bus) in buses {
        add_bus(&mut tree, number, bus)?;
    }
    Ok(tree)
}

fn add_bus(tree: &mut PciTree, number: usize, row: &BusRow) -> Result<(), Mistake> {
    let at = Located::new("bus", number, "number", &row.number);
    match &row.parent {
        None => tree.add_root_bus(*at.value).map_err(|error| at.mistake(error)),
        Some(parent) => {
            let parent = Located::new("bus", number, "parent", parent);
            tree.add_virtual_bus(*at.value, *parent.value)
                .map_err(|error| match error {
                    TreeError::Virtual { .. } => parent.mistake(error),
                    error => at.mistake(error),
                })
        }
    }
}

fn ivrs(rows: &[Spanned<IvrsRow>]) -> Result<IvrsDevices, Mistake> {
    let mut devices = IvrsDevices::default();
    for (number, spanned) in rows.iter().enumerate() {
        let row = spanned.get_ref();
        let kind = row.kind;
        let needed = |key: &str, id: &Option<Spanned<Id>>| {
            let id = id.as_ref().map(|id| id.get_ref().0);
            id.ok_or_else(|| {
                Located::new("ivrs", number, key, spanned).mistake(Problem::NeededBy(kind.name()))
            })
        };
        let refused = |keys: &[(&str, &Option<Spanned<Id>>)]| {
            let given = keys.iter().find_map(|(key, id)| Some((key, id.as_ref()?)));
            given.map_or(Ok(()), |(key, id)| {
                Err(Located::new("ivrs", number, key, id).mistake(Problem::NotOf(kind.name())))
            })
        };
        let device = ("device", &row.device);
        let range = [("first", &row.first), ("last", &row.last)];
        match kind {
            IvrsKind::Alias => {
                refused(&range)?;
                let (device, to) = (needed("device", &row.device)?, needed("to", &row.to)?);
                devices.aliases.insert(device, to);
            }
            IvrsKind::AliasRange => {
                refused(&[device])?;
                let (first, last) = (needed("first", &row.first)?, needed("last", &row.last)?);
                let to = needed("to", &row.to)?;
                if last < first
                    && let Some(at) = &row.last
                {
                    let at = Located::new("ivrs", number, "last", at);
                    return Err(at.mistake(Problem::Range { first, last }));
                }
                devices
                    .aliases
                    .extend((first.0..=last.0).map(|device| (RequesterId(device), to)));
            }
            IvrsKind::Ioapic | IvrsKind::Hpet => {
                refused(&range)?;
                refused(&[("to", &row.to)])?;
                let device = needed("device", &row.device)?;
                let handle = row.handle.as_ref().ok_or_else(|| {
                    Located::new("ivrs", number, "handle", spanned).mistake(Problem::NeededBy(kind.name()))
                })?;
                let handles: &mut BTreeMap<u8, RequesterId> = match kind {
                    IvrsKind::Ioapic => &mut devices.ioapics,
                    _ => &mut devices.hpets,
                };
                let handle = Located::new("ivrs", number, "handle", handle);
                match handles.entry(*handle.value) {
                    Entry::Vacant(free) => free.insert(device),
                    Entry::Occupied(taken) => {
                        return Err(handle.mistake(Problem::Twice(taken.key().to_string())));
                    }
                };
                continue;
            }
        }
        if let Some(handle) = &row.handle {
            let handle = Located::new("ivrs", number, "handle", handle);
            return Err(handle.mistake(Problem::NotOf(kind.name())));
        }
    }
    Ok(devices)
}

/// The NTB's own ID and those of the file.
fn given_ids(ntb: Row<'_>, aliases: &[Spanned<Id>]) -> Result<Vec<RequesterId>, Mistake> {
    let mut ids = vec![ntb.id()];
    for alias in aliases {
        let (at, id) = (ntb.at("aliases", alias), alias.get_ref().0);
        if id == RequesterId::default() {
            return Err(at.mistake(Problem::RootComplex));
        }
        if ids.contains(&id) {
            return Err(at.mistake(Problem::Twice(id.to_string())));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// What the hardware does: under the IDs of its own kind, under those of its table, and as the bridges above and
/// firmware say. The newest kernel knows best.
fn ids(tree: &PciTree, ntb: &Ntb, ivrs: &IvrsDevices) -> Vec<RequesterId> {
    let mut tree = tree.clone();
    tree.header_fixups(KernelVersion::NEWEST);
    let mut all = tree.dma_aliases(&ntb.as_seen_by(KernelVersion::NEWEST));
    let own = ntb.function.id;
    all.extend(ntb.table().map(|devfn| RequesterId::from_devfn(own.bus(), devfn)));
    all.extend(ivrs.aliases.get(&own));
    let mut ids = Vec::new();
    for id in all {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}
