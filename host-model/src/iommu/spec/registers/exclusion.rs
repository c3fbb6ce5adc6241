//! The exclusion range: addresses that are not translated.

use bitfield_struct::bitfield;

/// Exclusion Base register.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ExclusionBase {
    /// ExEn: there is a range.
    pub enable: bool,
    /// Allow: for all devices. Otherwise for those whose DTE has EX.
    pub allow: bool,
    #[bits(10)]
    __: u16,
    /// Address bits 51:12 of the first page.
    #[bits(40)]
    pub base: u64,
    #[bits(12)]
    __: u16,
}

impl ExclusionBase {
    /// Bits that software can write.
    pub const WRITABLE: u64 = 0x000f_ffff_ffff_f003;

    /// First byte of the range.
    pub const fn first(self) -> u64 {
        self.base() << 12
    }
}

/// Exclusion Range Limit register.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ExclusionLimit {
    #[bits(12)]
    __: u16,
    /// Address bits 51:12 of the last page.
    #[bits(40)]
    pub limit: u64,
    #[bits(12)]
    __: u16,
}

impl ExclusionLimit {
    /// Bits that software can write.
    pub const WRITABLE: u64 = 0x000f_ffff_ffff_f000;

    /// Last byte of the range: bits 11:0 count as ones.
    pub const fn last(self) -> u64 {
        self.limit() << 12 | 0xfff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_linux_is_enabled_for_marked_devices() {
        // Linux iommu_set_exclusion_range: base | MMIO_EXCL_ENABLE_MASK (1), and the last byte.
        let base = ExclusionBase::from_bits(0x1_2345_6000 | 1);
        assert!(base.enable() && !base.allow());
        assert_eq!(base.first(), 0x1_2345_6000);
        assert!(ExclusionBase::from_bits(2).allow());
        assert_eq!(ExclusionLimit::from_bits(0x1_2345_7fff).last(), 0x1_2345_7fff);
        assert_eq!(ExclusionLimit::from_bits(0x1_2345_7000).last(), 0x1_2345_7fff);
    }

    #[test]
    fn fields_fill_exactly_the_writable_bits() {
        let pages = (1 << 40) - 1;
        let base = ExclusionBase::new().with_enable(true).with_allow(true);
        assert_eq!(base.with_base(pages).into_bits(), ExclusionBase::WRITABLE);
        assert_eq!(
            ExclusionLimit::new().with_limit(pages).into_bits(),
            ExclusionLimit::WRITABLE
        );
    }
}
