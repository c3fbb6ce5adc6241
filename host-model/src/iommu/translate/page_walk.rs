//! The walk of one address through page tables, without memory.

use super::super::spec::page_table::{
    Entry, MAX_LEVEL, Page, Permissions, Pte, PteError, entry_offset, level_shift,
};

/// A walk that needs an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct PageWalk {
    address: u64,
    table: u64,
    level: u8,
    permissions: Permissions,
}

/// Where an entry leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum WalkStep {
    /// To another entry.
    Entry(PageWalk),
    /// To the page. Its permissions are what all its entries allow, the DTE aside.
    Page(Page),
}

/// Why a walk ends without a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// An entry maps nothing.
    #[error("page table entry of level {level}: {error}")]
    Entry {
        /// Of its table.
        level: u8,
        /// Why.
        error: PteError,
    },
    /// Address bits of levels that are skipped, or above the highest, are not 0.
    #[error("address bits above the table of level {next} are not 0")]
    SkippedBits {
        /// Level of the next table.
        next: u8,
    },
}

impl PageWalk {
    /// From the highest table, of `level` 1 to 6.
    #[inline]
    pub(in super::super) fn start(address: u64, root: u64, level: u8) -> Result<Self, WalkError> {
        let start = Self {
            address,
            table: root,
            level: MAX_LEVEL + 1,
            permissions: Permissions::ALL,
        };
        start.descend(root, level)
    }

    /// Guest physical address of the entry to read.
    pub(in super::super) fn entry_address(&self) -> u64 {
        self.table + entry_offset(self.level, self.address)
    }

    /// Level of its table, 1 to 6.
    pub(in super::super) fn level(&self) -> u8 {
        self.level
    }

    /// What the entries up to here allow.
    pub(in super::super) fn permissions(&self) -> Permissions {
        self.permissions
    }

    /// The entry has been read.
    pub(in super::super) fn next(self, raw: u64) -> Result<WalkStep, WalkError> {
        let level = self.level;
        let entry = Pte::from_bits(raw).parse(level);
        match entry.map_err(|error| WalkError::Entry { level, error })? {
            Entry::Table {
                address,
                level,
                permissions,
            } => {
                let permissions = self.permissions.and(permissions);
                Self { permissions, ..self }
                    .descend(address, level)
                    .map(WalkStep::Entry)
            }
            Entry::Page(Page { address, attributes }) => {
                let attributes = attributes.and(self.permissions);
                Ok(WalkStep::Page(Page { address, attributes }))
            }
        }
    }

    fn descend(self, table: u64, level: u8) -> Result<Self, WalkError> {
        // Bits below the entry that was used, at or above those that the next table looks at.
        let covered = bits_below(level_shift(self.level));
        let looked_at = bits_below(level_shift(level + 1));
        if self.address & covered & !looked_at != 0 {
            return Err(WalkError::SkippedBits { next: level });
        }
        Ok(Self { table, level, ..self })
    }
}

/// Address bits below `shift`, all of them from 64 on.
fn bits_below(shift: u8) -> u64 {
    1u64.checked_shl(shift.into()).map_or(u64::MAX, |bit| bit - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u64 = 0x10_0000;
    const READ: u64 = 1 << 61;
    const WRITE: u64 = 1 << 62;

    fn table(level: u64, permissions: u64) -> u64 {
        level << 9 | permissions | 0x20_0001
    }

    fn step(walk: PageWalk, raw: u64) -> PageWalk {
        match walk.next(raw) {
            Ok(WalkStep::Entry(walk)) => walk,
            other => panic!("no table: {other:?}"),
        }
    }

    #[test]
    fn each_level_looks_at_9_bits_of_the_address() {
        let address = 5 << 30 | 6 << 21 | 7 << 12 | 0xabc;
        let mut walk = PageWalk::start(address, ROOT, 3).unwrap();
        assert_eq!((walk.entry_address(), walk.level()), (ROOT + 5 * 8, 3));
        walk = step(walk, table(2, READ | WRITE));
        assert_eq!((walk.entry_address(), walk.level()), (0x20_0000 + 6 * 8, 2));
        walk = step(walk, table(1, READ | WRITE));
        assert_eq!((walk.entry_address(), walk.level()), (0x20_0000 + 7 * 8, 1));
        let Ok(WalkStep::Page(page)) = walk.next(READ | WRITE | 0x7_0001) else {
            panic!("no page");
        };
        assert_eq!(page.physical(address), 0x7_0abc);
    }

    #[test]
    fn permissions_are_what_every_level_allows() {
        for (directory, leaf, expected) in [
            (READ | WRITE, READ | WRITE, Permissions::ALL),
            (READ, READ | WRITE, Permissions::new().with_read(true)),
            (READ | WRITE, WRITE, Permissions::new().with_write(true)),
            (READ, WRITE, Permissions::new()),
        ] {
            let walk = PageWalk::start(0, ROOT, 2).unwrap();
            let walk = step(walk, table(1, directory));
            assert!(walk.permissions().allow(expected));
            let Ok(WalkStep::Page(page)) = walk.next(leaf | 0x1001) else {
                panic!("no page");
            };
            assert_eq!(page.attributes.permissions(), expected);
        }
    }

    #[test]
    fn an_address_beyond_the_highest_table_is_refused() {
        for level in 1..=5u8 {
            let reach = 1 << (12 + 9 * level);
            assert!(PageWalk::start(reach - 1, ROOT, level).is_ok());
            let error = PageWalk::start(reach, ROOT, level);
            assert_eq!(error, Err(WalkError::SkippedBits { next: level }));
        }
        assert!(PageWalk::start(u64::MAX, ROOT, 6).is_ok());
    }

    #[test]
    fn skipped_levels_need_address_bits_of_0() {
        let at = |address: u64| PageWalk::start(address, ROOT, 4).unwrap().next(table(1, READ));
        assert!(matches!(at(5 << 39 | 0x1f_f000), Ok(WalkStep::Entry(_))));
        for bit in 21..39 {
            let error = Err(WalkError::SkippedBits { next: 1 });
            assert_eq!(at(5 << 39 | 1 << bit | 0x1000), error, "bit {bit}");
        }
    }

    #[test]
    fn a_table_of_the_next_level_skips_nothing() {
        let walk = PageWalk::start(u64::MAX, ROOT, 6).unwrap();
        let levels = (1..=5).rev().scan(walk, |walk, level| {
            *walk = step(*walk, table(level, READ));
            Some(walk.level())
        });
        assert_eq!(levels.collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    }

    #[test]
    fn the_entry_that_maps_nothing_is_named() {
        let walk = PageWalk::start(0, ROOT, 3).unwrap();
        let error = PteError::NotPresent;
        assert_eq!(walk.next(0), Err(WalkError::Entry { level: 3, error }));
        let error = PteError::NextLevel { level: 2, next: 2 };
        let walk = step(walk, table(2, READ));
        assert_eq!(
            walk.next(table(2, READ)),
            Err(WalkError::Entry { level: 2, error })
        );
    }
}
