//! An AMD IOMMU.
//!
//! A PCIe device reaches memory and CPUs by memory requests under a *requester ID*. For each, the IOMMU finds the
//! ID's *device table entry* (DTE) in guest memory. A write to `0xFEEx_xxxx` is an interrupt: the DTE names an
//! *interrupt remapping table* (IRT), and in that the low bits of the data choose the *entry* (IRTE) that says which
//! CPU and vector it goes to. Any other request is one to memory: the DTE names page tables and a *domain*. All of
//! these are cached: DTEs and IRTEs by requester ID, translations by domain. Software that changes an entry must
//! name everything under which it may be cached, by commands in a ring in guest memory.
//!
//! # Four ports and no clock
//!
//! - **Registers**: [`read`](Iommu::read) and [`write`](Iommu::write), with offset and size.
//! - **Guest memory**: any [`vm_memory::GuestMemory`].
//! - **Requests**: [`request`](Iommu::request) takes an interrupt message, [`translate`](Iommu::translate) a memory
//!   request, [`page_request`](Iommu::page_request) one by PRI. Each gives an answer, or a token for a table entry
//!   that has been read: [`complete`](Iommu::complete) and [`complete_translation`](Iommu::complete_translation)
//!   take it when the read's latency has passed.
//! - **Its own work**: [`step`](Iommu::step) writes a log entry, sends an interrupt, or executes or retires a
//!   command, and says so.
//!
//! ```
//! use std::sync::Arc;
//!
//! use host_model::iommu::{Config, InterruptRequest, Iommu, Outcome, Response};
//! use sim_bridge::RequesterId;
//! use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
//!
//! let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 8 << 20)])?;
//! let device = RequesterId::new(0x41, 0, 0);
//! // DTE: V, TV; IV, 512 entries at 5 MiB, IntCtl 2. Entry 3: APIC 5, vector 0x31.
//! let dte = [3, 0, 2 << 60 | 0x50_0000 | 9 << 1 | 1, 0u64];
//! memory.write_obj(dte, GuestAddress(0x10_0000 + 32 * u64::from(device.0)))?;
//! memory.write_obj(0x31_0501_u32, GuestAddress(0x50_0000 + 4 * 3))?;
//!
//! let iommu = Iommu::new(Config::default(), Arc::new(memory));
//! iommu.write(0x00, 8, 0x10_0000 | 0x1ff); // Device Table Base: 2 MiB.
//! iommu.write(0x18, 8, 1); // Control: IommuEn.
//!
//! let message = InterruptRequest { requester: device, address: 0xfee0_0000, data: 3 };
//! let mut response = iommu.request(&message);
//! let outcome = loop {
//!     response = match response {
//!         Response::Answer(outcome) => break outcome,
//!         // The DTE, then the IRTE: a simulator would let their latencies pass.
//!         Response::Fill(token) => iommu.complete(token),
//!     };
//! };
//! assert!(matches!(outcome, Outcome::Remapped(to) if (to.destination(), to.vector()) == (5, 0x31)));
//! // Whoever has no clock asks so. Now both entries are cached.
//! assert_eq!(iommu.remap(&message), outcome);
//! assert_eq!(iommu.statistics().irt_cache.hits, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds whatever the order
//!
//! Whoever owns the clock decides when steps and completions happen, and several threads may ask at once. So an
//! invalidation can overtake a fill or be overtaken by it, but:
//!
//! - What was read before an invalidation is never hit after it. Each requester ID has a *generation*, which
//!   INVALIDATE_INTERRUPT_TABLE counts up, in constant time; a walk captures it before it looks at anything, and what
//!   it caches is hit only while the two are equal. DTEs and translations are dropped where they are, and a fill that
//!   had begun is not cached.
//! - An invalidation *executes* at once and *retires* when the older lookups that it concerns are answered; they may
//!   still use what it invalidated.
//! - COMPLETION_WAIT stores when everything before it has retired.
//!
//! Lookups take no lock. An [`Observer`] sees each entry that a request goes by, and whether it was cached; without
//! one, a hit in the DTE and the IRT cache is a single comparison.
//!
//! # Where the sources leave it open
//!
//! The layouts are in [`spec`], with what is legal. [`Policies`] are the questions that public sources answer
//! differently or not at all, each with a default and who does what; [`Faults`] make it wrong on purpose, for the
//! tests of what ought to notice; [`CacheShape`] says how large each cache is and how it makes room, or that there is
//! none. [`Statistics`] and [`RegisterStatistics`] count what happened and what was refused.
//!
//! Guest page tables (GCR3), secure nested paging, performance counters and dual logs are not modelled:
//! [`spec::features::Features`] refuses the bits of all but the first, and requests with a PASID are refused.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use parking_lot::{Mutex, MutexGuard};
use sim_bridge::RequesterId;
use vm_memory::{GuestMemory, GuestMemoryMmap};

