//! The half of a DTE that is about memory requests.

use bitfield_struct::bitfield;

use super::{DteError, RawDte};
use crate::iommu::spec::features::Features;
use crate::iommu::spec::page_table::{MAX_LEVEL, Permissions};

/// Quadword 0: bits 63:0.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DteTranslation {
    /// V: bits 127:1 are valid.
    pub valid: bool,
    /// TV: the fields for translation are valid.
    pub translation_valid: bool,
    /// Bits 6:2.
    #[bits(5)]
    pub reserved_low: u8,
    /// HAD: host access and dirty bits. Reserved without EFR.HASup, which this model refuses.
    #[bits(2)]
    pub host_access_dirty: u8,
    /// Mode: levels of the page table, or 0.
    #[bits(3)]
    pub mode: u8,
    /// Page table root: physical address bits 51:12.
    #[bits(40)]
    pub root: u64,
    /// PPR: peripheral page requests.
    pub ppr: bool,
    /// GRPR: responses to them with a PASID.
    pub grpr: bool,
    /// GIoV. Reserved without EFR.GIoSup, which this model refuses.
    pub giov: bool,
    /// GV: guest translation.
    pub gv: bool,
    /// GLX: levels of the guest CR3 table.
    #[bits(2)]
    pub glx: u8,
    /// Guest CR3 table root, bits 14:12.
    #[bits(3)]
    pub gcr3_low: u8,
    /// IR: reads are allowed.
    pub read: bool,
    /// IW: writes are allowed.
    pub write: bool,
    /// Bit 63.
    pub reserved_high: bool,
}

/// Quadword 1: bits 127:64.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DteDomain {
    /// Domain ID.
    pub domain: u16,
    /// Guest CR3 table root, bits 30:15.
    pub gcr3_middle: u16,
    /// I: the device has an IOTLB (ATS).
    pub iotlb: bool,
    /// SE: no events for repeated page faults.
    pub suppress_repeats: bool,
    /// SA: no events for page faults.
    pub suppress_all: bool,
    /// IoCtl: port I/O.
    #[bits(2)]
    pub io_ctl: u8,
    /// Cache: what a translation request leads to is cached.
    pub cache: bool,
    /// SD: snoop disable.
    pub snoop_disable: bool,
    /// EX: the exclusion range is for this device.
    pub exclusion: bool,
    /// SysMgt: system management messages.
    #[bits(2)]
    pub sys_mgt: u8,
    /// Bit 106.
    pub reserved: bool,
    /// Guest CR3 table root, bits 51:31.
    #[bits(21)]
    pub gcr3_high: u32,
}

/// What a DTE with V says of memory requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryDte {
    /// Devices of one domain have one page table.
    pub domain: u16,
    /// The device may send translation requests and translated requests.
    pub iotlb: bool,
    /// The exclusion range is for this device.
    pub exclusion: bool,
    /// Requests with a PASID are translated by a guest's tables.
    pub guest: bool,
    /// Events that are not reported.
    pub suppress: Suppress,
    /// How host translation goes, or why the DTE is illegal for it.
    pub host: Result<HostTranslation, DteError>,
}

/// How requests are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostTranslation {
    /// TV is 0: not at all.
    Invalid,
    /// Mode is 0: they go on as they came.
    Untranslated(Permissions),
    /// By page tables.
    Table(PageTables),
}

/// Page tables of a DTE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageTables {
    /// Physical address of the highest table.
    pub root: u64,
    /// Its level, 1 to 6.
    pub level: u8,
    /// For all addresses.
    pub permissions: Permissions,
}

/// IO_PAGE_FAULT events that are not reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suppress {
    /// All are.
    #[default]
    None,
    /// SE: those after the first.
    Repeats,
    /// SA.
    All,
}

/// What the features of an IOMMU make of the memory half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryDteRules {
    reserved: [u64; 2],
    highest_level: u8,
}

