//! The coherence checker: compares every cached answer of the IOMMU with what memory says, watches what the driver does
//! beside, and tells of each mistake how it came about.
//!
//! It walks the tables in guest memory by itself. Each write to a table opens a *change*, owned by the driver call that
//! made it and closed when the call returns. A cached answer that differs from memory is *in flight* while the oldest
//! change that it misses is open, *stale* afterwards. It is judged once, when it is given.
//!
//! What is found is a [`Finding`]; [`FindingKind`] says in which order they are bad.

mod endings;
mod explain;
mod finding;
mod history;
mod ids;
mod interrupts;
mod leftovers;
mod locks;
mod memory;
mod oops;
mod overrun;
mod pages;
mod refused;
#[cfg(test)]
mod tests;
mod walk;

pub use endings::Sender;
pub use explain::Explanation;
pub use finding::{
    Cached, Elsewhere, Finding, FindingKind, Half, History, Mistake, NullDereference, Overrun, OverrunStore,
    Place, Refused, Subject, Tables, Used, Verdict, Written,
};
pub use history::CallId;
pub use locks::{Held, LOCK_LIMIT, Meanwhile};

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use sim_bridge::{RequesterId, SimTime};
use vm_memory::GuestMemoryMmap;

use crate::driver::{IommuDriver, Role};
use crate::iommu::spec::dte::RawDte;
use crate::iommu::spec::irte::{IrteFlags, RawIrte};
use crate::iommu::{PowerOnCaches, Step};
use crate::trace::Kind;
use finding::UNKNOWN;
use history::{Change, Changes, Commands, Moment};
use locks::Locks;
use memory::PageFill;
use refused::Mapping;
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

/// A DTE that was cached.
#[derive(Debug, Clone, Copy, Default)]
struct DteFill {
    at: Moment,
    raw: RawDte,
}

/// A remapping entry that was cached.
#[derive(Debug, Clone, Copy, Default)]
struct IrteFill {
    at: Moment,
    /// When the DTE was read that said where.
    dte_at: Moment,
    address: u64,
    raw: RawIrte,
}

/// A cached entry that is not what memory says.
struct Missed {
    since: Moment,
    /// The oldest that it misses; `None` if nobody known made it.
    change: Option<Change>,
    cached: Cached,
    /// Who should have seen to it.
    role: Role,
    /// The entry itself did not change.
    moved_away: bool,
    /// In words, when it was cached and now.
    words: [String; 2],
}

impl Missed {
    fn order(&self) -> u64 {
        self.change.map_or(0, |change| change.moment.order)
    }
}

/// Watches one IOMMU and its driver.
pub struct Checker {
    walk: Walk,
    moment: Moment,
    changes: Changes,
    commands: Commands,
    dtes: HashMap<RequesterId, DteFill>,
    irtes: HashMap<(RequesterId, u16), IrteFill>,
    /// By domain and page.
    pages: HashMap<(u16, u64), PageFill>,
    /// For whom remapping entries were written, by address.
    owners: HashMap<u64, RequesterId>,
    /// By the requester ID that may.
    mappings: HashMap<RequesterId, Vec<Mapping>>,
    last_store: u64,
    /// Registers were lost at least once.
    power_cycled: bool,
    locks: Locks,
    driver: Option<Rc<dyn IommuDriver>>,
    findings: BTreeMap<(Subject, FindingKind), Finding>,
}

impl Checker {
    /// Of an IOMMU whose tables are in `memory`.
    pub fn new(memory: Arc<GuestMemoryMmap>) -> Self {
        Self {
            walk: Walk::new(memory),
            moment: Moment::default(),
            changes: Changes::default(),
            commands: Commands::default(),
            dtes: HashMap::new(),
            irtes: HashMap::new(),
            pages: HashMap::new(),
            owners: HashMap::new(),
            mappings: HashMap::new(),
            last_store: 0,
            power_cycled: false,
            locks: Locks::default(),
            driver: None,
            findings: BTreeMap::new(),
        }
    }

