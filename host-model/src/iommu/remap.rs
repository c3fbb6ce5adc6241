//! Interrupt requests: device table entry, interrupt remapping table entry, outcome.

use vm_memory::GuestMemory;

use super::Iommu;
use super::cache::Guard;
use super::in_flight::{InFlightGuard, LookupKind};
use super::outcome::{InterruptRequest, Lookup, Observer, Outcome, Response};
use super::spec::dte::RawDte;
use super::spec::event::HardwareError;
use super::spec::irte::{GuestIrte, RawIrte};
use super::spec::msi::is_message_address;
use super::spec::registers::Control;
use super::tables::{Dte, irte_key};
use super::verdict::{DteVerdict, IrteTarget, IrteVerdict, Judge, Refusal};

/// What Control means to interrupts, in a byte; 0 if they are not looked up in the IRT cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode(pub(super) u64);

impl Mode {
    const GA_EN: u64 = 1;
    const XT_EN: u64 = 1 << 1;
    const WIDE: u64 = 1 << 2;
    const ON: u64 = 1 << 3;

    pub(super) fn of(control: Control) -> Self {
        let bit = |bit, set| if set { bit } else { 0 };
        if !control.iommu_en() || control.irt_cache_dis() {
            return Self(0);
        }
        Self(
            Self::ON
                | bit(Self::GA_EN, control.ga_en())
                | bit(Self::XT_EN, control.xt_en())
                | bit(Self::WIDE, control.num_int_remap_mode() == 1),
        )
    }

    #[inline]
    pub(super) fn ga_en(self) -> bool {
        self.0 & Self::GA_EN != 0
    }

    /// Whether a message is an interrupt that IRTEs decide on, whatever the DTE says: fixed or arbitrated, or with
    /// no delivery mode at all.
    #[inline]
    fn is_mapped(self, request: &InterruptRequest) -> bool {
        let special = request.data & 0x600 != 0;
        let logical = request.address & 1 << 2 != 0;
        is_message_address(request.address) && (!special || self.0 & Self::WIDE != 0 && logical)
    }
}

/// One request on its way through the tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    pub(super) request: InterruptRequest,
    /// As of the request.
    pub(super) control: Control,
    /// Captured before everything else: what the walk comes to is known only while it does not move.
    pub(super) stamp: u64,
    /// Captured before anything was looked up: what the walk caches may depend on all that it saw.
    pub(super) irt_generation: u64,
    /// Likewise.
    pub(super) irt_guard: Guard,
    /// Likewise.
    pub(super) dte_guard: Guard,
}

/// A table read in progress. The bytes were sampled when the token was given out.
///
/// Dropping it abandons the request: it is then answered as far as invalidations are concerned.
#[derive(Debug)]
#[must_use]
pub struct FillToken<'a> {
    walk: Walk,
    read: TableRead,
    raw: RawRead,
    guard: InFlightGuard<'a>,
}

/// What is to be read.
#[derive(Debug, Clone, Copy)]
enum TableRead {
    Dte { address: u64 },
    Irte { target: IrteTarget, knowable: bool },
    GuestFields { target: IrteTarget, cached: [u64; 2] },
}

/// What was read: a DTE, or an IRTE in the first two words.
type RawRead = Result<RawDte, HardwareError>;

/// How a walk goes on.
enum Next {
    Read(TableRead),
    Done(Outcome),
}

/// Kind of table entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TableEntry {
    /// Device table entry.
    Dte,
    /// Interrupt remapping table entry.
    Irte,
    /// IsRun, Destination and GATag of a cached guest mode entry: they are read on every use.
    GuestFields,
    /// Page table or directory entry.
    Pte {
        /// Of its table.
        level: u8,
    },
}

impl FillToken<'_> {
    /// The request that waits.
    pub fn request(&self) -> &InterruptRequest {
        &self.walk.request
    }

    /// What is being read.
    pub fn entry(&self) -> TableEntry {
        match self.read {
            TableRead::Dte { .. } => TableEntry::Dte,
            TableRead::Irte { .. } => TableEntry::Irte,
            TableRead::GuestFields { .. } => TableEntry::GuestFields,
        }
    }

    /// Guest physical address that is being read.
    pub fn address(&self) -> u64 {
        match self.read {
            TableRead::Dte { address, .. } => address,
            TableRead::Irte { target, .. } | TableRead::GuestFields { target, .. } => target.address,
        }
    }
}

