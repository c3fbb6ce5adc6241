//! The host as a machine: CPUs, memory, root complex, IOMMU and local APICs in simulated time, with links to devices.

mod apic;
mod apic_message;
mod cpu;
mod dma;
pub(crate) mod hpet;
mod interrupts;
pub(crate) mod io_apic;
mod iommu;
mod links;
mod memory;
mod platform;
mod power;
mod root_complex;
mod stop;
#[cfg(test)]
mod tests;
mod timing;

pub use apic::{Delivery, LocalApic};
pub use cpu::{Cpu, InterruptsOff};
pub use io_apic::RedirectionEntry;
pub use links::LinkTo;
pub use memory::{Memory, MemoryError};
pub use timing::Timing;

use std::cell::{Cell, OnceCell, Ref, RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;

use sim_bridge::link::LinkError;
use sim_bridge::{RequesterId, SimTime};

use crate::checker::{Checker, Sample};
use crate::exec::{Executor, Signal};
use crate::iommu::{Config, Iommu};
use crate::irq::{IrqState, common_interrupt};
use crate::trace::{Kind, Lock, Source, Trace};
use links::Links;
use platform::PlatformDevice;
use power::Power;
use root_complex::Inbound;
use stop::Stop;

/// Physical address of the IOMMU's registers.
pub const IOMMU_MMIO: u64 = 0xfeb8_0000;
/// Bytes of the IOMMU's registers, counters included.
pub const IOMMU_MMIO_SIZE: u64 = 0x8_0000;
/// Requester ID of the CPUs' requests.
pub const ROOT_COMPLEX: RequesterId = RequesterId::new(0, 0, 0);

/// What a machine is made of.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// CPUs, numbered and with APIC IDs from 0.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: usize,
    /// The IOMMU.
    pub iommu: Config,
    /// How long things take.
    pub timing: Timing,
    /// Fixes the order of what is simultaneous.
    pub seed: u64,
    /// Whether the coherence checker watches.
    pub check: bool,
    /// Whether events are recorded.
    pub trace: bool,
}

/// Four CPUs, 64 MiB, checked and traced.
impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            cpus: 4,
            memory: 64 << 20,
            iommu: Config::default(),
            timing: Timing::default(),
            seed: 0,
            check: true,
            trace: true,
        }
    }
}

/// Why a simulation could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A device left before the host had ended.
    #[error("the device at {function} ended the link at {at}, before the host had finished")]
    DeviceEnded {
        /// Which.
        function: RequesterId,
        /// When.
        at: SimTime,
    },
    /// A CPU spins for a lock that nobody will unlock.
    #[error(
        "from {at} on CPU {cpu} spins for {lock} for ever: the task that held it died on CPU {held_by} at {died_at}"
    )]
    Deadlock {
        /// When.
        at: SimTime,
        /// Which spins.
        cpu: u32,
        /// For what.
        lock: Lock,
        /// Where its holder ran.
        held_by: u32,
        /// When that died.
        died_at: SimTime,
    },
    /// No side will ever do anything again.
    #[error("nothing can happen after {at}: {} wait for ever", waiting.join(", "))]
    Stalled {
        /// When.
        at: SimTime,
        /// The tasks that wait.
        waiting: Vec<String>,
    },
}

/// A handle to the machine; clones share it.
#[derive(Clone)]
pub struct Machine(Rc<Inner>);

struct Inner {
    executor: Executor,
    memory: Memory,
    iommu: Iommu,
    iommu_runs: Cell<bool>,
    links: Links,
    apics: Vec<LocalApic>,
    irqs: RefCell<IrqState>,
    stop: Stop,
    power: Power,
    trace: Trace,
    checker: Option<RefCell<Checker>>,
    timing: Timing,
    /// What waits for its turn, by requester ID; the key is there while a task takes it.
    inbound: RefCell<BTreeMap<RequesterId, VecDeque<Inbound>>>,
    /// Registers of functions that are on no link and never send.
    quiet: RefCell<BTreeMap<u64, u32>>,
    platform: RefCell<Vec<PlatformDevice>>,
    failure: RefCell<Option<RunError>>,
    ended: Cell<u64>,
    /// A device's writes to memory that were made or dropped.
    ending: Signal,
}

