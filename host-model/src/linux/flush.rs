//! What a change of a remapping entry sends (Linux drivers/iommu/amd/iommu.c, `iommu_flush_irt_and_complete`).

use std::collections::HashSet;

use sim_bridge::RequesterId;

use super::LinuxDriver;
use super::profile::{FlushedIds, IrtCacheDisable, LockSections};
use crate::driver::DriverError;
use crate::iommu::spec::command::Command;
use crate::machine::Cpu;

/// As faults are reported.
const FUNCTION: &str = "iommu_flush_irt_and_complete";

impl LinuxDriver {
    /// `iommu_flush_irt_and_complete`.
    pub(super) async fn flush_irt_and_complete(&self, cpu: &Cpu, id: RequesterId) -> Result<(), DriverError> {
        let rules = self.profile.irt_flush;
        // Looked up before anything else, and used or not.
        let ids = self.flushed_ids(cpu, id);
        if self.needs_no_irt_flush() {
            return Ok(());
        }
        let has_command = self.efr.get().ia_sup();
        let commands = match rules.all_above {
            Some(most) if has_command && ids.len() > usize::from(most) => vec![Command::InvalidateIommuAll],
            _ => ids.into_iter().map(Command::InvalidateInterruptTable).collect(),
        };
        match rules.sections {
            LockSections::One => self.queue.queue_and_wait(cpu, commands, rules.tail).await,
            LockSections::Two => {
                for command in commands {
                    self.queue_unchecked(cpu, command).await;
                }
                // Somebody who spins for the lock has it now.
                cpu.machine().executor().turn().await;
                self.queue.completion_wait(cpu).await
            }
        }
    }

    /// IRT caching is off, and the version knows what that means.
    pub(super) fn needs_no_irt_flush(&self) -> bool {
        self.irtcachedis.get() && self.profile.irt_flush.irtcachedis != IrtCacheDisable::NotHonoured
    }

    fn flushed_ids(&self, cpu: &Cpu, id: RequesterId) -> Vec<RequesterId> {
        let ids = self.profile.irt_flush.ids;
        if ids == FlushedIds::OwnId {
            return vec![id];
        }
        let Some(function) = self.pci_device(cpu, id, FUNCTION) else {
            return vec![id];
        };
        let mut walked = self.dma_aliases(&function);
        if ids == FlushedIds::DistinctAliases {
            let mut seen = HashSet::new();
            walked.retain(|id| seen.insert(*id));
        }
        walked
    }
}
