//! Where the device table lies: in one piece, or in up to 8 segments.

use bitfield_struct::bitfield;

/// Device Table Base Address register; the base of segment 0 if the table is segmented.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DevTabBase {
    /// Table length in 4 KiB, minus one.
    #[bits(9)]
    pub size: u16,
    #[bits(3)]
    __: u8,
    /// Physical address bits 51:12.
    #[bits(40)]
    pub base: u64,
    #[bits(12)]
    __: u16,
}

impl DevTabBase {
    /// Bits that software can write.
    pub const WRITABLE: u64 = 0x000f_ffff_ffff_f1ff;

    /// Physical address of the table.
    pub const fn address(self) -> u64 {
        self.base() << 12
    }

    /// Length of the table in bytes.
    pub const fn length(self) -> u64 {
        (self.size() as u64 + 1) << 12
    }
}

/// Device Table Segment Base Address register of segment 1 to 7.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DevTabSegmentBase {
    /// Segment length in 4 KiB, minus one: at most half a table.
    pub size: u8,
    #[bits(4)]
    __: u8,
    /// Physical address bits 51:12.
    #[bits(40)]
    pub base: u64,
    #[bits(12)]
    __: u16,
}

impl DevTabSegmentBase {
    /// Bits that software can write.
    pub const WRITABLE: u64 = 0x000f_ffff_ffff_f0ff;

    /// Physical address of the segment.
    pub const fn address(self) -> u64 {
        self.base() << 12
    }

    /// Length of the segment in bytes.
    pub const fn length(self) -> u64 {
        (self.size() as u64 + 1) << 12
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_table_of_65536_devices_is_2_mib() {
        let base = DevTabBase::from_bits(0x20_0000 | 0x1ff);
        assert_eq!((base.address(), base.length()), (0x20_0000, 2 << 20));
    }

    #[test]
    fn the_largest_segment_is_half_a_table() {
        let base = DevTabSegmentBase::from_bits(0x20_0000 | 0xff);
        assert_eq!((base.address(), base.length()), (0x20_0000, 1 << 20));
    }

    #[test]
    fn fields_fill_exactly_the_writable_bits() {
        let whole = DevTabBase::new().with_size(0x1ff).with_base((1 << 40) - 1);
        assert_eq!(whole.into_bits(), DevTabBase::WRITABLE);
        let segment = DevTabSegmentBase::new().with_size(0xff).with_base((1 << 40) - 1);
        assert_eq!(segment.into_bits(), DevTabSegmentBase::WRITABLE);
    }
}
