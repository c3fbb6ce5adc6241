//! Interrupt requests: device table entry, interrupt remapping table entry, outcome.

use std::convert::Infallible;

use vm_memory::GuestMemory;

use super::Iommu;
use super::cache::{Guard, Lines};
use super::in_flight::{InFlightGuard, LookupKind};
use super::outcome::{InterruptRequest, Lookup, Observer, Outcome, Response};
use super::spec::dte::RawDte;
use super::spec::event::HardwareError;
use super::spec::irte::{GuestIrte, RawIrte};
use super::spec::msi::is_message_address;
use super::spec::registers::Control;
use super::tables::{CachedIrte, Dte, IRTE_KEY_GA_EN, irte_key};
use super::verdict::{DteVerdict, IrteTarget, IrteVerdict, Judge, Refusal};

/// What Control means to interrupts; 0 if they are not looked up in the IRT cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode(pub(super) u64);

impl Mode {
    const GA_EN: u64 = IRTE_KEY_GA_EN;
    const XT_EN: u64 = 1;
    const WIDE: u64 = 1 << 1;
    const ON: u64 = 1 << 2;

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

    /// What all keys have in common.
    pub(super) fn in_keys(self) -> u64 {
        self.0 & Self::GA_EN
    }

    /// Whether a message is an interrupt that IRTEs decide on, whatever the DTE says.
    pub(super) fn maps(self, request: &InterruptRequest) -> bool {
        let logical = request.address & 1 << 2 != 0;
        is_plain(request) || is_message_address(request.address) && self.0 & Self::WIDE != 0 && logical
    }
}

