//! Rings in memory: the command buffer and the event, PPR and GA logs.

use bitfield_struct::bitfield;

/// Base address register of a ring.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RingBase {
    #[bits(12)]
    __: u16,
    /// Physical address bits 51:12.
    #[bits(40)]
    pub base: u64,
    #[bits(4)]
    __: u8,
    /// Length in 16 bytes, log2; below 8 reserved.
    #[bits(4, default = 8)]
    pub length: u8,
    #[bits(4)]
    __: u8,
}

impl RingBase {
    /// Bits that software can write.
    pub const WRITABLE: u64 = 0x0f0f_ffff_ffff_f000;

    /// A ring of 16-byte entries (commands, events, PPRs), unless its length is reserved.
    pub const fn parse(self) -> Result<Ring, ReservedRingLength> {
        self.parse_entries(16)
    }

    /// A ring of 8-byte entries (GA log), unless its length is reserved.
    ///
    /// The length counts 16 bytes here too: 8 is 512 entries (Linux `GA_LOG_SIZE_512`).
    pub const fn parse_ga_log(self) -> Result<Ring, ReservedRingLength> {
        self.parse_entries(8)
    }

    const fn parse_entries(self, entry: u32) -> Result<Ring, ReservedRingLength> {
        match self.length() {
            length @ ..8 => Err(ReservedRingLength(length)),
            length => Ok(Ring {
                address: self.base() << 12,
                bytes: 16 << length,
                entry,
            }),
        }
    }
}

/// A ring's length field has a reserved value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ring length {0} is reserved: at least 8 (4 KiB) is needed")]
pub struct ReservedRingLength(pub u8);

/// Where a ring lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    /// Physical address of entry 0.
    pub address: u64,
    /// Length in bytes, a power of two.
    pub bytes: u32,
    /// Length of an entry in bytes, a power of two.
    pub entry: u32,
}

impl Ring {
    /// The byte offset of the entry that a pointer register names; a pointer beyond the end wraps.
    pub const fn offset(self, pointer: RingPointer) -> u32 {
        pointer.bytes() & (self.bytes - self.entry)
    }

    /// The offset of the entry after the one at `offset`.
    pub const fn next(self, offset: u32) -> u32 {
        (offset + self.entry) & (self.bytes - 1)
    }
}

/// Head or tail pointer register of a ring: a byte offset, in 16 or, for the GA log, 8 bytes.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RingPointer {
    #[bits(3)]
    __: u8,
    /// Offset bits 18:3.
    pub eighth: u16,
    #[bits(45)]
    __: u64,
}

impl RingPointer {
    /// Bits that software can write: 18:4.
    pub const WRITABLE: u64 = 0x7_fff0;
    /// Bits that software can write of the GA log's pointers: 18:3, as the longest log needs. (VirtualBox has 15:3.)
    pub const GA_LOG_WRITABLE: u64 = 0x7_fff8;

    /// As a byte offset.
    pub const fn bytes(self) -> u32 {
        (self.eighth() as u32) << 3
    }

    /// Of a byte offset.
    pub const fn at(offset: u32) -> Self {
        Self::new().with_eighth((offset >> 3) as u16)
    }
}

/// Guest Virtual APIC Log Tail Address register: where the IOMMU stores the GA log's tail for the guest.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct GaLogTailAddress {
    #[bits(3)]
    __: u8,
    /// Physical address bits 51:3.
    #[bits(49)]
    pub pointer: u64,
    #[bits(12)]
    __: u16,
}

impl GaLogTailAddress {
    /// Bits that software can write.
    pub const WRITABLE: u64 = 0x000f_ffff_ffff_fff8;

    /// Physical address of 8 bytes.
    pub const fn address(self) -> u64 {
        self.pointer() << 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_base_of_linux_is_a_ring_of_512_entries() {
        // Linux iommu_enable_command_buffer: physical address | 9 << 56.
        let ring = RingBase::from_bits(0x1_2345_6000 | 9 << 56).parse().unwrap();
        assert_eq!((ring.address, ring.bytes, ring.entry), (0x1_2345_6000, 8192, 16));
        assert_eq!((ring.next(0), ring.next(8176)), (16, 0));
    }

    #[test]
    fn ga_log_of_linux_is_4_kib_of_512_entries() {
        // Linux iommu_ga_log_enable: physical address | GA_LOG_SIZE_512 (8 << 56), for GA_LOG_SIZE = 8 * 512 bytes.
        let ring = RingBase::from_bits(0x1_2345_6000 | 8 << 56)
            .parse_ga_log()
            .unwrap();
        assert_eq!((ring.address, ring.bytes, ring.entry), (0x1_2345_6000, 4096, 8));
        assert_eq!((ring.next(0), ring.next(4088)), (8, 0));
    }

    #[test]
    fn ring_lengths_below_8_are_refused() {
        for length in 0..8 {
            let base = RingBase::new().with_length(length);
            assert_eq!(base.parse(), Err(ReservedRingLength(length)));
            assert_eq!(base.parse_ga_log(), Err(ReservedRingLength(length)));
        }
        assert_eq!(RingBase::new().parse().unwrap().bytes, 4096);
    }

    #[test]
    fn pointers_beyond_the_ring_wrap_to_a_whole_entry() {
        let pointer = RingPointer::from_bits(0x7_ffff);
        let base = RingBase::new().with_length(9);
        assert_eq!(base.parse().unwrap().offset(pointer), 8176);
        assert_eq!(base.parse_ga_log().unwrap().offset(pointer), 8184);
    }

    #[test]
    fn pointers_reach_every_entry_of_the_longest_ring() {
        let base = RingBase::new().with_length(15);
        let (commands, ga_log) = (base.parse().unwrap(), base.parse_ga_log().unwrap());
        assert_eq!(u64::from(commands.bytes - commands.entry), RingPointer::WRITABLE);
        assert_eq!(
            u64::from(ga_log.bytes - ga_log.entry),
            RingPointer::GA_LOG_WRITABLE
        );
        for ring in [commands, ga_log] {
            let last = ring.bytes - ring.entry;
            assert_eq!(RingPointer::at(last).bytes(), last);
            assert_eq!(ring.next(last), 0);
        }
    }

    #[test]
    fn fields_fill_exactly_the_writable_bits() {
        let base = RingBase::new().with_length(15).with_base((1 << 40) - 1);
        assert_eq!(base.into_bits(), RingBase::WRITABLE);
        let address = GaLogTailAddress::new().with_pointer((1 << 49) - 1);
        assert_eq!(address.into_bits(), GaLogTailAddress::WRITABLE);
        // Linux iommu_ga_log_enable: physical address & (BIT_ULL(52) - 1) & ~7.
        assert_eq!(
            GaLogTailAddress::from_bits(0x1_2345_6008).address(),
            0x1_2345_6008
        );
    }

    #[test]
    fn unknown_bits_survive_a_round_trip() {
        assert_eq!(RingBase::from_bits(u64::MAX).into_bits(), u64::MAX);
        assert_eq!(RingPointer::from_bits(u64::MAX).into_bits(), u64::MAX);
        assert_eq!(GaLogTailAddress::from_bits(u64::MAX).into_bits(), u64::MAX);
    }
}
