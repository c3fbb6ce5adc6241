//! The coherence checker: compares every cached answer of the IOMMU with what memory says, and tells how they came to
//! differ.
//!
//! It walks the tables in guest memory by itself. Each write to a table opens a *change*, owned by the driver call that
//! made it and closed when the call returns. A cached answer that differs from memory is *in flight* while the oldest
//! change that it misses is open, *stale* afterwards. It is judged once, when it is given.

mod finding;
mod history;
#[cfg(test)]
mod tests;
mod walk;

pub use finding::{Finding, FindingKind, History, Place, Verdict};
pub use history::CallId;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sim_bridge::{RequesterId, SimTime};
use vm_memory::GuestMemoryMmap;

use crate::iommu::spec::command::Command;
use crate::iommu::{Answer, InterruptRequest, LookupFrom, Outcome, Step};
use crate::trace::Ending;
use history::{Change, Changes, Invalidations, Moment};
use walk::Walk;

/// How a cached answer compares with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Freshness {
    /// Equal, or not cached.
    Fresh,
    /// Different, and the call that changed memory has not returned.
    InFlight,
    /// Different, and nobody is going to mend it.
    Stale,
}

/// When a table entry was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample(Moment);

/// Which table's entry is cached, under which requester ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Cached {
    Dte(RequesterId),
    Irte(RequesterId, u16),
}

/// When a cached entry was read from memory.
#[derive(Debug, Clone, Copy, Default)]
struct Read {
    at: Moment,
    /// When the DTE was that said where.
    dte_at: Moment,
}

/// A cached entry that is not what memory says.
struct Missed {
    since: Moment,
    /// The oldest that it misses; `None` if nobody known made it.
    change: Option<Change>,
    cached: Cached,
}

impl Missed {
    fn order(&self) -> u64 {
        self.change.map_or(0, |change| change.moment.order)
    }
}

/// Watches one IOMMU.
pub struct Checker {
    walk: Walk,
    moment: Moment,
    changes: Changes,
    invalidations: Invalidations,
    fills: HashMap<Cached, Read>,
    findings: BTreeMap<(RequesterId, u16, FindingKind), Finding>,
}

impl Checker {
    /// Of an IOMMU whose tables are in `memory`.
    pub fn new(memory: Arc<GuestMemoryMmap>) -> Self {
        Self {
            walk: Walk::new(memory),
            moment: Moment::default(),
            changes: Changes::default(),
            invalidations: Invalidations::default(),
            fills: HashMap::new(),
            findings: BTreeMap::new(),
        }
    }

    /// A driver call began.
    pub fn call_began(&mut self, name: &'static str) -> CallId {
        self.changes.call_began(name)
    }

    /// It returned: its changes close.
    pub fn call_ended(&mut self, call: CallId, time: SimTime) {
        let moment = self.next(time);
        self.changes.call_ended(call, moment);
    }

    /// The register that says where the device table is was written.
    pub fn device_table(&mut self, base: u64, bytes: u64) {
        self.device_table_segment(0, base, bytes);
    }

    /// The register that says where a segment, 0 to 7, of the device table is was written.
    pub fn device_table_segment(&mut self, segment: usize, base: u64, bytes: u64) {
        self.walk.set_device_table(segment, base, bytes);
    }

    /// Control.DevTblSegEn: the device table has 1 << `bits` segments from now on.
    pub fn device_table_segments(&mut self, bits: u8) {
        self.walk.set_segment_bits(bits);
    }

    /// IRTEs have 128 bits from now on, or 32.
    pub fn irte_format(&mut self, ga_en: bool, xt_en: bool) {
        self.walk.set_irte_format(ga_en, xt_en);
    }

    /// Software is about to write memory.
    pub fn about_to_store(&mut self, address: u64, bytes: &[u8], call: Option<CallId>, time: SimTime) {
        if !self.walk.is_table(address) {
            return;
        }
        let moment = self.next(time);
        let old = self.walk.read(address, bytes.len());
        for (at, (&old, &new)) in (address..).zip(old.iter().zip(bytes)) {
            if self.walk.is_change(at, old, new) {
                self.changes.add(at, Change { moment, call });
            }
        }
        self.walk.about_to_store(address, bytes);
    }

