//! What every scenario works with: a started host, NTBs whose drivers are bound, and neighbours.

mod dma;
mod interrupts;
mod iommu;
mod ntb;
mod power;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;

use host_model::driver::{DriverError, IommuDriver, MsiMessage};
use host_model::irq::{HotplugError, Irq, IrqCore, IrqError, MsixDevice};
use host_model::linux::LinuxDriver;
use host_model::machine::Cpu;
use host_model::pci::{EnumerateError, Found, KernelVersion, PciTree, TreeError, enumerate};
use host_model::trace::{Event, Kind, Source};
use ntb_rtl::registers;
use sim_bridge::{RequesterId, SimTime};

pub use power::Sleep;

use crate::run::Host;
use crate::topology::Topology;

/// Where BARs are put: the memory window of the root port above the first NTB. The others' windows follow.
pub(crate) const MMIO_WINDOW: u64 = 0xe000_0000;
/// Bytes of such a window.
pub(crate) const MMIO_WINDOW_BYTES: u64 = 0x0100_0000;
/// MSI-X tables of other functions, a page each.
const OTHER_TABLES: u64 = 0xd000_0000;
const PAGE: u64 = 0x1000;
/// Interrupts and writes to memory end within some microseconds; what has not by then never will.
const LOST_AFTER: SimTime = SimTime::from_us(100);

/// Of the NTB with this number.
pub(crate) fn mmio_window(ntb: usize) -> RangeInclusive<u64> {
    let start = MMIO_WINDOW + ntb as u64 * MMIO_WINDOW_BYTES;
    start..=start + MMIO_WINDOW_BYTES - 1
}

