//! What a scenario does to the IOMMU and its driver without the interrupt core.

use host_model::driver::IommuDriver;
use host_model::iommu::spec::dte::{DTE_BYTES, DteInterrupts};
use host_model::iommu::spec::registers::{Control, DevTabBase, offset};
use host_model::machine::IOMMU_MMIO;
use sim_bridge::RequesterId;

use super::{Rig, ScenarioError};

impl Rig {
    /// The IOMMU driver.
    pub fn driver(&self) -> &dyn IommuDriver {
        &*self.shared.driver
    }

    /// The IOMMU takes no more commands, or takes them again: Control.CmdBufEn, behind the driver's back.
    pub async fn stall_commands(&self, stalled: bool) {
        let register = IOMMU_MMIO + offset::CONTROL;
        let control = Control::from_bits(self.cpu.mmio_read(register, 8).await);
        let control = control.with_cmd_buf_en(!stalled);
        self.cpu.mmio_write(register, 8, control.into_bits()).await;
    }

    /// A driver call of this name sets IntCtl of an ID's DTE to 0, so that interrupts are aborted, and forgets to
    /// invalidate it.
    pub async fn abort_interrupts(&self, call: &'static str, id: RequesterId) {
        let base = self.cpu.mmio_read(IOMMU_MMIO + offset::DEV_TAB_BASE, 8).await;
        let address = DevTabBase::from_bits(base).address() + DTE_BYTES * u64::from(id.0) + 16;
        self.cpu
            .call(call, async |cpu| {
                let interrupts = DteInterrupts::from_bits(u64::from_le_bytes(cpu.load(address)));
                let aborted = interrupts.with_int_ctl(0).into_bits();
                cpu.store(address, &aborted.to_le_bytes());
            })
            .await;
    }

    /// The function is removed: the driver lets go of it.
    ///
    /// # Errors
    /// See [`DriverError`](host_model::driver::DriverError).
    pub async fn release(&self, function: RequesterId) -> Result<(), ScenarioError> {
        let released = self
            .cpu
            .call("release", async |cpu| self.driver().release(&cpu, function).await);
        Ok(released.await?)
    }

    /// The function is there, or there again: the driver takes it over.
    ///
    /// # Errors
    /// See [`DriverError`](host_model::driver::DriverError).
    pub async fn probe(&self, function: RequesterId) -> Result<(), ScenarioError> {
        let probed = self
            .cpu
            .call("probe", async |cpu| self.driver().probe(&cpu, function).await);
        Ok(probed.await?)
    }
}
