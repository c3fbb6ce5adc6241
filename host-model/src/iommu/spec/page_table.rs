//! I/O page tables for host translations (AMD IOMMU spec 2.2.3): Linux's "v1" tables.
//!
//! A table of level L, 1 to 6, has 512 entries of 8 bytes, each for 2^(12 + 9 * (L - 1)) bytes. An entry is a page,
//! of that size or of one that it encodes itself, or points to a table of a lower level; levels may be skipped.

use bitfield_struct::bitfield;

/// Bytes of an entry.
pub const PTE_BYTES: u64 = 8;

/// The highest level of a table.
pub const MAX_LEVEL: u8 = 6;

/// log2 of the smallest page.
pub const PAGE_SHIFT: u8 = 12;

/// log2 of the largest page: sizes beyond 2 PiB are not encoded (Linux amdv1pt_possible_sizes).
pub const MAX_PAGE_SHIFT: u8 = 51;

/// An entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Pte {
    /// PR: the rest means something.
    pub present: bool,
    #[bits(4)]
    __: u8,
    /// A.
    pub accessed: bool,
    /// D, of a page.
    pub dirty: bool,
    #[bits(2)]
    __: u8,
    /// NextLevel: 0 and 7 make it a page.
    #[bits(3)]
    pub next_level: u8,
    /// Physical address bits 51:12.
    #[bits(40)]
    pub address: u64,
    /// Bits 58:52.
    #[bits(7)]
    pub reserved: u8,
    /// U, of a page: only untranslated accesses. Reserved in a directory entry.
    pub untranslated_only: bool,
    /// FC, of a page: force coherent. Reserved in a directory entry.
    pub force_coherent: bool,
    /// IR.
    pub read: bool,
    /// IW.
    pub write: bool,
    __: bool,
}

/// NextLevel of a page whose size is in its address.
const SIZE_IN_ADDRESS: u8 = 7;

/// What a request may do.
#[bitfield(u8)]
#[derive(PartialEq, Eq, Hash)]
pub struct Permissions {
    /// IR.
    pub read: bool,
    /// IW.
    pub write: bool,
    #[bits(6)]
    __: u8,
}

impl Permissions {
    /// Everything.
    pub const ALL: Self = Self::new().with_read(true).with_write(true);

    /// What both allow.
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self::from_bits(self.into_bits() & other.into_bits())
    }

    /// Is all of `wanted` allowed?
    #[inline]
    pub const fn allow(self, wanted: Self) -> bool {
        wanted.into_bits() & !self.into_bits() == 0
    }
}

impl PageAttributes {
    /// With no more than these permissions.
    #[inline]
    pub const fn and(self, permissions: Permissions) -> Self {
        const ALL: u16 = PageAttributes::new()
            .with_permissions(Permissions::ALL)
            .into_bits();
        // The permissions, in their place.
        let allowed = permissions.into_bits() as u16 * (ALL / Permissions::ALL.into_bits() as u16);
        Self::from_bits(self.into_bits() & (!ALL | allowed))
    }
}

/// A legal entry that is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A page directory entry.
    Table {
        /// Physical address of the next table.
        address: u64,
        /// Its level, below the entry's own.
        level: u8,
        /// For everything below.
        permissions: Permissions,
    },
    /// A page table entry.
    Page(Page),
}

/// A page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Physical address; the bits below the page's size are 0.
    pub address: u64,
    /// Of this entry alone.
    pub attributes: PageAttributes,
}

/// What a page is beside its address.
#[bitfield(u16)]
#[derive(PartialEq, Eq, Hash)]
pub struct PageAttributes {
    /// IR and IW.
    #[bits(2)]
    pub permissions: Permissions,
    /// log2 of the size in bytes, [`PAGE_SHIFT`] to [`MAX_PAGE_SHIFT`].
    #[bits(6)]
    pub shift: u8,
    /// U.
    pub untranslated_only: bool,
    /// FC.
    pub force_coherent: bool,
    #[bits(6)]
    __: u8,
}

impl Page {
    /// Where an address that lies in the page is.
    #[inline]
    pub const fn physical(&self, address: u64) -> u64 {
        self.address | address & ((1 << self.attributes.shift()) - 1)
    }
}

/// Why an entry maps nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PteError {
    /// PR is 0.
    #[error("PR is 0")]
    NotPresent,
    /// Reserved bits are set.
    #[error("reserved bits {0:#x} are set")]
    ReservedBits(u64),
    /// A table's level is below that of the table that points to it.
    #[error("NextLevel {next} in a table of level {level}")]
    NextLevel {
        /// Of the table.
        level: u8,
        /// In the entry.
        next: u8,
    },
    /// A page is of its level's size or larger, and smaller than the next level's; level 6 has no pages (Linux
    /// amdv1pt_can_have_leaf).
    #[error("a page of 2^{shift} bytes in a table of level {level}")]
    PageSize {
        /// Of the table.
        level: u8,
        /// log2 of the size.
        shift: u8,
    },
}

