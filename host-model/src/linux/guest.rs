//! Guest mode (vAPIC): entries that post to virtual CPUs (Linux drivers/iommu/amd/iommu.c,
//! `amd_iommu_activate_guest_mode`, `amd_iommu_update_ga`).

use super::LinuxDriver;
use crate::driver::{DriverError, Entry, GuestTarget, Target};
use crate::iommu::spec::irte::{GuestIrteLow, Irte128High};
use crate::machine::Cpu;

/// `AMD_IOMMU_GUEST_IR_VAPIC` is not the mode.
const NO_VAPIC: DriverError = DriverError::Invalid("the IOMMU's vAPIC is not enabled");

impl LinuxDriver {
    pub(super) async fn enter_guest_mode(
        &self,
        cpu: &Cpu,
        entry: Entry,
        target: GuestTarget,
    ) -> Result<(), DriverError> {
        if !self.vapic.get() {
            return Err(NO_VAPIC);
        }
        self.modify_irte(cpu, entry, |state| state.guest = Some(target))
            .await
    }

    pub(super) async fn leave_guest_mode(
        &self,
        cpu: &Cpu,
        entry: Entry,
        target: Target,
    ) -> Result<(), DriverError> {
        if !self.vapic.get() {
            return Err(NO_VAPIC);
        }
        self.modify_irte(cpu, entry, |state| {
            state.guest = None;
            state.target = target;
        })
        .await
    }

    /// `amd_iommu_update_ga`: Destination and IsRun, which hardware does not cache.
    pub(super) async fn update_ga(
        &self,
        cpu: &Cpu,
        entry: Entry,
        runs_on: Option<u32>,
    ) -> Result<(), DriverError> {
        if !self.is_guest(entry)? {
            return Ok(());
        }
        let update = |state: &mut super::EntryState| {
            if let Some(guest) = &mut state.guest {
                guest.runs_on = runs_on;
            }
        };
        if self.profile.guest_update_flushes {
            self.modify_irte(cpu, entry, update).await
        } else {
            self.write_irte(cpu, entry, update).await
        }
    }
}

/// A guest-mode entry. GALogIntr is always set. While no CPU runs the virtual one, Destination means nothing.
pub(super) fn guest_irte(target: GuestTarget, valid: bool) -> u128 {
    let destination = target.runs_on.unwrap_or(0);
    let low = GuestIrteLow::new()
        .with_remap_en(valid)
        .with_ga_log_intr(true)
        .with_is_run(target.runs_on.is_some())
        .with_guest_mode(true)
        .with_destination(destination & 0xff_ffff)
        .with_ga_tag(target.ga_tag);
    let high = Irte128High::new()
        .with_vector(target.vector)
        .with_ga_root(target.backing_page >> 12)
        .with_destination((destination >> 24) as u8);
    u128::from(high.into_bits()) << 64 | u128::from(low.into_bits())
}
