//! Judges the answers to interrupt messages.

use sim_bridge::{RequesterId, SimTime};

use super::finding::{Cached, Subject, Used};
use super::history::Moment;
use super::{Checker, DteFill, Freshness, IrteFill, Missed, Place, Sample};
use crate::driver::Role;
use crate::iommu::spec::dte::{DteInterrupts, RawDte};
use crate::iommu::{Answer, InterruptRequest, Lookup, LookupFrom, Outcome};

/// When each address was read for an answer: the last sample of it.
pub(super) fn sampled(samples: &[(u64, Sample)], address: u64) -> Moment {
    let sample = samples.iter().rev().find(|(at, _)| *at == address);
    sample.map(|(_, Sample(moment))| *moment).unwrap_or_default()
}

impl Checker {
    /// Judges an answer when it is given. `samples` says when each address was read for it.
    pub fn judge(&mut self, answer: &Answer, samples: &[(u64, Sample)], time: SimTime) -> Freshness {
        let request = &answer.request;
        let (requester, index) = (request.requester, index(request));
        let mut missed = Vec::new();
        let mut dte_at = Moment::default();
        if let Some(dte) = answer.dte {
            dte_at = self.went_by_dte(requester, &dte, samples);
            if dte.from == LookupFrom::Hit {
                // The interrupt half: what else is in a DTE decides nothing here.
                let half = self.walk.dte_interrupts(requester).start;
                missed.extend(self.missed_dte(requester, half, &dte.raw[2..3], Role::SetTable));
            }
        }
        if let Some(irte) = answer.irte {
            match irte.from {
                LookupFrom::Fill => {
                    let filled = IrteFill {
                        at: sampled(samples, irte.address),
                        dte_at,
                        address: irte.address,
                        raw: irte.raw,
                    };
                    self.irtes.insert((requester, index), filled);
                }
                // None where the DTE no longer has a table: then it is the DTE that is missed.
                LookupFrom::Hit => {
                    let now = self.walk.irte_address(requester, index);
                    let filled = self.irtes.get(&(requester, index)).copied().unwrap_or_default();
                    let filled = IrteFill {
                        address: irte.address,
                        raw: irte.raw,
                        ..filled
                    };
                    missed.extend(now.and_then(|now| self.missed_irte(requester, index, &filled, now)));
                }
                LookupFrom::Uncached => {}
            }
        }
        let got = place(&answer.outcome);
        let used = Used {
            at: time,
            by: requester,
            place: got,
            to: match answer.outcome {
                Outcome::Remapped(_) => got.map_or_else(String::new, |place| place.to_string()),
                Outcome::Forwarded { .. } => "where it asks for, unmapped".to_owned(),
                Outcome::Posted(_) => "a virtual CPU".to_owned(),
                Outcome::Blocked { reason, .. } => format!("nowhere: {reason}"),
            },
        };
        self.conclude(missed, |_| Subject::Entry { requester, index }, used)
    }

    /// When the DTE was read that an answer went by. What is cached from now on is remembered.
    pub(super) fn went_by_dte(
        &mut self,
        requester: RequesterId,
        dte: &Lookup<RawDte>,
        samples: &[(u64, Sample)],
    ) -> Moment {
        match dte.from {
            LookupFrom::Hit => self.dtes.get(&requester).copied().unwrap_or_default().at,
            LookupFrom::Uncached => sampled(samples, dte.address),
            LookupFrom::Fill => {
                let at = sampled(samples, dte.address);
                self.dtes.insert(requester, DteFill { at, raw: dte.raw });
                at
            }
        }
    }

    /// What a cached DTE misses if its quadwords are not those that memory has at `now`.
    pub(super) fn missed_dte(
        &self,
        requester: RequesterId,
        now: u64,
        half: &[u64],
        role: Role,
    ) -> Option<Missed> {
        let bytes: Vec<u8> = half.iter().flat_map(|word| word.to_le_bytes()).collect();
        let differing = self.differing(now, &bytes, &vec![0xff; bytes.len()]);
        if differing.is_empty() {
            return None;
        }
        let since = self.dtes.get(&requester).copied().unwrap_or_default().at;
        let current = self.walk.read(now, bytes.len());
        Some(Missed {
            since,
            change: self.oldest(differing, since),
            cached: Cached::Dte(requester),
            role,
            moved_away: false,
            words: [bytes, current].map(|bytes| dte_in_words(&bytes)),
        })
    }

    /// What a cached entry misses if it is not the one that memory has at `now`.
    pub(super) fn missed_irte(
        &self,
        requester: RequesterId,
        index: u16,
        filled: &IrteFill,
        now: u64,
    ) -> Option<Missed> {
        let bytes = &filled.raw.to_le_bytes()[..self.walk.irte_bytes()];
        let compared = self.walk.cached_bits(filled.raw).to_le_bytes();
        let differing = self.differing(now, bytes, &compared);
        if differing.is_empty() {
            return None;
        }
        let moved_away = filled.address != now;
        let change = if moved_away {
            // The DTE points to another table than it did, which may have come before the entry was read.
            self.oldest(self.walk.dte_interrupts(requester), filled.dte_at)
        } else {
            self.oldest(differing, filled.at)
        };
        Some(Missed {
            since: filled.at,
            change,
            cached: Cached::Irte(requester, index),
            role: Role::FlushIrte,
            moved_away,
            words: [filled.raw, self.walk.irte(now)].map(|raw| self.irte_in_words(raw)),
        })
    }
}

/// Of the remapping entry that a message selects.
pub(super) fn index(request: &InterruptRequest) -> u16 {
    (request.data & 0x7ff) as u16
}

pub(super) fn place(outcome: &Outcome) -> Option<Place> {
    match outcome {
        Outcome::Remapped(interrupt) => Some(Place {
            cpu: interrupt.destination(),
            vector: interrupt.vector(),
        }),
        Outcome::Forwarded { .. } | Outcome::Posted(_) | Outcome::Blocked { .. } => None,
    }
}

/// The interrupt half of a DTE, 8 bytes, or the memory half, 16.
fn dte_in_words(bytes: &[u8]) -> String {
    let word = |n: usize| {
        let bytes = bytes.get(8 * n..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |word| u64::from_le_bytes(*word))
    };
    if bytes.len() > 8 {
        return super::memory::dte_in_words([word(0), word(1)]);
    }
    let dte = DteInterrupts::from_bits(word(0));
    match (dte.valid(), dte.int_ctl()) {
        (false, _) => "interrupts not remapped (IV 0)".to_owned(),
        (true, 2) => format!("a remapping table of {} entries", 1 << dte.table_length()),
        (true, int_ctl) => format!("no remapping table (IntCtl {int_ctl})"),
    }
}