/// Fixed or arbitrated: whatever the mode is, IRTEs decide on it.
#[inline(always)]
pub(super) fn is_plain(request: &InterruptRequest) -> bool {
    is_message_address(request.address) && request.data & 0x600 == 0
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

/// What is judged. It is handed to what is seldom called by value, so that a walk need not lie in memory.
#[derive(Clone, Copy)]
struct Asked {
    control: Control,
    request: InterruptRequest,
}

impl Walk {
    #[inline(always)]
    fn asked(&self) -> Asked {
        Asked {
            control: self.control,
            request: self.request,
        }
    }
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

/// What a walk does before it reads a table entry from memory.
trait Reads {
    /// What it waits for.
    type Wait;

    fn wait(read: TableRead) -> Result<(), Self::Wait>;
}

/// Goes on: reads take no time.
struct AtOnce;

impl Reads for AtOnce {
    type Wait = Infallible;

    #[inline(always)]
    fn wait(_: TableRead) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Ends, and [`Iommu::resume`] goes on.
struct ByToken;

impl Reads for ByToken {
    type Wait = TableRead;

    #[inline(always)]
    fn wait(read: TableRead) -> Result<(), TableRead> {
        Err(read)
    }
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
        if !O::LOOKS
            && let Some(interrupt) = self.known_hit(request, Lines::First)
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
        match self.known_hit(request, Lines::First) {
            Some(interrupt) => Outcome::Remapped(interrupt),
            None => self.remap_by_tables(request),
        }
    }

    #[inline(always)]
    fn remap_by_tables(&self, request: &InterruptRequest) -> Outcome {
        let Ok(outcome) = self.walk_at_once(request);
        outcome
    }

    #[cold]
    #[inline(never)]
    fn walk_at_once(&self, request: &InterruptRequest) -> Result<Outcome, Infallible> {
        if let Some(interrupt) = self.known_hit(request, Lines::All) {
            return Ok(Outcome::Remapped(interrupt));
        }
        let _guard = self.in_flight.begin(request.requester, LookupKind::Interrupt);
        let walk = self.begin_walk(request);
        self.start::<AtOnce>(&walk, &mut ())
    }

    /// A request that is not a known hit of the first line.
    #[inline(never)]
    fn walk<O: Observer>(&self, request: &InterruptRequest, observer: &mut O) -> Response<'_> {
        if !O::LOOKS
            && let Some(interrupt) = self.known_hit(request, Lines::All)
        {
            return Response::Answer(Outcome::Remapped(interrupt));
        }
        // First of all: an invalidation that is not seen below waits for this walk.
        let guard = self.in_flight.begin(request.requester, LookupKind::Interrupt);
        let walk = self.begin_walk(request);
        let next = self.start::<ByToken>(&walk, observer);
        self.respond(walk, next, guard)
    }

    #[inline(always)]
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
    fn respond<'a>(
        &'a self,
        walk: Walk,
        next: Result<Outcome, TableRead>,
        guard: InFlightGuard<'a>,
    ) -> Response<'a> {
        let read = match next {
            Ok(outcome) => return Response::Answer(outcome),
            Err(read) => read,
        };
        let raw = match &read {
            TableRead::Dte { address } => self.read_dte(*address),
            TableRead::Irte { target, .. } | TableRead::GuestFields { target, .. } => self
                .read_irte(target.address, self.judge(walk.asked()).irte_format())
                .map(|raw| [raw as u64, (raw >> 64) as u64, 0, 0]),
        };
        Response::Fill(FillToken {
            walk,
            read,
            raw,
            guard,
        })
    }

    #[inline(always)]
    fn start<R: Reads>(&self, walk: &Walk, observer: &mut impl Observer) -> Result<Outcome, R::Wait> {
        if !walk.control.iommu_en() {
            return Ok(forward(&walk.request));
        }
        if !is_message_address(walk.request.address) {
            return Ok(self.block_by(walk.asked(), |judge| judge.not_an_interrupt()));
        }
        let device = walk.request.requester;
        if let Some(dte) = self.cached_dte(device) {
            return self.with_dte::<R>(walk, dte, observer);
        }
        let Some(address) = self.dte_address(device) else {
            return Ok(self.block_by(walk.asked(), |judge| judge.out_of_range_device()));
        };
        R::wait(TableRead::Dte { address })?;
        let raw = self.read_dte(address);
        self.with_read_dte::<R>(walk, address, raw, observer)
    }

    #[inline]
    fn resume(
        &self,
        walk: &Walk,
        read: &TableRead,
        raw: RawRead,
        observer: &mut impl Observer,
    ) -> Result<Outcome, TableRead> {
        let halves = |[low, high, ..]: RawDte| u128::from(high) << 64 | u128::from(low);
        match *read {
            TableRead::Dte { address } => self.with_read_dte::<ByToken>(walk, address, raw, observer),
            TableRead::Irte { target, knowable } => {
                self.with_read_irte::<ByToken>(walk, target, knowable, raw.map(halves), observer)
            }
            TableRead::GuestFields { target, cached } => {
                Ok(self.with_guest_fields(walk.asked(), target, cached, raw.map(halves)))
            }
        }
    }

    #[inline(always)]
    fn with_read_dte<R: Reads>(
        &self,
        walk: &Walk,
        address: u64,
        raw: Result<RawDte, HardwareError>,
        observer: &mut impl Observer,
    ) -> Result<Outcome, R::Wait> {
        let raw = match raw {
            Ok(raw) => raw,
            Err(error) => {
                return Ok(self.block_by(walk.asked(), move |judge| judge.unreadable_dte(address, error)));
            }
        };
        let dte = self.cache_dte(walk.request.requester, walk.dte_guard, address, raw);
        self.with_dte::<R>(walk, dte, observer)
    }

    #[inline(always)]
    fn with_dte<R: Reads>(
        &self,
        walk: &Walk,
        dte: Dte,
        observer: &mut impl Observer,
    ) -> Result<Outcome, R::Wait> {
        observer.dte(dte.lookup);
        let judge = self.judge(walk.asked());
        let target = match judge.target(&dte.lookup.raw) {
            Some(target) => target,
            None => match self.uncommon_dte(walk.asked(), dte.lookup.raw) {
                Ok(target) => target,
                Err(outcome) => return Ok(outcome),
            },
        };
        let knowable = dte.knowable;
        let Some(CachedIrte { lookup, place }) = self.cached_irte(walk, target.index) else {
            R::wait(TableRead::Irte { target, knowable })?;
            let raw = self.read_irte(target.address, judge.irte_format());
            return self.with_read_irte::<R>(walk, target, knowable, raw, observer);
        };
        observer.irte(lookup);
        let Some(interrupt) = judge.interrupt(&target, lookup.raw) else {
            return self.with_uncommon_irte::<R>(walk.asked(), target, lookup.raw);
        };
        if knowable {
            self.know(walk, place, interrupt);
        }
        Ok(Outcome::Remapped(interrupt))
    }

    #[inline(always)]
    fn with_read_irte<R: Reads>(
        &self,
        walk: &Walk,
        target: IrteTarget,
        knowable: bool,
        raw: Result<RawIrte, HardwareError>,
        observer: &mut impl Observer,
    ) -> Result<Outcome, R::Wait> {
        let raw = match raw {
            Ok(raw) => self.second_half(walk.control, target.address, raw),
            Err(error) => {
                return Ok(self.block_by(walk.asked(), move |judge| judge.unreadable_irte(&target, error)));
            }
        };
        let interrupt = self.judge(walk.asked()).interrupt(&target, raw);
        let from = self.cache_irte(walk, &target, raw, interrupt.filter(|_| knowable));
        let address = target.address;
        observer.irte(Lookup { from, address, raw });
        match interrupt {
            Some(interrupt) => Ok(Outcome::Remapped(interrupt)),
            None => Ok(self.uncommon_irte(walk.asked(), target, raw)),
        }
    }

    /// By a cached entry that has no [`Judge::interrupt`].
    #[inline(never)]
    fn with_uncommon_irte<R: Reads>(
        &self,
        asked: Asked,
        target: IrteTarget,
        raw: RawIrte,
    ) -> Result<Outcome, R::Wait> {
        let judge = self.judge(asked);
        if !matches!(judge.irte(&target, raw), Ok(IrteVerdict::Post(_))) {
            return Ok(self.uncommon_irte(asked, target, raw));
        }
        let cached = [raw as u64, (raw >> 64) as u64];
        R::wait(TableRead::GuestFields { target, cached })?;
        let raw = self.read_irte(target.address, judge.irte_format());
        Ok(self.with_guest_fields(asked, target, cached, raw))
    }

    fn with_guest_fields(
        &self,
        asked: Asked,
        target: IrteTarget,
        cached: [u64; 2],
        raw: Result<RawIrte, HardwareError>,
    ) -> Outcome {
        let raw = match raw {
            Ok(raw) => self.second_half(asked.control, target.address, raw),
            Err(error) => return self.block_by(asked, move |judge| judge.unreadable_irte(&target, error)),
        };
        let cached = u128::from(cached[1]) << 64 | u128::from(cached[0]);
        self.uncommon_irte(asked, target, GuestIrte::refreshed(cached, raw))
    }

    /// The entry as it is once all of it is read.
    #[inline(always)]
    fn second_half(&self, control: Control, address: u64, raw: RawIrte) -> RawIrte {
        if !(self.config.faults.torn_irte_read && control.ga_en()) {
            return raw;
        }
        let high = self.fetch(address + 8).map_or(0, u64::from_le);
        u128::from(high) << 64 | u128::from(raw as u64)
    }

    /// By a DTE that has no [`Judge::target`].
    #[cold]
    fn uncommon_dte(&self, asked: Asked, raw: RawDte) -> Result<IrteTarget, Outcome> {
        match self.judge(asked).dte(&raw) {
            Ok(DteVerdict::Remap(target)) => Ok(target),
            Ok(DteVerdict::Forward) => Err(forward(&asked.request)),
            Err(refusal) => Err(self.block(refusal)),
        }
    }

    /// By an entry that has no [`Judge::interrupt`].
    #[cold]
    fn uncommon_irte(&self, asked: Asked, target: IrteTarget, raw: RawIrte) -> Outcome {
        let judge = self.judge(asked);
        match judge.irte(&target, raw) {
            Ok(IrteVerdict::Remap(interrupt)) => Outcome::Remapped(interrupt),
            Ok(IrteVerdict::Post(posted)) => self
                .post(&judge, &target, posted)
                .unwrap_or_else(|refusal| self.block(refusal)),
            Err(refusal) => self.block(refusal),
        }
    }

    #[inline(always)]
    fn judge(&self, Asked { control, request }: Asked) -> Judge<'_> {
        Judge {
            policies: &self.config.policies,
            control,
            request,
        }
    }

    #[cold]
    fn block_by(&self, asked: Asked, why: impl FnOnce(&Judge<'_>) -> Refusal) -> Outcome {
        self.block(why(&self.judge(asked)))
    }

    /// Queues the event.
    #[cold]
    fn block(&self, (reason, event): Refusal) -> Outcome {
        self.lock().registers.report(event);
        Outcome::Blocked { reason, event }
    }
}

fn forward(&InterruptRequest { address, data, .. }: &InterruptRequest) -> Outcome {
    Outcome::Forwarded { address, data }
}
