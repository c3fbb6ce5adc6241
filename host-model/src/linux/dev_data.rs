//! `struct iommu_dev_data`: what the driver knows of a requester ID. It outlives the device.

use std::rc::Rc;

use sim_bridge::{RequesterId, SimTime};

use super::LinuxDriver;
use crate::exec::SpinLock;
use crate::machine::Cpu;
use crate::pci::Function;
use crate::trace::{Kind, Lock, Source};

/// `struct iommu_dev_data`.
pub(super) struct DevData {
    pub(super) dte_lock: Rc<SpinLock<()>>,
    /// Most entries of its interrupt remapping table; 0 until a probe has ended.
    pub(super) max_irqs: u16,
    pub(super) device: Device,
}

/// `dev_data->dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    /// None: the ID is only an alias of others.
    None,
    /// A probed function.
    Probed,
    /// One that has been released. The pointer to it is still there.
    Released {
        at: SimTime,
        /// By which CPU.
        on: u32,
    },
}

impl LinuxDriver {
    /// `find_dev_data`: what there is of this ID, made if need be.
    pub(super) fn find_dev_data<T>(&self, id: RequesterId, look: impl FnOnce(&mut DevData) -> T) -> T {
        let mut all = self.dev_data.borrow_mut();
        look(all.entry(id).or_insert_with(|| DevData {
            dte_lock: Rc::new(SpinLock::new(Lock::Dte(id), ())),
            max_irqs: 0,
            device: Device::None,
        }))
    }

    /// `search_dev_data`: what there is of this ID.
    pub(super) fn search_dev_data<T>(&self, id: RequesterId, look: impl FnOnce(&DevData) -> T) -> Option<T> {
        self.dev_data.borrow().get(&id).map(look)
    }

    /// `dev_data->dev` as a PCI function, as `caller` reads it. Where that was released it is read all the same, which is
    /// recorded, and nothing is there.
    pub(super) fn pci_device(&self, cpu: &Cpu, id: RequesterId, caller: &'static str) -> Option<Function> {
        match self.search_dev_data(id, |data| data.device)? {
            Device::None => None,
            Device::Probed => self.tree.borrow().get(id).cloned(),
            Device::Released { at, on } => {
                cpu.record(
                    Source::Driver(cpu.id()),
                    Kind::UsedAfterRelease {
                        function: caller,
                        device: id,
                        released_at: at,
                        released_on: on,
                    },
                );
                None
            }
        }
    }

    /// `MAX_IRQS_PER_TABLE`, or what was found out about this ID.
    pub(super) fn max_irqs(&self, id: RequesterId) -> u16 {
        let known = || self.search_dev_data(id, |data| data.max_irqs);
        let known = self.profile.tables_of_2048.then(known).flatten();
        known.unwrap_or(super::irq_table::ENTRIES_512)
    }
}
