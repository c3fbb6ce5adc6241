//! Interrupt remapping table entries (AMD IOMMU spec 2.2.5): 32 bits, or 128 bits if Control.GAEn.

use bitfield_struct::bitfield;

/// An entry as it lies in memory, little-endian; a 32-bit entry is zero-extended.
pub type RawIrte = u128;

/// 32-bit entry.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Irte32 {
    /// RemapEn.
    pub remap_en: bool,
    /// SupIOPF: no IO_PAGE_FAULT events for this entry.
    pub sup_iopf: bool,
    /// IntType.
    #[bits(3)]
    pub int_type: u8,
    /// RqEoi.
    pub rq_eoi: bool,
    /// DM: the destination is logical.
    pub dm: bool,
    /// GuestMode, which this format does not have.
    pub guest_mode: bool,
    /// Destination APIC ID.
    pub destination: u8,
    /// Vector.
    pub vector: u8,
    /// Reserved.
    pub reserved: u8,
}

/// 128-bit entry, low quadword, GuestMode 0.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Irte128Low {
    /// RemapEn.
    pub remap_en: bool,
    /// SupIOPF: no IO_PAGE_FAULT events for this entry.
    pub sup_iopf: bool,
    /// IntType.
    #[bits(3)]
    pub int_type: u8,
    /// RqEoi.
    pub rq_eoi: bool,
    /// DM: the destination is logical.
    pub dm: bool,
    /// GuestMode.
    pub guest_mode: bool,
    /// Destination bits 23:0.
    #[bits(24)]
    pub destination: u32,
    /// GATag, of no effect with GuestMode 0.
    pub ga_tag: u32,
}

/// 128-bit entry, high quadword.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Irte128High {
    /// Vector.
    pub vector: u8,
    /// Reserved.
    #[bits(4)]
    pub reserved_low: u8,
    /// GA root pointer, of no effect with GuestMode 0.
    #[bits(40)]
    pub ga_root: u64,
    /// Reserved.
    #[bits(4)]
    pub reserved_high: u8,
    /// Destination bits 31:24.
    pub destination: u8,
}

/// 128-bit entry, low quadword, GuestMode 1 (vAPIC). The high quadword is [`Irte128High`].
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct GuestIrteLow {
    /// RemapEn.
    pub remap_en: bool,
    /// SupIOPF: no IO_PAGE_FAULT events for this entry.
    pub sup_iopf: bool,
    /// GALogIntr: an interrupt for a virtual CPU that does not run is logged.
    pub ga_log_intr: bool,
    /// Reserved. The highest is GAPPIDis where EFR has GAPPISup.
    #[bits(3)]
    pub reserved: u8,
    /// IsRun: the virtual CPU runs.
    pub is_run: bool,
    /// GuestMode.
    pub guest_mode: bool,
    /// Destination bits 23:0.
    #[bits(24)]
    pub destination: u32,
    /// GATag.
    pub ga_tag: u32,
}

/// Entry format, by Control.GAEn and Control.XTEn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IrteFormat {
    /// 32 bits.
    Bits32,
    /// 128 bits; without `xt` only 8 bits of the destination count.
    Bits128 {
        /// 32-bit destinations.
        xt: bool,
    },
}

impl IrteFormat {
    /// Bytes of an entry.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Bits32 => 4,
            Self::Bits128 { .. } => 16,
        }
    }

    /// Reserved bits of an entry that is not in guest mode.
    #[inline(always)]
    const fn reserved(self) -> RawIrte {
        match self {
            Self::Bits32 => Irte32::new().with_reserved(0xff).into_bits() as RawIrte,
            Self::Bits128 { .. } => RESERVED_HIGH,
        }
    }
}

/// Destination mode (DM).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DestinationMode {
    /// APIC ID.
    Physical,
    /// Logical APIC ID.
    Logical,
}

impl DestinationMode {
    pub(crate) const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Physical,
            _ => Self::Logical,
        }
    }

    pub(crate) const fn into_bits(self) -> u8 {
        match self {
            Self::Physical => 0,
            Self::Logical => 1,
        }
    }
}

/// Interrupt types that an entry can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntType {
    /// 0.
    Fixed,
    /// 1: lowest priority.
    Arbitrated,
}

impl IntType {
    pub(crate) const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Fixed,
            _ => Self::Arbitrated,
        }
    }

    pub(crate) const fn into_bits(self) -> u8 {
        match self {
            Self::Fixed => 0,
            Self::Arbitrated => 1,
        }
    }
}

