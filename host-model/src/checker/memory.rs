//! Judges the answers to memory requests.

use sim_bridge::SimTime;

use super::finding::{Cached, Subject, Used};
use super::history::Moment;
use super::interrupts::sampled;
use super::pages::{self, PageTables};
use super::{Checker, Freshness, Missed, Sample};
use crate::driver::Role;
use crate::iommu::LookupFrom;
use crate::iommu::spec::dte::{DteDomain, DteTranslation, RawDte};
use crate::iommu::spec::page_table::{PAGE_SHIFT, PTE_BYTES, Page};
use crate::iommu::translate::{MemoryRequest, ObservedTranslation, PageLookup, PteRead, TranslationOutcome};

/// A translation that was cached.
#[derive(Debug, Clone)]
pub(super) struct PageFill {
    at: Moment,
    /// When the DTE was read that said which tables.
    dte_at: Moment,
    tables: Option<PageTables>,
    ptes: Vec<(Moment, PteRead)>,
}

impl Checker {
    /// The IOMMU reads a page table entry: writes to it are changes from now on.
    pub fn reads_pte(&mut self, address: u64) {
        self.walk.reads_pte(address);
    }

    /// Judges an answer to a memory request when it is given. `samples` says when each address was read for it.
    pub fn judge_translation(
        &mut self,
        request: &MemoryRequest,
        outcome: &TranslationOutcome,
        observed: &ObservedTranslation,
        samples: &[(u64, Sample)],
        time: SimTime,
    ) -> Freshness {
        let requester = request.requester;
        let mut missed = Vec::new();
        if let Some(dte) = observed.dte {
            let dte_at = self.went_by_dte(requester, &dte, samples);
            if dte.from == LookupFrom::Hit {
                let half = self.walk.dte_memory(requester).start;
                missed.extend(self.missed_dte(requester, half, &dte.raw[..2], Role::FlushDte));
            }
            if let Some(page) = observed.page {
                match page.from {
                    LookupFrom::Fill => {
                        self.filled(request, &page, (&dte.raw, dte_at), &observed.ptes, samples);
                    }
                    LookupFrom::Hit => missed.extend(self.missed_page(request, &page)),
                    LookupFrom::Uncached => {}
                }
            }
        }
        let subject = |cached| match cached {
            Cached::Page { .. } => Subject::Page {
                requester,
                address: page_of(request.address),
            },
            Cached::Dte(_) | Cached::Irte(..) => Subject::Device(requester),
        };
        let used = Used {
            at: time,
            by: requester,
            place: None,
            to: match outcome {
                TranslationOutcome::Forwarded => "the address that it asks for".to_owned(),
                TranslationOutcome::Translated(to) => format!("{:#x}", to.address),
                TranslationOutcome::Refused { reason, .. } => format!("nowhere: {reason}"),
            },
        };
        let freshness = self.conclude(missed, subject, used);
        if let (Freshness::Fresh, TranslationOutcome::Refused { reason, .. }) = (freshness, outcome) {
            self.refused(request, *reason, time);
        }
        freshness
    }

    fn filled(
        &mut self,
        request: &MemoryRequest,
        page: &PageLookup,
        (dte, dte_at): (&RawDte, Moment),
        ptes: &[PteRead],
        samples: &[(u64, Sample)],
    ) {
        let ptes: Vec<_> = ptes
            .iter()
            .map(|pte| (sampled(samples, pte.address), *pte))
            .collect();
        let fill = PageFill {
            at: ptes.last().map(|(at, _)| *at).unwrap_or_default(),
            dte_at,
            tables: PageTables::of(&[dte[0], dte[1]]),
            ptes,
        };
        self.pages.insert((page.domain, page_of(request.address)), fill);
    }

    /// What a cached translation misses. `None` too where memory names another domain: then it is the DTE that is missed.
    fn missed_page(&self, request: &MemoryRequest, page: &PageLookup) -> Option<Missed> {
        let MemoryRequest {
            requester, address, ..
        } = *request;
        let tables = self.walk.page_tables(requester)?;
        let current = self.walk.page(&tables, address);
        if tables.domain != page.domain || pages::is_current(&page.page, current.as_ref(), address) {
            return None;
        }
        let fill = self.pages.get(&(page.domain, page_of(address)));
        let (since, dte_at) = fill.map_or_else(Default::default, |fill| (fill.at, fill.dte_at));
        let moved_away = fill.is_some_and(|fill| fill.tables != Some(tables));
        let change = if moved_away {
            self.oldest(self.walk.dte_memory(requester), dte_at)
        } else {
            let ptes = fill.map_or(&[][..], |fill| &fill.ptes);
            let differing = ptes.iter().filter_map(|(at, pte)| {
                let bytes = pte.raw.to_le_bytes();
                self.oldest(
                    self.differing(pte.address, &bytes, &[0xff; PTE_BYTES as usize]),
                    *at,
                )
            });
            differing.min_by_key(|change| change.moment.order)
        };
        let log2 = page.page.attributes.shift();
        Some(Missed {
            since,
            change,
            cached: Cached::Page {
                domain: page.domain,
                address: address & !((1 << log2) - 1),
                log2,
            },
            role: Role::FlushPages,
            moved_away,
            words: [Some(page.page), current].map(|page| page_in_words(page.as_ref())),
        })
    }
}

/// Of the first byte of the 4 KiB that hold an address.
fn page_of(address: u64) -> u64 {
    address & !((1 << PAGE_SHIFT) - 1)
}

fn page_in_words(page: Option<&Page>) -> String {
    let Some(page) = page else {
        return "not mapped".to_owned();
    };
    let permissions = page.attributes.permissions();
    let allowed = match (permissions.read(), permissions.write()) {
        (true, true) => "read and write",
        (true, false) => "read",
        (false, true) => "write",
        (false, false) => "no access",
    };
    format!("{:#x}, {allowed}", page.address)
}

/// The memory half of a DTE.
pub(super) fn dte_in_words([low, high]: [u64; 2]) -> String {
    let (low, domain) = (
        DteTranslation::from_bits(low),
        DteDomain::from_bits(high).domain(),
    );
    let allowed = format!("IR {} IW {}", u8::from(low.read()), u8::from(low.write()));
    match (low.valid(), low.translation_valid(), low.mode()) {
        (false, ..) => "V 0".to_owned(),
        (true, false, _) => "TV 0".to_owned(),
        (true, true, 0) => format!("domain {domain}, untranslated, {allowed}"),
        (true, true, levels) => format!("domain {domain}, {levels} levels of page tables, {allowed}"),
    }
}
