//! Device table entries (AMD IOMMU spec 2.2.2.1). Quadwords 2 and 3 are about interrupts, 0 and 1 about memory
//! requests.

use bitfield_struct::bitfield;

mod memory;

pub use memory::{
    DteDomain, DteTranslation, HostTranslation, MemoryDte, MemoryDteRules, PageTables, Suppress,
};

/// A device table entry as it lies in memory: four little-endian quadwords.
pub type RawDte = [u64; 4];

/// Bytes of an entry.
pub const DTE_BYTES: u64 = 32;

/// Quadword 2: bits 191:128.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DteInterrupts {
    /// IV: this quadword is valid; otherwise interrupts are forwarded.
    pub valid: bool,
    /// IntTabLen: log2 of the entries; above 11 illegal.
    #[bits(4)]
    pub table_length: u8,
    /// IG: no events for this device's interrupts.
    pub ignore_unmapped: bool,
    /// IntTabRootPtr: physical address bits 51:6.
    #[bits(46)]
    pub table_root: u64,
    /// Bits 181:180.
    #[bits(2)]
    pub reserved: u8,
    /// GuestPagingMode since revision 3.11; reserved before.
    #[bits(2)]
    pub guest_paging_mode: u8,
    /// INITPass.
    pub init_pass: bool,
    /// EIntPass.
    pub ext_int_pass: bool,
    /// NMIPass.
    pub nmi_pass: bool,
    /// HPTMode since revision 3.11; reserved before.
    pub hpt_mode: bool,
    /// IntCtl: what becomes of fixed and arbitrated interrupts.
    #[bits(2)]
    pub int_ctl: u8,
    /// Lint0Pass.
    pub lint0_pass: bool,
    /// Lint1Pass.
    pub lint1_pass: bool,
}

/// Bits of quadword 2 that are reserved, by revision.
const RESERVED_311: u64 = DteInterrupts::new().with_reserved(3).into_bits();
const RESERVED_305: u64 = DteInterrupts::from_bits(RESERVED_311)
    .with_guest_paging_mode(3)
    .with_hpt_mode(true)
    .into_bits();
/// Bits of quadword 3 that have a meaning.
const QUADWORD_3: u64 = 0xffc0_0000_0000_0000;

/// What a DTE says of interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterruptDte {
    /// For events.
    pub domain: u16,
    /// No events for this device's interrupts.
    pub ignore_unmapped: bool,
    /// Fixed and arbitrated interrupts. Other interrupts get through whatever this says.
    pub control: Result<IntCtl, DteError>,
    /// INIT is forwarded.
    pub init_pass: bool,
    /// ExtInt is forwarded.
    pub ext_int_pass: bool,
    /// NMI is forwarded.
    pub nmi_pass: bool,
}

/// IntCtl: fixed and arbitrated interrupts are...
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntCtl {
    /// 0: target-aborted.
    Abort,
    /// 1: forwarded unmapped.
    Forward,
    /// 2: remapped by this table.
    Remap(InterruptTable),
}

/// An interrupt remapping table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterruptTable {
    /// Physical address of entry 0.
    pub root: u64,
    /// Number of entries, 1 to 2048.
    pub entries: u16,
}

/// Why a DTE is illegal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DteError {
    /// Reserved bits are set.
    #[error("DTE: reserved bits {bits:#x} of quadword {quadword} are set")]
    ReservedBits {
        /// 0 to 3.
        quadword: usize,
        /// The offending bits.
        bits: u64,
    },
    /// IntCtl is 3.
    #[error("DTE: IntCtl 3 is reserved")]
    ReservedIntCtl,
    /// IntTabLen is above 11.
    #[error("DTE: IntTabLen {0} is above 11 (2048 entries)")]
    IntTabLen(u8),
    /// Mode is 7, or above what EFR.HATS says.
    #[error("DTE: Mode {mode} is above {highest} levels")]
    Mode {
        /// Of the DTE.
        mode: u8,
        /// Levels that the IOMMU walks.
        highest: u8,
    },
}

impl DteError {
    /// The event's RZ flag: reserved bits that are not zero, rather than an illegal value.
    pub const fn reserved_not_zero(&self) -> bool {
        !matches!(self, Self::IntTabLen(_) | Self::Mode { .. })
    }
}

/// Which bits of quadword 2 are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DteRevision {
    /// 183:180 and 187 (VirtualBox).
    Rev305,
    /// 181:180. Linux 7.2 uses 183:182 (GuestPagingMode).
    #[default]
    Rev311,
}

