//! Interrupt messages: memory writes of 32 bits to 0xFEEx_xxxx (AMD APM volume 2, 16.11; Intel SDM volume 3, 11.11).

use bitfield_struct::bitfield;

/// Whether a memory request goes where interrupt messages go: 0xFEEx_xxxx.
#[inline]
pub const fn is_message_address(address: u64) -> bool {
    address >> 20 == 0xfee
}

/// Address of a message.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct MsiAddress {
    #[bits(2)]
    __: u8,
    /// DM: the destination is logical.
    pub logical: bool,
    /// RH: to the one of several destinations that has the lowest priority.
    pub redirection_hint: bool,
    __: u8,
    /// Destination bits 7:0.
    pub destination: u8,
    /// 0xfee.
    #[bits(12)]
    pub prefix: u16,
    __: u8,
    /// Destination bits 31:8 (Linux `x86_msi_addr_hi`), of a message that devices can't send.
    #[bits(24)]
    pub destination_high: u32,
}

/// Data of a message.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MsiData {
    /// Vector.
    pub vector: u8,
    /// Delivery mode (MT).
    #[bits(3)]
    pub delivery_mode: u8,
    #[bits(3)]
    __: u8,
    /// Level: assert.
    pub level: bool,
    /// Trigger mode: level.
    pub trigger: bool,
    __: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_linux_writes_them() {
        // Linux x86_msi_addr_lo: reserved_0:2, dest_mode_logical:1, redirect_hint:1, reserved_1:1, virt_destid_8_14:7,
        // destid_0_7:8, base_address:12; x86_msi_addr_hi: reserved:8, destid_8_31:24.
        assert_eq!(MsiAddress::new().with_logical(true).into_bits(), 1 << 2);
        assert_eq!(MsiAddress::new().with_redirection_hint(true).into_bits(), 1 << 3);
        assert_eq!(MsiAddress::new().with_destination(0xff).into_bits(), 0xff << 12);
        assert_eq!(MsiAddress::new().with_prefix(0xfee).into_bits(), 0xfee0_0000);
        let high = MsiAddress::new().with_destination_high(0xff_ffff);
        assert_eq!(high.into_bits(), 0xff_ffff << 40);
        // Linux arch_msi_msg_data: vector:8, delivery_mode:3, dest_mode_logical:1, reserved:2, active_low:1,
        // is_level:1. (active_low is the level: Intel SDM.)
        assert_eq!(MsiData::new().with_vector(0xff).into_bits(), 0xff);
        assert_eq!(MsiData::new().with_delivery_mode(7).into_bits(), 7 << 8);
        assert_eq!(MsiData::new().with_level(true).into_bits(), 1 << 14);
        assert_eq!(MsiData::new().with_trigger(true).into_bits(), 1 << 15);
    }

    #[test]
    fn unknown_bits_survive_a_round_trip() {
        assert_eq!(MsiAddress::from_bits(u64::MAX).into_bits(), u64::MAX);
        assert_eq!(MsiData::from_bits(u32::MAX).into_bits(), u32::MAX);
    }
}
