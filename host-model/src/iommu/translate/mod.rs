//! Memory requests: device table entry, page tables, translated address.
//!
//! A device table entry with V and TV names a domain, and the page tables of that domain, of as many levels as its
//! Mode says. A [`MemoryRequest`] is translated by them page by page. Translations are cached by domain and page in
//! the IOTLB; software that changes a page table must say so by INVALIDATE_IOMMU_PAGES for the domain. Only pages are
//! cached, so PDE of that command means nothing here; and only host translations are, so one with GN drops nothing.

mod iotlb;
mod known_domains;
mod lookup;
mod observed;
mod page_walk;
mod request;
mod verdict;

pub use lookup::TranslationToken;
pub use observed::{ObservedTranslation, PageLookup, PteRead};
pub use page_walk::WalkError;
pub use request::{
    Access, AddressType, Addressing, MemoryRequest, Translation, TranslationError, TranslationOutcome,
    TranslationResponse,
};

pub(super) use known_domains::KnownDomains;
pub(super) use lookup::{ReportedFaults, Translations};
