//! Quirks of Linux's `drivers/pci/quirks.c` that give a function DMA aliases.

use super::Function;

/// A function's device ID says where its aliases come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmaAliasQuirk {
    /// `quirk_dma_func1_alias`: function 1 of the same slot.
    Function1,
    /// `quirk_plx_ntb_dma_alias`: every device/function number of the bus.
    PlxNtb,
    /// `quirk_switchtec_ntb_dma_alias`: the proxy IDs in the device's requester-ID table, read over MMIO.
    SwitchtecNtb,
}

/// Functions of the first of [`DmaAliasQuirk::Function1`]'s list (Linux 7.2 quirks.c 4305).
const FUNCTION_1: &[(u16, &[u16])] = &[
    (
        0x1b4b,
        &[
            0x9120, 0x9123, 0x9125, 0x9128, 0x9130, 0x9170, 0x9172, 0x917a, 0x9182, 0x9183, 0x91a0, 0x9215,
            0x9220, 0x9230, 0x9235,
        ],
    ),
    (0x1103, &[0x0642, 0x0645]),
    (0x197b, &[0x2392]),
    (0x1c28, &[0x0122]),
];

/// "Other bridge", the class that the Switchtec quirk asks for.
const CLASS_BRIDGE_OTHER: u32 = 0x06_80;

impl DmaAliasQuirk {
    /// The quirk for this function, if any.
    pub fn of(function: &Function) -> Option<Self> {
        let (vendor, device) = function.vendor_device;
        let other_bridge = function.class >> 8 == CLASS_BRIDGE_OTHER;
        match (vendor, device) {
            (0x10b5, 0x87b0 | 0x87b1) => Some(Self::PlxNtb),
            // Linux lists the Gen3 to Gen5 device IDs one by one; they are all of these ranges' devices.
            (0x11f8, 0x8531..=0x8576 | 0x4000..=0x4fff | 0x5000..=0x5fff) if other_bridge => {
                Some(Self::SwitchtecNtb)
            }
            _ => FUNCTION_1
                .iter()
                .any(|(v, ids)| *v == vendor && ids.contains(&device))
                .then_some(Self::Function1),
        }
    }
}

/// Offsets in a Switchtec NTB's BAR0 that the quirk reads (Linux 7.2 quirks.c 5928, include/linux/switchtec.h).
pub mod switchtec {
    /// Own partition, 8 bits.
    pub const PARTITION_ID: u64 = 0x1_0001;
    /// Map of partitions with an endpoint, low half.
    pub const EP_MAP_LOW: u64 = 0x1_0004;
    /// What Linux reads as the map's high half: it advances a pointer to 64-bit words by four of them.
    pub const EP_MAP_HIGH_AS_LINUX_READS_IT: u64 = 0x1_0024;
    /// Entries that a requester-ID table can have.
    pub const TABLE_MAX: u16 = 512;

    /// The number of entries of a partition's requester-ID table, 16 bits.
    pub const fn table_size(partition: u64) -> u64 {
        control_block(partition) + 0x1c
    }

    /// An entry of the table, 32 bits: the device/function number is in bits 8:1.
    pub const fn table_entry(partition: u64, index: u64) -> u64 {
        control_block(partition) + 0x400 + 4 * index
    }

    const fn control_block(partition: u64) -> u64 {
        0x1_4000 + 0x2000 * partition
    }
}

#[cfg(test)]
mod tests {
    use sim_bridge::RequesterId;

    use super::*;

    #[test]
    fn quirks_are_found_by_vendor_device_and_class() {
        let cases = [
            ((0x1b4b, 0x9123), 0x01_06_01, Some(DmaAliasQuirk::Function1)),
            ((0x10b5, 0x87b0), 0x06_80_00, Some(DmaAliasQuirk::PlxNtb)),
            ((0x11f8, 0x8536), 0x06_80_00, Some(DmaAliasQuirk::SwitchtecNtb)),
            ((0x11f8, 0x8536), 0x05_80_00, None),
            ((0x144d, 0xa80a), 0x01_08_02, None),
        ];
        for (ids, class, expected) in cases {
            let function = Function::endpoint(RequesterId::default(), ids, class);
            assert_eq!(DmaAliasQuirk::of(&function), expected, "{ids:04x?} {class:06x}");
        }
    }
}
