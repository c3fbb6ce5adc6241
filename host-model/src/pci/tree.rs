use std::collections::BTreeMap;

use sim_bridge::RequesterId;

use super::{Bridge, Function};

/// The functions of one PCI segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PciTree {
    functions: BTreeMap<RequesterId, Function>,
    /// What leads to a bus; always something on a lower one, so that a way up ends.
    buses: BTreeMap<u8, Upstream>,
}

/// What leads to a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Upstream {
    Nothing,
    Bridge(RequesterId),
    /// A bus without a bridge device, for the virtual functions that this bus has no numbers for.
    Bus(u8),
}

/// A function or bus that can't be where it was put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Two functions with one ID.
    #[error("{0} is there twice")]
    Duplicate(RequesterId),
    /// The bus of a function is no root bus, and nothing leads to it.
    #[error("{0} is on bus {bus:02x}, to which nothing leads", bus = .0.bus())]
    NoBus(RequesterId),
    /// A bridge to its own bus or one above.
    #[error(
        "bridge {bridge} leads back to bus {secondary:02x}: the buses behind it must have higher numbers than its own"
    )]
    Backwards {
        /// The bridge.
        bridge: RequesterId,
        /// Its secondary bus.
        secondary: u8,
    },
    /// The last bus behind a bridge comes before the first.
    #[error("bridge {bridge} can't lead to buses {secondary:02x} to {subordinate:02x}")]
    Empty {
        /// The bridge.
        bridge: RequesterId,
        /// Its secondary bus.
        secondary: u8,
        /// Its subordinate bus.
        subordinate: u8,
    },
    /// Buses behind a bridge that are not behind the bridge above.
    #[error(
        "buses up to {subordinate:02x} behind bridge {bridge}, but only up to {last:02x} behind {above} above it"
    )]
    Outside {
        /// The bridge.
        bridge: RequesterId,
        /// Its subordinate bus.
        subordinate: u8,
        /// The bridge above.
        above: RequesterId,
        /// The subordinate bus of that.
        last: u8,
    },
    /// A bus to which something leads already.
    #[error("bus {bus:02x} is taken already")]
    Taken {
        /// The bus.
        bus: u8,
    },
    /// A virtual bus whose parent isn't there, is not below it, or has no number left for it.
    #[error("bus {bus:02x} can't be a virtual bus of bus {parent:02x}: {why}")]
    Virtual {
        /// The virtual bus.
        bus: u8,
        /// The bus that it extends.
        parent: u8,
        /// Why not.
        why: &'static str,
    },
}

/// With root bus 00.
impl Default for PciTree {
    fn default() -> Self {
        Self {
            functions: BTreeMap::new(),
            buses: [(0, Upstream::Nothing)].into(),
        }
    }
}

impl PciTree {
    /// Adds a function; what leads to its bus must be there already.
    ///
    /// # Errors
    /// See [`TreeError`].
    pub fn add(&mut self, function: Function) -> Result<(), TreeError> {
        let id = function.id;
        if self.functions.contains_key(&id) {
            return Err(TreeError::Duplicate(id));
        }
        if !self.buses.contains_key(&id.bus()) {
            return Err(TreeError::NoBus(id));
        }
        if let Some(bridge) = function.bridge {
            self.check(id, bridge)?;
            self.buses.insert(bridge.secondary, Upstream::Bridge(id));
        }
        self.functions.insert(id, function);
        Ok(())
    }

    fn check(&self, id: RequesterId, bridge: Bridge) -> Result<(), TreeError> {
        let Bridge {
            secondary,
            subordinate,
            ..
        } = bridge;
        if secondary <= id.bus() {
            return Err(TreeError::Backwards {
                bridge: id,
                secondary,
            });
        }
        if subordinate < secondary {
            return Err(TreeError::Empty {
                bridge: id,
                secondary,
                subordinate,
            });
        }
        if let Some((above, parent)) = self.bridge_above(id.bus())
            && subordinate > parent.subordinate
        {
            return Err(TreeError::Outside {
                bridge: id,
                subordinate,
                above: above.id,
                last: parent.subordinate,
            });
        }
        self.check_free(secondary, subordinate, id.bus())
    }

    /// Whether nothing but the bridges above `bus` has buses from `first` to `last`.
    fn check_free(&self, first: u8, last: u8, bus: u8) -> Result<(), TreeError> {
        let above: Vec<RequesterId> = self.bridges_above(bus).map(|(above, _)| above.id).collect();
        let bridges = self.functions.values().filter(|f| !above.contains(&f.id));
        let ranges = bridges.filter_map(|f| f.bridge.map(|b| (b.secondary, b.subordinate)));
        let single = self.buses.keys().map(|&bus| (bus, bus));
        match ranges
            .chain(single)
            .find(|&(from, to)| from <= last && first <= to)
        {
            Some((from, _)) => Err(TreeError::Taken { bus: from.max(first) }),
            None => Ok(()),
        }
    }