/// A scenario could not do what it is about.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The NTB was not found as it should be.
    #[error(transparent)]
    Enumerate(#[from] EnumerateError),
    /// The interrupt core failed.
    #[error(transparent)]
    Irq(#[from] IrqError),
    /// A CPU can't go away.
    #[error(transparent)]
    Hotplug(#[from] HotplugError),
    /// The IOMMU driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The NTB can't be where the topology has it.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The device is not the NTB of the topology.
    #[error(
        "the device is {:04x}:{:04x} with {aliases} aliases, which is not {topology}: start it with `--aliases {topology}`",
        vendor_device.0, vendor_device.1
    )]
    WrongDevice {
        /// What it should be.
        topology: Topology,
        /// Its vendor ID and device ID.
        vendor_device: (u16, u16),
        /// How many it has on its bus.
        aliases: usize,
    },
    /// The NTB does not do what its registers promise.
    #[error("the NTB's {register} reads {got:#x}, expected {expected:#x}")]
    Register {
        /// Which.
        register: &'static str,
        /// What it reads.
        got: u64,
        /// What it should read.
        expected: u64,
    },
    /// There are not so many NTBs.
    #[error("the scenario's host has no second NTB")]
    NoSecondNtb,
    /// A step needs what one that was left out would have done.
    #[error("there is not {0}: the step that sees to it is left out")]
    NotApplicable(&'static str),
}

/// Commands by name.
pub type CommandCounts = BTreeMap<&'static str, u64>;

/// The host and its devices, as a scenario sees them: what is said of the NTB is meant of the first, or of the
/// [`second`](Self::second). Clones share them.
#[derive(Clone)]
pub struct Rig {
    /// Where the scenario's code runs.
    pub cpu: Cpu,
    /// The number of the NTB.
    ntb: usize,
    shared: Rc<Shared>,
}

struct Shared {
    core: IrqCore,
    driver: Rc<LinuxDriver>,
    ntbs: Vec<Ntb>,
    /// The neighbours first.
    others: Vec<MsixDevice>,
    messages_of: RefCell<BTreeMap<RequesterId, MsiMessage>>,
    raised: Cell<u64>,
    asleep: power::Asleep,
    commands_per_move: RefCell<Option<CommandCounts>>,
}

struct Ntb {
    found: Found,
    topology: Topology,
    /// By vector, while they are allocated.
    irqs: RefCell<Vec<Irq>>,
    /// By vector, also after it is freed.
    messages: RefCell<Vec<MsiMessage>>,
    /// What it had sent when it lost its power.
    sent_before: Cell<u64>,
}

/// The first series that frees the old vector of a move by a timer: "x86/vector: Replace IRQ_MOVE_CLEANUP_VECTOR with a
/// timer callback".
const VECTOR_CLEANUP_TIMER: (u16, u16) = (6, 6);

impl Rig {
    /// Starts the host: IOMMU first, then the devices.
    ///
    /// # Errors
    /// See [`ScenarioError`].
    pub async fn start(
        cpu: Cpu,
        topologies: Vec<Topology>,
        kernel: KernelVersion,
        host: &Host,
        driver: Rc<LinuxDriver>,
        tree: Rc<RefCell<PciTree>>,
    ) -> Result<Self, ScenarioError> {
        if kernel.series < VECTOR_CLEANUP_TIMER {
            cpu.machine().irqs_mut().clean_up_by_ipi();
        }
        cpu.call("enable", async |cpu| driver.enable(&cpu).await).await?;
        for function in &host.functions {
            tree.borrow_mut().add(function.clone())?;
        }
        let others = host.functions.iter().map(|function| function.id);
        let neighbours = topologies
            .iter()
            .flat_map(|topology| topology.neighbours())
            .copied();
        let others: Vec<RequesterId> = neighbours.chain(others).collect();
        // Linux probes them as they are found: above before below.
        let mut functions: Vec<RequesterId> = tree.borrow().functions().map(|function| function.id).collect();
        functions.retain(|id| !others.contains(id));
        let mut found = Vec::new();
        if host.hot_plug {
            functions.extend(&others);
            cpu.call("take_devices", async |cpu| {
                driver.take_devices(&cpu, &functions).await
            })
            .await?;
            for (number, topology) in topologies.iter().enumerate() {
                let window = *mmio_window(number).start();
                let mut ntb = enumerate(&cpu, topology.ntb(), window, kernel).await?;
                tree.borrow_mut().add(ntb.function.clone())?;
                // device_add comes before the final fixups.
                cpu.call("probe", async |cpu| driver.probe(&cpu, topology.ntb()).await)
                    .await?;
                ntb.final_fixups(&cpu, kernel).await;
                if let Some(function) = tree.borrow_mut().get_mut(topology.ntb()) {
                    let found = ntb.function.dma_aliases.iter();
                    function.dma_aliases.extend(found);
                }
                found.push(ntb);
            }
        } else {
            for (number, topology) in topologies.iter().enumerate() {
                let window = *mmio_window(number).start();
                let mut ntb = enumerate(&cpu, topology.ntb(), window, kernel).await?;
                ntb.final_fixups(&cpu, kernel).await;
                tree.borrow_mut().add(ntb.function.clone())?;
                functions.push(topology.ntb());
                found.push(ntb);
            }
            functions.extend(&others);
            cpu.call("take_devices", async |cpu| {
                driver.take_devices(&cpu, &functions).await
            })
            .await?;
        }
        let mut ntbs = Vec::new();
        for (topology, found) in topologies.into_iter().zip(found) {
            if found.function != topology.expected_ntb(kernel) {
                return Err(ScenarioError::WrongDevice {
                    topology,
                    vendor_device: found.function.vendor_device,
                    aliases: found.function.dma_aliases.iter().count(),
                });
            }
            cpu.machine()
                .irqs_mut()
                .add_function(topology.ntb(), topology.ids().iter().copied());
            ntbs.push(Ntb {
                found,
                topology,
                irqs: RefCell::default(),
                messages: RefCell::default(),
                sent_before: Cell::new(0),
            });
        }
        let mut msix = Vec::new();
        for (n, &id) in (0..).zip(&others) {
            let table = OTHER_TABLES + n * PAGE;
            cpu.machine().add_quiet_registers(table, 16);
            cpu.machine().irqs_mut().add_function(id, []);
            msix.push(MsixDevice {
                id,
                capability: 0,
                vectors: 1,
                table,
            });
        }
        Ok(Self {
            cpu,
            ntb: 0,
            shared: Rc::new(Shared {
                core: IrqCore::new(driver.clone()),
                driver,
                ntbs,
                others: msix,
                messages_of: RefCell::default(),
                raised: Cell::new(0),
                asleep: power::Asleep::default(),
                commands_per_move: RefCell::default(),
            }),
        })
    }

    /// The same, with the code on another CPU.
    pub fn on(&self, cpu: u32) -> Self {
        Self {
            cpu: self.cpu.machine().cpu(cpu),
            ..self.clone()
        }
    }

    /// The same, about the second NTB.
    ///
    /// # Errors
    /// There is one only.
    pub fn second(&self) -> Result<Self, ScenarioError> {
        match self.shared.ntbs.len() {
            0 | 1 => Err(ScenarioError::NoSecondNtb),
            _ => Ok(Self {
                ntb: 1,
                ..self.clone()
            }),
        }
    }

    fn this(&self) -> &Ntb {
        &self.shared.ntbs[self.ntb]
    }

    /// The same about each NTB.
    fn each(&self) -> impl Iterator<Item = Self> {
        (0..self.shared.ntbs.len()).map(|ntb| Self { ntb, ..self.clone() })
    }

    /// Says in the trace what comes next.
    pub fn note(&self, what: impl Into<Cow<'static, str>>) {
        let what = what.into().into_owned();
        self.cpu.record(Source::Scenario, Kind::ScenarioStep(what));
    }

    /// The interrupt core.
    pub fn core(&self) -> &IrqCore {
        &self.shared.core
    }

    /// The NTB.
    pub fn ntb(&self) -> &Found {
        &self.this().found
    }

    /// A function that is there beside the NTB and never sends an interrupt.
    pub fn neighbour(&self) -> RequesterId {
        self.this().topology.neighbours()[0]
    }

    /// A function beside the NTB.
    ///
    /// # Errors
    /// There is none with this ID.
    pub fn function(&self, id: RequesterId) -> Result<&MsixDevice, ScenarioError> {
        let found = self.shared.others.iter().find(|function| function.id == id);
        found.ok_or(ScenarioError::NotApplicable("a function with this ID"))
    }

    /// The IDs under which the NTB's messages arrive, its own first, each once.
    pub fn ids(&self) -> &[RequesterId] {
        self.this().topology.ids()
    }

    /// The first of [`ids`](Self::ids) alone.
    pub fn own_id(&self) -> &[RequesterId] {
        &self.ids()[..1]
    }

    /// Waits for timer ticks.
    pub async fn wait_jiffies(&self, jiffies: u64) {
        let jiffy = self.cpu.machine().timing().jiffy;
        self.cpu.delay(SimTime::from_ps(jiffy.as_ps() * jiffies)).await;
    }

    /// `interrupts` more were raised: waits until they have ended somewhere.
    pub async fn raised(&self, interrupts: u64) {
        let raised = self.shared.raised.get() + interrupts;
        self.shared.raised.set(raised);
        self.cpu.machine().wait_for_endings(raised, LOST_AFTER).await;
    }

    /// What the NTBs themselves say of the interrupts that they sent, one by one.
    async fn sent(&self) -> Vec<u64> {
        let mut sent = Vec::new();
        for rig in self.each() {
            // It counts all of its writes.
            let writes = rig.cpu.machine().writes_ended_from(rig.ntb);
            let before = rig.this().sent_before.get();
            let all = before + rig.read(registers::SENT, 4).await;
            sent.push(all.saturating_sub(writes));
        }
        sent
    }

    /// The end.
    pub(crate) async fn finish(&self) -> Finished {
        let sent = self.sent().await;
        let raised = self.shared.raised.get().max(sent.iter().sum());
        let machine = self.cpu.machine();
        if raised > machine.interrupts_ended() {
            let missing = |&(number, sent): &(usize, u64)| sent > machine.interrupts_ended_from(number);
            // One that a scenario waited for and the NTB never sent is that of the first.
            let (number, _) = sent.iter().copied().enumerate().find(missing).unwrap_or_default();
            let ntb = self.shared.ntbs[number].topology.ntb();
            machine.with_checker(|checker| checker.never_ended(ntb));
        }
        Finished {
            raised,
            commands_per_move: self.shared.commands_per_move.take(),
        }
    }
}

/// What the rig knows at the end of a run.
pub(crate) struct Finished {
    pub(crate) raised: u64,
    pub(crate) commands_per_move: Option<CommandCounts>,
}

/// How often each command was executed.
pub(crate) fn count_commands(events: &[Event]) -> CommandCounts {
    let mut counts = CommandCounts::new();
    for command in events.iter().filter_map(Event::executed) {
        *counts.entry(command.name()).or_default() += 1;
    }
    counts
}
