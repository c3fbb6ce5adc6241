//! What interrupts without being a PCI function behind the link: I/O APICs and HPETs.

use sim_bridge::RequesterId;

use super::Machine;
use super::hpet::Hpet;
use super::io_apic::{IoApic, Message};
use super::root_complex::Inbound;
use crate::iommu::InterruptRequest;
use crate::trace::{Kind, Source};

/// One of them.
pub(super) struct PlatformDevice {
    address: u64,
    id: RequesterId,
    registers: Registers,
}

enum Registers {
    IoApic(IoApic),
    Hpet(Hpet),
}

/// Bytes of registers that each has.
const SIZE: u64 = 0x400;

impl Machine {
    /// Adds an I/O APIC with registers at `address`, whose interrupts carry `id`.
    pub fn add_io_apic(&self, address: u64, id: RequesterId, pins: u8) {
        self.add_platform_device(address, id, Registers::IoApic(IoApic::new(pins)));
    }

    /// Adds an HPET with registers at `address`, whose interrupts carry `id`.
    pub fn add_hpet(&self, address: u64, id: RequesterId, timers: u8) {
        self.add_platform_device(address, id, Registers::Hpet(Hpet::new(timers)));
    }

    fn add_platform_device(&self, address: u64, id: RequesterId, registers: Registers) {
        self.0.platform.borrow_mut().push(PlatformDevice {
            address,
            id,
            registers,
        });
    }

    /// A device raises or lowers a pin of the I/O APIC at `address`.
    pub fn set_pin(&self, address: u64, pin: u8, asserted: bool) {
        self.with_platform(address, |device| match &mut device.registers {
            Registers::IoApic(io_apic) => io_apic.set_pin(pin, asserted).into_iter().collect(),
            Registers::Hpet(_) => Vec::new(),
        });
    }

    /// A timer of the HPET at `address` has come to its end.
    pub fn fire_timer(&self, address: u64, timer: u8) {
        self.with_platform(address, |device| match &device.registers {
            Registers::Hpet(hpet) => hpet.fire(timer).into_iter().collect(),
            Registers::IoApic(_) => Vec::new(),
        });
    }

    /// `None` where none of them is.
    pub(super) fn platform_register(&self, address: u64) -> Option<u32> {
        let devices = self.0.platform.borrow();
        let device = devices.iter().find(|device| device.has(address))?;
        let offset = address - device.address;
        Some(match &device.registers {
            Registers::IoApic(io_apic) => io_apic.read(offset),
            Registers::Hpet(hpet) => hpet.read(offset),
        })
    }

    /// Whether one of them is there.
    pub(super) fn write_platform_register(&self, address: u64, value: u32) -> bool {
        self.with_platform(address, |device| {
            let offset = address - device.address;
            match &mut device.registers {
                Registers::IoApic(io_apic) => io_apic.write(offset, value),
                Registers::Hpet(hpet) => {
                    hpet.write(offset, value);
                    Vec::new()
                }
            }
        })
    }

    /// Sends what the device then sends.
    fn with_platform(&self, address: u64, act: impl FnOnce(&mut PlatformDevice) -> Vec<Message>) -> bool {
        let mut devices = self.0.platform.borrow_mut();
        let Some(device) = devices.iter_mut().find(|device| device.has(address)) else {
            return false;
        };
        let id = device.id;
        let messages = act(device);
        drop(devices);
        for (address, data) in messages {
            let request = InterruptRequest {
                requester: id,
                address,
                data,
            };
            self.record(Source::Scenario, Kind::InterruptSent(request));
            self.in_turn(id, Inbound::Interrupt(None, request));
        }
        true
    }
}

impl PlatformDevice {
    fn has(&self, address: u64) -> bool {
        (self.address..self.address + SIZE).contains(&address)
    }
}