use crate::driver::MsiMessage;

mod cache;
mod command_processor;
mod config;
mod guest;
mod in_flight;
mod known_by_dte;
mod logs;
#[cfg(all(test, loom))]
mod loom_tests;
mod message;
mod outcome;
mod own_interrupts;
mod page_request;
mod power;
mod register_file;
mod remap;
pub mod spec;
mod step;
mod sync;
mod tables;
#[cfg(all(test, not(loom)))]
mod tests;
pub mod translate;
mod verdict;

pub use cache::{CacheShape, CacheShapeError, CacheStatistics, Replacement};
pub use command_processor::IotlbResponse;
pub use config::{
    BackingPageFailure, CacheRemapEnClear, Config, DevtabInvalidation, DteValid, EventAddress, EventLogInt,
    Faults, GaTailStore, IntCtlAbort, InterruptClear, IrtCacheDis, IrtCacheEnabledAgain, IrteReadFailure,
    IrteReservedBits, MemoryFault, OutOfRangeDevice, Policies, PowerOnCaches, RepeatedPageFaults, Smi,
    StatusInterrupts,
};
pub use guest::{Notice, Posted};
pub use logs::LogStatistics;
pub use outcome::{
    Answer, BlockReason, DeliveryMode, Interrupt, InterruptRequest, Lookup, LookupFrom, Observed, Observer,
    Outcome, Response,
};
pub use own_interrupts::{InterruptForm, InterruptSource, XtInterrupt};
pub use page_request::{PageRequest, PageRequestOutcome, PageRequestRefusal, PasidPrefix};
pub use register_file::{EventCounts, RegisterRefusals, RegisterStatistics};
pub use remap::{FillToken, TableEntry};
pub use step::{DropReason, HaltReason, Step};

use cache::{Cache, CacheKind, Counters, Generations, KnownHits};
use command_processor::{CommandPointers, CommandProcessor, RingInRegion};
use in_flight::{Affected, InFlight};
use known_by_dte::KnownByDte;
use register_file::{DteLocation, RegisterFile, SEGMENTS};
use remap::Mode;
use spec::command::Command;
use spec::registers::{Control, DevTabBase, offset};
use tables::{DTE_WORDS, IRTE_WORDS, LastRegion};
use translate::{ReportedFaults, Translations};

/// An AMD IOMMU. See the [module](self).
#[derive(Debug)]
pub struct Iommu<M = GuestMemoryMmap> {
    /// Copies of the registers that requests look at.
    mode: AtomicU64,
    control: AtomicU64,
    /// By segment.
    dev_tab_bases: [AtomicU64; SEGMENTS],
    /// By format, requester ID and index.
    irt_cache: Cache<IRTE_WORDS, KnownHits>,
    irt_generations: Generations,
    /// By requester ID.
    dte_cache: Cache<DTE_WORDS, KnownByDte>,
    translations: Translations,
    counters: Counters,
    in_flight: InFlight,
    dte_region: LastRegion,
    irte_region: LastRegion,
    command_pointers: CommandPointers,
    state: Mutex<State>,
    config: Config,
    memory: Arc<M>,
}

/// What happened in the caches since reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Interrupt remapping table entries.
    pub irt_cache: CacheStatistics,
    /// Device table entries.
    pub dte_cache: CacheStatistics,
    /// Translations.
    pub iotlb: CacheStatistics,
}

/// What registers, commands and events share.
#[derive(Debug)]
struct State {
    registers: RegisterFile,
    commands: CommandProcessor,
    reported_faults: ReportedFaults,
    /// What [`CommandProcessor::plain_source`] says, if there is no other work: one look where each command would need
    /// many.
    plain_source: Option<RingInRegion>,
}

/// The right to change the state.
struct StateGuard<'a>(MutexGuard<'a, State>);

impl Deref for StateGuard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl DerefMut for StateGuard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.0
    }
}

impl Drop for StateGuard<'_> {
    fn drop(&mut self) {
        let source = self.commands.plain_source();
        self.plain_source = source.filter(|_| !self.registers.has_work());
    }
}

impl<M: GuestMemory> Iommu<M> {
    /// As after reset: IommuEn is 0, and interrupts are forwarded.
    pub fn new(config: Config, memory: Arc<M>) -> Self {
        Self {
            mode: AtomicU64::new(0),
            control: AtomicU64::new(0),
            dev_tab_bases: [const { AtomicU64::new(0) }; SEGMENTS],
            irt_cache: Cache::new(config.irt_cache, KnownHits::new(config.irt_cache)),
            irt_generations: Generations::new(config.generation_bits),
            dte_cache: Cache::new(config.dte_cache, KnownByDte::new()),
            translations: Translations::new(&config),
            counters: Counters::new(),
            in_flight: InFlight::new(),
            dte_region: LastRegion::new(),
            irte_region: LastRegion::new(),
            command_pointers: CommandPointers::new(),
            state: Mutex::new(State {
                registers: RegisterFile::new(&config),
                commands: CommandProcessor::default(),
                reported_faults: ReportedFaults::default(),
                plain_source: None,
            }),
            config,
            memory,
        }
    }

