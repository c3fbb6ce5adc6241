//! The interrupt half of an AMD IOMMU.
//!
//! An interrupt is a memory write to `0xFEEx_xxxx` under a requester ID. The IOMMU finds the requester's *device
//! table entry* (DTE) in guest memory, there the requester's *interrupt remapping table* (IRT), and in that, by the
//! low bits of the data, the *entry* (IRTE) that says which CPU and vector the interrupt goes to. Both kinds of
//! entry are cached by requester ID. Software that changes an entry must say so for every requester ID under which
//! it may be cached, by a command in a ring in guest memory.
//!
//! An [`Iommu`] has four ports and no clock:
//!
//! - registers: [`read`](Iommu::read) and [`write`](Iommu::write), with offset and size;
//! - guest memory, any [`vm_memory::GuestMemory`];
//! - requests: [`request`](Iommu::request) gives an [`Answer`], or a [`FillToken`] for each table entry that has to
//!   be read first, and [`complete`](Iommu::complete) takes the token when the read's latency has passed;
//! - its own work: [`step`](Iommu::step) executes or retires one command or writes one event, and says so.
//!
//! Whoever owns the clock decides when steps and completions happen, so an invalidation can overtake a fill or be
//! overtaken by it. What holds whatever the order:
//!
//! - An entry that was read before an invalidation is never hit after it. Each requester ID has a *generation*,
//!   which an invalidation counts up; a walk captures it before it looks at anything, and what it caches is hit only
//!   while the two are equal.
//! - An invalidation *executes* at once and *retires* when the requester ID's older lookups are answered; they may
//!   still use what it invalidated.
//! - COMPLETION_WAIT stores when everything before it has retired.
//!
//! Not yet: memory requests and their commands' effect (INVALIDATE_IOMMU_PAGES only keeps its place in the order),
//! guest mode (vAPIC) entries (they fault as unsupported), device table segments, the IOMMU's own interrupts (the
//! status bits are set).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use parking_lot::Mutex;
use sim_bridge::RequesterId;
use vm_memory::{GuestMemory, GuestMemoryMmap};

use crate::driver::MsiMessage;

mod cache;
mod command_processor;
mod config;
mod guest;
mod in_flight;
mod logs;
mod message;
mod outcome;
mod own_interrupts;
mod page_request;
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
    BackingPageFailure, CacheRemapEnClear, Config, DevtabInvalidation, DteValid, EventAddress, Faults,
    GaTailStore, InterruptClear, IrtCacheDis, IrteReadFailure, IrteReservedBits, MemoryFault,
    OutOfRangeDevice, Policies, RepeatedPageFaults, Smi, StatusInterrupts,
};
pub use guest::{Notice, Posted};
pub use logs::LogStatistics;
pub use outcome::{
    Answer, BlockReason, DeliveryMode, Interrupt, InterruptRequest, Lookup, LookupFrom, Observed, Observer,
    Outcome, Response,
};
pub use own_interrupts::{InterruptForm, InterruptSource, XtInterrupt};
pub use page_request::{PageRequest, PageRequestOutcome, PageRequestRefusal, PasidPrefix};
pub use register_file::{RegisterRefusals, RegisterStatistics};
pub use remap::{FillToken, TableEntry};
pub use step::{DropReason, HaltReason, Step};

use cache::{Cache, CacheKind, Counters, Generations, KnownHits, Stamps};
use command_processor::{CommandPointers, CommandProcessor};
use in_flight::InFlight;
use register_file::{DteLocation, RegisterFile, SEGMENTS};
use remap::Mode;
use spec::registers::{Control, DevTabBase, offset};
use tables::{DTE_WORDS, IRTE_WORDS};
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
    dte_cache: Cache<DTE_WORDS, Stamps>,
    translations: Translations,
    counters: Counters,
    in_flight: InFlight,
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
}

impl<M: GuestMemory> Iommu<M> {
    /// As after reset: IommuEn is 0, and interrupts are forwarded.
    pub fn new(config: Config, memory: Arc<M>) -> Self {
        Self {
            mode: AtomicU64::new(0),
            control: AtomicU64::new(0),
            dev_tab_bases: [const { AtomicU64::new(0) }; SEGMENTS],
            irt_cache: Cache::new(config.irt_cache, KnownHits::new(config.irt_cache.entries())),
            irt_generations: Generations::new(config.generation_bits),
            dte_cache: Cache::new(config.dte_cache, Stamps::new()),
            translations: Translations::new(&config),
            counters: Counters::default(),
            in_flight: InFlight::new(),
            command_pointers: CommandPointers::default(),
            state: Mutex::new(State {
                registers: RegisterFile::new(&config),
                commands: CommandProcessor::default(),
                reported_faults: ReportedFaults::default(),
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
        self.state
            .lock()
            .registers
            .read(offset, size, &self.command_pointers)
    }

    /// Writes a register, or an aligned half of one: `size` is 4 or 8 bytes. Anything else, and what is reserved or
    /// read-only, is ignored.
    #[inline]
    pub fn write(&self, offset: u64, size: usize, value: u64) {
        if offset == offset::CMD_BUF_TAIL && matches!(size, 4 | 8) {
            self.command_pointers.set_tail(value);
        } else {
            self.write_any(offset, size, value);
        }
    }

    fn write_any(&self, offset: u64, size: usize, value: u64) {
        let State {
            registers, commands, ..
        } = &mut *self.state.lock();
        registers.write(offset, size, value, &self.command_pointers);
        self.set_command_ring(commands, registers.command_ring());
        for (segment, copy) in self.dev_tab_bases.iter().enumerate() {
            copy.store(registers.dev_tab_base(segment).into_bits(), Release);
        }
        self.control.store(registers.control().into_bits(), Release);
        let (control, exclusion) = (registers.control(), registers.exclusion());
        let translates = self.translations.set_registers(control, exclusion);
        let mode = Mode::of(control);
        if self.mode.swap(mode.0, AcqRel) != mode.0 || translates {
            self.dte_cache.listener().move_all();
        }
    }

    /// The MSI capability of the IOMMU's PCI function, as configuration space sets it: `None` disables it.
    pub fn set_msi(&self, message: Option<MsiMessage>) {
        self.state.lock().registers.set_msi(message);
    }

    /// Register accesses without effect, log entries, and interrupts of the IOMMU's own that it could not send.
    pub fn register_statistics(&self) -> RegisterStatistics {
        self.state.lock().registers.statistics()
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
        let state = &mut *self.state.lock();
        if state.registers.has_work() {
            return state
                .registers
                .step(|address, bytes| self.store_bytes(address, bytes));
        }
        self.command_step(state)
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