impl MemoryDteRules {
    /// PPR and GRPR are reserved without EFR.PPRSup and EPHSup, the guest fields without GTSup (VirtualBox
    /// IOMMU_DTE_QWORD_0_FEAT_MASK). EFR.HATS 0 to 2 are 4 to 6 levels, 3 is none (Linux 7.2 PD_MODE_NONE).
    pub const fn new(features: &Features) -> Self {
        let efr = features.efr();
        let mut low = DteTranslation::new()
            .with_reserved_low(0x1f)
            .with_host_access_dirty(3)
            .with_giov(true)
            .with_reserved_high(true);
        let mut high = DteDomain::new().with_reserved(true);
        if !efr.ppr_sup() && !efr.eph_sup() {
            low = low.with_ppr(true).with_grpr(true);
        }
        if !efr.gt_sup() {
            low = low.with_gv(true).with_glx(3).with_gcr3_low(7);
            high = high.with_gcr3_middle(u16::MAX).with_gcr3_high(0x1f_ffff);
        }
        Self {
            reserved: [low.into_bits(), high.into_bits()],
            highest_level: match efr.hats() {
                hats @ 0..=2 => 4 + hats,
                _ => 0,
            },
        }
    }
}

impl MemoryDte {
    /// `None` if V is 0: requests go on untranslated (spec table 5; VirtualBox, QEMU).
    #[inline]
    pub const fn parse(raw: &RawDte, rules: &MemoryDteRules) -> Result<Option<Self>, DteError> {
        let (low, high) = (DteTranslation::from_bits(raw[0]), DteDomain::from_bits(raw[1]));
        if !low.valid() {
            return Ok(None);
        }
        let bits = [raw[0] & rules.reserved[0], raw[1] & rules.reserved[1]];
        if bits[0] | bits[1] != 0 {
            let quadword = (bits[0] == 0) as usize;
            return Err(DteError::ReservedBits {
                quadword,
                bits: bits[quadword],
            });
        }
        Ok(Some(Self {
            domain: high.domain(),
            iotlb: high.iotlb(),
            exclusion: high.exclusion(),
            guest: low.gv(),
            suppress: match (high.suppress_all(), high.suppress_repeats()) {
                (true, _) => Suppress::All,
                (false, true) => Suppress::Repeats,
                (false, false) => Suppress::None,
            },
            host: low.host(rules),
        }))
    }
}

