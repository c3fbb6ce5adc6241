//! Requests: device table entry, interrupt remapping table entry, answer.

use vm_memory::GuestMemory;

use super::Iommu;
use super::in_flight::{InFlightGuard, lock};
use super::outcome::{Answer, InterruptRequest, Lookup, Outcome, Response};
use super::spec::dte::RawDte;
use super::spec::irte::RawIrte;
use super::spec::registers::Control;
use super::verdict::{DteVerdict, IrteTarget, Judge, Refusal};

/// One request on its way through the tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    pub(super) request: InterruptRequest,
    /// As of the request.
    pub(super) control: Control,
    /// Captured before anything was looked up: what the walk caches may depend on all that it saw.
    pub(super) dte_generation: u64,
    /// Likewise.
    pub(super) irt_generation: u64,
}

/// A table read in progress. The bytes were sampled when the token was given out.
///
/// Dropping it abandons the request: it is then answered as far as invalidations are concerned.
#[derive(Debug)]
#[must_use]
pub struct FillToken {
    walk: Walk,
    read: TableRead,
    guard: InFlightGuard,
}

/// What was read; `None` if memory did not answer.
#[derive(Debug)]
enum TableRead {
    Dte {
        address: u64,
        raw: Option<RawDte>,
    },
    Irte {
        dte: Lookup<RawDte>,
        target: IrteTarget,
        raw: Option<RawIrte>,
    },
}

/// Kind of table entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TableEntry {
    /// Device table entry.
    Dte,
    /// Interrupt remapping table entry.
    Irte,
}

impl FillToken {
    /// The request that waits.
    pub fn request(&self) -> &InterruptRequest {
        &self.walk.request
    }

    /// What is being read.
    pub fn entry(&self) -> TableEntry {
        match self.read {
            TableRead::Dte { .. } => TableEntry::Dte,
            TableRead::Irte { .. } => TableEntry::Irte,
        }
    }

    /// Guest physical address that is being read.
    pub fn address(&self) -> u64 {
        match self.read {
            TableRead::Dte { address, .. } => address,
            TableRead::Irte { target, .. } => target.address,
        }
    }
}

/// Where a walk is once the caches have given what they have.
enum Progress {
    Answered(Answer),
    NeedsDte { address: u64 },
    NeedsIrte { dte: Lookup<RawDte>, target: IrteTarget },
}

impl<M: GuestMemory> Iommu<M> {
    /// An interrupt message. What the caches hold is answered at once, as of some moment during the call.
    pub fn request(&self, request: &InterruptRequest) -> Response {
        let walk = self.begin_walk(request);
        if let Progress::Answered(answer) = self.walk(&walk, None) {
            return self.answer(answer);
        }
        // Once more, now that invalidations wait for it: none retires between what this walk sees and its answer.
        let guard = self.in_flight.begin(request.requester);
        self.advance(self.begin_walk(request), None, guard)
    }

    /// The memory read of a fill is back. `token` must be this IOMMU's.
    pub fn complete(&self, token: FillToken) -> Response {
        let FillToken { walk, read, guard } = token;
        let judge = self.judge(&walk);
        let answer = match read {
            TableRead::Dte {
                address,
                raw: Some(raw),
            } => {
                let from = self.cache_dte(&walk, address, &raw);
                return self.advance(walk, Some(Lookup { from, address, raw }), guard);
            }
            TableRead::Dte { address, raw: None } => {
                blocked(&walk, judge.unreadable_dte(address), None, None)
            }
            TableRead::Irte {
                dte,
                target,
                raw: Some(raw),
            } => {
                let from = self.cache_irte(&walk, &target, raw);
                self.remap(
                    &walk,
                    dte,
                    &target,
                    Lookup {
                        from,
                        address: target.address,
                        raw,
                    },
                )
            }
            TableRead::Irte {
                dte,
                target,
                raw: None,
            } => blocked(&walk, judge.unreadable_irte(&target), Some(dte), None),
        };
        self.answer(answer)
    }