impl<M: GuestMemory> Iommu<M> {
    /// An interrupt message. What the caches hold is answered at once, as of some moment during the call.
    #[inline(always)]
    pub fn request(&self, request: &InterruptRequest) -> Response<'_> {
        self.request_observed(request, &mut ())
    }

    /// The memory read of a fill is back. `token` must be this IOMMU's.
    #[inline]
    pub fn complete<'a>(&'a self, token: FillToken<'a>) -> Response<'a> {
        self.complete_observed(token, &mut ())
    }

    /// Like [`Self::request`], for somebody who looks at the table entries.
    #[inline(always)]
    pub fn request_observed<O: Observer>(
        &self,
        request: &InterruptRequest,
        observer: &mut O,
    ) -> Response<'_> {
        let mode = self.mode();
        if !O::LOOKS
            && mode.is_mapped(request)
            && let Some(interrupt) = self.known_hit(mode, request.requester, request.data & 0x7ff)
        {
            return Response::Answer(Outcome::Remapped(interrupt));
        }
        self.walk(request, observer)
    }

    /// Like [`Self::complete`], for somebody who looks at the table entries.
    pub fn complete_observed<'a>(
        &'a self,
        token: FillToken<'a>,
        observer: &mut impl Observer,
    ) -> Response<'a> {
        let FillToken {
            walk,
            read,
            raw,
            guard,
        } = token;
        let next = self.resume(&walk, &read, raw, observer);
        self.respond(walk, next, guard)
    }

    /// [`Self::request`] and [`Self::complete`] in one, for whoever has no clock: table reads take no time.
    #[inline(always)]
    pub fn remap(&self, request: &InterruptRequest) -> Outcome {
        let mode = self.mode();
        if mode.is_mapped(request)
            && let Some(interrupt) = self.known_hit(mode, request.requester, request.data & 0x7ff)
        {
            return Outcome::Remapped(interrupt);
        }
        self.remap_by_tables(request)
    }

    #[inline(never)]
    fn remap_by_tables(&self, request: &InterruptRequest) -> Outcome {
        let _guard = self.in_flight.begin(request.requester, LookupKind::Interrupt);
        let walk = self.begin_walk(request);
        let mut next = self.start(&walk, &mut ());
        loop {
            match next {
                Next::Done(outcome) => return outcome,
                Next::Read(read) => {
                    let raw = self.read_table(&walk, &read);
                    next = self.resume(&walk, &read, raw, &mut ());
                }
            }
        }
    }

    /// A request that is not a known hit.
    #[inline(never)]
    fn walk(&self, request: &InterruptRequest, observer: &mut impl Observer) -> Response<'_> {
        // First of all: an invalidation that is not seen below waits for this walk.
        let guard = self.in_flight.begin(request.requester, LookupKind::Interrupt);
        let walk = self.begin_walk(request);
        let next = self.start(&walk, observer);
        self.respond(walk, next, guard)
    }

    #[inline]
    fn begin_walk(&self, request: &InterruptRequest) -> Walk {
        let device = request.requester;
        let stamp = self.irt_stamp(device);
        let control = self.control();
        let irte_key = irte_key(control.ga_en(), device, request.data & 0x7ff);
        Walk {
            request: *request,
            control,
            stamp,
            irt_generation: self.irt_generations.capture(device),
            irt_guard: self.irt_cache.guard(irte_key),
            dte_guard: self.dte_cache.guard(device.0.into()),
        }
    }

    #[inline]
    fn respond<'a>(&'a self, walk: Walk, next: Next, guard: InFlightGuard<'a>) -> Response<'a> {
        match next {
            Next::Done(outcome) => Response::Answer(outcome),
            Next::Read(read) => {
                let raw = self.read_table(&walk, &read);
                Response::Fill(FillToken {
                    walk,
                    read,
                    raw,
                    guard,
                })
            }
        }
    }

    #[inline]
    fn read_table(&self, walk: &Walk, read: &TableRead) -> RawRead {
        match read {
            TableRead::Dte { address } => self.read_dte(*address),
            TableRead::Irte { target, .. } | TableRead::GuestFields { target, .. } => {
                let raw = self.read_irte(target.address, self.judge(walk).irte_format())?;
                Ok([raw as u64, (raw >> 64) as u64, 0, 0])
            }
        }
    }

    #[inline]
    fn start(&self, walk: &Walk, observer: &mut impl Observer) -> Next {
        if !walk.control.iommu_en() {
            return Next::Done(forward(&walk.request));
        }
        let judge = self.judge(walk);
        if !judge.is_interrupt() {
            return self.block(judge.not_an_interrupt());
        }
        if let Some(dte) = self.cached_dte(walk.request.requester) {
            return self.with_dte(walk, dte, observer);
        }
        match self.dte_address(walk.request.requester) {
            Some(address) => Next::Read(TableRead::Dte { address }),
            None => self.block(judge.out_of_range_device()),
        }
    }

    #[inline]
    fn resume(&self, walk: &Walk, read: &TableRead, raw: RawRead, observer: &mut impl Observer) -> Next {
        let judge = self.judge(walk);
        match (read, raw) {
            (TableRead::Dte { address }, Ok(raw)) => {
                let dte = self.cache_dte(walk.request.requester, walk.dte_guard, *address, raw);
                self.with_dte(walk, dte, observer)
            }
            (TableRead::Dte { address }, Err(error)) => self.block(judge.unreadable_dte(*address, error)),
            (TableRead::Irte { target, knowable }, Ok(raw)) => {
                let raw = self.second_half(walk, target, raw);
                let verdict = judge.irte(target, raw);
                let interrupt = match verdict {
                    Ok(IrteVerdict::Remap(interrupt)) if *knowable => Some(interrupt),
                    _ => None,
                };
                let from = self.cache_irte(walk, target, raw, interrupt);
                let address = target.address;
                observer.irte(Lookup { from, address, raw });
                self.conclude(walk, target, verdict)
            }
            (TableRead::GuestFields { target, cached }, Ok(raw)) => {
                let raw = self.second_half(walk, target, raw);
                let cached = u128::from(cached[1]) << 64 | u128::from(cached[0]);
                let verdict = judge.irte(target, GuestIrte::refreshed(cached, raw));
                self.conclude(walk, target, verdict)
            }
            (TableRead::Irte { target, .. } | TableRead::GuestFields { target, .. }, Err(error)) => {
                self.block(judge.unreadable_irte(target, error))
            }
        }
    }

    /// The entry as it is once all of it is read.
    #[inline]
    fn second_half(&self, walk: &Walk, target: &IrteTarget, [low, high, ..]: RawDte) -> RawIrte {
        let torn = self.config.faults.torn_irte_read && walk.control.ga_en();
        let high = match torn {
            true => self.fetch(target.address + 8).map_or(0, u64::from_le),
            false => high,
        };
        u128::from(high) << 64 | u128::from(low)
    }

    #[inline]
    fn with_dte(&self, walk: &Walk, dte: Dte, observer: &mut impl Observer) -> Next {
        observer.dte(dte.lookup);
        let judge = self.judge(walk);
        let target = match judge.dte(&dte.lookup.raw) {
            Ok(DteVerdict::Forward) => return Next::Done(forward(&walk.request)),
            Ok(DteVerdict::Remap(target)) => target,
            Err(refusal) => return self.block(refusal),
        };
        let knowable = dte.knowable;
        let Some(irte) = self.cached_irte(walk, target.index) else {
            return Next::Read(TableRead::Irte { target, knowable });
        };
        observer.irte(irte.lookup);
        let raw = irte.lookup.raw;
        let verdict = judge.irte(&target, raw);
        match verdict {
            Ok(IrteVerdict::Remap(interrupt)) if knowable => self.know(walk, irte.place, interrupt),
            Ok(IrteVerdict::Post(_)) => {
                let cached = [raw as u64, (raw >> 64) as u64];
                return Next::Read(TableRead::GuestFields { target, cached });
            }
            _ => {}
        }
        self.conclude(walk, &target, verdict)
    }

    #[inline]
    fn conclude(&self, walk: &Walk, target: &IrteTarget, verdict: Result<IrteVerdict, Refusal>) -> Next {
        match verdict {
            Ok(IrteVerdict::Remap(interrupt)) => Next::Done(Outcome::Remapped(interrupt)),
            Ok(IrteVerdict::Post(posted)) => match self.post(&self.judge(walk), target, posted) {
                Ok(outcome) => Next::Done(outcome),
                Err(refusal) => self.block(refusal),
            },
            Err(refusal) => self.block(refusal),
        }
    }

    fn judge<'a>(&'a self, walk: &'a Walk) -> Judge<'a> {
        Judge {
            policies: &self.config.policies,
            control: walk.control,
            request: &walk.request,
        }
    }

    /// Queues the event.
    #[cold]
    fn block(&self, (reason, event): Refusal) -> Next {
        if let Some(event) = event {
            self.lock().registers.log_event(event);
        }
        Next::Done(Outcome::Blocked { reason, event })
    }
}

fn forward(&InterruptRequest { address, data, .. }: &InterruptRequest) -> Outcome {
    Outcome::Forwarded { address, data }
}
