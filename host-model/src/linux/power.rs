//! Suspend and resume (Linux drivers/iommu/amd/init.c, `amd_iommu_suspend`, `amd_iommu_resume`).

use super::LinuxDriver;
use super::boot::control;
use crate::machine::Cpu;

impl LinuxDriver {
    /// `amd_iommu_suspend`.
    pub(super) async fn power_down(&self, cpu: &Cpu) {
        self.disable(cpu).await;
    }

    /// `amd_iommu_resume`: tables and rings are in memory still; registers and caches are as after power-on.
    pub(super) async fn power_up(&self, cpu: &Cpu) {
        self.early_enable_iommu(cpu).await;
        if !self.profile.boot.early_event_log {
            self.enable_event_log(cpu).await;
        }
        if !self.profile.boot.early_guest_translation {
            self.enable_gt(cpu).await;
        }
        control(cpu, |c| c.with_event_int_en(true)).await;
        self.enable_vapic(cpu).await;
    }
}
