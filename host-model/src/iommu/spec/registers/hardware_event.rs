//! The hardware event registers, which EFR.HESup announces.

use bitfield_struct::bitfield;

/// Hardware Event Status register. The event itself is in the two registers before it.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct HardwareEventStatus {
    /// HEV, write 1 to clear: the registers hold an event.
    pub valid: bool,
    /// HEO, write 1 to clear: another event was lost.
    pub overflow: bool,
    #[bits(62)]
    __: u64,
}

impl HardwareEventStatus {
    /// Bits that are cleared by writing 1.
    pub const WRITE_1_TO_CLEAR: u64 = 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bits_are_cleared_by_writing_1() {
        let status = HardwareEventStatus::new().with_valid(true).with_overflow(true);
        assert_eq!(status.into_bits(), HardwareEventStatus::WRITE_1_TO_CLEAR);
    }
}