    /// The IOMMU is about to read table entries.
    pub fn sample(&mut self, time: SimTime) -> Sample {
        Sample(self.next(time))
    }

    /// The IOMMU's own work.
    pub fn stepped(&mut self, step: &Step, time: SimTime) {
        if let Step::CommandExecuted { command, .. } = step {
            let moment = self.next(time);
            self.invalidations.add(moment, *command);
        }
    }

    /// Judges an answer when it is given. `samples` says when each address was read for it.
    pub fn judge(&mut self, answer: &Answer, samples: &[(u64, Sample)], time: SimTime) -> Freshness {
        let request = &answer.request;
        let index = index(request);
        let sampled = |address| {
            let sample = samples.iter().rev().find(|(at, _)| *at == address);
            sample.map(|(_, Sample(moment))| *moment).unwrap_or_default()
        };
        let mut missed = None;
        let mut dte_at = Moment::default();
        if let Some(dte) = answer.dte {
            let cached = Cached::Dte(request.requester);
            dte_at = match dte.from {
                LookupFrom::Hit => self.fills.get(&cached).copied().unwrap_or_default().at,
                LookupFrom::Fill | LookupFrom::Uncached => sampled(dte.address),
            };
            // The interrupt half: what else is in a DTE decides nothing here.
            let (half, address) = (dte.raw[2].to_le_bytes(), dte.address + 16);
            match dte.from {
                LookupFrom::Fill => _ = self.fills.insert(cached, Read { at: dte_at, dte_at }),
                LookupFrom::Hit => missed = self.missed(cached, &half, &[0xff; 8], address, address),
                LookupFrom::Uncached => {}
            }
        }
        if let Some(irte) = answer.irte {
            let cached = Cached::Irte(request.requester, index);
            let bytes = &irte.raw.to_le_bytes()[..self.walk.irte_bytes()];
            let compared = self.walk.cached_bits(irte.raw).to_le_bytes();
            match irte.from {
                LookupFrom::Fill => {
                    let at = sampled(irte.address);
                    self.fills.insert(cached, Read { at, dte_at });
                }
                LookupFrom::Hit => {
                    // None where the DTE no longer has a table: then it is the DTE that is missed.
                    let now = self.walk.irte_address(request.requester, index);
                    let irte = now.and_then(|now| self.missed(cached, bytes, &compared, irte.address, now));
                    missed = missed.into_iter().chain(irte).min_by_key(Missed::order);
                }
                LookupFrom::Uncached => {}
            }
        }
        let Some(Missed {
            since,
            change,
            cached,
        }) = missed
        else {
            return Freshness::Fresh;
        };
        if change.is_some_and(|change| self.changes.is_open(change.call)) {
            return Freshness::InFlight;
        }
        let got = place(&answer.outcome);
        let key = (request.requester, index, FindingKind::Stale);
        if !self.findings.contains_key(&key) {
            let expected = self.walk.expected(request.requester, index);
            let history = self.history(cached, since, change, time);
            let invalidated = self.invalidated(cached, since, change);
            let finding = self.finding(key, got, expected);
            finding.history = Some(history);
            if !invalidated {
                finding.missing_invalidations.push(request.requester);
            }
        }
        Freshness::Stale
    }

    /// An interrupt message has ended.
    pub fn ended(&mut self, answer: &Answer, freshness: Option<Freshness>, ending: Ending) {
        let request = &answer.request;
        let index = index(request);
        let kind = match (freshness, ending) {
            (Some(Freshness::Stale), _) => FindingKind::Stale,
            (_, Ending::Misrouted { .. }) => FindingKind::Misrouted,
            (_, Ending::Spurious { .. } | Ending::Special { .. }) => FindingKind::Spurious,
            (_, Ending::Lost(_)) => FindingKind::Lost,
            (_, Ending::Delivered { .. } | Ending::Blocked) => return,
        };
        let expected = self.walk.expected(request.requester, index);
        let finding = self.finding((request.requester, index, kind), place(&answer.outcome), expected);
        finding.endings.push(ending);
    }

    /// The device says that it sent more messages than have ended.
    pub fn never_ended(&mut self, requester: RequesterId) {
        self.finding((requester, 0, FindingKind::Lost), None, None);
    }