    fn begin_walk(&self, request: &InterruptRequest) -> Walk {
        Walk {
            request: *request,
            control: self.control(),
            dte_generation: self.dte_generations.of(request.requester),
            irt_generation: self.irt_generations.of(request.requester),
        }
    }

    fn judge<'a>(&'a self, walk: &'a Walk) -> Judge<'a> {
        Judge {
            policies: &self.config.policies,
            control: walk.control,
            request: &walk.request,
        }
    }

    /// Goes as far as the caches carry, then reads memory.
    fn advance(&self, walk: Walk, dte: Option<Lookup<RawDte>>, guard: InFlightGuard) -> Response {
        let read = match self.walk(&walk, dte) {
            Progress::Answered(answer) => return self.answer(answer),
            Progress::NeedsDte { address } => TableRead::Dte {
                address,
                raw: self.read_dte(address),
            },
            Progress::NeedsIrte { dte, target } => {
                let raw = self.read_irte(target.address, self.judge(&walk).irte_format());
                TableRead::Irte { dte, target, raw }
            }
        };
        Response::Fill(FillToken { walk, read, guard })
    }

    fn walk(&self, walk: &Walk, dte: Option<Lookup<RawDte>>) -> Progress {
        let judge = self.judge(walk);
        if !walk.control.iommu_en() {
            return Progress::Answered(forwarded(walk, None));
        }
        if !judge.is_interrupt() {
            return Progress::Answered(blocked(walk, judge.not_an_interrupt(), None, None));
        }
        let Some(dte) = dte.or_else(|| self.cached_dte(walk.request.requester)) else {
            return match self.dte_address(walk.request.requester) {
                Some(address) => Progress::NeedsDte { address },
                None => Progress::Answered(blocked(walk, judge.out_of_range_device(), None, None)),
            };
        };
        match judge.dte(&dte.raw) {
            Ok(DteVerdict::Forward) => Progress::Answered(forwarded(walk, Some(dte))),
            Ok(DteVerdict::Remap(target)) => match self.cached_irte(walk, target.index) {
                Some(irte) => Progress::Answered(self.remap(walk, dte, &target, irte)),
                None => Progress::NeedsIrte { dte, target },
            },
            Err(refusal) => Progress::Answered(blocked(walk, refusal, Some(dte), None)),
        }
    }

    fn remap(&self, walk: &Walk, dte: Lookup<RawDte>, target: &IrteTarget, irte: Lookup<RawIrte>) -> Answer {
        match self.judge(walk).irte(target, irte.raw) {
            Ok(interrupt) => {
                let outcome = Outcome::Remapped(interrupt);
                Answer {
                    request: walk.request,
                    outcome,
                    dte: Some(dte),
                    irte: Some(irte),
                }
            }
            Err(refusal) => blocked(walk, refusal, Some(dte), Some(irte)),
        }
    }

    /// Queues the answer's event.
    fn answer(&self, answer: Answer) -> Response {
        if let Outcome::Blocked {
            event: Some(event), ..
        } = answer.outcome
        {
            let state = &mut *lock(&self.state);
            state.events.push(event, &mut state.registers);
        }
        Response::Answer(answer)
    }
}

fn forwarded(walk: &Walk, dte: Option<Lookup<RawDte>>) -> Answer {
    let InterruptRequest { address, data, .. } = walk.request;
    Answer {
        request: walk.request,
        outcome: Outcome::Forwarded { address, data },
        dte,
        irte: None,
    }
}

fn blocked(
    walk: &Walk,
    (reason, event): Refusal,
    dte: Option<Lookup<RawDte>>,
    irte: Option<Lookup<RawIrte>>,
) -> Answer {
    Answer {
        request: walk.request,
        outcome: Outcome::Blocked { reason, event },
        dte,
        irte,
    }
}
