//! An I/O APIC (Intel 82093AA datasheet, with the EOI register of version 0x20).

use bitfield_struct::bitfield;

/// Offset of the data register; the index register is at 0.
pub const DATA: u64 = 0x10;
/// Offset of the EOI register.
pub const EOI: u64 = 0x40;

/// Index of the low half of a pin's redirection entry; the high half follows.
pub const fn redirection(pin: u8) -> u8 {
    0x10 + 2 * pin
}

/// A redirection entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RedirectionEntry {
    /// Vector; with remapping bits 7:0 of the remapping entry's index.
    pub vector: u8,
    /// Delivery mode; with remapping bits 10:8 of the index.
    #[bits(3)]
    pub delivery_mode: u8,
    /// The destination is logical.
    pub logical: bool,
    /// Delivery status: read-only.
    pub send_pending: bool,
    /// Pin polarity.
    pub active_low: bool,
    /// A level-triggered interrupt waits for its EOI: read-only.
    pub remote_irr: bool,
    /// Level-triggered.
    pub level: bool,
    /// Masked.
    pub masked: bool,
    #[bits(39)]
    __: u64,
    /// Destination.
    pub destination: u8,
}

/// What it sends: address and data of a message.
pub(super) type Message = (u64, u32);

/// Registers and pins.
pub(super) struct IoApic {
    index: u8,
    pins: Vec<Pin>,
}

#[derive(Clone, Copy, Default)]
struct Pin {
    entry: RedirectionEntry,
    asserted: bool,
}

impl IoApic {
    /// As after reset, with `pins` (up to 120) pins.
    pub(super) fn new(pins: u8) -> Self {
        let masked = Pin {
            entry: RedirectionEntry::new().with_masked(true),
            asserted: false,
        };
        Self {
            index: 0,
            pins: vec![masked; pins.min(120).into()],
        }
    }

    pub(super) fn read(&self, offset: u64) -> u32 {
        match (offset, self.index) {
            (0, index) => index.into(),
            (DATA, 1) => 0x20 | (self.pins.len() as u32).saturating_sub(1) << 16,
            (DATA, 0x10..) => {
                let (pin, shift) = selected(self.index);
                self.pins
                    .get(pin)
                    .map_or(0, |pin| (pin.entry.into_bits() >> shift) as u32)
            }
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, offset: u64, value: u32) -> Vec<Message> {
        match (offset, self.index) {
            (0, _) => self.index = value as u8,
            (DATA, 0x10..) => {
                let (number, shift) = selected(self.index);
                if let Some(pin) = self.pins.get_mut(number) {
                    pin.write_half(value, shift);
                    return pin.send_level().into_iter().collect();
                }
            }
            (EOI, _) => return self.end_of_interrupt(value as u8),
            _ => {}
        }
        Vec::new()
    }

    /// A device raises or lowers a pin.
    pub(super) fn set_pin(&mut self, number: u8, asserted: bool) -> Option<Message> {
        let pin = self.pins.get_mut(usize::from(number))?;
        let rises = asserted && !pin.asserted;
        pin.asserted = asserted;
        if pin.entry.level() {
            pin.send_level()
        } else {
            // An edge while it is masked is forgotten.
            (rises && !pin.entry.masked()).then(|| pin.message())
        }
    }

    fn end_of_interrupt(&mut self, vector: u8) -> Vec<Message> {
        let of_vector = |pin: &&mut Pin| pin.entry.level() && pin.entry.vector() == vector;
        let ended = self.pins.iter_mut().filter(of_vector);
        ended
            .filter_map(|pin| {
                pin.entry.set_remote_irr(false);
                pin.send_level()
            })
            .collect()
    }
}

impl Pin {
    /// Read-only bits stay, and edge-triggered ones wait for no EOI.
    fn write_half(&mut self, value: u32, shift: u32) {
        let other = self.entry.into_bits() & !(0xffff_ffff << shift);
        let written = RedirectionEntry::from_bits(other | u64::from(value) << shift);
        self.entry = written
            .with_send_pending(false)
            .with_remote_irr(self.entry.remote_irr() && written.level());
    }

    fn send_level(&mut self) -> Option<Message> {
        let entry = self.entry;
        let sends = entry.level() && self.asserted && !entry.masked() && !entry.remote_irr();
        sends.then(|| {
            self.entry.set_remote_irr(true);
            self.message()
        })
    }

