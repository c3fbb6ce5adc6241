//! What of device table entries and translations is cached, and what is stale, by values and commands.

use std::collections::BTreeMap;

use super::super::super::*;
use super::super::model::{Cell, Read};
use super::{DEVICES, DTES, Invalidate, LEAVES, PAGES, ROOTS, is_current};
use crate::iommu::TableEntry;
use crate::iommu::translate::ObservedTranslation;

/// A request on its way through the tables, and what was read for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Walk {
    pub(super) page: usize,
    pub(super) dte: Option<Read<usize>>,
    pub(super) directory: Option<Read<Option<usize>>>,
    pub(super) leaf: Option<Read<u8>>,
}

/// When what changed and in which call, when it was read, when invalidated, about what.
type Missed = ((usize, Option<usize>), usize, usize, Subject);

/// A translation that was cached.
#[derive(Debug, Clone, Copy)]
pub(super) struct CachedPage {
    /// When the DTE was read.
    pub(super) dte: Read<usize>,
    pub(super) directory: Read<Option<usize>>,
    pub(super) leaf: Read<u8>,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) now: usize,
    pub(super) calls: usize,
    pub(super) open: [Option<usize>; 2],
    pub(super) dtes: [Cell<usize>; DEVICES],
    pub(super) directories: [Cell<Option<usize>>; ROOTS.len()],
    pub(super) pages: [[Cell<u8>; PAGES]; LEAVES.len()],
    pub(super) cached_dtes: [Option<Read<usize>>; DEVICES],
    pub(super) cached_pages: BTreeMap<(u16, usize), CachedPage>,
    pub(super) walks: [Option<Walk>; DEVICES],
    pub(super) dte_invalidated: [usize; DEVICES],
    pub(super) page_invalidated: BTreeMap<(u16, usize), usize>,
    pub(super) stale: BTreeMap<Subject, bool>,
}

impl Model {
    pub(super) fn call(&mut self, call: usize) -> usize {
        self.open[call].unwrap_or_else(|| {
            self.calls += 1;
            self.calls
        })
    }

    pub(super) fn invalidated(&mut self, what: Invalidate) {
        for device in 0..DEVICES {
            if matches!(what, Invalidate::All) || matches!(what, Invalidate::Dte(of) if of == device) {
                self.cached_dtes[device] = None;
                self.dte_invalidated[device] = self.now;
            }
        }
        for domain in 1..3 {
            for page in 0..PAGES {
                if match what {
                    Invalidate::All => true,
                    Invalidate::Dte(_) => false,
                    Invalidate::Domain(of) => of == domain,
                    Invalidate::Page(of, at) => (of, at) == (domain, page),
                } {
                    self.cached_pages.remove(&(domain, page));
                    self.page_invalidated.insert((domain, page), self.now);
                }
            }
        }
    }

    pub(super) fn read(&mut self, device: usize, entry: TableEntry) {
        let at = self.now;
        let walk = self.walks[device].as_mut().expect("it is on its way");
        let root = walk.dte.and_then(|dte| DTES[dte.value]).map(|(_, root)| root);
        match (entry, root, walk.directory) {
            (TableEntry::Dte, ..) => {
                let value = self.dtes[device].value;
                walk.dte = Some(Read { value, at });
            }
            (TableEntry::Pte { level: 2 }, Some(root), _) => {
                let value = self.directories[root].value;
                walk.directory = Some(Read { value, at });
            }
            (
                TableEntry::Pte { level: 1 },
                _,
                Some(Read {
                    value: Some(leaf), ..
                }),
            ) => {
                let value = self.pages[leaf][walk.page].value;
                walk.leaf = Some(Read { value, at });
            }
            other => panic!("{other:?}"),
        }
    }

    /// The walk has gone by a DTE; it goes on before the next is read.
    pub(super) fn used_dte(&mut self, device: usize, from: LookupFrom) {
        let walk = self.walks[device].as_mut().expect("it is on its way");
        match from {
            LookupFrom::Hit => {
                assert!(
                    self.cached_dtes[device].is_some(),
                    "a hit of what was invalidated"
                );
                walk.dte = self.cached_dtes[device];
            }
            LookupFrom::Fill => {
                let read = walk.dte.expect("it was read");
                assert!(
                    self.dte_invalidated[device] <= read.at,
                    "an invalidation was missed"
                );
                self.cached_dtes[device] = walk.dte;
            }
            LookupFrom::Uncached => {}
        }
    }