    /// Findings name functions of this driver from now on.
    pub fn set_driver(&mut self, driver: Rc<dyn IommuDriver>) {
        self.driver = Some(driver);
    }

    /// A lock that is held longer than this with interrupts off is a finding. The default is [`LOCK_LIMIT`].
    pub fn limit_lock_holds(&mut self, limit: SimTime) {
        self.locks.limit = limit;
    }

    /// A driver call began on a CPU.
    pub fn call_began(&mut self, name: &'static str, cpu: u32) -> CallId {
        self.changes.call_began(name, cpu)
    }

    /// It returned: its changes close.
    pub fn call_ended(&mut self, call: CallId, time: SimTime) {
        let moment = self.next(time);
        let changed = self.changes.call_ended(call, moment);
        self.look_for_leftovers(call, &changed);
    }

    /// The register that says where the device table is was written.
    pub fn device_table(&mut self, base: u64, bytes: u64) {
        self.device_table_segment(0, base, bytes);
    }

    /// The register that says where a segment, 0 to 7, of the device table is was written.
    pub fn device_table_segment(&mut self, segment: usize, base: u64, bytes: u64) {
        self.walk.set_device_table(segment, base, bytes);
    }

    /// The register that says where this ring is was written.
    pub fn ring(&mut self, name: &'static str, base: u64, bytes: u64) {
        self.walk.set_ring(name, base, bytes);
    }

    /// Control.DevTblSegEn: the device table has 1 << `bits` segments from now on.
    pub fn device_table_segments(&mut self, bits: u8) {
        self.walk.set_segment_bits(bits);
    }

    /// IRTEs have 128 bits from now on, or 32.
    pub fn irte_format(&mut self, ga_en: bool, xt_en: bool) {
        self.walk.set_irte_format(ga_en, xt_en);
    }

    /// The IOMMU's power went and came back: no register says where tables are.
    pub fn power_cycled(&mut self, caches: PowerOnCaches) {
        self.walk.forget_registers();
        self.power_cycled = true;
        if caches == PowerOnCaches::Empty {
            self.dtes.clear();
            self.irtes.clear();
            self.pages.clear();
        }
    }

    /// Software is about to write memory.
    pub fn about_to_store(&mut self, address: u64, bytes: &[u8], call: Option<CallId>, time: SimTime) {
        self.last_store = address;
        if !self.walk.may_be_table(address, bytes.len()) {
            return;
        }
        let moment = self.next(time);
        let old = self.walk.read(address, bytes.len());
        for (at, (&old, &new)) in (address..).zip(old.iter().zip(bytes)) {
            if self.walk.is_change(at, old, new)
                && let Some(entry) = self.walk.entry_at(at)
            {
                self.changes.add(at, entry, Change { moment, call });
            }
        }
        self.walk.about_to_store(address, bytes);
    }

    /// Something happened on a CPU.
    pub fn observe(&mut self, cpu: u32, call: Option<CallId>, kind: &Kind, time: SimTime) {
        if let Kind::DteWritten { device, .. } = kind {
            self.dte_written(*device, call, time);
        }
        match kind {
            Kind::IrteWritten {
                device, index, raw, ..
            } => self.written(*device, *index, *raw),
            Kind::UsedAfterRelease {
                function,
                device,
                released_at,
                released_on,
            } => self.used_after_release(function, *device, (*released_at, *released_on), time),
            Kind::NullDereference {
                function,
                table,
                device,
                lock,
            } => self.dereferenced_null(*device, call, (function, table, *lock), time),
            Kind::Lock { .. }
            | Kind::Queued(_)
            | Kind::QueuedElsewhere { .. }
            | Kind::RegisterWritten { .. }
            | Kind::KernelLog(_)
            | Kind::CallEnded(_)
            | Kind::DteWritten { .. } => {
                if let Some(call) = call {
                    self.changes.observe(call, kind, time);
                }
                let name = call.map(|call| self.changes.name_of(call));
                if let Some(held) = self.locks.observe(cpu, name, kind, time) {
                    self.held(held);
                }
            }
            _ => {}
        }
    }

