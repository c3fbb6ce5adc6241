//! The x2APIC form of the IOMMU's own interrupts.

use bitfield_struct::bitfield;

/// XT IOMMU General, PPR and GA Log Interrupt Control registers: one layout for the three (Linux `union intcapxt`).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct XtInterruptControl {
    #[bits(2)]
    __: u8,
    /// The destination is logical.
    pub logical: bool,
    #[bits(5)]
    __: u8,
    /// Destination bits 23:0.
    #[bits(24)]
    pub destination_low: u32,
    /// The vector.
    pub vector: u8,
    /// Lowest priority rather than fixed.
    pub arbitrated: bool,
    #[bits(15)]
    __: u16,
    /// Destination bits 31:24.
    pub destination_high: u8,
}

impl XtInterruptControl {
    /// Bits that software can write.
    pub const WRITABLE: u64 = 0xff00_01ff_ffff_ff04;

    /// The 32-bit APIC ID, or logical destination.
    pub const fn destination(self) -> u32 {
        (self.destination_high() as u32) << 24 | self.destination_low()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_linux_writes_them() {
        // Linux intcapxt_unmask_irq: dest_mode_logical, destid_0_23, vector, destid_24_31.
        let control = XtInterruptControl::from_bits(0x8900_0031_4567_8904);
        assert!(control.logical() && !control.arbitrated());
        assert_eq!((control.destination(), control.vector()), (0x8945_6789, 0x31));
    }

    #[test]
    fn fields_fill_exactly_the_writable_bits() {
        let control = XtInterruptControl::new()
            .with_logical(true)
            .with_destination_low(0xff_ffff)
            .with_vector(0xff)
            .with_arbitrated(true)
            .with_destination_high(0xff);
        assert_eq!(control.into_bits(), XtInterruptControl::WRITABLE);
    }
}