    pub(super) fn translation(&self, number: usize, page: usize) -> Option<u8> {
        let (_, root) = DTES[number]?;
        let number = self.pages[self.directories[root].value?][page].value;
        (number != 0).then_some(number)
    }

    /// The end of a walk.
    pub(super) fn judge(&mut self, device: usize, observed: &ObservedTranslation) -> Freshness {
        let walk = self.walks[device].take().expect("it is on its way");
        let now = self.dtes[device].value;
        let requester = RIDS[device];
        let mut missed: Vec<Missed> = vec![];
        let of = |(at, call)| (at, Some(call));
        if let (Some(lookup), Some(used)) = (observed.dte, walk.dte)
            && lookup.from == LookupFrom::Hit
            && used.value != now
        {
            let change = of(self.dtes[device].first_change_after(used.at));
            missed.push((
                change,
                used.at,
                self.dte_invalidated[device],
                Subject::Device(requester),
            ));
        }
        if let Some(lookup) = observed.page {
            let key = (lookup.domain, walk.page);
            match lookup.from {
                LookupFrom::Uncached => {}
                LookupFrom::Fill => {
                    let (dte, directory, leaf) = (walk.dte, walk.directory, walk.leaf);
                    let cached = CachedPage {
                        dte: dte.expect("read"),
                        directory: directory.expect("read"),
                        leaf: leaf.expect("read"),
                    };
                    let invalidated = self.page_invalidated.get(&key).copied().unwrap_or(0);
                    assert!(invalidated <= cached.directory.at, "an invalidation was missed");
                    self.cached_pages.insert(key, cached);
                }
                LookupFrom::Hit => {
                    let cached = self.cached_pages[&key];
                    let same_domain = DTES[now].is_some_and(|(domain, _)| domain == lookup.domain);
                    if same_domain && !is_current(cached.leaf.value, self.translation(now, walk.page)) {
                        let change = self.missed_by(&cached, device, walk.page);
                        let invalidated = self.page_invalidated.get(&key).copied().unwrap_or(0);
                        let subject = Subject::Page {
                            requester,
                            address: 0x1000 * walk.page as u64,
                        };
                        missed.push((change, cached.leaf.at, invalidated, subject));
                    }
                }
            }
        }
        let oldest = missed.into_iter().min_by_key(|((at, _), ..)| *at);
        let Some(((changed, call), read, invalidated, subject)) = oldest else {
            return Freshness::Fresh;
        };
        if call.is_some_and(|call| self.open.contains(&Some(call))) {
            return Freshness::InFlight;
        }
        self.stale
            .entry(subject)
            .or_insert(invalidated <= changed.max(read));
        Freshness::Stale
    }

    /// Nobody's where another device filled it by other tables.
    pub(super) fn missed_by(
        &self,
        cached: &CachedPage,
        device: usize,
        page: usize,
    ) -> (usize, Option<usize>) {
        let tables = |number: usize| DTES[number];
        let dte = &self.dtes[device];
        if tables(cached.dte.value) != tables(dte.value) {
            let change = dte.changes.iter().find(|(at, _)| *at > cached.dte.at);
            return change.map_or((0, None), |(at, call)| (*at, Some(*call)));
        }
        let root = DTES[cached.dte.value].expect("it has tables").1;
        let leaf = cached.directory.value.expect("it has a leaf");
        let mut changes = vec![];
        if self.directories[root].value != cached.directory.value {
            changes.push(self.directories[root].first_change_after(cached.directory.at));
        }
        if self.pages[leaf][page].value != cached.leaf.value {
            changes.push(self.pages[leaf][page].first_change_after(cached.leaf.at));
        }
        let oldest = changes.into_iter().min().expect("what differs has changed");
        (oldest.0, Some(oldest.1))
    }
}