    fn message(&self) -> Message {
        use crate::iommu::spec::msi::{MsiAddress, MsiData};
        let address = MsiAddress::new()
            .with_prefix(0xfee)
            .with_destination(self.entry.destination())
            .with_logical(self.entry.logical());
        let data = MsiData::new()
            .with_vector(self.entry.vector())
            .with_delivery_mode(self.entry.delivery_mode())
            .with_level(self.entry.level())
            .with_trigger(self.entry.level());
        (address.into_bits(), data.into_bits())
    }
}

/// The pin whose entry an index selects, and where in the entry.
fn selected(index: u8) -> (usize, u32) {
    (usize::from((index - 0x10) / 2), 32 * u32::from(index & 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR: u8 = 0x45;
    const MASKED: u32 = 1 << 16;
    const LEVEL: u32 = 1 << 15;
    /// Address and data of vector 0x45 to APIC 2.
    const EDGE_MESSAGE: Message = (0xfee0_2000, 0x45);
    const LEVEL_MESSAGE: Message = (0xfee0_2000, 0xc045);

    fn io_apic(low: u32) -> IoApic {
        let mut io_apic = IoApic::new(24);
        assert_eq!(write(&mut io_apic, redirection(3) + 1, 2 << 24), []);
        assert_eq!(write(&mut io_apic, redirection(3), low | u32::from(VECTOR)), []);
        io_apic
    }

    fn write(io_apic: &mut IoApic, register: u8, value: u32) -> Vec<Message> {
        io_apic.write(0, register.into());
        io_apic.write(DATA, value)
    }

    fn read(io_apic: &mut IoApic, register: u8) -> u32 {
        io_apic.write(0, register.into());
        io_apic.read(DATA)
    }

    #[test]
    fn every_rising_edge_is_sent_unless_masked() {
        let mut unmasked = io_apic(0);
        assert_eq!(unmasked.set_pin(3, true), Some(EDGE_MESSAGE));
        assert_eq!(unmasked.set_pin(3, true), None);
        assert_eq!(unmasked.set_pin(3, false), None);
        assert_eq!(unmasked.set_pin(3, true), Some(EDGE_MESSAGE));
        let mut masked = io_apic(MASKED);
        assert_eq!(masked.set_pin(3, true), None);
        assert_eq!(write(&mut masked, redirection(3), VECTOR.into()), []);
    }

    #[test]
    fn a_level_is_sent_once_until_its_eoi_and_again_while_it_stays() {
        let mut io_apic = io_apic(LEVEL);
        assert_eq!(io_apic.set_pin(3, true), Some(LEVEL_MESSAGE));
        assert_ne!(read(&mut io_apic, redirection(3)) & 1 << 14, 0);
        assert_eq!(io_apic.set_pin(3, true), None);
        assert_eq!(io_apic.write(EOI, 0x46), []);
        assert_eq!(io_apic.write(EOI, VECTOR.into()), [LEVEL_MESSAGE]);
        assert_eq!(io_apic.set_pin(3, false), None);
        assert_eq!(io_apic.write(EOI, VECTOR.into()), []);
        assert_eq!(read(&mut io_apic, redirection(3)) & 1 << 14, 0);
    }

    #[test]
    fn a_level_that_waits_is_sent_when_it_is_unmasked() {
        let mut io_apic = io_apic(LEVEL | MASKED);
        assert_eq!(io_apic.set_pin(3, true), None);
        let unmasked = write(&mut io_apic, redirection(3), LEVEL | u32::from(VECTOR));
        assert_eq!(unmasked, [LEVEL_MESSAGE]);
    }

    #[test]
    fn registers_read_as_written_but_for_read_only_bits() {
        let mut io_apic = io_apic(MASKED);
        assert_eq!(read(&mut io_apic, 1), 0x17_0020);
        write(&mut io_apic, redirection(3), 0x1_5fff);
        assert_eq!(read(&mut io_apic, redirection(3)), 0x1_0fff);
        assert_eq!(read(&mut io_apic, redirection(3) + 1), 2 << 24);
        assert_eq!(read(&mut io_apic, redirection(24)), 0);
        assert_eq!((io_apic.set_pin(24, true), read(&mut io_apic, 0xff)), (None, 0));
    }
}