    /// An entry was written for a device. Its address is where the last store was, unless that was elsewhere.
    fn written(&mut self, device: RequesterId, index: u16, raw: RawIrte) {
        let stored = Some(self.last_store).filter(|at| self.walk.index_at(*at) == Some(index.into()));
        let Some(address) = stored.or_else(|| self.walk.irte_address(device, index)) else {
            return;
        };
        // Who has freed it is still the one that it was written for.
        if raw != 0 {
            self.owners.insert(address, device);
        }
    }

    fn used_after_release(
        &mut self,
        function: &'static str,
        device: RequesterId,
        (released_at, released_on): (SimTime, u32),
        time: SimTime,
    ) {
        let mistake = || Mistake::UseAfterRelease {
            function,
            released_at,
            released_on,
            used_at: time,
        };
        let key = (Subject::Device(device), FindingKind::UseAfterRelease);
        self.finding(key, None, mistake).function = Some(function);
    }

    fn held(&mut self, held: Held) {
        let subject = Subject::Lock {
            lock: held.lock,
            cpu: held.cpu,
        };
        let function = held.call.and_then(|call| self.function(Role::Call(call)));
        let longest = self.finding((subject, FindingKind::Held), None, || Mistake::Held(held.clone()));
        longest.function = function;
        if let Mistake::Held(known) = &mut longest.mistake
            && known.span() < held.span()
        {
            *known = held;
        }
    }

    /// The IOMMU is about to read table entries.
    pub fn sample(&mut self, time: SimTime) -> Sample {
        Sample(self.next(time))
    }

    /// The IOMMU's own work.
    pub fn stepped(&mut self, step: &Step, time: SimTime) {
        if let Step::CommandExecuted { command, .. } | Step::CompletionStored { command, .. } = step {
            let moment = self.next(time);
            self.commands.executed(moment, *command);
        }
    }

