//! MMIO registers (AMD IOMMU spec 3.4): offsets and bits.

use bitfield_struct::bitfield;

/// Byte offsets of the 64-bit registers in the MMIO region.
pub mod offset {
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
}

/// Device Table Base Address register.
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

/// Base address register of a ring of 16-byte entries: command buffer and event log.
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
    /// Number of entries, log2; below 8 reserved.
    #[bits(4, default = 8)]
    pub length: u8,
    #[bits(4)]
    __: u8,
}

impl RingBase {
    /// Bits that software can write.
    pub const WRITABLE: u64 = 0x0f0f_ffff_ffff_f000;

    /// The ring, unless its length is reserved.
    pub const fn parse(self) -> Result<Ring, ReservedRingLength> {
        match self.length() {
            length @ ..8 => Err(ReservedRingLength(length)),
            length => Ok(Ring {
                address: self.base() << 12,
                bytes: 16 << length,
            }),
        }
    }
}

/// A ring's length field has a reserved value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ring length {0} is reserved: at least 8 (256 entries) is needed")]
pub struct ReservedRingLength(pub u8);

/// Where a ring lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    /// Physical address of entry 0.
    pub address: u64,
    /// Length in bytes, a power of two.
    pub bytes: u32,
}

impl Ring {
    /// Entry size in bytes.
    pub const ENTRY: u32 = 16;

    /// The byte offset of a pointer register in this ring; a pointer beyond the end wraps.
    pub const fn offset(self, pointer: RingPointer) -> u32 {
        pointer.bytes() & (self.bytes - 1)
    }

    /// The offset of the entry after the one at `offset`.
    pub const fn next(self, offset: u32) -> u32 {
        (offset + Self::ENTRY) & (self.bytes - 1)
    }
}

/// Head or tail pointer register of a ring.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RingPointer {
    #[bits(4)]
    __: u8,
    /// Entry number.
    #[bits(15)]
    pub entry: u16,
    #[bits(45)]
    __: u64,
}

impl RingPointer {
    /// Bits that software can write.
    pub const WRITABLE: u64 = 0x7fff0;

    /// As a byte offset.
    pub const fn bytes(self) -> u32 {
        (self.entry() as u32) << 4
    }

    /// Of a byte offset.
    pub const fn at(offset: u32) -> Self {
        Self::new().with_entry((offset >> 4) as u16)
    }
}

/// IOMMU Control register.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Control {
    /// IOMMU enable.
    pub iommu_en: bool,
    /// HyperTransport tunnel translation enable.
    pub ht_tun_en: bool,
    /// Event log enable.
    pub event_log_en: bool,
    /// Event log interrupt enable.
    pub event_int_en: bool,
    /// COMPLETION_WAIT interrupt enable.
    pub com_wait_int_en: bool,
    /// IOTLB invalidation timeout.
    #[bits(3)]
    pub inv_timeout: u8,
    /// Pass posted write.
    pub pass_pw: bool,
    /// Response pass posted write.
    pub res_pass_pw: bool,
    /// Coherent table reads.
    pub coherent: bool,
    /// Isochronous.
    pub isoc: bool,
    /// Command buffer enable.
    pub cmd_buf_en: bool,
    /// PPR log enable.
    pub ppr_log_en: bool,
    /// PPR interrupt enable.
    pub ppr_int_en: bool,
    /// PPR enable.
    pub ppr_en: bool,
    /// Guest translation enable.
    pub gt_en: bool,
    /// 128-bit interrupt remapping table entries.
    pub ga_en: bool,
    #[bits(4)]
    __: u8,
    /// SMI filter enable.
    pub smif_en: bool,
    #[bits(2)]
    __: u8,
    /// Guest virtual APIC mode.
    #[bits(3)]
    pub gam_en: u8,
    /// GA log enable.
    pub ga_log_en: bool,
    /// GA log interrupt enable.
    pub ga_int_en: bool,
    #[bits(4)]
    __: u8,
    /// Device table segments.
    #[bits(3)]
    pub dev_tbl_seg_en: u8,
    #[bits(6)]
    __: u8,
    /// Interrupts per table: 1 allows 2048.
    #[bits(2)]
    pub num_int_remap_mode: u8,
    /// Enhanced PPR handling enable.
    pub eph_en: bool,
    #[bits(4)]
    __: u8,
    /// 32-bit interrupt destinations.
    pub xt_en: bool,
    /// The IOMMU's own interrupts by the XT interrupt control registers.
    pub int_cap_xt_en: bool,
    #[bits(2)]
    __: u8,
    /// GA update disable.
    pub ga_update_dis: bool,
    /// GA physical processor interrupt enable.
    pub gappi_en: bool,
    #[bits(2)]
    __: u8,
    /// Guest CR3 table root pointer mode.
    pub gcr3_trp_mode: bool,
    /// Interrupt remapping table cache disable.
    pub irt_cache_dis: bool,
    __: bool,
    /// SNP AVIC enable.
    #[bits(3)]
    pub snp_avic_en: u8,
}