    /// Adds another root bus.
    ///
    /// # Errors
    /// It is there already.
    pub fn add_root_bus(&mut self, bus: u8) -> Result<(), TreeError> {
        self.check_free(bus, bus, bus)?;
        self.buses.insert(bus, Upstream::Nothing);
        Ok(())
    }

    /// Adds a bus without a bridge device, as Linux makes them for virtual functions of SR-IOV
    /// (`virtfn_add_bus`).
    ///
    /// # Errors
    /// See [`TreeError::Virtual`] and [`TreeError::Taken`].
    pub fn add_virtual_bus(&mut self, bus: u8, parent: u8) -> Result<(), TreeError> {
        let why = match self.bridge_above(parent) {
            _ if bus <= parent => Some("it has no higher number"),
            _ if !self.buses.contains_key(&parent) => Some("nothing leads to that"),
            Some((_, above)) if bus > above.subordinate => Some("that number is not behind the bridge above"),
            _ => None,
        };
        if let Some(why) = why {
            return Err(TreeError::Virtual { bus, parent, why });
        }
        self.check_free(bus, bus, parent)?;
        self.buses.insert(bus, Upstream::Bus(parent));
        Ok(())
    }

    /// The same with all bus numbers higher by `by`; `None` if there are no such numbers.
    pub fn moved(&self, by: u8) -> Option<Self> {
        let function = |function: &Function| {
            let mut function = function.clone();
            function.id = function.id.moved(by)?;
            if let Some(bridge) = &mut function.bridge {
                bridge.secondary = bridge.secondary.checked_add(by)?;
                bridge.subordinate = bridge.subordinate.checked_add(by)?;
            }
            Some((function.id, function))
        };
        let bus = |(&bus, &upstream): (&u8, &Upstream)| {
            let upstream = match upstream {
                Upstream::Nothing => Upstream::Nothing,
                Upstream::Bridge(id) => Upstream::Bridge(id.moved(by)?),
                Upstream::Bus(parent) => Upstream::Bus(parent.checked_add(by)?),
            };
            Some((bus.checked_add(by)?, upstream))
        };
        Some(Self {
            functions: self.functions.values().map(function).collect::<Option<_>>()?,
            buses: self.buses.iter().map(bus).collect::<Option<_>>()?,
        })
    }

    /// Puts another tree beside this one: its root buses become further ones of this.
    ///
    /// # Errors
    /// One of its buses is here already.
    pub fn join(&mut self, other: Self) -> Result<(), TreeError> {
        for &bus in other.buses.keys() {
            self.check_free(bus, bus, bus)?;
        }
        for bridge in other.functions.values().filter_map(|function| function.bridge) {
            self.check_free(bridge.secondary, bridge.subordinate, bridge.secondary)?;
        }
        self.functions.extend(other.functions);
        self.buses.extend(other.buses);
        Ok(())
    }

    /// The function with this ID.
    pub fn get(&self, id: RequesterId) -> Option<&Function> {
        self.functions.get(&id)
    }

    /// The function with this ID, to be changed. Where it is stays as it was added.
    pub fn get_mut(&mut self, id: RequesterId) -> Option<&mut Function> {
        self.functions.get_mut(&id)
    }

    /// Puts another in the place of a function with the same ID.
    pub(super) fn replace(&mut self, function: Function) {
        self.functions.insert(function.id, function);
    }