    /// All findings, one for each subject and kind, in that order.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.values().cloned().collect()
    }

    /// The finding, or a new one; `got` is where its first interrupt went.
    fn finding(
        &mut self,
        key: (Subject, FindingKind),
        got: Option<Place>,
        mistake: impl FnOnce() -> Mistake,
    ) -> &mut Finding {
        let ((subject, kind), walk) = (key, &self.walk);
        self.findings.entry(key).or_insert_with(|| Finding {
            kind,
            subject,
            got,
            expected: match subject {
                Subject::Entry { requester, index } => walk.expected(requester, index),
                _ => None,
            },
            mistake: mistake(),
            missing: Vec::new(),
            function: None,
            endings: Vec::new(),
        })
    }

    fn function(&self, role: Role) -> Option<&'static str> {
        self.driver.as_ref()?.function(role)
    }

    fn next(&mut self, time: SimTime) -> Moment {
        self.moment = Moment {
            order: self.moment.order + 1,
            time,
        };
        self.moment
    }

    /// A write, as it is told.
    fn told(&self, change: Option<Change>) -> Written {
        let Some(Change { moment, call }) = change else {
            return UNKNOWN;
        };
        let by = call.map(|call| self.changes.name_of(call));
        Written {
            at: moment.time,
            by,
            cpu: call.map(|call| self.changes.cpu_of(call)),
            function: by.and_then(|by| self.function(Role::Call(by))),
        }
    }

    /// Addresses from `now` on where memory differs from `bytes` in what is in `compared`.
    fn differing(&self, now: u64, bytes: &[u8], compared: &[u8]) -> Vec<u64> {
        let current = self.walk.read(now, bytes.len());
        (now..)
            .zip(current.iter().zip(bytes).zip(compared))
            .filter(|(_, ((a, b), compared))| (*a ^ *b) & *compared != 0)
            .map(|(at, _)| at)
            .collect()
    }

    /// The oldest change of any of these bytes after a moment.
    fn oldest(&self, bytes: impl IntoIterator<Item = u64>, since: Moment) -> Option<Change> {
        bytes
            .into_iter()
            .filter_map(|at| self.changes.first_after(at, since))
            .min_by_key(|change| change.moment.order)
    }

    /// What an answer is that missed this; once it is stale, `used` is told of it.
    fn conclude(
        &mut self,
        missed: Vec<Missed>,
        subject: impl Fn(Cached) -> Subject,
        used: Used,
    ) -> Freshness {
        let Some(missed) = missed.into_iter().min_by_key(Missed::order) else {
            return Freshness::Fresh;
        };
        if missed
            .change
            .is_some_and(|change| self.changes.is_open(change.call))
        {
            return Freshness::InFlight;
        }
        let subject = subject(missed.cached);
        self.findings.remove(&(subject, FindingKind::Left));
        if !self.findings.contains_key(&(subject, FindingKind::Stale)) {
            self.not_invalidated(subject, FindingKind::Stale, &missed, Some(used));
        }
        Freshness::Stale
    }

    fn not_invalidated(&mut self, subject: Subject, kind: FindingKind, missed: &Missed, used: Option<Used>) {
        let got = used.as_ref().and_then(|used| used.place);
        let history = self.history(missed, used);
        let (function, missing) = (self.function(missed.role), history::command_for(missed.cached));
        let moments = missed.change.map(|change| change.moment).into_iter();
        let since = moments.chain([missed.since]).max_by_key(|moment| moment.order);
        let invalidated = self
            .commands
            .invalidated_after(missed.cached, since.unwrap_or_default());
        let elsewhere = history.elsewhere.map(|elsewhere| elsewhere.function);
        let finding = self.finding((subject, kind), got, || Mistake::NotInvalidated(history));
        if !invalidated {
            finding.missing.push(missing);
            finding.function = elsewhere.or(function);
        }
    }

    fn history(&self, missed: &Missed, used: Option<Used>) -> History {
        let change = missed.change;
        let moment = change.map_or(Moment::default(), |change| change.moment);
        let call = change.and_then(|change| change.call);
        let returned = self.changes.end_of(call);
        // Other CPUs flush at the same time.
        let about = self
            .commands
            .after(moment, returned)
            .filter(|(_, command)| history::is_about(command, missed.cached))
            .filter(|(_, command)| self.changes.may_have_queued(call, command));
        let mut invalidated = Vec::new();
        let mut invalidated_at = None;
        for (at, command) in about {
            invalidated_at.get_or_insert(at.time);
            if !invalidated.contains(command) {
                invalidated.push(*command);
            }
        }
        let completion = returned.and_then(|_| self.commands.last_completion(moment, returned));
        let [was, is] = missed.words.clone();
        History {
            cached: missed.cached,
            owner: self.owner_of(missed.cached),
            cached_at: missed.since.time,
            was,
            is,
            changed: self.told(change),
            moved_away: missed.moved_away,
            invalidated,
            invalidated_at,
            elsewhere: self.changes.elsewhere(call, &history::command_for(missed.cached)),
            told_complete_at: completion.map(|at| at.time),
            returned_at: returned.map(|at| at.time),
            used,
        }
    }

    /// For whom a cached remapping entry was written.
    fn owner_of(&self, cached: Cached) -> Option<RequesterId> {
        let Cached::Irte(requester, index) = cached else {
            return None;
        };
        let filled = self.irtes.get(&(requester, index))?;
        self.owners.get(&filled.address).copied()
    }

    /// A remapping entry in words.
    fn irte_in_words(&self, raw: RawIrte) -> String {
        match self.walk.place(raw) {
            Some(place) => place.to_string(),
            None if IrteFlags::of(raw).remap_en && IrteFlags::of(raw).guest_mode => {
                "a virtual CPU".to_owned()
            }
            None if IrteFlags::of(raw).remap_en => "an illegal entry".to_owned(),
            None => "RemapEn 0".to_owned(),
        }
    }
}