impl Pte {
    /// What the entry of a table of `level`, 1 to 6, says. What is malformed is found before permissions matter.
    pub const fn parse(self, level: u8) -> Result<Entry, PteError> {
        if !self.present() {
            return Err(PteError::NotPresent);
        }
        let permissions = Permissions::new().with_read(self.read()).with_write(self.write());
        let address = self.address() << PAGE_SHIFT;
        let shift = match self.next_level() {
            0 => level_shift(level),
            SIZE_IN_ADDRESS => encoded_shift(self.address()),
            next => {
                let mask = Self::new()
                    .with_reserved(0x7f)
                    .with_untranslated_only(true)
                    .with_force_coherent(true);
                let bits = self.into_bits() & mask.into_bits();
                return if bits != 0 {
                    Err(PteError::ReservedBits(bits))
                } else if next >= level {
                    Err(PteError::NextLevel { level, next })
                } else {
                    Ok(Entry::Table {
                        address,
                        level: next,
                        permissions,
                    })
                };
            }
        };
        let bits = self.into_bits() & Self::new().with_reserved(0x7f).into_bits();
        if bits != 0 {
            return Err(PteError::ReservedBits(bits));
        }
        let encoded = self.next_level() == SIZE_IN_ADDRESS;
        let too_small = encoded && shift <= level_shift(level);
        if too_small || shift >= level_shift(level + 1) || shift > MAX_PAGE_SHIFT || level >= MAX_LEVEL {
            return Err(PteError::PageSize { level, shift });
        }
        Ok(Entry::Page(Page {
            address: address & !((1 << shift) - 1),
            attributes: PageAttributes::new()
                .with_shift(shift)
                .with_permissions(permissions)
                .with_untranslated_only(self.untranslated_only())
                .with_force_coherent(self.force_coherent()),
        }))
    }
}

/// log2 of what an entry of a table of this level covers: 12, 21, 30, 39, 48, 57.
pub const fn level_shift(level: u8) -> u8 {
    PAGE_SHIFT + 9 * (level - 1)
}

/// The lowest 0 of address bits 63:12 is the highest bit below the size (spec table 14).
const fn encoded_shift(address: u64) -> u8 {
    PAGE_SHIFT + 1 + address.trailing_ones() as u8
}