    /// All findings, one for each requester ID, index and kind, in that order.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.values().cloned().collect()
    }

    /// The finding of this kind, or a new one without a history.
    fn finding(
        &mut self,
        key: (RequesterId, u16, FindingKind),
        got: Option<Place>,
        expected: Option<Place>,
    ) -> &mut Finding {
        let (requester, index, kind) = key;
        self.findings.entry(key).or_insert_with(|| Finding {
            kind,
            requester,
            index,
            got,
            expected,
            missing_invalidations: Vec::new(),
            history: None,
            endings: Vec::new(),
        })
    }

    fn next(&mut self, time: SimTime) -> Moment {
        self.moment = Moment {
            order: self.moment.order + 1,
            time,
        };
        self.moment
    }

    /// The oldest change that a cached entry misses, if it is not what memory says: `bytes` were read at `was`, and
    /// belong at `now`. What is not in `compared` is not cached.
    fn missed(&self, cached: Cached, bytes: &[u8], compared: &[u8], was: u64, now: u64) -> Option<Missed> {
        let Read { at: since, dte_at } = self.fills.get(&cached).copied().unwrap_or_default();
        let current = self.walk.read(now, bytes.len());
        let differing: Vec<u64> = (now..)
            .zip(current.iter().zip(bytes).zip(compared))
            .filter(|(_, ((a, b), compared))| (*a ^ *b) & *compared != 0)
            .map(|(at, _)| at)
            .collect();
        if differing.is_empty() {
            return None;
        }
        let (changed, since_read) = match cached {
            // The DTE points to another table than it did, which may have come before the entry was read.
            Cached::Irte(requester, _) if was != now => {
                (self.walk.dte_interrupts(requester).collect(), dte_at)
            }
            _ => (differing, since),
        };
        let change = changed
            .into_iter()
            .filter_map(|at| self.changes.first_after(at, since_read))
            .min_by_key(|change| change.moment.order);
        Some(Missed {
            since,
            change,
            cached,
        })
    }

    /// Whether it was, since it was read and since that change.
    fn invalidated(&self, cached: Cached, read: Moment, change: Option<Change>) -> bool {
        let moments = change.map(|change| change.moment).into_iter().chain([read]);
        let since = moments.max_by_key(|moment| moment.order).unwrap_or(read);
        self.invalidations
            .after(since, None)
            .any(|command| match (command, cached) {
                (Command::InvalidateIommuAll, _) => true,
                (Command::InvalidateDevtabEntry(id), Cached::Dte(cached)) => *id == cached,
                (Command::InvalidateInterruptTable(id), Cached::Irte(cached, _)) => *id == cached,
                _ => false,
            })
    }

    fn history(&self, cached: Cached, since: Moment, change: Option<Change>, now: SimTime) -> History {
        let (moment, call) = change.map_or((Moment::default(), None), |change| (change.moment, change.call));
        let until = self.changes.end_of(call);
        let mut invalidated = Vec::new();
        for command in self.invalidations.after(moment, until) {
            let (Command::InvalidateInterruptTable(id) | Command::InvalidateDevtabEntry(id)) = command else {
                continue;
            };
            if !invalidated.contains(id) {
                invalidated.push(*id);
            }
        }
        History {
            cached_at: since.time,
            changed_at: moment.time,
            changed_by: call.map_or("nobody known", |call| self.changes.name_of(call)),
            entry: match cached {
                Cached::Dte(_) => "DTE",
                Cached::Irte(..) => "IRTE",
            },
            invalidated,
            told_complete_at: until.map(|end| end.time),
            used_at: now,
        }
    }
}

/// Of the remapping entry that a message selects.
fn index(request: &InterruptRequest) -> u16 {
    (request.data & 0x7ff) as u16
}

fn place(outcome: &Outcome) -> Option<Place> {
    match outcome {
        Outcome::Remapped(interrupt) => Some(Place {
            cpu: interrupt.destination(),
            vector: interrupt.vector(),
        }),
        Outcome::Forwarded { .. } | Outcome::Posted(_) | Outcome::Blocked { .. } => None,
    }
}
