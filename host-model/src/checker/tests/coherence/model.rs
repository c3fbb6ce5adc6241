//! What is cached and what is stale, by values and commands.

use std::collections::BTreeMap;

use super::super::*;
use super::{INDICES, Invalidate, TABLES};
use crate::iommu::{Observed, TableEntry};

/// Something in memory that changes.
#[derive(Debug, Default)]
pub(super) struct Cell<T> {
    pub(super) value: T,
    /// When, and in which call.
    pub(super) changes: Vec<(usize, usize)>,
}

impl<T: PartialEq> Cell<T> {
    pub(super) fn set(&mut self, value: T, now: usize, call: usize) {
        if self.value != value {
            self.value = value;
            self.changes.push((now, call));
        }
    }

    pub(super) fn first_change_after(&self, since: usize) -> (usize, usize) {
        let change = self.changes.iter().find(|(at, _)| *at > since);
        *change.expect("what differs has changed")
    }
}

/// What was read from memory, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ReadEntry {
    pub(super) number: Read<u8>,
    pub(super) table: usize,
    /// When the DTE was read that says so.
    pub(super) dte_at: usize,
}

/// A request's way through the tables.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) index: usize,
    /// Read for it, or used by it.
    pub(super) dte: Option<Read<Option<usize>>>,
    pub(super) dte_is_settled: bool,
    pub(super) entry: Option<ReadEntry>,
    /// By an invalidation of the DTE, of the entry, of anything.
    pub(super) dte_overtaken: bool,
    pub(super) irt_overtaken: bool,
    pub(super) overtaken: bool,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) now: usize,
    pub(super) calls: usize,
    pub(super) open: [Option<usize>; 2],
    pub(super) dtes: [Cell<Option<usize>>; RIDS.len()],
    pub(super) entries: [[Cell<u8>; INDICES]; TABLES.len()],
    pub(super) cached_dtes: [Option<Read<Option<usize>>>; RIDS.len()],
    pub(super) cached_entries: [[Option<ReadEntry>; INDICES]; RIDS.len()],
    pub(super) walks: [Option<Walk>; RIDS.len()],
    /// When each was last invalidated.
    pub(super) dte_invalidated: [usize; RIDS.len()],
    pub(super) irt_invalidated: [usize; RIDS.len()],
    /// What was answered by a stale entry, and whether an invalidation of that was missing at first.
    pub(super) stale: BTreeMap<(RequesterId, u16), bool>,
}

impl Model {
    pub(super) fn new_call(&mut self) -> usize {
        self.calls += 1;
        self.calls
    }

    /// Executed.
    pub(super) fn invalidated(&mut self, what: Invalidate) {
        for device in 0..RIDS.len() {
            let irt = matches!(what, Invalidate::Irt(of) if of == device) || matches!(what, Invalidate::All);
            let dte = matches!(what, Invalidate::Dte(of) if of == device) || matches!(what, Invalidate::All);
            if irt {
                self.cached_entries[device] = [None; INDICES];
                self.irt_invalidated[device] = self.now;
            }
            if dte {
                self.cached_dtes[device] = None;
                self.dte_invalidated[device] = self.now;
            }
            if let Some(walk) = &mut self.walks[device] {
                walk.irt_overtaken |= irt;
                walk.dte_overtaken |= dte;
                walk.overtaken = true;
            }
        }
    }

    /// The walk waits for this entry, whose bytes are those of now. `all_fit`: nothing is ever evicted.
    pub(super) fn read(&mut self, device: usize, entry: TableEntry, all_fit: bool) {
        let walk = self.walks[device].as_mut().expect("it is on its way");
        match (entry, walk.dte) {
            (TableEntry::Dte, None) => {
                assert!(!all_fit || self.cached_dtes[device].is_none(), "a needless miss");
                walk.dte = Some(Read {
                    value: self.dtes[device].value,
                    at: self.now,
                });
            }
            (
                TableEntry::Irte,
                Some(Read {
                    value: Some(table),
                    at,
                }),
            ) => {
                let cached = self.cached_entries[device][walk.index];
                assert!(!all_fit || cached.is_none(), "a needless miss");
                let number = self.entries[table][walk.index].value;
                walk.entry = Some(ReadEntry {
                    number: Read {
                        value: number,
                        at: self.now,
                    },
                    table,
                    dte_at: at,
                });
            }
            (entry, dte) => panic!("{entry:?} by {dte:?}"),
        }
    }

    /// The walk has gone by a DTE.
    pub(super) fn used_dte(&mut self, device: usize, from: LookupFrom, disabled: bool) {
        let walk = self.walks[device].as_mut().expect("it is on its way");
        if std::mem::replace(&mut walk.dte_is_settled, true) {
            return;
        }
        match from {
            LookupFrom::Hit => {
                assert!(
                    self.cached_dtes[device].is_some(),
                    "a hit of what was invalidated"
                );
                walk.dte = self.cached_dtes[device];
            }
            LookupFrom::Fill => {
                assert!(!walk.dte_overtaken, "an invalidation was missed");
                self.cached_dtes[device] = walk.dte;
            }
            LookupFrom::Uncached => assert!(walk.overtaken || disabled, "a needless refusal"),
        }
    }

    /// The walk has gone by an entry.
    pub(super) fn used_entry(&mut self, device: usize, from: LookupFrom, disabled: bool) {
        let walk = self.walks[device].as_mut().expect("it is on its way");
        let cached = &mut self.cached_entries[device][walk.index];
        match from {
            LookupFrom::Hit => {
                assert!(cached.is_some(), "a hit of what was invalidated");
                walk.entry = *cached;
            }
            LookupFrom::Fill => {
                assert!(!walk.irt_overtaken, "an invalidation was missed");
                *cached = walk.entry;
            }
            LookupFrom::Uncached => {
                let invalid = walk.entry.is_some_and(|entry| entry.number.value == 0);
                assert!(walk.overtaken || invalid || disabled, "a needless refusal");
            }
        }
    }

    /// The end of a walk.
    pub(super) fn judge(&mut self, device: usize, observed: &Observed) -> Freshness {
        let walk = self.walks[device].take().expect("it is on its way");
        let dte = &self.dtes[device];
        let hit = |from| from == Some(LookupFrom::Hit);
        let mut missed = vec![];
        if hit(observed.dte.map(|dte| dte.from))
            && let Some(used) = walk.dte
            && used.value != dte.value
        {
            let change = dte.first_change_after(used.at);
            missed.push((change, used.at, self.dte_invalidated[device]));
        }
        if hit(observed.irte.map(|irte| irte.from))
            && let (Some(used), Some(table)) = (walk.entry, dte.value)
        {
            let entry = &self.entries[table][walk.index];
            if entry.value != used.number.value {
                let change = match table == used.table {
                    true => entry.first_change_after(used.number.at),
                    false => dte.first_change_after(used.dte_at),
                };
                missed.push((change, used.number.at, self.irt_invalidated[device]));
            }
        }
        let oldest = missed.into_iter().min_by_key(|((at, _), ..)| *at);
        let Some(((changed, call), read, invalidated)) = oldest else {
            return Freshness::Fresh;
        };
        if self.open.contains(&Some(call)) {
            return Freshness::InFlight;
        }
        let missing = invalidated <= changed.max(read);
        self.stale
            .entry((RIDS[device], walk.index as u16))
            .or_insert(missing);
        Freshness::Stale
    }
}