/// A legal entry with RemapEn set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Irte {
    /// APIC ID, 8 bits unless XT.
    pub destination: u32,
    /// Physical or logical.
    pub destination_mode: DestinationMode,
    /// Vector.
    pub vector: u8,
    /// Fixed or arbitrated.
    pub int_type: IntType,
    /// RqEoi: level-triggered.
    pub request_eoi: bool,
}

/// A legal entry with RemapEn and GuestMode set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestIrte {
    /// The virtual CPU runs.
    pub is_run: bool,
    /// An interrupt for a virtual CPU that does not run is logged.
    pub ga_log_intr: bool,
    /// Physical APIC ID of the CPU that the virtual CPU runs on, 8 bits unless XT.
    pub destination: u32,
    /// Names the virtual CPU in the GA log.
    pub ga_tag: u32,
    /// Guest's vector.
    pub vector: u8,
    /// GA root pointer: physical address of the vAPIC backing page.
    pub backing_page: u64,
}

/// Why an entry remaps nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IrteError {
    /// RemapEn is 0.
    #[error("IRTE: RemapEn is 0")]
    RemapEnClear,
    /// IntType is neither fixed nor arbitrated.
    #[error("IRTE: IntType {0} is reserved")]
    ReservedIntType(u8),
    /// GuestMode, which a 32-bit entry can't have, or which Control.GAMEn does not enable.
    #[error("IRTE: GuestMode is set and not supported")]
    GuestMode,
    /// Reserved bits are set.
    #[error("IRTE: reserved bits {0:#x} are set")]
    ReservedBits(u128),
}

/// What every format has at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IrteFlags {
    /// RemapEn.
    pub remap_en: bool,
    /// SupIOPF.
    pub sup_iopf: bool,
    /// GuestMode.
    pub guest_mode: bool,
}

impl IrteFlags {
    /// Of an entry of either format.
    pub const fn of(raw: RawIrte) -> Self {
        let low = Irte128Low::from_bits(raw as u64);
        Self {
            remap_en: low.remap_en(),
            sup_iopf: low.sup_iopf(),
            guest_mode: low.guest_mode(),
        }
    }
}

/// Reserved bits of the high quadword, in place.
const RESERVED_HIGH: RawIrte = (Irte128High::new()
    .with_reserved_low(0xf)
    .with_reserved_high(0xf)
    .into_bits() as RawIrte)
    << 64;

/// 32 bits if XT, otherwise 8.
const fn destination_128(low: u32, high: Irte128High, xt: bool) -> u32 {
    if xt {
        low | (high.destination() as u32) << 24
    } else {
        low & 0xff
    }
}

impl Irte {
    /// What a legal entry has the same: RemapEn 1, GuestMode 0, IntType 0 or 1.
    const LEGAL: RawIrte = Irte128Low::new().with_remap_en(true).into_bits() as RawIrte;
    const LEGAL_MASK: RawIrte = Self::LEGAL
        | Irte128Low::new()
            .with_guest_mode(true)
            .with_int_type(0b110)
            .into_bits() as RawIrte;

    /// Refuses entries without RemapEn first, then GuestMode, reserved types and, unless told to, reserved bits.
    #[inline(always)]
    pub const fn parse(raw: RawIrte, format: IrteFormat, ignore_reserved: bool) -> Result<Self, IrteError> {
        let reserved = if ignore_reserved { 0 } else { format.reserved() };
        if raw & (Self::LEGAL_MASK | reserved) != Self::LEGAL {
            return Err(IrteError::of(raw, reserved));
        }
        // Bits 7:0 are alike in both formats.
        let low = Irte128Low::from_bits(raw as u64);
        let (destination, vector) = match format {
            IrteFormat::Bits32 => {
                let irte = Irte32::from_bits(raw as u32);
                (irte.destination() as u32, irte.vector())
            }
            IrteFormat::Bits128 { xt } => {
                let high = Irte128High::from_bits((raw >> 64) as u64);
                (destination_128(low.destination(), high, xt), high.vector())
            }
        };
        Ok(Self {
            destination,
            destination_mode: DestinationMode::from_bits(low.dm() as u8),
            vector,
            int_type: IntType::from_bits(low.int_type() & 1),
            request_eoi: low.rq_eoi(),
        })
    }
}

