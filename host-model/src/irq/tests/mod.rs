//! The interrupt core on Linux's driver, with a scripted device that has a table of two MSI-X vectors.

mod flow;
mod hotplug;
mod life;
mod managed;
mod misuse;
mod moves;
mod platform;
mod random;
mod suspend;

use std::cell::Cell;
use std::rc::Rc;

use sim_bridge::tlp::{Body, Tlp};
use sim_bridge::{RequesterId, SimTime};

use super::*;
use crate::checker::{FindingKind, Place};
use crate::driver::{DriverError, Interrupts, IommuDriver};
use crate::linux::Profile;
use crate::linux::tests::{NTB, Setup, add_alias, notation, short, start};
use crate::machine::Cpu;
use crate::scripted::ScriptedDevice;
use crate::trace::{Ending, Event, Kind};

const TABLE: u64 = 0xe000_0000;
const CAPABILITY: u16 = 0x40;
const MSIX: MsixDevice = MsixDevice {
    id: NTB,
    capability: CAPABILITY,
    vectors: 2,
    table: TABLE,
};
/// As after reset: masked.
const ENTRY: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
const JIFFY: SimTime = SimTime::from_us(4_000);

struct Rig {
    cpu: Cpu,
    core: IrqCore,
    device: ScriptedDevice,
    handled: Rc<Cell<u32>>,
}

impl Rig {
    /// Its driver is bound: `vectors` are allocated, and requested on CPU 1.
    async fn bound(
        cpu: Cpu,
        driver: Rc<crate::linux::LinuxDriver>,
        device: ScriptedDevice,
        vectors: u16,
    ) -> (Self, Vec<Irq>) {
        let rig = Self::probed(cpu, driver, device).await;
        let irqs = rig
            .core
            .allocate_vectors(&rig.cpu, &MSIX, vectors)
            .await
            .expect("room");
        for &irq in &irqs {
            rig.request(irq).await.expect("request");
        }
        (rig, irqs)
    }

    async fn probed(cpu: Cpu, driver: Rc<crate::linux::LinuxDriver>, device: ScriptedDevice) -> Self {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let mut irqs = cpu.machine().irqs_mut();
        irqs.add_function(NTB, [RequesterId(0x240)]);
        drop(irqs);
        Self {
            core: IrqCore::new(driver),
            cpu,
            device,
            handled: Rc::default(),
        }
    }

    async fn request(&self, irq: Irq) -> Result<(), IrqError> {
        self.request_on(irq, 1).await
    }

    async fn request_on(&self, irq: Irq, on: impl Into<CpuMask>) -> Result<(), IrqError> {
        let handled = self.handled.clone();
        let handler: Handler = Rc::new(move |cpu| {
            let handled = handled.clone();
            Box::pin(async move {
                cpu.udelay(10).await;
                handled.set(handled.get() + 1);
                IrqReturn::Handled
            })
        });
        self.core.request(&self.cpu, irq, on, handler).await
    }

    fn slot(&self, irq: Irq) -> (u32, u8) {
        self.cpu.machine().irqs().slot(irq).expect("requested")
    }

    fn is_used(&self, (cpu, vector): (u32, u8)) -> bool {
        matches!(
            self.cpu.machine().irqs().vectors.at((cpu, vector)),
            vectors::VectorIrq::Irq(_)
        )
    }

    /// Takes all vectors of a CPU.
    fn fill(&self, cpu: u32) {
        let mut state = self.cpu.machine().irqs_mut();
        for irq in (1_000..).map(Irq) {
            state.vectors.allocate(irq, None).expect("a reservation");
            if state.vectors.assign(irq, &cpu.into()).is_err() {
                state.vectors.free(irq, &CpuMask::default());
                return;
            }
        }
    }

    fn events(&self) -> Vec<Event> {
        self.cpu.machine().trace().take()
    }

    /// The device sends, and whatever follows.
    async fn interrupt(&self, id: RequesterId, data: u32) -> Ending {
        let machine = self.cpu.machine();
        self.device.interrupt_at(machine.now(), id, data);
        assert!(
            machine
                .wait_for_endings(machine.interrupts_ended() + 1, SimTime::from_us(100))
                .await
        );
        let ended = machine.trace().look(0, |events| {
            events.iter().rev().find_map(|event| match event.kind {
                Kind::Ended { ending, .. } => Some(ending),
                _ => None,
            })
        });
        ended.expect("it ended")
    }
}

fn setup(profile: Profile, aliases: &[u8]) -> Setup {
    let mut setup = Setup::new(profile, aliases);
    setup.device = ScriptedDevice::default()
        .config(CAPABILITY, 0x0001_0011, 0xc000_0000)
        .registers(TABLE, &ENTRY)
        .registers(TABLE + 16, &ENTRY);
    setup
}

/// What reached the device from its access number `from` on: writes with their values, and where it was read.
fn accesses(device: &ScriptedDevice, from: usize) -> Vec<String> {
    let access = |tlp: &Tlp| match &tlp.body {
        Body::ConfigWrite(write) => {
            let control = u32::from_le_bytes(write.data) >> 30;
            format!("MSI-X enable {} mask all {}", control >> 1, control & 1)
        }
        Body::ConfigRead(_) => "read MSI-X control".to_owned(),
        Body::MemWrite(write) => {
            let value = u32::from_le_bytes(*write.data.first_chunk().expect("one DW"));
            format!("{} = {value:x}", field(write.address))
        }
        Body::MemRead(read) => format!("read {}", field(read.address)),
        other => panic!("{other:?}"),
    };
    device.sent().iter().skip(from).map(access).collect()
}

fn field(address: u64) -> String {
    let offset = address - TABLE;
    let name = ["address", "high", "data", "control"][(offset % 16 / 4) as usize];
    format!("{name}{}", offset / 16)
}

/// The kernel's log.
fn log(events: &[Event]) -> Vec<String> {
    let lines = events.iter().filter_map(|event| match &event.kind {
        Kind::KernelLog(line) => Some(line.clone()),
        _ => None,
    });
    lines.collect()
}

/// Entry writes as `vector@CPU`, `marker`, `cleared` or `off` for RemapEn 0, and commands.
fn entry_writes(events: &[Event]) -> String {
    let items = events.iter().filter_map(|event| match &event.kind {
        Kind::IrteWritten { raw, .. } => {
            let (low, vector) = (*raw as u64, (*raw >> 64) as u8);
            Some(match (low & 1, vector) {
                _ if *raw == 0 => "cleared".to_owned(),
                (0, 0xff) => "marker".to_owned(),
                (0, _) => "off".to_owned(),
                _ => format!("{vector:x}@{}", low >> 8 & 0xff_ffff),
            })
        }
        _ => event.executed().map(short),
    });
    items.collect::<Vec<_>>().join(" ")
}