impl Machine {
    /// A machine at time zero with its ends of the links.
    ///
    /// # Errors
    /// Guest memory can't be had.
    pub fn new(config: MachineConfig, links: impl IntoIterator<Item = LinkTo>) -> Result<Self, MemoryError> {
        let memory = Memory::new(config.memory)?;
        let checker = config
            .check
            .then(|| RefCell::new(Checker::new(memory.guest().clone())));
        Ok(Self(Rc::new(Inner {
            executor: Executor::new(config.seed),
            iommu: Iommu::new(config.iommu, memory.guest().clone()),
            memory,
            iommu_runs: Cell::new(false),
            links: Links::new(links),
            apics: (0..config.cpus).map(|_| LocalApic::default()).collect(),
            irqs: RefCell::new(IrqState::new(config.cpus)),
            stop: Stop::default(),
            power: Power::default(),
            trace: if config.trace {
                Trace::default()
            } else {
                Trace::off()
            },
            checker,
            timing: config.timing,
            inbound: RefCell::default(),
            quiet: RefCell::default(),
            platform: RefCell::default(),
            failure: RefCell::default(),
            ended: Cell::new(0),
            ending: Signal::default(),
        })))
    }

    /// Runs `main` on CPU 0 until it returns, and everything else meanwhile.
    ///
    /// # Errors
    /// A link fails, a device leaves, or `main` waits for what can't happen.
    pub fn run<T: 'static, F>(&self, main: impl FnOnce(Cpu) -> F) -> Result<T, RunError>
    where
        F: Future<Output = T> + 'static,
    {
        let result = Rc::new(OnceCell::new());
        let (main, slot) = (main(self.cpu(0)), result.clone());
        self.executor().spawn("the scenario", async move {
            let _ = slot.set(main.await);
        });
        let run = self.run_until(|| result.get().is_some());
        // Tasks that still wait hold the machine: without this it would never be dropped.
        self.executor().clear();
        run?;
        let result = Rc::try_unwrap(result).ok().and_then(OnceCell::into_inner);
        result.ok_or_else(|| RunError::Stalled {
            at: self.now(),
            waiting: Vec::new(),
        })
    }

