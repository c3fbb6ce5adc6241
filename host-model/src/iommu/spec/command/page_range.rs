//! The address operand of commands on translations.

use std::fmt;

/// Pages that a command is about: a power of two of bytes, at least 4 KiB, aligned to its size.
///
/// As an operand: address bits 63:12 and S in bit 0. Without S it is one page. With S, the lowest clear bit from bit 12
/// up is the highest bit that differs within the range: bit 12 clear is 8 KiB, only bit 63 clear is everything (Linux
/// `build_inv_address`, `CMD_INV_IOMMU_ALL_PAGES_ADDRESS`), and so is none clear.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRange {
    /// The first byte, and the size's logarithm (12 to 64) in the bits of the page offset.
    start_and_log2: u64,
}

const SIZE: u64 = 1;
const PAGE: u64 = 0x1000;
const OFFSET: u64 = PAGE - 1;

impl PageRange {
    /// Every address.
    pub const ALL: Self = Self::new(0, 64);

    /// The range of `1 << log2` bytes in which `address` lies; `log2` below 12 counts as 12, above 64 as 64.
    pub const fn new(address: u64, log2: u32) -> Self {
        let log2 = match log2 {
            ..12 => 12,
            65.. => 64,
            _ => log2,
        };
        Self {
            start_and_log2: address & u64::MAX.unbounded_shl(log2) | log2 as u64,
        }
    }

    /// Of the second quadword of a command. Bits 11:1 are not looked at.
    pub(super) const fn of_operand(operand: u64) -> Self {
        let log2 = match operand & SIZE {
            0 => 12,
            _ => 13 + (operand >> 12).trailing_ones(),
        };
        Self::new(operand, log2)
    }

    /// As the second quadword of a command.
    pub(super) const fn operand(self) -> u64 {
        match self.log2() {
            12 => self.start(),
            log2 => self.start() | ((1 << (log2 - 1)) - PAGE) | SIZE,
        }
    }

    /// Its first byte.
    pub const fn start(self) -> u64 {
        self.start_and_log2 & !OFFSET
    }

    /// Its last byte.
    pub const fn last(self) -> u64 {
        self.start() | (u64::MAX >> (64 - self.log2()))
    }

    /// Logarithm of its bytes to base 2: 12 to 64.
    pub const fn log2(self) -> u32 {
        (self.start_and_log2 & OFFSET) as u32
    }

    /// One of the two lies in the other.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start() <= other.last() && other.start() <= self.last()
    }
}

impl fmt::Debug for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..={:#x}", self.start(), self.last())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Linux `build_inv_address`, for addresses of at most 52 bits.
    fn linux_operand(address: u64, size: u64) -> u64 {
        let end = address + size - 1;
        if end >> 12 == address >> 12 {
            return address & !0xfff;
        }
        let msb_diff = (end ^ address).ilog2();
        let address = if msb_diff > 51 {
            0x7fff_ffff_ffff_ffff
        } else {
            address | ((1 << msb_diff) - 1)
        };
        address & !0xfff | 1
    }

    #[test]
    fn operands_of_linux_name_their_ranges() {
        let golden = [
            (0x1234_5000, 0x1234_5000, 0x1234_5fff),
            (0x1234_4001, 0x1234_4000, 0x1234_5fff),
            (0x1234_5001, 0x1234_4000, 0x1234_7fff),
            (0x000f_f001, 0x0000_0000, 0x001f_ffff),
            (0x0007_ffff_ffff_f001, 0, 0x000f_ffff_ffff_ffff),
            // CMD_INV_IOMMU_ALL_PAGES_ADDRESS, and what others use for it.
            (0x7fff_ffff_ffff_f001, 0, u64::MAX),
            (0xffff_ffff_ffff_f001, 0, u64::MAX),
        ];
        for (operand, start, last) in golden {
            let range = PageRange::of_operand(operand);
            assert_eq!((range.start(), range.last()), (start, last), "{operand:#x}");
        }
        assert_eq!(PageRange::ALL.operand(), 0x7fff_ffff_ffff_f001);
        assert_eq!(format!("{:?}", PageRange::new(0x1fff, 13)), "0x0..=0x1fff");
    }

    #[test]
    fn sizes_below_a_page_and_above_everything_are_those() {
        assert_eq!(PageRange::new(0x1234, 0), PageRange::new(0x1000, 12));
        assert_eq!(PageRange::new(0x1234, u32::MAX), PageRange::ALL);
    }

    proptest! {
        #[test]
        fn what_linux_flushes_lies_in_the_range(address in 0u64..1 << 51, log2 in 0u32..52, odd in 1u64..4096) {
            let size = (1 << log2) + odd;
            let range = PageRange::of_operand(linux_operand(address, size));
            prop_assert!(range.start() <= address);
            prop_assert!(range.last() >= address + size - 1);
            prop_assert_eq!(PageRange::of_operand(range.operand()), range);
        }

        #[test]
        fn an_operand_survives_a_round_trip(address: u64, size in 0u64..2) {
            let operand = address & !OFFSET | size;
            let expected = match operand {
                // No clear bit at all: everything, whose operand has bit 63 clear.
                0xffff_ffff_ffff_f001 => 0x7fff_ffff_ffff_f001,
                _ => operand,
            };
            prop_assert_eq!(PageRange::of_operand(operand).operand(), expected);
        }

        #[test]
        fn a_range_is_aligned_and_as_long_as_it_says(address: u64, log2 in 12u32..65) {
            let range = PageRange::new(address, log2);
            prop_assert!((range.start()..=range.last()).contains(&address));
            prop_assert_eq!(u128::from(range.last() - range.start()) + 1, 1 << log2);
            prop_assert_eq!(u128::from(range.start()) % (1 << log2), 0);
        }

        #[test]
        fn ranges_overlap_where_they_share_an_address(a: u64, b: u64, log2 in 12u32..65, other in 12u32..65) {
            let (a, b) = (PageRange::new(a, log2), PageRange::new(b, other));
            let (small, large) = if log2 < other { (a, b) } else { (b, a) };
            let shared = (large.start()..=large.last()).contains(&small.start());
            prop_assert_eq!(a.overlaps(b), shared);
            prop_assert_eq!(b.overlaps(a), shared);
        }
    }
}
