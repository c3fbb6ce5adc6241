//! Interrupt messages as local APICs take them (AMD APM volume 2, 16.5 and 16.11; Intel SDM volume 3, 11.11).

use crate::iommu::spec::irte::{DestinationMode, IntType};
use crate::iommu::spec::msi::{MsiAddress, MsiData};
use crate::iommu::{DeliveryMode, XtInterrupt};
use crate::trace::Loss;

/// An interrupt message, as every local APIC sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ApicMessage {
    pub(super) destination: Destination,
    /// To one local APIC of several.
    pub(super) lowest_priority: bool,
    pub(super) asks_for: AsksFor,
}

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AsksFor {
    Vector(u8),
    /// Something that has no vector.
    Special(DeliveryMode),
}

/// Which local APICs a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) id: u32,
    pub(super) mode: DestinationMode,
    /// 32 bits (x2APIC), not 8 (xAPIC, with the flat model of logical destinations).
    pub(super) wide: bool,
}

/// Vectors below are illegal (AMD APM volume 2, 16.4.6).
const FIRST_VECTOR: u8 = 16;

impl ApicMessage {
    /// Of a write to 0xFEEx_xxxx, or of what the IOMMU makes of one.
    pub(super) fn of_msi(address: u64, data: u32, wide: bool) -> Result<Self, Loss> {
        let (address, data) = (MsiAddress::from_bits(address), MsiData::from_bits(data));
        let high = if wide { address.destination_high() << 8 } else { 0 };
        let destination = Destination {
            id: high | u32::from(address.destination()),
            mode: if address.logical() {
                DestinationMode::Logical
            } else {
                DestinationMode::Physical
            },
            wide,
        };
        let special = |mode| Ok(AsksFor::Special(mode));
        Ok(Self {
            destination,
            lowest_priority: data.delivery_mode() == 1 || address.logical() && address.redirection_hint(),
            asks_for: match data.delivery_mode() {
                0 | 1 => vector(data.vector()),
                2 => special(DeliveryMode::Smi),
                4 => special(DeliveryMode::Nmi),
                5 => special(DeliveryMode::Init),
                7 => special(DeliveryMode::ExtInt),
                reserved => Err(Loss::ReservedDeliveryMode(reserved)),
            }?,
        })
    }

    /// Of an interrupt of the IOMMU's own in x2APIC form.
    pub(super) fn of_xt(interrupt: &XtInterrupt) -> Result<Self, Loss> {
        Ok(Self {
            destination: Destination {
                id: interrupt.destination,
                mode: interrupt.destination_mode,
                wide: true,
            },
            lowest_priority: interrupt.int_type == IntType::Arbitrated,
            asks_for: vector(interrupt.vector)?,
        })
    }
}

fn vector(vector: u8) -> Result<AsksFor, Loss> {
    if vector < FIRST_VECTOR {
        return Err(Loss::IllegalVector(vector));
    }
    Ok(AsksFor::Vector(vector))
}

impl Destination {
    /// Whether the local APIC with this ID is meant.
    pub(super) fn is(self, apic: u32) -> bool {
        let everybody = if self.wide { u32::MAX } else { 0xff };
        match self.mode {
            _ if self.id == everybody => true,
            DestinationMode::Physical => self.id == apic,
            // Linux's flat model: LDR is 1 << APIC ID.
            DestinationMode::Logical if !self.wide => apic < 8 && self.id >> apic & 1 != 0,
            // The logical ID follows from the APIC ID: a cluster of 16, and a bit in it (Intel SDM 11.12.10.2).
            DestinationMode::Logical => self.id >> 16 == apic >> 4 && self.id >> (apic & 0xf) & 1 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use DestinationMode::{Logical, Physical};

    use super::*;

    #[test]
    fn destinations_reach_the_apics_that_they_name() {
        // Mode, 32 bits, destination, APIC IDs of 0..64 that it reaches.
        type Row = (DestinationMode, bool, u32, Vec<u32>);
        let rows: [Row; 11] = [
            (Physical, false, 5, vec![5]),
            (Physical, true, 5, vec![5]),
            (Physical, false, 0xff, (0..64).collect()),
            (Physical, true, 0xff, vec![]),
            (Physical, true, u32::MAX, (0..64).collect()),
            (Logical, false, 0b1010_0001, vec![0, 5, 7]),
            (Logical, false, 0, vec![]),
            (Logical, true, 0b1010_0001, vec![0, 5, 7]),
            // x2APIC ID 0x25 is bit 5 of cluster 2.
            (Logical, true, 0x2_8020, vec![0x25, 0x2f]),
            (Logical, true, 0x1000, vec![12]),
            (Logical, true, u32::MAX, (0..64).collect()),
        ];
        for (mode, wide, id, expected) in rows {
            let destination = Destination { id, mode, wide };
            let reached: Vec<u32> = (0..64).filter(|apic| destination.is(*apic)).collect();
            assert_eq!(reached, expected, "{destination:x?}");
        }
    }

    #[test]
    fn a_message_names_destination_and_vector() {
        let plain = ApicMessage::of_msi(0xfee0_5000, 0x31, false).unwrap();
        assert_eq!(plain.asks_for, AsksFor::Vector(0x31));
        assert!(!plain.lowest_priority);
        let destination = |address, wide| ApicMessage::of_msi(address, 0x31, wide).unwrap().destination;
        let physical = |id, wide| Destination {
            id,
            mode: Physical,
            wide,
        };
        assert_eq!(plain.destination, physical(5, false));
        // Linux x86_msi_addr_hi has bits 31:8 of a destination in bits 63:40.
        assert_eq!(
            destination(0x8945_6700_fee8_9000, true),
            physical(0x8945_6789, true)
        );
        assert_eq!(destination(0x8945_6700_fee8_9000, false), physical(0x89, false));
        assert_eq!(destination(0xfee0_5004, false).mode, Logical);
    }

    #[test]
    fn one_of_several_is_chosen_by_delivery_mode_or_redirection_hint() {
        for (address, data, expected) in [
            (0xfee0_3004, 0x31, false),
            (0xfee0_3004, 0x131, true),
            (0xfee0_3000, 0x131, true),
            (0xfee0_300c, 0x31, true),
            // The hint means nothing to a physical destination.
            (0xfee0_3008, 0x31, false),
        ] {
            let message = ApicMessage::of_msi(address, data, false).unwrap();
            assert_eq!(message.lowest_priority, expected, "{address:#x} {data:#x}");
        }
    }

    #[test]
    fn delivery_modes_are_told_apart() {
        use DeliveryMode::{ExtInt, Init, Nmi, Smi};
        for (data, expected) in [
            (0x031, Ok(AsksFor::Vector(0x31))),
            (0x131, Ok(AsksFor::Vector(0x31))),
            (0x200, Ok(AsksFor::Special(Smi))),
            (0x331, Err(Loss::ReservedDeliveryMode(3))),
            (0x400, Ok(AsksFor::Special(Nmi))),
            (0x500, Ok(AsksFor::Special(Init))),
            (0x631, Err(Loss::ReservedDeliveryMode(6))),
            (0x700, Ok(AsksFor::Special(ExtInt))),
            (0x00f, Err(Loss::IllegalVector(0x0f))),
            (0x010, Ok(AsksFor::Vector(0x10))),
        ] {
            let got = ApicMessage::of_msi(0xfee0_0000, data, false).map(|message| message.asks_for);
            assert_eq!(got, expected, "{data:#x}");
        }
    }
}
