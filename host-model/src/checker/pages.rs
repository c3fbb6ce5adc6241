//! The checker's own walk of page tables.

use sim_bridge::RequesterId;

use super::walk::Walk;
use crate::iommu::spec::dte::{DteDomain, DteTranslation};
use crate::iommu::spec::page_table::{
    Entry, MAX_LEVEL, PTE_BYTES, Page, Permissions, Pte, entry_offset, level_shift,
};

/// Page tables that a DTE names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageTables {
    pub(super) domain: u16,
    root: u64,
    /// Of the highest table.
    level: u8,
}

impl PageTables {
    /// Of the first two quadwords of a DTE; `None` if it names none.
    pub(super) fn of(half: &[u64; 2]) -> Option<Self> {
        let (low, high) = (DteTranslation::from_bits(half[0]), DteDomain::from_bits(half[1]));
        let has = low.valid() && low.translation_valid() && (1..=MAX_LEVEL).contains(&low.mode());
        has.then(|| Self {
            domain: high.domain(),
            root: low.root() << 12,
            level: low.mode(),
        })
    }
}

impl Walk {
    /// The page tables that memory says a requester ID has.
    pub(super) fn page_tables(&self, requester: RequesterId) -> Option<PageTables> {
        let half = self.read(self.dte_memory(requester).start, 16);
        let word = |n: usize| half[8 * n..].first_chunk().map(|word| u64::from_le_bytes(*word));
        PageTables::of(&[word(0)?, word(1)?])
    }

    /// The page that maps an address, with what all entries allow; `None` if none does.
    pub(super) fn page(&self, tables: &PageTables, address: u64) -> Option<Page> {
        let (mut table, mut level) = (tables.root, tables.level);
        let mut permissions = Permissions::ALL;
        let mut above = MAX_LEVEL + 1;
        loop {
            // Address bits between what the table above looked at and what this one does.
            let covered = bits_below(level_shift(above)) & !bits_below(level_shift(level + 1));
            if address & covered != 0 {
                return None;
            }
            match self.pte(table + entry_offset(level, address)).parse(level).ok()? {
                Entry::Page(page) => {
                    let attributes = page.attributes.and(permissions);
                    return Some(Page { attributes, ..page });
                }
                Entry::Table {
                    address: next,
                    level: lower,
                    permissions: allowed,
                } => {
                    permissions = permissions.and(allowed);
                    (table, above, level) = (next, level, lower);
                }
            }
        }
    }

    fn pte(&self, address: u64) -> Pte {
        let bytes = self.read(address, PTE_BYTES as usize);
        Pte::from_bits(bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)))
    }
}

/// Address bits below `shift`, all of them from 64 on.
fn bits_below(shift: u8) -> u64 {
    1u64.checked_shl(shift.into()).map_or(u64::MAX, |bit| bit - 1)
}

/// Whether a cached page does to a request what the page of memory does, or less: what memory allows in addition
/// needs no invalidation.
pub(super) fn is_current(cached: &Page, now: Option<&Page>, address: u64) -> bool {
    now.is_some_and(|now| {
        let [was, is] = [cached.attributes, now.attributes];
        cached.physical(address) == now.physical(address)
            && is.permissions().allow(was.permissions())
            && was.untranslated_only() == is.untranslated_only()
            && was.force_coherent() == is.force_coherent()
    })
}
