//! Byte offsets in the MMIO region. Registers have 64 bits, those at 0x150 to 0x16c have 32.
//!
//! With EFR.PCSup the region has 512 KiB: the counters' configuration (banks in bits 17:12, counters of a bank in
//! bits 10:7) at 0x4000, and counter `c` of bank `b` at `0x40000 | b << 12 | c << 8` (Linux `iommu_pc_get_set_reg`).

/// Device Table Base Address.
pub const DEV_TAB_BASE: u64 = 0x00;
/// Command Buffer Base Address.
pub const CMD_BUF_BASE: u64 = 0x08;
/// Event Log Base Address.
pub const EVT_LOG_BASE: u64 = 0x10;
/// IOMMU Control.
pub const CONTROL: u64 = 0x18;
/// Exclusion Base.
pub const EXCLUSION_BASE: u64 = 0x20;
/// Exclusion Range Limit.
pub const EXCLUSION_LIMIT: u64 = 0x28;
/// Extended Feature.
pub const EFR: u64 = 0x30;
/// PPR Log Base Address.
pub const PPR_LOG_BASE: u64 = 0x38;
/// Hardware Event Upper: quadword 0 of an event.
pub const HW_EVENT_UPPER: u64 = 0x40;
/// Hardware Event Lower: quadword 1 of an event.
pub const HW_EVENT_LOWER: u64 = 0x48;
/// Hardware Event Status.
pub const HW_EVENT_STATUS: u64 = 0x50;
/// Guest Virtual APIC Log Base Address.
pub const GA_LOG_BASE: u64 = 0xe0;
/// Guest Virtual APIC Log Tail Address.
pub const GA_LOG_TAIL_ADDRESS: u64 = 0xe8;
/// Device Table Segment 1 Base Address; segments 2 to 7 follow.
pub const DEV_TAB_SEGMENT_1_BASE: u64 = 0x100;
/// Device Table Segment 7 Base Address.
pub const DEV_TAB_SEGMENT_7_BASE: u64 = 0x130;
/// Device-Specific Feature Extension.
pub const DEVICE_SPECIFIC_FEATURE: u64 = 0x138;
/// Device-Specific Control Extension.
pub const DEVICE_SPECIFIC_CONTROL: u64 = 0x140;
/// Device-Specific Status Extension.
pub const DEVICE_SPECIFIC_STATUS: u64 = 0x148;
/// MSI Vector 0, 32 bits: Miscellaneous Information 0 of the PCI capability.
pub const MSI_VECTOR_0: u64 = 0x150;
/// MSI Vector 1, 32 bits: Miscellaneous Information 1 of the PCI capability.
pub const MSI_VECTOR_1: u64 = 0x154;
/// MSI Capability Header, 32 bits.
pub const MSI_CAP_HEADER: u64 = 0x158;
/// MSI Address Low, 32 bits.
pub const MSI_ADDRESS_LOW: u64 = 0x15c;
/// MSI Address High, 32 bits.
pub const MSI_ADDRESS_HIGH: u64 = 0x160;
/// MSI Data, 32 bits.
pub const MSI_DATA: u64 = 0x164;
/// MSI Mapping Capability Header, 32 bits.
pub const MSI_MAPPING_CAP: u64 = 0x168;
/// Performance Optimization Control, 32 bits.
pub const PERFORMANCE_OPTIMIZATION: u64 = 0x16c;
/// x2APIC form of the IOMMU's own event interrupt.
pub const XT_INT_CONTROL: u64 = 0x170;
/// x2APIC form of the PPR interrupt.
pub const XT_PPR_INT_CONTROL: u64 = 0x178;
/// x2APIC form of the GA log interrupt.
pub const XT_GA_INT_CONTROL: u64 = 0x180;
/// Extended Feature 2.
pub const EFR2: u64 = 0x1a0;
/// Command Buffer Head Pointer.
pub const CMD_BUF_HEAD: u64 = 0x2000;
/// Command Buffer Tail Pointer.
pub const CMD_BUF_TAIL: u64 = 0x2008;
/// Event Log Head Pointer.
pub const EVT_LOG_HEAD: u64 = 0x2010;
/// Event Log Tail Pointer.
pub const EVT_LOG_TAIL: u64 = 0x2018;
/// IOMMU Status.
pub const STATUS: u64 = 0x2020;
/// PPR Log Head Pointer.
pub const PPR_LOG_HEAD: u64 = 0x2030;
/// PPR Log Tail Pointer.
pub const PPR_LOG_TAIL: u64 = 0x2038;
/// Guest Virtual APIC Log Head Pointer.
pub const GA_LOG_HEAD: u64 = 0x2040;
/// Guest Virtual APIC Log Tail Pointer.
pub const GA_LOG_TAIL: u64 = 0x2048;
/// Counter Configuration, with EFR.PCSup.
pub const COUNTER_CONFIG: u64 = 0x4000;

/// The device table segment, 0 to 7, that a register is the base of.
pub fn dev_tab_segment(register: u64) -> Option<usize> {
    match register {
        DEV_TAB_BASE => Some(0),
        DEV_TAB_SEGMENT_1_BASE..=DEV_TAB_SEGMENT_7_BASE => {
            Some(((register - DEV_TAB_SEGMENT_1_BASE) / 8) as usize + 1)
        }
        _ => None,
    }
}