impl IrteError {
    /// Of an illegal entry, with these bits reserved.
    #[cold]
    const fn of(raw: RawIrte, reserved: RawIrte) -> Self {
        let low = Irte128Low::from_bits(raw as u64);
        if !low.remap_en() {
            return Self::RemapEnClear;
        }
        if low.guest_mode() {
            return Self::GuestMode;
        }
        match low.int_type() {
            0 | 1 => Self::ReservedBits(raw & reserved),
            int_type => Self::ReservedIntType(int_type),
        }
    }
}

impl GuestIrte {
    /// Bits that hardware reads on every use instead of caching them: IsRun and Destination (AMD IOMMU spec 3.08) and
    /// GATag (Linux 7.2 iommu.c `amd_iommu_update_ga`).
    pub const NOT_CACHED: RawIrte = {
        let low = GuestIrteLow::new()
            .with_is_run(true)
            .with_destination(0xff_ffff)
            .with_ga_tag(u32::MAX);
        let high = Irte128High::new().with_destination(0xff);
        (high.into_bits() as RawIrte) << 64 | low.into_bits() as RawIrte
    };

    /// A cached entry as it is used: with the bits that are not cached as memory has them now.
    pub const fn refreshed(cached: RawIrte, memory: RawIrte) -> RawIrte {
        cached & !Self::NOT_CACHED | memory & Self::NOT_CACHED
    }

