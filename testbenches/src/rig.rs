//! What every scenario works with: a started host, an NTB whose driver is bound, and a neighbour.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use host_model::checker::Finding;
use host_model::driver::{DriverError, IommuDriver, MsiMessage};
use host_model::irq::{Handler, Irq, IrqCore, IrqError, IrqReturn, MsixDevice};
use host_model::linux::LinuxDriver;
use host_model::machine::Cpu;
use host_model::pci::{EnumerateError, Found, KernelVersion, PciTree, TreeError, enumerate};
use host_model::trace::{Event, Kind, Source};
use ntb_rtl::registers;
use sim_bridge::{RequesterId, SimTime};

use crate::topology::Topology;

/// Where BARs are put.
pub(crate) const MMIO_WINDOW: u64 = 0xe000_0000;
/// The neighbour's MSI-X table.
const NEIGHBOUR_TABLE: u64 = 0xd000_0000;
/// Interrupts end within some microseconds; what has not by then never will.
const LOST_AFTER: SimTime = SimTime::from_us(100);

/// A scenario could not do what it is about.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The NTB was not found as it should be.
    #[error(transparent)]
    Enumerate(#[from] EnumerateError),
    /// The interrupt core failed.
    #[error(transparent)]
    Irq(#[from] IrqError),
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
}

/// Commands by name.
pub type CommandCounts = BTreeMap<&'static str, u64>;

/// The host and its devices, as a scenario sees them.
pub struct Rig {
    /// Where the scenario's code runs.
    pub cpu: Cpu,
    /// The interrupt core.
    pub core: IrqCore,
    /// The NTB.
    pub ntb: Found,
    /// A function that allocates interrupts and never sends one.
    pub neighbour: MsixDevice,
    topology: Topology,
    raised: Cell<u64>,
    commands_per_move: RefCell<Option<CommandCounts>>,
}

impl Rig {
    /// Starts the host: IOMMU first, then the devices.
    ///
    /// # Errors
    /// See [`ScenarioError`].
    pub async fn start(
        cpu: Cpu,
        topology: Topology,
        kernel: KernelVersion,
        driver: Rc<LinuxDriver>,
        tree: Rc<RefCell<PciTree>>,
    ) -> Result<Self, ScenarioError> {
        cpu.call("enable", async |cpu| driver.enable(&cpu).await).await?;
        let mut ntb = enumerate(&cpu, topology.ntb(), MMIO_WINDOW, kernel).await?;
        ntb.final_fixups(&cpu, kernel).await;
        if ntb.function != topology.expected_ntb(kernel) {
            return Err(ScenarioError::WrongDevice {
                topology,
                vendor_device: ntb.function.vendor_device,
                aliases: ntb.function.dma_aliases.iter().count(),
            });
        }
        tree.borrow_mut().add(ntb.function.clone())?;
        let functions: Vec<RequesterId> = [topology.ntb()]
            .iter()
            .chain(topology.neighbours())
            .copied()
            .collect();
        cpu.call("take_devices", async |cpu| {
            driver.take_devices(&cpu, &functions).await
        })
        .await?;
        let neighbour = MsixDevice {
            id: topology.neighbours()[0],
            capability: 0,
            vectors: 1,
            table: NEIGHBOUR_TABLE,
        };
        cpu.machine().add_quiet_registers(neighbour.table, 16);
        cpu.machine()
            .irqs_mut()
            .add_function(topology.ntb(), topology.ids().iter().copied());
        cpu.machine().irqs_mut().add_function(neighbour.id, []);
        Ok(Self {
            core: IrqCore::new(driver),
            cpu,
            ntb,
            neighbour,
            topology,
            raised: Cell::new(0),
            commands_per_move: RefCell::default(),
        })
    }

    /// Names what comes next in the trace.
    pub fn step(&self, name: impl Into<String>) {
        self.cpu.record(Source::Scenario, Kind::ScenarioStep(name.into()));
    }

    /// The IDs under which the NTB's messages arrive, its own first, each once.
    pub fn ids(&self) -> &[RequesterId] {
        self.topology.ids()
    }

    /// Allocates MSI-X vectors of the NTB and requests them on CPU `on`. Their handler clears the doorbell.
    ///
    /// # Errors
    /// See [`IrqError`].
    pub async fn request_ntb_irqs(&self, vectors: u16, on: u32) -> Result<Vec<Irq>, ScenarioError> {
        let irqs = self
            .core
            .allocate_vectors(&self.cpu, &self.ntb.msix, vectors)
            .await?;
        for (vector, &irq) in irqs.iter().enumerate() {
            let status = self.ntb.bar0 + registers::DOORBELL_STATUS;
            let handler: Handler = Rc::new(move |cpu| {
                Box::pin(async move {
                    cpu.mmio_write(status, 8, 1 << vector).await;
                    IrqReturn::Handled
                })
            });
            self.core.request(&self.cpu, irq, on, handler).await?;
        }
        Ok(irqs)
    }

    /// The neighbour gets an interrupt on CPU `on`.
    ///
    /// # Errors
    /// See [`IrqError`].
    pub async fn request_neighbour_irq(&self, on: u32) -> Result<Irq, ScenarioError> {
        let irqs = self.core.allocate_vectors(&self.cpu, &self.neighbour, 1).await?;
        // It never sends: an interrupt that comes is not its own.
        let handler: Handler = Rc::new(|_| Box::pin(async { IrqReturn::None }));
        self.core.request(&self.cpu, irqs[0], on, handler).await?;
        Ok(irqs[0])
    }

    /// Moves an interrupt, and counts the commands that it takes.
    ///
    /// # Errors
    /// See [`IrqError`].
    pub async fn move_irq(&self, irq: Irq, to: u32) -> Result<(), ScenarioError> {
        let trace = self.cpu.machine().trace();
        let before = trace.len();
        self.core.set_affinity(&self.cpu, irq, to).await?;
        *self.commands_per_move.borrow_mut() = Some(trace.look(before, count_commands));
        Ok(())
    }

    /// Waits for timer ticks.
    pub async fn wait_jiffies(&self, jiffies: u64) {
        let jiffy = self.cpu.machine().timing().jiffy;
        self.cpu.delay(SimTime::from_ps(jiffy.as_ps() * jiffies)).await;
    }

    /// Writes 4 bytes of the NTB's BAR0.
    pub async fn write(&self, register: u64, value: u32) {
        self.cpu.writel(self.ntb.bar0 + register, value).await;
    }

    /// Reads 4 or 8 bytes of the NTB's BAR0.
    pub async fn read(&self, register: u64, size: usize) -> u64 {
        self.cpu.mmio_read(self.ntb.bar0 + register, size).await
    }

    /// Rings the doorbell of a vector, whose message is to be sent under `id`. Does not wait.
    pub async fn ring(&self, vector: usize, id: RequesterId) {
        self.write(
            registers::rid_policy(vector),
            self.topology.rid_mode(id).to_register(),
        )
        .await;
        let bit = 1 << vector;
        self.cpu
            .mmio_write(self.ntb.bar0 + registers::DOORBELL_STATUS, 8, bit)
            .await;
        self.cpu
            .mmio_write(self.ntb.bar0 + registers::DOORBELL_SET, 8, bit)
            .await;
    }

    /// Interrupts under every ID, one after the other, each waited for.
    pub async fn ring_under_every_id(&self, vector: usize) {
        self.ring_under(vector, self.ids()).await;
    }

    /// Interrupts under these IDs, one after the other, each waited for.
    pub async fn ring_under(&self, vector: usize, ids: &[RequesterId]) {
        for &id in ids {
            self.ring(vector, id).await;
            self.raised(1).await;
        }
    }

    /// The message block sends `message` under these IDs, one after the other, each waited for.
    pub async fn send_message_under(&self, message: MsiMessage, ids: &[RequesterId]) {
        self.write(registers::MESSAGE_ADDRESS, message.address as u32)
            .await;
        self.write(registers::MESSAGE_ADDRESS_HIGH, (message.address >> 32) as u32)
            .await;
        self.write(registers::MESSAGE_DATA, message.data).await;
        for &id in ids {
            self.write(registers::MESSAGE_REQUESTER_ID, id.0.into()).await;
            self.write(registers::MESSAGE_SEND, 1).await;
            self.raised(1).await;
        }
    }

    /// `interrupts` more were raised: waits until they have ended somewhere.
    pub async fn raised(&self, interrupts: u64) {
        let raised = self.raised.get() + interrupts;
        self.raised.set(raised);
        self.cpu.machine().wait_for_endings(raised, LOST_AFTER).await;
    }

    /// The end: what the NTB itself says of the messages that it sent.
    pub(crate) async fn finish(&self) -> Finished {
        let sent = self.read(registers::SENT, 4).await;
        let raised = self.raised.get().max(sent);
        let machine = self.cpu.machine();
        if raised > machine.interrupts_ended() {
            machine.with_checker(|checker| checker.never_ended(self.topology.ntb()));
        }
        Finished {
            raised,
            findings: machine
                .with_checker(|checker| checker.findings())
                .unwrap_or_default(),
            commands_per_move: self.commands_per_move.take(),
            events: machine.trace().take(),
        }
    }
}

/// What is left of a run.
pub(crate) struct Finished {
    pub(crate) raised: u64,
    pub(crate) findings: Vec<Finding>,
    pub(crate) commands_per_move: Option<CommandCounts>,
    pub(crate) events: Vec<Event>,
}

/// How often each command was executed.
pub(crate) fn count_commands(events: &[Event]) -> CommandCounts {
    let mut counts = CommandCounts::new();
    for command in events.iter().filter_map(Event::executed) {
        *counts.entry(command.name()).or_default() += 1;
    }
    counts
}
