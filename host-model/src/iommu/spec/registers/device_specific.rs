//! Registers whose meaning is the implementation's own.

use bitfield_struct::bitfield;

/// Device-Specific Feature (read-only), Control and Status Extension registers: one layout for the three.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DeviceSpecific {
    /// Of the implementation's own.
    #[bits(24)]
    pub bits: u32,
    /// Minor revision of the layout of `bits`.
    #[bits(4)]
    pub minor: u8,
    /// Major revision of the layout of `bits`.
    #[bits(4)]
    pub major: u8,
    __: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_above_the_24_bits() {
        let register = DeviceSpecific::from_bits(0x21ab_cdef);
        assert_eq!(
            (register.major(), register.minor(), register.bits()),
            (2, 1, 0xab_cdef)
        );
    }
}
