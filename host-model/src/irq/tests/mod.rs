//! The interrupt core on Linux's driver, with a scripted device that has a table of two MSI-X vectors.

mod life;
mod misuse;
mod moves;

use std::cell::Cell;
use std::rc::Rc;

use sim_bridge::{RequesterId, SimTime};

use super::*;
use crate::checker::{FindingKind, Place};
use crate::driver::{DriverError, Interrupts, IommuDriver};
use crate::linux::Profile;
use crate::linux::tests::{NTB, Setup, notation, short, start};
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
        let handled = self.handled.clone();
        let handler: Handler = Rc::new(move |cpu| {
            let handled = handled.clone();
            Box::pin(async move {
                cpu.udelay(10).await;
                handled.set(handled.get() + 1);
            })
        });
        self.core.request(&self.cpu, &MSIX, irq, 1, handler).await
    }

    fn slot(&self, irq: Irq) -> (u32, u8) {
        self.cpu.machine().irqs().slot(irq).expect("requested")
    }

    fn is_used(&self, (cpu, vector): (u32, u8)) -> bool {
        self.cpu.machine().irqs().handler(cpu, vector).is_some()
    }

    fn events(&self) -> Vec<Event> {
        self.cpu.machine().trace().take()
    }

    async fn interrupt(&self, id: RequesterId, data: u32) -> Ending {
        let machine = self.cpu.machine();
        self.device.interrupt_at(machine.now(), id, data);
        assert!(
            machine
                .wait_for_endings(machine.interrupts_ended() + 1, SimTime::from_us(100))
                .await
        );
        let ended = self
            .events()
            .into_iter()
            .rev()
            .find_map(|event| match event.kind {
                Kind::Ended { ending, .. } => Some(ending),
                _ => None,
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