impl InterruptDte {
    /// `None` if IV is 0: interrupts are forwarded.
    #[inline(always)]
    pub fn parse(raw: &RawDte, revision: DteRevision) -> Result<Option<Self>, DteError> {
        let dte = DteInterrupts::from_bits(raw[2]);
        if !dte.valid() {
            return Ok(None);
        }
        let reserved = match revision {
            DteRevision::Rev305 => RESERVED_305,
            DteRevision::Rev311 => RESERVED_311,
        };
        for (quadword, mask) in [(2, reserved), (3, !QUADWORD_3)] {
            let bits = raw[quadword] & mask;
            if bits != 0 {
                return Err(DteError::ReservedBits { quadword, bits });
            }
        }
        Ok(Some(Self {
            domain: DteDomain::from_bits(raw[1]).domain(),
            ignore_unmapped: dte.ignore_unmapped(),
            control: dte.control(),
            init_pass: dte.init_pass(),
            ext_int_pass: dte.ext_int_pass(),
            nmi_pass: dte.nmi_pass(),
        }))
    }
}

impl DteInterrupts {
    #[inline(always)]
    fn control(self) -> Result<IntCtl, DteError> {
        match (self.int_ctl(), self.table_length()) {
            (0, _) => Ok(IntCtl::Abort),
            (1, _) => Ok(IntCtl::Forward),
            (2, length @ 0..=11) => Ok(IntCtl::Remap(InterruptTable {
                root: self.table_root() << 6,
                entries: 1 << length,
            })),
            (2, length) => Err(DteError::IntTabLen(length)),
            _ => Err(DteError::ReservedIntCtl),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(quadword_2: u64, quadword_3: u64) -> Result<Option<InterruptDte>, DteError> {
        InterruptDte::parse(&[3, 0x5e, quadword_2, quadword_3], DteRevision::Rev311)
    }

    /// Printed by Linux on a real machine.
    #[test]
    fn the_dte_of_a_real_machine_remaps_by_a_table_of_512() {
        let dte = InterruptDte::parse(&[3, 0, 0x2008_0001_0025_8013, 0], DteRevision::Rev305)
            .unwrap()
            .unwrap();
        let table = InterruptTable {
            root: 0x8_0001_0025_8000,
            entries: 512,
        };
        assert_eq!(dte.control, Ok(IntCtl::Remap(table)));
        assert!(!dte.ignore_unmapped && !dte.init_pass && !dte.ext_int_pass && !dte.nmi_pass);
    }

    #[test]
    fn without_iv_the_rest_means_nothing() {
        assert_eq!(parse(!1, u64::MAX), Ok(None));
    }

    #[test]
    fn flags_are_where_linux_writes_them() {
        // linux amd_iommu_types.h DEV_ENTRY_INIT_PASS 0xb8, _EINT_PASS 0xb9, _NMI_PASS 0xba: bits 184, 185, 186.
        let flags = |bits: u64| {
            let dte = parse(1 | bits, 0).unwrap().unwrap();
            (dte.init_pass, dte.ext_int_pass, dte.nmi_pass, dte.ignore_unmapped)
        };
        assert_eq!(flags(1 << 56), (true, false, false, false));
        assert_eq!(flags(1 << 57), (false, true, false, false));
        assert_eq!(flags(1 << 58), (false, false, true, false));
        assert_eq!(flags(1 << 5), (false, false, false, true));
        assert_eq!(parse(1, 0).unwrap().unwrap().domain, 0x5e);
    }

    #[test]
    fn int_ctl_chooses_abort_forward_remap_or_nothing_legal() {
        let control = |int_ctl: u64, length: u64| {
            parse(1 | int_ctl << 60 | length << 1 | 0x12_3440, 0)
                .unwrap()
                .unwrap()
                .control
        };
        assert_eq!(control(0, 15), Ok(IntCtl::Abort));
        assert_eq!(control(1, 15), Ok(IntCtl::Forward));
        assert_eq!(
            control(2, 0),
            Ok(IntCtl::Remap(InterruptTable {
                root: 0x12_3440,
                entries: 1
            }))
        );
        assert_eq!(
            control(2, 11),
            Ok(IntCtl::Remap(InterruptTable {
                root: 0x12_3440,
                entries: 2048
            }))
        );
        assert_eq!(control(2, 12), Err(DteError::IntTabLen(12)));
        assert_eq!(control(3, 9), Err(DteError::ReservedIntCtl));
    }

    #[test]
    fn reserved_bits_are_those_of_the_revision() {
        let reserved = |revision| {
            let illegal = |bit: &u32| InterruptDte::parse(&[3, 0, 1 | 1 << bit, 0], revision).is_err();
            (6..64).filter(illegal).collect::<Vec<u32>>()
        };
        assert_eq!(reserved(DteRevision::Rev305), [52, 53, 54, 55, 59]);
        assert_eq!(reserved(DteRevision::Rev311), [52, 53]);
        for bit in 0..64 {
            assert_eq!(parse(1, 1 << bit).is_err(), bit < 54, "{bit}");
        }
    }

    #[test]
    fn errors_name_the_bits_and_say_whether_they_are_reserved() {
        let error = parse(1 | 1 << 52, 0).unwrap_err();
        assert_eq!(
            error,
            DteError::ReservedBits {
                quadword: 2,
                bits: 1 << 52
            }
        );
        assert!(error.reserved_not_zero());
        assert!(DteError::ReservedIntCtl.reserved_not_zero());
        assert!(!DteError::IntTabLen(12).reserved_not_zero());
    }
}