    /// All functions, by ascending ID.
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.values()
    }

    /// What leads to a bus; nothing to an unknown one.
    pub(super) fn upstream(&self, bus: u8) -> Upstream {
        self.buses.get(&bus).copied().unwrap_or(Upstream::Nothing)
    }

    /// The bridge whose secondary bus this is.
    pub fn bridge_to(&self, bus: u8) -> Option<(&Function, Bridge)> {
        match self.upstream(bus) {
            Upstream::Bridge(id) => self.get(id).and_then(|f| Some((f, f.bridge?))),
            Upstream::Nothing | Upstream::Bus(_) => None,
        }
    }

    /// The bridges on the way from a bus to its root bus, the nearest first.
    pub(super) fn bridges_above(&self, bus: u8) -> impl Iterator<Item = (&Function, Bridge)> {
        let mut next = Some(bus);
        let buses = std::iter::from_fn(move || {
            let bus = next?;
            next = match self.upstream(bus) {
                Upstream::Nothing => None,
                Upstream::Bridge(id) => Some(id.bus()),
                Upstream::Bus(parent) => Some(parent),
            };
            Some(bus)
        });
        buses.filter_map(|bus| self.bridge_to(bus))
    }

    fn bridge_above(&self, bus: u8) -> Option<(&Function, Bridge)> {
        self.bridges_above(bus).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::BridgeKind;

    const PORT: RequesterId = RequesterId::new(0, 1, 1);

    fn id(text: &str) -> RequesterId {
        text.parse().expect("a requester ID")
    }

    fn port(at: &str, secondary: u8, subordinate: u8) -> Function {
        Function::bridge(id(at), BridgeKind::PciePort, secondary, subordinate)
    }

    /// A root port to buses 02 to 05, and behind it a bridge to bus 03.
    fn tree() -> PciTree {
        let mut tree = PciTree::default();
        for bridge in [port("00:01.1", 2, 5), port("02:00.0", 3, 3)] {
            tree.add(bridge).expect("fits");
        }
        tree
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_reason() {
        let (a, b) = (id("02:01.0"), id("04:00.0"));
        let cases = [
            (port("02:00.0", 4, 4), TreeError::Duplicate(id("02:00.0"))),
            (port("04:00.0", 5, 5), TreeError::NoBus(b)),
            (
                port("02:01.0", 2, 2),
                TreeError::Backwards {
                    bridge: a,
                    secondary: 2,
                },
            ),
            (
                port("02:01.0", 1, 1),
                TreeError::Backwards {
                    bridge: a,
                    secondary: 1,
                },
            ),
            (
                port("02:01.0", 5, 4),
                TreeError::Empty {
                    bridge: a,
                    secondary: 5,
                    subordinate: 4,
                },
            ),
            (
                port("02:01.0", 4, 6),
                TreeError::Outside {
                    bridge: a,
                    subordinate: 6,
                    above: PORT,
                    last: 5,
                },
            ),
            (port("02:01.0", 3, 4), TreeError::Taken { bus: 3 }),
            (port("00:02.0", 1, 2), TreeError::Taken { bus: 2 }),
        ];
        for (function, expected) in cases {
            let mut tree = tree();
            assert_eq!(tree.add(function), Err(expected));
            assert_eq!(tree, self::tree(), "nothing was added");
        }
    }

    #[test]
    fn a_virtual_bus_needs_a_number_behind_the_same_bridge() {
        let mut tree = tree();
        for (bus, parent) in [(4, 3), (6, 2), (4, 9), (2, 2)] {
            let refused = tree.add_virtual_bus(bus, parent);
            assert!(
                matches!(refused, Err(TreeError::Virtual { .. })),
                "{bus} {parent}: {refused:?}"
            );
        }
        assert_eq!(tree.add_virtual_bus(3, 2), Err(TreeError::Taken { bus: 3 }));
        assert_eq!(tree.add_virtual_bus(4, 2), Ok(()));
        assert_eq!(tree.add(port("02:01.0", 4, 4)), Err(TreeError::Taken { bus: 4 }));
        let function = Function::endpoint(id("04:00.0"), (0, 0), 0);
        assert_eq!(tree.add(function), Ok(()));
        let above: Vec<_> = tree.bridges_above(4).map(|(above, _)| above.id).collect();
        assert_eq!(above, [PORT]);
    }

    #[test]
    fn a_tree_beside_itself_has_buses_of_its_own() {
        let mut two = tree();
        let other = two.moved(0x50).expect("there are bus numbers");
        assert_eq!(two.join(other), Ok(()));
        let ids: Vec<String> = two.functions().map(|function| function.id.to_string()).collect();
        assert_eq!(ids, ["00:01.1", "02:00.0", "50:01.1", "52:00.0"]);
        let above: Vec<_> = two.bridges_above(0x53).map(|(above, _)| above.id).collect();
        assert_eq!(above, [id("52:00.0"), id("50:01.1")]);
        let (_, bridge) = two.bridge_to(0x52).expect("moved too");
        assert_eq!((bridge.secondary, bridge.subordinate), (0x52, 0x55));
    }

    #[test]
    fn trees_with_the_same_buses_do_not_fit_beside_each_other() {
        let other = |by| tree().moved(by).expect("there are bus numbers");
        assert_eq!(tree().join(other(0)), Err(TreeError::Taken { bus: 0 }));
        // Bus 05 is behind the root port, without anything on it.
        assert_eq!(tree().join(other(5)), Err(TreeError::Taken { bus: 5 }));
        assert_eq!(tree().join(other(6)), Ok(()));
        assert!(tree().moved(0xfb).is_none(), "bus 05 would be 100");
    }

    #[test]
    fn a_segment_may_have_several_root_buses() {
        let mut tree = tree();
        assert_eq!(tree.add_root_bus(5), Err(TreeError::Taken { bus: 5 }));
        assert_eq!(tree.add_root_bus(0x40), Ok(()));
        assert_eq!(tree.add(port("40:01.0", 0x41, 0x41)), Ok(()));
        assert_eq!(tree.add_root_bus(0x41), Err(TreeError::Taken { bus: 0x41 }));
    }
}