/// Offset of the entry for `address` in a table of this level.
pub const fn entry_offset(level: u8, address: u64) -> u64 {
    (address >> level_shift(level) & 0x1ff) * PTE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ_WRITE: u64 = 3 << 61;

    fn parse(level: u8, raw: u64) -> Result<Entry, PteError> {
        Pte::from_bits(raw).parse(level)
    }

    fn shift(level: u8, raw: u64) -> Result<u8, PteError> {
        parse(level, raw).map(|entry| match entry {
            Entry::Page(page) => page.attributes.shift(),
            Entry::Table { .. } => panic!("no page: {entry:?}"),
        })
    }

    /// Linux amd_iommu_types.h: IOMMU_PTE_PR bit 0, PM_LEVEL_ENC 11:9, IOMMU_PTE_U 59, _FC 60, _IR 61, _IW 62.
    #[test]
    fn a_page_of_linux_is_understood() {
        let page = |raw| match parse(1, raw) {
            Ok(Entry::Page(page)) => page,
            other => panic!("no page: {other:?}"),
        };
        let full = page(0x7000_0001_2345_6001);
        let attributes = PageAttributes::new()
            .with_shift(12)
            .with_permissions(Permissions::ALL)
            .with_force_coherent(true);
        let address = 0x1_2345_6000;
        assert_eq!(full, Page { address, attributes });
        let read_only = page(1 << 61 | 1 << 59 | 0x1001).attributes;
        assert_eq!(read_only.permissions(), Permissions::new().with_read(true));
        assert!(read_only.untranslated_only() && !read_only.force_coherent());
        let write_only = page(1 << 62 | 0x1001).attributes;
        assert_eq!(write_only.permissions(), Permissions::new().with_write(true));
    }

    #[test]
    fn a_directory_entry_of_linux_is_understood() {
        // PM_LEVEL_PDE(2, 0x12345000).
        let table = Entry::Table {
            address: 0x1234_5000,
            level: 2,
            permissions: Permissions::ALL,
        };
        assert_eq!(parse(3, 0x6000_0000_1234_5401), Ok(table));
    }

    #[test]
    fn an_entry_without_pr_is_not_looked_at() {
        for level in 1..=6 {
            assert_eq!(parse(level, !1), Err(PteError::NotPresent));
        }
    }

    #[test]
    fn next_level_0_is_a_page_of_the_levels_size() {
        let shifts = (1..=5).map(|level| shift(level, READ_WRITE | 1).unwrap());
        assert_eq!(shifts.collect::<Vec<_>>(), [12, 21, 30, 39, 48]);
    }

    #[test]
    fn a_page_drops_address_bits_below_its_size() {
        let Ok(Entry::Page(page)) = parse(2, READ_WRITE | 0x4060_1001) else {
            panic!("no page");
        };
        assert_eq!(page.address, 0x4060_0000);
        assert_eq!(page.physical(0xffff_ffff_ffff_fabc), 0x407f_fabc);
    }

    /// Linux PAGE_SIZE_PTE: the size's bits below the highest are 1, which is 0.
    #[test]
    fn every_size_between_two_levels_is_encoded_by_trailing_ones() {
        for wanted in 13..=MAX_PAGE_SHIFT {
            let level = (wanted - 12) / 9 + 1;
            let raw = READ_WRITE | 7 << 9 | 1 | ((1 << (wanted - 1)) - 1) & !0xfff;
            let found = shift(level, raw);
            let default = wanted == level_shift(level);
            let expected = Err(PteError::PageSize { level, shift: wanted });
            assert_eq!(found, if default { expected } else { Ok(wanted) }, "2^{wanted}");
        }
    }

    #[test]
    fn a_size_of_another_level_is_refused() {
        // 8 KiB in a table of 2 MiB entries, 4 MiB in one of 4 KiB entries.
        assert_eq!(
            shift(2, READ_WRITE | 7 << 9 | 1),
            Err(PteError::PageSize { level: 2, shift: 13 })
        );
        assert_eq!(
            shift(1, READ_WRITE | 7 << 9 | 0x1f_f001),
            Err(PteError::PageSize { level: 1, shift: 22 })
        );
    }

    #[test]
    fn sizes_beyond_2_pib_are_refused() {
        for shift_bits in [51, 52] {
            let address = ((1u64 << shift_bits) - 1) & 0x000f_ffff_ffff_f000;
            let error = parse(5, READ_WRITE | 7 << 9 | address | 1);
            assert_eq!(
                error,
                Err(PteError::PageSize {
                    level: 5,
                    shift: shift_bits + 1
                })
            );
        }
    }

    #[test]
    fn level_6_has_no_pages() {
        for next in [0, 7] {
            let entry = parse(6, READ_WRITE | next << 9 | 0x000f_ffff_ffff_f001);
            assert!(
                matches!(entry, Err(PteError::PageSize { level: 6, .. })),
                "{entry:?}"
            );
        }
    }

    #[test]
    fn the_next_level_must_be_lower() {
        for level in 1..=6u8 {
            for next in 1..=6u8 {
                let entry = parse(level, READ_WRITE | u64::from(next) << 9 | 1);
                match entry {
                    Ok(Entry::Table { level: found, .. }) => assert!(found == next && next < level),
                    other => {
                        assert_eq!(other, Err(PteError::NextLevel { level, next }));
                        assert!(next >= level);
                    }
                }
            }
        }
    }

    /// VirtualBox IOMMU_PTE_RSVD_MASK and IOMMU_PDE_RSVD_MASK.
    #[test]
    fn reserved_bits_are_58_to_52_of_a_page_and_60_to_52_of_a_directory_entry() {
        let reserved = |raw: u64| {
            let illegal = |bit: &u32| parse(3, raw | 1 << bit) == Err(PteError::ReservedBits(1 << bit));
            (0..64).filter(illegal).collect::<Vec<u32>>()
        };
        assert_eq!(reserved(READ_WRITE | 1), (52..=58).collect::<Vec<_>>());
        assert_eq!(
            reserved(READ_WRITE | 7 << 9 | 0x1fff_f001),
            (52..=58).collect::<Vec<_>>()
        );
        assert_eq!(reserved(READ_WRITE | 2 << 9 | 1), (52..=60).collect::<Vec<_>>());
    }

    #[test]
    fn the_entry_of_an_address_is_chosen_by_9_bits_of_it() {
        let address = 0x7f8f_f8c0_0aa8_8abc_u64;
        let offsets = (1..=6).map(|level| entry_offset(level, address) / 8);
        let expected = [12, 21, 30, 39, 48, 57].map(|shift| (address >> shift) % 512);
        assert_eq!(offsets.collect::<Vec<_>>(), expected);
        assert_eq!(entry_offset(6, u64::MAX), 0x7f * 8);
    }
}
