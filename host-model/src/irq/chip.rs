use sim_bridge::RequesterId;

use super::hpet::HpetDevice;
use super::io_apic::IoApicDevice;
use super::msi::MsiDevice;
use super::msix::MsixDevice;
use crate::driver::MsiMessage;
use crate::machine::Cpu;

/// Where an interrupt is masked and its message is kept: the outermost `irq_chip`.
#[derive(Clone)]
pub(super) enum Chip {
    /// An entry of an MSI-X table.
    Msix { device: MsixDevice, index: u16 },
    /// One of several messages of an MSI capability.
    Msi { device: MsiDevice, message: u8, of: u8 },
    /// A pin of an I/O APIC.
    IoApic {
        device: IoApicDevice,
        pin: u8,
        level: bool,
    },
    /// A timer of an HPET.
    Hpet { device: HpetDevice, timer: u8 },
}

impl Chip {
    /// Whose interrupt it is.
    pub(super) fn device(&self) -> RequesterId {
        match self {
            Self::Msix { device, .. } => device.id,
            Self::Msi { device, .. } => device.id,
            Self::IoApic { device, .. } => device.id,
            Self::Hpet { device, .. } => device.id,
        }
    }

    /// Whether it is level-triggered.
    pub(super) fn is_level(&self) -> bool {
        matches!(self, Self::IoApic { level: true, .. })
    }

    /// What the message's data is once it is sent.
    pub(super) fn sent(&self, data: u32) -> u32 {
        match self {
            Self::IoApic { level, .. } => IoApicDevice::sent(*level, data),
            _ => data,
        }
    }

    /// `irq_mask`, which has reached the device on return.
    pub(super) async fn mask(&self, cpu: &Cpu) {
        self.set_mask(cpu, true).await;
    }

    /// `irq_unmask`.
    pub(super) async fn unmask(&self, cpu: &Cpu) {
        self.set_mask(cpu, false).await;
    }

    async fn set_mask(&self, cpu: &Cpu, masked: bool) {
        match self {
            Self::Msix { device, index } => device.set_mask(cpu, *index, masked).await,
            Self::Msi { device, message, .. } => device.set_mask(cpu, *message, masked).await,
            Self::IoApic { device, pin, .. } => device.set_mask(cpu, *pin, masked).await,
            Self::Hpet { device, timer } => device.set_mask(cpu, *timer, masked).await,
        }
    }

    /// `irq_write_msi_msg` of an interrupt that is masked, or else is masked meanwhile. Of several messages of an MSI
    /// capability the first stands for all.
    pub(super) async fn write_message(&self, cpu: &Cpu, message: MsiMessage, masked: bool) {
        match self {
            Self::Msix { device, index } => device.write_message(cpu, *index, message, masked).await,
            Self::Msi {
                device,
                message: 0,
                of,
            } => device.write_message(cpu, message, *of).await,
            Self::Msi { .. } => {}
            Self::IoApic { device, pin, level } => device.write_message(cpu, *pin, *level, message).await,
            Self::Hpet { device, timer } => device.write_message(cpu, *timer, message).await,
        }
    }

    /// `irq_eoi`, beside the local APIC's.
    pub(super) async fn end_of_interrupt(&self, cpu: &Cpu, message: MsiMessage) {
        if let Self::IoApic { device, .. } = self {
            device.end_of_interrupt(cpu, message.data).await;
        }
    }
}
