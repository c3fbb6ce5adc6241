//! The checker on a machine whose tables and commands a test writes by hand: raw bits, 32-bit entries.

mod coherence;
mod driver;
mod guest;
mod judgement;
mod kinds;
mod machine;
mod memory;
mod model;
mod refused;
mod words;

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use sim_bridge::{RequesterId, SimTime};

use super::interrupts::place;
use super::*;
use crate::iommu::spec::command::Command;
use crate::iommu::{Answer, LookupFrom, Outcome};
use crate::machine::{Cpu, IOMMU_MMIO, LinkTo, Machine, MachineConfig};
use crate::scripted::ScriptedDevice;
use crate::trace::{Ending, Kind};

const DEVICE_TABLE: u64 = 0x10_0000;
const COMMANDS: u64 = 0x40_0000;
const TABLE: u64 = 0x50_0000;
const OTHER_TABLE: u64 = 0x50_1000;
const RIDS: [RequesterId; 3] = [RequesterId(0x4100), RequesterId(0x4101), RequesterId(0x41ff)];
const RID: RequesterId = RIDS[0];

/// IV, 512 entries, IntCtl 2.
const fn dte(table: u64) -> u64 {
    2 << 60 | table | 9 << 1 | 1
}

/// RemapEn, destination 1.
const fn irte(vector: u8) -> u32 {
    (vector as u32) << 16 | 1 << 8 | 1
}

const fn invalidate_irt(id: RequesterId) -> u64 {
    5 << 60 | id.0 as u64
}

const fn invalidate_dte(id: RequesterId) -> u64 {
    2 << 60 | id.0 as u64
}

const INVALIDATE_ALL: u64 = 8 << 60;

#[derive(Clone)]
struct Rig {
    cpu: Cpu,
    device: ScriptedDevice,
    tail: Rc<Cell<u32>>,
}

/// Runs with an enabled IOMMU; the DTEs of [`RIDS`] point to [`TABLE`], which is empty.
fn run<T: 'static, F: Future<Output = T> + 'static>(main: impl FnOnce(Rig) -> F) -> T {
    let device = ScriptedDevice::default();
    let machine = Machine::new(MachineConfig::default(), [LinkTo::new(RID, device.clone())]).expect("memory");
    let rig = |cpu| Rig {
        cpu,
        device,
        tail: Rc::default(),
    };
    machine
        .run(|cpu| {
            let rig = rig(cpu);
            let main = main(rig.clone());
            async move {
                rig.start().await;
                main.await
            }
        })
        .expect("nothing stalls")
}

impl Rig {
    async fn start(&self) {
        // A device table of 2 MiB, a ring of 512 commands; IommuEn and CmdBufEn.
        for (offset, value) in [
            (0x00, DEVICE_TABLE | 0x1ff),
            (0x08, COMMANDS | 9 << 56),
            (0x18, 1 | 1 << 12),
        ] {
            self.cpu.mmio_write(IOMMU_MMIO + offset, 8, value).await;
        }
        for id in RIDS {
            self.write_dte(id, TABLE).await;
        }
    }

    fn checked<T>(&self, ask: impl FnOnce(&mut Checker) -> T) -> T {
        self.cpu.machine().with_checker(ask).expect("it is checked")
    }

    async fn write_dte(&self, id: RequesterId, table: u64) {
        let address = DEVICE_TABLE + 32 * u64::from(id.0) + 16;
        self.cpu
            .call("write_dte", async |cpu| {
                cpu.store(address, &dte(table).to_le_bytes())
            })
            .await;
    }

    /// A driver call of its own.
    async fn write(&self, index: u16, entry: u32) {
        self.cpu
            .call("write", async |cpu| store(&cpu, index, entry))
            .await;
    }

    /// Executes a command.
    async fn command(&self, low: u64) {
        let at = self.tail.get();
        let words = [low.to_le_bytes(), [0; 8]].concat();
        self.cpu.store(COMMANDS + u64::from(at), &words);
        self.tail.set((at + 16) % 8192);
        self.cpu.writel(IOMMU_MMIO + 0x2008, self.tail.get()).await;
        self.cpu.udelay(1).await;
    }

    /// Sends an interrupt and waits for its end: what was judged, and the vector that it was remapped to.
    async fn interrupt(&self, id: RequesterId, index: u16) -> (Freshness, Option<u8>) {
        let machine = self.cpu.machine();
        machine.trace().take();
        self.device.interrupt_at(machine.now(), id, index.into());
        let count = machine.interrupts_ended() + 1;
        assert!(machine.wait_for_endings(count, SimTime::from_us(100)).await);
        self.judged().pop().expect("it was judged")
    }

    /// All judgements since the last call.
    fn judged(&self) -> Vec<(Freshness, Option<u8>)> {
        let events = self.cpu.machine().trace().take();
        let judged = events.iter().filter_map(|event| match &event.kind {
            Kind::Answered { answer, freshness } => Some((
                freshness.expect("it is checked"),
                place(&answer.outcome).map(|p| p.vector),
            )),
            _ => None,
        });
        judged.collect()
    }

    fn findings(&self) -> Vec<Finding> {
        self.checked(|checker| checker.findings())
    }
}

fn store(cpu: &Cpu, index: u16, entry: u32) {
    cpu.store(TABLE + 4 * u64::from(index), &entry.to_le_bytes());
}

fn history(finding: &Finding) -> &History {
    match &finding.mistake {
        Mistake::NotInvalidated(history) => history,
        other => panic!("no history: {other:?}"),
    }
}

/// What is cached, in a word, and who changed it.
fn changed(finding: &Finding) -> (&'static str, Option<&'static str>) {
    let history = history(finding);
    let cached = match history.cached {
        Cached::Dte(_) => "DTE",
        Cached::Irte(..) => "IRTE",
        Cached::Page { .. } => "page",
    };
    (cached, history.changed.by)
}

/// IDs of the invalidations in these commands.
fn ids(commands: &[Command]) -> Vec<RequesterId> {
    let ids = commands.iter().map(|command| match command {
        Command::InvalidateDevtabEntry(id) | Command::InvalidateInterruptTable(id) => *id,
        other => panic!("no ID: {other:?}"),
    });
    ids.collect()
}

const fn entry(requester: RequesterId, index: u16) -> Subject {
    Subject::Entry { requester, index }
}
