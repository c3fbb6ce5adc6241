use sim_bridge::RequesterId;

use crate::driver::MsiMessage;
use crate::machine::Cpu;
use crate::pci::config;

/// A function with an MSI-X table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixDevice {
    /// Its ID.
    pub id: RequesterId,
    /// Offset of the MSI-X capability in configuration space.
    pub capability: u16,
    /// Entries of the table.
    pub vectors: u16,
    /// Physical address of the table.
    pub table: u64,
}

impl MsixDevice {
    const ADDRESS: u64 = 0;
    const ADDRESS_HIGH: u64 = 4;
    const DATA: u64 = 8;
    pub(super) const VECTOR_CONTROL: u64 = 12;
    pub(super) const MASKED: u32 = 1;

    pub(super) fn field(&self, index: u16, field: u64) -> u64 {
        self.table + 16 * u64::from(index) + field
    }

    /// Masks or unmasks one vector.
    pub async fn set_mask(&self, cpu: &Cpu, index: u16, masked: bool) {
        let control = self.field(index, Self::VECTOR_CONTROL);
        cpu.writel(control, if masked { Self::MASKED } else { 0 }).await;
        if masked {
            // Linux reads back so that the mask has reached the device (pci_msix_mask).
            cpu.readl(control).await;
        }
    }

    pub(super) async fn is_masked(&self, cpu: &Cpu, index: u16) -> bool {
        cpu.readl(self.field(index, Self::VECTOR_CONTROL)).await & Self::MASKED != 0
    }

    /// `pci_write_msg_msix`. A vector that is not masked is while its message changes.
    pub(super) async fn write_message(&self, cpu: &Cpu, index: u16, message: MsiMessage, masked: bool) {
        let control = self.field(index, Self::VECTOR_CONTROL);
        if !masked {
            cpu.writel(control, Self::MASKED).await;
        }
        cpu.writel(self.field(index, Self::ADDRESS), message.address as u32)
            .await;
        cpu.writel(
            self.field(index, Self::ADDRESS_HIGH),
            (message.address >> 32) as u32,
        )
        .await;
        cpu.writel(self.field(index, Self::DATA), message.data).await;
        cpu.readl(self.field(index, Self::DATA)).await;
        if !masked {
            cpu.writel(control, 0).await;
        }
    }

    /// `__pci_restore_msix_state`, of messages that are masked or not.
    pub(super) async fn restore(&self, cpu: &Cpu, messages: &[(u16, MsiMessage, bool)]) {
        self.set_control(cpu, config::MSIX_ENABLE | config::MSIX_MASK_ALL, 0)
            .await;
        for &(index, message, masked) in messages {
            self.write_message(cpu, index, message, masked).await;
            let control = if masked { Self::MASKED } else { 0 };
            cpu.writel(self.field(index, Self::VECTOR_CONTROL), control).await;
        }
        self.set_control(cpu, 0, config::MSIX_MASK_ALL).await;
    }

    pub(super) async fn set_control(&self, cpu: &Cpu, set: u32, clear: u32) {
        let control = cpu.config_read(self.id, self.capability).await;
        cpu.config_write(self.id, self.capability, control & !clear | set)
            .await;
    }
}