/// IOMMU Status register.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Status {
    /// Write 1 to clear: the event log had no room.
    pub event_overflow: bool,
    /// Write 1 to clear: an event was written.
    pub event_log_int: bool,
    /// Write 1 to clear: a COMPLETION_WAIT with its interrupt bit completed.
    pub com_wait_int: bool,
    /// Read-only: events are written.
    pub event_log_run: bool,
    /// Read-only: commands are fetched.
    pub cmd_buf_run: bool,
    /// Write 1 to clear: the PPR log had no room.
    pub ppr_overflow: bool,
    /// Write 1 to clear: a PPR was written.
    pub ppr_int: bool,
    /// Read-only: PPRs are written.
    pub ppr_log_run: bool,
    /// Read-only: GA log entries are written.
    pub ga_log_run: bool,
    /// Write 1 to clear: the GA log had no room.
    pub ga_log_overflow: bool,
    /// Write 1 to clear: a GA log entry was written.
    pub ga_log_int: bool,
    #[bits(53)]
    __: u64,
}

impl Status {
    /// Bits that are cleared by writing 1.
    pub const WRITE_1_TO_CLEAR: u64 = 0x667;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_base_of_linux_is_a_ring_of_512_entries() {
        // Linux iommu_enable_command_buffer: physical address | 9 << 56.
        let ring = RingBase::from_bits(0x1_2345_6000 | 9 << 56).parse().unwrap();
        assert_eq!(
            ring,
            Ring {
                address: 0x1_2345_6000,
                bytes: 8192
            }
        );
        assert_eq!(ring.next(8176), 0);
    }

    #[test]
    fn ring_lengths_below_8_are_refused() {
        for length in 0..8 {
            let base = RingBase::new().with_length(length);
            assert_eq!(base.parse(), Err(ReservedRingLength(length)));
        }
        assert_eq!(RingBase::new().parse().unwrap().bytes, 4096);
    }

    #[test]
    fn control_bits_are_where_linux_writes_them() {
        // After Linux's enable with GT, GA and XT (linux 7.2 drivers/iommu/amd/init.c early_enable_iommu).
        let control = Control::new()
            .with_iommu_en(true)
            .with_inv_timeout(4)
            .with_coherent(true)
            .with_cmd_buf_en(true)
            .with_gt_en(true)
            .with_ga_en(true)
            .with_xt_en(true);
        assert_eq!(control.into_bits(), 0x4_0000_0003_1481);
        assert_eq!(
            Control::new().with_num_int_remap_mode(1).into_bits(),
            0x800_0000_0000
        );
        assert_eq!(Control::new().with_irt_cache_dis(true).into_bits(), 1 << 59);
        assert_eq!(Control::new().with_int_cap_xt_en(true).into_bits(), 1 << 51);
        assert_eq!(Control::new().with_eph_en(true).into_bits(), 1 << 45);
        assert_eq!(Control::new().with_gam_en(1).into_bits(), 1 << 25);
        assert_eq!(Control::new().with_snp_avic_en(1).into_bits(), 1 << 61);
    }

    #[test]
    fn unknown_bits_survive_a_round_trip() {
        assert_eq!(Control::from_bits(u64::MAX).into_bits(), u64::MAX);
        assert_eq!(Status::from_bits(u64::MAX).into_bits(), u64::MAX);
        assert_eq!(DevTabBase::from_bits(u64::MAX).into_bits(), u64::MAX);
        assert_eq!(RingBase::from_bits(u64::MAX).into_bits(), u64::MAX);
    }

    #[test]
    fn device_table_of_65536_devices_is_2_mib() {
        let base = DevTabBase::from_bits(0x20_0000 | 0x1ff);
        assert_eq!((base.address(), base.length()), (0x20_0000, 2 << 20));
    }
}
