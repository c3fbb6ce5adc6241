use sim_bridge::RequesterId;

use crate::driver::MsiMessage;
use crate::machine::{Cpu, hpet};

/// An HPET as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HpetDevice {
    /// Under which ID its interrupts arrive (IVRS special device).
    pub id: RequesterId,
    /// Physical address of its registers.
    pub address: u64,
}

impl HpetDevice {
    /// `hpet_msi_mask` and `hpet_msi_unmask`.
    pub(super) async fn set_mask(&self, cpu: &Cpu, timer: u8, masked: bool) {
        let register = self.address + hpet::configuration(timer);
        let bits = hpet::ENABLE | hpet::FSB_ENABLE;
        let old = cpu.readl(register).await;
        let new = if masked { old & !bits } else { old | bits };
        cpu.writel(register, new).await;
    }

    /// `hpet_msi_write`.
    pub(super) async fn write_message(&self, cpu: &Cpu, timer: u8, message: MsiMessage) {
        let route = self.address + hpet::route(timer);
        cpu.writel(route, message.data).await;
        cpu.writel(route + 4, message.address as u32).await;
    }
}
