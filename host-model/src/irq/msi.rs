use sim_bridge::RequesterId;

use crate::driver::MsiMessage;
use crate::machine::Cpu;

/// A function with an MSI capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiDevice {
    /// Its ID.
    pub id: RequesterId,
    /// Offset of the MSI capability in configuration space.
    pub capability: u16,
    /// Messages that it can send: a power of two, 1 to 32.
    pub messages: u8,
    /// The address has 64 bits.
    pub wide: bool,
    /// Each message has a mask bit.
    pub maskable: bool,
}

impl MsiDevice {
    /// MSI Enable, in the capability's first DW.
    const ENABLE: u32 = 1 << 16;
    /// Multiple Message Enable.
    const MULTIPLE: u32 = 0b111 << 20;

    /// `pci_msi_set_enable`.
    pub(super) async fn enable(&self, cpu: &Cpu, enable: bool) {
        let control = cpu.config_read(self.id, self.capability).await;
        let bit = if enable { Self::ENABLE } else { 0 };
        self.write(cpu, 0, control & !Self::ENABLE | bit).await;
    }

    /// `pci_write_msg_msi`, for `of` messages.
    pub(super) async fn write_message(&self, cpu: &Cpu, message: MsiMessage, of: u8) {
        let control = cpu.config_read(self.id, self.capability).await;
        let multiple = of.next_power_of_two().trailing_zeros() << 20;
        self.write(cpu, 0, control & !Self::MULTIPLE | multiple).await;
        self.write(cpu, 4, message.address as u32).await;
        if self.wide {
            self.write(cpu, 8, (message.address >> 32) as u32).await;
        }
        self.write(cpu, self.data(), message.data).await;
        cpu.config_read(self.id, self.capability).await;
    }

    /// `__pci_restore_msi_state`; `masked` has a bit for each message.
    pub(super) async fn restore(&self, cpu: &Cpu, message: MsiMessage, of: u8, masked: u32) {
        self.enable(cpu, false).await;
        self.write_message(cpu, message, of).await;
        if self.maskable {
            self.write(cpu, self.mask(), masked).await;
        }
        self.enable(cpu, true).await;
    }

    /// `pci_msi_mask` of all `of` messages.
    pub(super) async fn mask_all(&self, cpu: &Cpu, of: u8) {
        self.update_mask(cpu, all(of), 0).await;
    }

    /// `pci_msi_unmask` of all `of` messages.
    pub(super) async fn unmask_all(&self, cpu: &Cpu, of: u8) {
        self.update_mask(cpu, 0, all(of)).await;
    }

    /// Masks or unmasks one message, if the function can.
    pub async fn set_mask(&self, cpu: &Cpu, message: u8, masked: bool) {
        let bit = 1 << message;
        if masked {
            self.update_mask(cpu, bit, 0).await;
        } else {
            self.update_mask(cpu, 0, bit).await;
        }
    }

    async fn update_mask(&self, cpu: &Cpu, set: u32, clear: u32) {
        if self.maskable {
            let masked = cpu.config_read(self.id, self.capability + self.mask()).await;
            self.write(cpu, self.mask(), masked & !clear | set).await;
        }
    }

    async fn write(&self, cpu: &Cpu, offset: u16, value: u32) {
        cpu.config_write(self.id, self.capability + offset, value).await;
    }

    fn data(&self) -> u16 {
        if self.wide { 12 } else { 8 }
    }

    fn mask(&self) -> u16 {
        self.data() + 4
    }
}

fn all(messages: u8) -> u32 {
    u32::try_from((1_u64 << messages.min(32)) - 1).unwrap_or(u32::MAX)
}
