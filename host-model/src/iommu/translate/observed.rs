//! What a memory request goes by.

use super::super::outcome::{Lookup, LookupFrom, Observer};
use super::super::spec::dte::RawDte;
use super::super::spec::page_table::Page;

/// A page table or directory entry that was read from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PteRead {
    /// Guest physical address.
    pub address: u64,
    /// As it was in memory then.
    pub raw: u64,
}

/// A page and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLookup {
    /// IOTLB or page tables.
    pub from: LookupFrom,
    /// By the device table entry.
    pub domain: u16,
    /// What all page table entries allow, the device table entry aside.
    pub page: Page,
}

/// Keeps what it sees of a memory request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObservedTranslation {
    /// The device table entry, if one was used.
    pub dte: Option<Lookup<RawDte>>,
    /// The page table entries that were read, from the highest table on.
    pub ptes: Vec<PteRead>,
    /// The page, if there is one.
    pub page: Option<PageLookup>,
}

impl Observer for ObservedTranslation {
    fn dte(&mut self, lookup: Lookup<RawDte>) {
        self.dte = Some(lookup);
    }

    fn pte(&mut self, read: PteRead) {
        self.ptes.push(read);
    }

    fn page(&mut self, lookup: PageLookup) {
        self.page = Some(lookup);
    }
}
