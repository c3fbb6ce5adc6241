//! The MSI capability of the IOMMU's PCI function, of which EFR.MsiCapMmioSup makes a second view in MMIO. 32 bits each.

use bitfield_struct::bitfield;

/// MSI Vector Register 0, read-only: message numbers, and what the capability's Miscellaneous Information says.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MsiVector0 {
    /// MsiNum: message of the event log and of COMPLETION_WAIT.
    #[bits(5)]
    pub event_message: u8,
    /// GVAsize: guest virtual addresses; 2 is 48 bits.
    #[bits(3)]
    pub gva_size: u8,
    /// PAsize: physical address bits.
    #[bits(7)]
    pub pa_size: u8,
    /// VAsize: virtual address bits.
    #[bits(7)]
    pub va_size: u8,
    /// HtAtsResv: the ATS range of HyperTransport is reserved.
    pub ht_ats_reserved: bool,
    #[bits(4)]
    __: u8,
    /// MsiNumPPR: message of the PPR log.
    #[bits(5)]
    pub ppr_message: u8,
}

/// MSI Vector Register 1, read-only.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MsiVector1 {
    /// MsiNumGA: message of the GA log.
    #[bits(5)]
    pub ga_message: u8,
    #[bits(27)]
    __: u32,
}

/// MSI Capability Header (PCI Local Bus spec 6.8.1).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MsiCapHeader {
    /// Read-only.
    #[bits(8, default = 0x05)]
    pub cap_id: u8,
    /// Read-only: next capability.
    pub cap_ptr: u8,
    /// The function sends messages.
    pub enable: bool,
    /// Read-only: messages that it asks for, log2.
    #[bits(3)]
    pub multiple_message_capable: u8,
    /// Messages that it has, log2.
    #[bits(3)]
    pub multiple_message_enable: u8,
    /// Read-only: 64-bit addresses.
    #[bits(default = true)]
    pub address_64: bool,
    __: u8,
}

impl MsiCapHeader {
    /// Bits that software can write.
    pub const WRITABLE: u32 = 0x0071_0000;
}

/// MSI Address Low. Address High is bits 63:32, all writable.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MsiAddressLow {
    #[bits(2)]
    __: u8,
    /// Address bits 31:2.
    #[bits(30)]
    pub address: u32,
}

impl MsiAddressLow {
    /// Bits that software can write.
    pub const WRITABLE: u32 = 0xffff_fffc;
}

/// MSI Data.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MsiData {
    /// Of message 0.
    pub data: u16,
    __: u16,
}

impl MsiData {
    /// Bits that software can write.
    pub const WRITABLE: u32 = 0xffff;
}

/// MSI Mapping Capability Header, read-only (HyperTransport I/O Link spec).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MsiMappingCap {
    /// HyperTransport.
    #[bits(8, default = 0x08)]
    pub cap_id: u8,
    /// Next capability.
    pub cap_ptr: u8,
    /// Messages are mapped to interrupts.
    #[bits(default = true)]
    pub enable: bool,
    /// The mapped range is fixed at 0xFEEx_xxxx.
    #[bits(default = true)]
    pub fixed: bool,
    #[bits(9)]
    __: u16,
    /// MSI mapping.
    #[bits(5, default = 0x15)]
    pub cap_type: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_fill_exactly_the_writable_bits() {
        let header = MsiCapHeader::from_bits(0)
            .with_enable(true)
            .with_multiple_message_enable(7);
        assert_eq!(header.into_bits(), MsiCapHeader::WRITABLE);
        let address = MsiAddressLow::new().with_address((1 << 30) - 1);
        assert_eq!(address.into_bits(), MsiAddressLow::WRITABLE);
        assert_eq!(MsiData::new().with_data(0xffff).into_bits(), MsiData::WRITABLE);
    }

    #[test]
    fn capabilities_have_the_ids_that_linux_looks_for() {
        // Linux PCI_CAP_ID_MSI 5 with PCI_MSI_FLAGS_64BIT 0x80; PCI_CAP_ID_HT 8 with HT_CAPTYPE_MSI_MAPPING 0xa8 and
        // HT_MSI_FLAGS_ENABLE, HT_MSI_FLAGS_FIXED.
        assert_eq!(MsiCapHeader::new().into_bits(), 0x0080_0005);
        assert_eq!(MsiMappingCap::new().into_bits(), 0xa803_0008);
    }

    #[test]
    fn message_numbers_are_where_linux_reads_them() {
        // Linux MMIO_MSI_NUM: the low 5 bits of Miscellaneous Information.
        assert_eq!(MsiVector0::from_bits(0x1f).event_message(), 0x1f);
        assert_eq!(MsiVector0::new().with_ppr_message(1).into_bits(), 1 << 27);
        assert_eq!(MsiVector0::new().with_pa_size(48).into_bits(), 48 << 8);
        assert_eq!(MsiVector0::new().with_va_size(64).into_bits(), 64 << 15);
        assert_eq!(MsiVector1::from_bits(2).ga_message(), 2);
    }
}