    /// Of a 128-bit entry with GuestMode, which is not looked at again. Refuses entries without RemapEn first, then,
    /// unless told to, reserved bits.
    #[inline]
    pub const fn parse(raw: RawIrte, xt: bool, ignore_reserved: bool) -> Result<Self, IrteError> {
        let low = GuestIrteLow::from_bits(raw as u64);
        if !low.remap_en() {
            return Err(IrteError::RemapEnClear);
        }
        let reserved = RESERVED_HIGH | GuestIrteLow::new().with_reserved(7).into_bits() as RawIrte;
        if raw & reserved != 0 && !ignore_reserved {
            return Err(IrteError::ReservedBits(raw & reserved));
        }
        let high = Irte128High::from_bits((raw >> 64) as u64);
        Ok(Self {
            is_run: low.is_run(),
            ga_log_intr: low.ga_log_intr(),
            destination: destination_128(low.destination(), high, xt),
            ga_tag: low.ga_tag(),
            vector: high.vector(),
            backing_page: high.ga_root() << 12,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XAPIC: IrteFormat = IrteFormat::Bits128 { xt: false };
    const X2APIC: IrteFormat = IrteFormat::Bits128 { xt: true };

    fn irte(destination: u32, vector: u8) -> Irte {
        Irte {
            destination,
            destination_mode: DestinationMode::Physical,
            vector,
            int_type: IntType::Fixed,
            request_eoi: false,
        }
    }

    #[test]
    fn a_32_bit_entry_has_the_layout_of_linux() {
        // Linux union irte: valid, no_fault, int_type:3, rq_eoi, dm, rsvd, destination:8, vector:8.
        assert_eq!(
            Irte::parse(0x0031_0501, IrteFormat::Bits32, false),
            Ok(irte(5, 0x31))
        );
        let logical = Irte {
            destination_mode: DestinationMode::Logical,
            ..irte(5, 0x31)
        };
        assert_eq!(Irte::parse(0x0031_0541, IrteFormat::Bits32, false), Ok(logical));
        let arbitrated = Irte {
            int_type: IntType::Arbitrated,
            request_eoi: true,
            ..irte(5, 0x31)
        };
        assert_eq!(
            Irte::parse(0x0031_0525, IrteFormat::Bits32, false),
            Ok(arbitrated)
        );
    }

    #[test]
    fn a_128_bit_entry_has_the_layout_of_linux() {
        // Linux struct irte_ga: destination 23:0 at bit 8, vector at bit 64, destination 31:24 at bit 120.
        let raw = 0x8900_0000_0000_0031 << 64 | 0x4567_8901;
        assert_eq!(Irte::parse(raw, X2APIC, false), Ok(irte(0x8945_6789, 0x31)));
        assert_eq!(Irte::parse(raw, XAPIC, false), Ok(irte(0x89, 0x31)));
    }

    #[test]
    fn markers_of_reserved_entries_remap_nothing() {
        // Linux irte_ops.set_allocated: 0xfffffffe, and 128 bits of which only the vector is set.
        assert_eq!(
            Irte::parse(0xffff_fffe, IrteFormat::Bits32, false),
            Err(IrteError::RemapEnClear)
        );
        assert_eq!(
            Irte::parse(0xff << 64, XAPIC, false),
            Err(IrteError::RemapEnClear)
        );
    }

    #[test]
    fn illegal_values_are_refused_by_name() {
        for format in [IrteFormat::Bits32, XAPIC, X2APIC] {
            assert_eq!(Irte::parse(0x81, format, false), Err(IrteError::GuestMode));
            for int_type in 2..8 {
                let raw = 1 | u128::from(int_type) << 2;
                assert_eq!(
                    Irte::parse(raw, format, false),
                    Err(IrteError::ReservedIntType(int_type))
                );
            }
        }
    }

    #[test]
    fn reserved_bits_are_refused_unless_ignored() {
        let reserved = |format: IrteFormat, bits: u32| {
            let illegal = |bit: &u32| Irte::parse(1 | 1 << bit, format, false).is_err();
            (8..bits).filter(illegal).collect::<Vec<u32>>()
        };
        assert_eq!(reserved(IrteFormat::Bits32, 32), (24..32).collect::<Vec<_>>());
        assert_eq!(reserved(XAPIC, 128), [72, 73, 74, 75, 116, 117, 118, 119]);
        assert_eq!(
            Irte::parse(0xff31_0501, IrteFormat::Bits32, true),
            Ok(irte(5, 0x31))
        );
        let refused = Irte::parse(0x0131_0501, IrteFormat::Bits32, false);
        assert_eq!(refused, Err(IrteError::ReservedBits(0x0100_0000)));
    }

    /// Linux struct irte_ga, fields_vapic: valid 0, no_fault 1, ga_log_intr 2, is_run 6, guest_mode 7, destination
    /// 31:8, ga_tag 63:32; high: vector 7:0, ga_root_ptr 51:12, destination 63:56.
    const GUEST: RawIrte = 0x8900_1234_5678_9041 << 64 | 0x00ab_cdef_4567_89c5;

    #[test]
    fn a_guest_entry_has_the_layout_of_linux() {
        let guest = GuestIrte {
            is_run: true,
            ga_log_intr: true,
            destination: 0x8945_6789,
            ga_tag: 0x00ab_cdef,
            vector: 0x41,
            backing_page: 0x1234_5678_9000,
        };
        assert_eq!(GuestIrte::parse(GUEST, true, false), Ok(guest));
        let xapic = GuestIrte {
            destination: 0x89,
            ..guest
        };
        assert_eq!(GuestIrte::parse(GUEST, false, false), Ok(xapic));
        let idle = GuestIrte {
            is_run: false,
            ga_log_intr: false,
            ..guest
        };
        assert_eq!(GuestIrte::parse(GUEST & !0x44, true, false), Ok(idle));
    }

    #[test]
    fn reserved_bits_of_a_guest_entry_are_refused_unless_ignored() {
        let parse = |bit, ignore| GuestIrte::parse(0x81 | 1_u128 << bit, true, ignore);
        let illegal = (0..128).filter(|bit| parse(*bit, false).is_err());
        assert_eq!(
            illegal.collect::<Vec<u32>>(),
            [3, 4, 5, 72, 73, 74, 75, 116, 117, 118, 119]
        );
        assert_eq!(parse(5, false), Err(IrteError::ReservedBits(1 << 5)));
        assert!((0..128).all(|bit| parse(bit, true).is_ok()));
    }

    #[test]
    fn a_guest_entry_without_remap_en_posts_nothing() {
        let not_valid = GuestIrte::parse(GUEST & !1, true, false);
        assert_eq!(not_valid, Err(IrteError::RemapEnClear));
    }

    #[test]
    fn is_run_destination_and_tag_are_as_in_memory_and_the_rest_as_cached() {
        let changed = (0..128).filter(|bit| GuestIrte::refreshed(0, 1 << bit) != 0);
        let expected = [6].into_iter().chain(8..64).chain(120..128);
        assert_eq!(changed.collect::<Vec<u32>>(), expected.collect::<Vec<_>>());
        assert_eq!(GuestIrte::refreshed(GUEST, GUEST), GUEST);
        assert_eq!(GuestIrte::refreshed(GUEST, 0), GUEST & !GuestIrte::NOT_CACHED);
    }

    #[test]
    fn unknown_bits_survive_a_round_trip() {
        assert_eq!(Irte32::from_bits(u32::MAX).into_bits(), u32::MAX);
        assert_eq!(Irte128Low::from_bits(u64::MAX).into_bits(), u64::MAX);
        assert_eq!(GuestIrteLow::from_bits(u64::MAX).into_bits(), u64::MAX);
        assert_eq!(Irte128High::from_bits(u64::MAX).into_bits(), u64::MAX);
    }
}