    /// What it was built with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What happened in the caches.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            irt_cache: self.counters.read(CacheKind::Irt),
            dte_cache: self.counters.read(CacheKind::Dte),
            iotlb: self.counters.read(CacheKind::Iotlb),
        }
    }

    /// Reads a register, or an aligned half of one: `size` is 4 or 8 bytes. Anything else, and what is reserved,
    /// reads as 0.
    pub fn read(&self, offset: u64, size: usize) -> u64 {
        self.lock().registers.read(offset, size, &self.command_pointers)
    }

    /// Writes a register, or an aligned half of one: `size` is 4 or 8 bytes. Anything else, and what is reserved or
    /// read-only, is ignored.
    #[inline]
    pub fn write(&self, offset: u64, size: usize, value: u64) {
        let is_tail = offset == offset::CMD_BUF_TAIL && matches!(size, 4 | 8);
        if !is_tail || !self.command_pointers.move_tail(value) {
            self.write_any(offset, size, value);
        }
    }

    fn write_any(&self, offset: u64, size: usize, value: u64) {
        let state = &mut *self.lock();
        state.registers.write(offset, size, value, &self.command_pointers);
        let enabled_again = self.control().irt_cache_dis() && !state.registers.control().irt_cache_dis();
        if enabled_again && self.config.policies.irt_cache_enabled_again == IrtCacheEnabledAgain::Nothing {
            self.drop_irtes();
        }
        self.registers_changed(state);
    }

    /// Whatever goes by registers follows them.
    fn registers_changed(&self, state: &mut State) {
        let State {
            registers, commands, ..
        } = state;
        self.set_command_ring(commands, registers.command_ring());
        self.command_pointers.set_tail_bits(registers.command_tail_bits());
        for (segment, copy) in self.dev_tab_bases.iter().enumerate() {
            copy.store(registers.dev_tab_base(segment).into_bits(), Release);
        }
        self.control.store(registers.control().into_bits(), Release);
        let (control, exclusion) = (registers.control(), registers.exclusion());
        let known = self.dte_cache.listener();
        if self.translations.set_registers(control, exclusion) {
            known.domains.forget_all();
        }
        let mode = Mode::of(control);
        let before = Mode(self.mode.swap(mode.0, AcqRel));
        if before != mode {
            known.interrupts.move_all(before.in_keys(), mode.in_keys());
        }
    }

    /// The MSI capability of the IOMMU's PCI function, as configuration space sets it: `None` disables it.
    pub fn set_msi(&self, message: Option<MsiMessage>) {
        self.lock().registers.set_msi(message);
    }

    /// Register accesses without effect, events, refusals without one, log entries, and interrupts of the IOMMU's own
    /// that it could not send.
    pub fn register_statistics(&self) -> RegisterStatistics {
        self.lock().registers.statistics()
    }

    /// Would [`step`](Self::step) do something now?
    pub fn has_work(&self) -> bool {
        let state = &*self.state.lock();
        state.registers.has_work() || self.command_work(state)
    }

    /// Does one unit of work: events first, then commands. `None` if there is none, or if what there is waits for a
    /// lookup to be answered.
    #[inline]
    pub fn step(&self) -> Option<Step> {
        let state = self.state.lock();
        if let Some(ring) = state.plain_source
            && let Some((offset, device)) = self.next_interrupt_table_invalidation(ring)
        {
            let command = Command::InvalidateInterruptTable(device);
            let affected = Affected::Interrupts(device);
            // After the invalidation is visible: a lookup that begins from here on can't hit what was cached before.
            if self.in_flight.any(affected) {
                return Some(self.await_lookups(&mut StateGuard(state), offset, command, affected));
            }
            drop(state);
            return Some(Step::CommandExecuted {
                offset,
                command,
                retired: true,
            });
        }
        self.any_step(&mut StateGuard(state))
    }

    #[inline(never)]
    fn any_step(&self, state: &mut State) -> Option<Step> {
        if state.registers.has_work() {
            return state
                .registers
                .step(|address, bytes| self.store_bytes(address, bytes));
        }
        self.command_step(state)
    }

    fn lock(&self) -> StateGuard<'_> {
        StateGuard(self.state.lock())
    }

    #[inline]
    fn mode(&self) -> Mode {
        Mode(self.mode.load(Acquire))
    }

    fn control(&self) -> Control {
        Control::from_bits(self.control.load(Acquire))
    }

    fn dte_location(&self, device: RequesterId) -> DteLocation {
        DteLocation::of(device, self.control(), |segment| {
            DevTabBase::from_bits(self.dev_tab_bases[segment].load(Acquire))
        })
    }
}
