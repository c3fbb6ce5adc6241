//! Whose IOMMU a device ID is (Linux drivers/iommu/amd/init.c, `rlookup_table`), and what goes by that.

use sim_bridge::RequesterId;

use super::LinuxDriver;
use crate::driver::DriverError;
use crate::iommu::spec::command::Command;
use crate::machine::Cpu;
use crate::trace::{Kind, Lock, Source};

/// An IOMMU, as the driver of this one sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This one.
    This,
    /// Another one, which is in no machine of ours.
    Another,
}

/// Of each of the 2^16 device IDs; `None` is NULL.
pub(super) type RlookupTable = Box<[Option<Owner>]>;

impl LinuxDriver {
    pub(super) fn rlookup(&self, id: RequesterId) -> Option<Owner> {
        self.rlookup_table.borrow()[usize::from(id.0)]
    }

    /// `amd_iommu_set_rlookup_table`.
    pub(super) fn set_rlookup(&self, id: RequesterId, owner: Option<Owner>) {
        self.rlookup_table.borrow_mut()[usize::from(id.0)] = owner;
    }

    /// Whether what sends under this ID has an IOMMU, and that is this one.
    pub(super) fn check_is_ours(&self, id: RequesterId) -> Result<(), DriverError> {
        if self.rlookup(id) != Some(Owner::This) {
            return Err(DriverError::NoDevice(id));
        }
        Ok(())
    }

    /// `check_device`: whether a function is one to probe.
    pub(super) fn check_device(&self, id: RequesterId) -> Result<(), DriverError> {
        if id > self.ivrs.last_bdf {
            return Err(DriverError::NoDevice(id));
        }
        self.check_is_ours(id)
    }

    /// `iommu_flush_dte(rlookup_table[id], id)`, as `caller` has it with `lock` held: not by the IOMMU of the function that
    /// is set up.
    pub(super) async fn flush_dte_by_rlookup(
        &self,
        cpu: &Cpu,
        caller: &'static str,
        lock: Lock,
        id: RequesterId,
    ) -> Result<(), DriverError> {
        let command = Command::InvalidateDevtabEntry(id);
        let table = self.profile.rlookup_table();
        match self.rlookup(id) {
            Some(Owner::This) => {
                self.queue_unchecked(cpu, command).await;
                Ok(())
            }
            Some(Owner::Another) => {
                let function = caller;
                let kind = Kind::QueuedElsewhere {
                    command,
                    function,
                    table,
                };
                cpu.record(Source::Driver(cpu.id()), kind);
                // The other ring's tail.
                cpu.delay(cpu.machine().timing().mmio_write).await;
                Ok(())
            }
            // iommu->lock is taken first of all.
            None => {
                let (function, device) = (caller, id);
                let kind = Kind::NullDereference {
                    function,
                    table,
                    device,
                    lock,
                };
                cpu.record(Source::Driver(cpu.id()), kind);
                Err(DriverError::NullDereference {
                    function,
                    table,
                    device,
                })
            }
        }
    }
}