impl DteTranslation {
    const fn host(self, rules: &MemoryDteRules) -> Result<HostTranslation, DteError> {
        let permissions = Permissions::new().with_read(self.read()).with_write(self.write());
        let highest = rules.highest_level;
        if !self.translation_valid() {
            return Ok(HostTranslation::Invalid);
        }
        match self.mode() {
            0 => Ok(HostTranslation::Untranslated(permissions)),
            mode if mode > highest || mode > MAX_LEVEL => Err(DteError::Mode { mode, highest }),
            level => Ok(HostTranslation::Table(PageTables {
                root: self.root() << 12,
                level,
                permissions,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iommu::spec::features::{Efr, Efr2};

    fn rules(efr: Efr) -> MemoryDteRules {
        MemoryDteRules::new(&Features::new(efr, Efr2::new()).unwrap())
    }

    fn parse(raw: [u64; 2]) -> Result<Option<MemoryDte>, DteError> {
        MemoryDte::parse(&[raw[0], raw[1], !0, !0], &rules(Efr::new()))
    }

    fn host(low: u64) -> Result<HostTranslation, DteError> {
        parse([low, 0]).unwrap().unwrap().host
    }

    #[test]
    fn without_v_the_rest_means_nothing() {
        assert_eq!(parse([!1, !0]), Ok(None));
    }

    /// Linux writes 0x6000_0000_0000_0003 and the domain for an identity domain, and V and TV alone for a device
    /// without a domain.
    #[test]
    fn dtes_of_linux_pass_everything_or_nothing() {
        assert_eq!(
            host(0x6000_0000_0000_0003),
            Ok(HostTranslation::Untranslated(Permissions::ALL))
        );
        assert_eq!(host(3), Ok(HostTranslation::Untranslated(Permissions::new())));
    }

    /// Linux set_dte_entry: root | mode << 9 | IR | IW | V | TV.
    #[test]
    fn a_dte_of_linux_with_a_page_table_is_understood() {
        let tables = PageTables {
            root: 0x1_2345_6000,
            level: 3,
            permissions: Permissions::ALL,
        };
        assert_eq!(host(0x6000_0001_2345_6603), Ok(HostTranslation::Table(tables)));
    }

    #[test]
    fn without_tv_nothing_is_translated_whatever_the_mode() {
        for mode in 0..8 {
            assert_eq!(host(1 | mode << 9), Ok(HostTranslation::Invalid));
        }
    }

    #[test]
    fn modes_are_legal_up_to_what_hats_says() {
        for (hats, highest) in [(0, 4), (1, 5), (2, 6), (3, 0)] {
            let rules = rules(Efr::new().with_hats(hats));
            for mode in 0..8u8 {
                let raw = [3 | u64::from(mode) << 9, 0, 0, 0];
                let host = MemoryDte::parse(&raw, &rules).unwrap().unwrap().host;
                let error = DteError::Mode { mode, highest };
                assert_eq!(host.err(), (mode > highest).then_some(error), "HATS {hats}");
            }
        }
        assert!(!DteError::Mode { mode: 7, highest: 6 }.reserved_not_zero());
    }

    /// Linux amd_iommu_types.h DTE_FLAG_IOTLB bit 96, and VirtualBox DTE_T.
    #[test]
    fn flags_are_where_linux_and_virtualbox_have_them() {
        let dte = |high| parse([3, high]).unwrap().unwrap();
        assert_eq!(dte(0x5e).domain, 0x5e);
        assert!(dte(1 << 32).iotlb && !dte(0x5e).iotlb);
        assert_eq!(dte(1 << 33).suppress, Suppress::Repeats);
        assert_eq!(dte(1 << 34).suppress, Suppress::All);
        assert_eq!(dte(3 << 33).suppress, Suppress::All);
        assert_eq!(dte(0).suppress, Suppress::None);
        assert!(dte(1 << 39).exclusion && !dte(0).exclusion);
        let gt = rules(Efr::new().with_gt_sup(true));
        let guest = |low| MemoryDte::parse(&[low, 0, 0, 0], &gt).unwrap().unwrap().guest;
        assert!(guest(3 | 1 << 55) && !guest(3));
    }

    fn reserved_bits(efr: Efr) -> Vec<u32> {
        let rules = rules(efr);
        let illegal = |bit: &u32| {
            let mut raw = [1, 0, 0, 0];
            raw[*bit as usize / 64] |= 1 << (bit % 64);
            let error = DteError::ReservedBits {
                quadword: *bit as usize / 64,
                bits: 1 << (bit % 64),
            };
            let parsed = MemoryDte::parse(&raw, &rules);
            assert!(parsed.is_ok() || parsed == Err(error));
            parsed.is_err()
        };
        (1..256).filter(illegal).collect()
    }

    #[test]
    fn reserved_bits_are_those_of_the_features() {
        let always = [2, 3, 4, 5, 6, 7, 8, 54, 63, 106];
        let guest = (55..=60).chain(80..=95).chain(107..=127);
        let mut without = always.into_iter().chain(52..=53).chain(guest).collect::<Vec<_>>();
        without.sort_unstable();
        assert_eq!(reserved_bits(Efr::new()), without);
        let mut with_gt = [52, 53].into_iter().chain(always).collect::<Vec<_>>();
        with_gt.sort_unstable();
        assert_eq!(reserved_bits(Efr::new().with_gt_sup(true)), with_gt);
    }
}