    fn run_until(&self, finished: impl Fn() -> bool) -> Result<(), RunError> {
        let executor = self.executor();
        while !finished() {
            let local = executor.next_time();
            let mut hub = self.0.links.hub.borrow_mut();
            let next = hub.next();
            if next.is_known
                && next.at <= local
                && let Some(arrival) = hub.receive(next.link)
            {
                let latency = hub.latency(next.link);
                drop(hub);
                executor.advance(arrival.at);
                self.arrived(next.link, arrival, latency);
                executor.queue_woken();
            } else if local < next.at {
                drop(hub);
                executor.run_next();
            } else if let Some(link) = hub.ended() {
                return Err(RunError::DeviceEnded {
                    function: self.0.links.function(link),
                    at: self.now(),
                });
            } else if next.at == SimTime::NEVER {
                return Err(RunError::Stalled {
                    at: self.now(),
                    waiting: executor.waiting(),
                });
            } else {
                hub.wait(local)?;
            }
            if let Some(error) = self.0.failure.take() {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends all links in order.
    ///
    /// # Errors
    /// A device is gone already.
    pub fn end(&self) -> Result<(), LinkError> {
        self.0.links.hub.borrow_mut().end(self.now())
    }

    /// The current time.
    pub fn now(&self) -> SimTime {
        self.executor().now()
    }

    /// Where tasks run.
    pub fn executor(&self) -> &Executor {
        &self.0.executor
    }

    /// The memory.
    pub fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// The IOMMU.
    pub fn iommu(&self) -> &Iommu {
        &self.0.iommu
    }

    /// How long things take.
    pub fn timing(&self) -> &Timing {
        &self.0.timing
    }

    /// The number of CPUs.
    pub fn cpus(&self) -> u32 {
        self.0.apics.len() as u32
    }

    /// CPU number `id`.
    pub fn cpu(&self, id: u32) -> Cpu {
        Cpu::new(self.clone(), id)
    }

    /// The local APIC with this ID.
    pub fn apic(&self, id: u32) -> Option<&LocalApic> {
        self.0.apics.get(id as usize)
    }

    /// Vectors and interrupt descriptors.
    pub fn irqs(&self) -> Ref<'_, IrqState> {
        self.0.irqs.borrow()
    }

    /// Vectors and interrupt descriptors, to be changed. Not to be held over an `await`.
    pub fn irqs_mut(&self) -> RefMut<'_, IrqState> {
        self.0.irqs.borrow_mut()
    }

    /// The event stream.
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// Adds an event at the current time.
    pub fn record(&self, source: Source, kind: Kind) {
        self.0.trace.record(self.now(), source, kind);
    }

    /// The coherence checker's answer, if it watches.
    pub fn with_checker<T>(&self, ask: impl FnOnce(&mut Checker) -> T) -> Option<T> {
        self.0
            .checker
            .as_ref()
            .map(|checker| ask(&mut checker.borrow_mut()))
    }

    fn links(&self) -> &Links {
        &self.0.links
    }

    fn is_checked(&self) -> bool {
        self.0.checker.is_some()
    }

    /// The IOMMU is about to read table entries.
    fn sample(&self) -> Sample {
        self.with_checker(|checker| checker.sample(self.now()))
            .unwrap_or_default()
    }

    /// The number of interrupt messages that have ended somewhere.
    pub fn interrupts_ended(&self) -> u64 {
        self.0.ended.get()
    }

    /// Of those, the ones that came over a link, counted from 0.
    pub fn interrupts_ended_from(&self, link: usize) -> u64 {
        self.0.links.interrupts_ended(link)
    }

    /// The number of writes to memory that came over a link and have ended: made, or dropped.
    pub fn writes_ended_from(&self, link: usize) -> u64 {
        self.0.links.writes_ended(link)
    }

    /// Completes when `count` interrupt messages have ended since the start, or `limit` has passed. Whether they have.
    pub async fn wait_for_endings(&self, count: u64, limit: SimTime) -> bool {
        self.wait_for(limit, || self.interrupts_ended() >= count).await
    }

    /// The same of writes to memory that came over a link.
    pub async fn wait_for_writes(&self, link: usize, count: u64, limit: SimTime) -> bool {
        self.wait_for(limit, || self.writes_ended_from(link) >= count)
            .await
    }

    async fn wait_for(&self, limit: SimTime, ended: impl Fn() -> bool) -> bool {
        let deadline = self.now() + limit;
        let machine = self.clone();
        self.executor().spawn("deadline", async move {
            machine.executor().sleep_until(deadline).await;
            machine.0.ending.notify();
        });
        self.0
            .ending
            .wait_until(|| ended() || self.now() >= deadline)
            .await;
        ended()
    }

    /// Gives a function that is on no link, and never sends, `len` bytes of registers at `address`: they read
    /// what was written.
    pub fn add_quiet_registers(&self, address: u64, len: u64) {
        self.0
            .quiet
            .borrow_mut()
            .extend((address..address + len).step_by(4).map(|at| (at, 0)));
    }

    fn quiet_register(&self, address: u64) -> Option<u32> {
        self.0.quiet.borrow().get(&address).copied()
    }

    fn set_quiet_register(&self, address: u64, value: u32) -> bool {
        self.0
            .quiet
            .borrow_mut()
            .get_mut(&address)
            .map(|register| *register = value)
            .is_some()
    }

    /// Raises a vector on a CPU, from another CPU.
    pub(crate) fn interrupt_cpu(&self, cpu: u32, vector: u8) {
        if let Some(apic) = self.apic(cpu).filter(|apic| apic.is_enabled()) {
            apic.accept(self.now(), vector);
        }
        self.take_interrupt(cpu);
    }

    /// Runs the handler of the highest requested vector if the CPU takes interrupts now.
    fn take_interrupt(&self, cpu: u32) {
        let Some(vector) = self.apic(cpu).and_then(LocalApic::acknowledge) else {
            return;
        };
        let machine = self.clone();
        self.executor()
            .spawn(format!("interrupt handler on CPU {cpu}"), async move {
                machine.executor().sleep(machine.timing().interrupt_entry).await;
                common_interrupt(&machine.cpu(cpu), vector).await;
                machine.record(Source::Cpu(cpu), Kind::EndOfInterrupt { vector });
                if let Some(apic) = machine.apic(cpu) {
                    apic.end_of_interrupt();
                }
                machine.take_interrupt(cpu);
                machine.0.stop.interrupts_on();
            });
    }
}
