use std::rc::Rc;

use sim_bridge::RequesterId;

use crate::driver::MsiMessage;
use crate::exec::SpinLock;
use crate::iommu::spec::msi::{MsiAddress, MsiData};
use crate::machine::{Cpu, RedirectionEntry, io_apic};
use crate::trace::Lock;

/// An I/O APIC as the kernel has it.
#[derive(Clone)]
pub struct IoApicDevice {
    /// Under which ID its interrupts arrive (IVRS special device).
    pub id: RequesterId,
    address: u64,
    /// `ioapic_lock`: an access is two, to the index and to the data.
    lock: Rc<SpinLock<()>>,
}

impl IoApicDevice {
    /// Its registers are at physical `address`.
    pub fn new(id: RequesterId, address: u64) -> Self {
        Self {
            id,
            address,
            lock: Rc::new(SpinLock::new(Lock::IoApic, ())),
        }
    }

    /// What a pin's message has in its data: the redirection entry has room for no more.
    pub(super) fn sent(level: bool, data: u32) -> u32 {
        let data = MsiData::from_bits(data & 0x7ff)
            .with_trigger(level)
            .with_level(level);
        data.into_bits()
    }

    /// `ioapic_configure_entry`: an entry that makes the pin send the message, and nothing for no message.
    pub(super) async fn write_message(&self, cpu: &Cpu, pin: u8, level: bool, message: MsiMessage) {
        let (address, data) = (
            MsiAddress::from_bits(message.address),
            MsiData::from_bits(message.data),
        );
        let entry = RedirectionEntry::new()
            .with_vector(data.vector())
            .with_delivery_mode(data.delivery_mode())
            .with_logical(address.logical())
            .with_destination(address.destination())
            .with_level(level)
            // Level-triggered ones are unmasked by who asks for them.
            .with_masked(level || message.address == 0);
        let bits = entry.into_bits();
        let _guard = self.lock.lock_irqsave(cpu).await;
        self.write(cpu, io_apic::redirection(pin) + 1, (bits >> 32) as u32)
            .await;
        self.write(cpu, io_apic::redirection(pin), bits as u32).await;
    }

    /// `mask_ioapic_irq` and `unmask_ioapic_irq`.
    pub(super) async fn set_mask(&self, cpu: &Cpu, pin: u8, masked: bool) {
        let _guard = self.lock.lock_irqsave(cpu).await;
        cpu.writel(self.address, io_apic::redirection(pin).into()).await;
        let low = cpu.readl(self.address + io_apic::DATA).await;
        let entry = RedirectionEntry::from_bits(low.into()).with_masked(masked);
        cpu.writel(self.address + io_apic::DATA, entry.into_bits() as u32)
            .await;
        if masked {
            // io_apic_sync
            cpu.readl(self.address + io_apic::DATA).await;
        }
    }

    /// `eoi_ioapic_pin`: with remapping, the vector is what the redirection entry has.
    pub(super) async fn end_of_interrupt(&self, cpu: &Cpu, data: u32) {
        let _guard = self.lock.lock_irqsave(cpu).await;
        cpu.writel(self.address + io_apic::EOI, data & 0xff).await;
    }

    async fn write(&self, cpu: &Cpu, register: u8, value: u32) {
        cpu.writel(self.address, register.into()).await;
        cpu.writel(self.address + io_apic::DATA, value).await;
    }
}
