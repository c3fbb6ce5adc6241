//! The model against command streams recorded from the kernels' own object code (`golden/*.txt`).
//!
//! The recordings start with an enabled IOMMU and a device table of zeros. Runs of three or more commands with
//! consecutive IDs are one line.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;

use sim_bridge::RequesterId;

use super::tests::allocate;
use super::*;
use crate::driver::MsiMessage;
use crate::iommu::spec::dte::DteInterrupts;
use crate::iommu::spec::registers::{DevTabBase, offset};
use crate::machine::{LinkTo, Machine, MachineConfig};
use crate::pci::{BridgeKind, Function};
use crate::scripted::ScriptedDevice;
use crate::trace::Event;

const FIRST: Target = Target {
    apic_id: 1,
    vector: 0x31,
};
const SECOND: Target = Target {
    apic_id: 3,
    vector: 0x61,
};

struct Recorder {
    driver: LinuxDriver,
    cpu: Cpu,
    ids: Vec<RequesterId>,
    text: String,
}

impl Recorder {
    fn operation(&mut self, name: &str, returns: i32, changed: &[Changed]) {
        writeln!(self.text, "op {name}").expect("a string");
        let events = self.cpu.machine().trace().take();
        let commands: Vec<Command> = events.iter().filter_map(Event::executed).collect();
        self.text.push_str(&lines(&commands));
        writeln!(self.text, "  returns {returns}").expect("a string");
        for changed in changed {
            match changed {
                Changed::Dtes => self.dtes(),
                Changed::Irte => self.irte(),
                Changed::Message(message) => {
                    writeln!(self.text, "  message {:016x} {:x}", message.address, message.data)
                        .expect("a string");
                }
            }
        }
    }

    fn dtes(&mut self) {
        // Of many, the recordings have the first six and the last.
        let shown = self
            .ids
            .iter()
            .enumerate()
            .filter(|(n, _)| *n < 6 || n + 1 == self.ids.len());
        for id in shown.map(|(_, id)| *id).collect::<Vec<_>>() {
            let word = DteInterrupts::from_bits(self.driver.dte(&self.cpu, id)[2]);
            let table = self.driver.table_of(id).map(|table| table.address);
            let root = Some(word.table_root() << 6).filter(|root| *root != 0);
            assert_eq!(root, table, "{id}");
            let bits = word.with_table_root(0).into_bits();
            let table = if root.is_some() { "table0" } else { "-" };
            writeln!(self.text, "  dte {id} interrupt {bits:016x} {table}").expect("a string");
        }
    }

    fn irte(&mut self) {
        let table = self.driver.table_of(self.ids[0]).expect("a table");
        let raw = self.driver.load_irte(&self.cpu, &table, 0);
        match self.driver.irte_format {
            Format::Bits32 => writeln!(self.text, "  irte 0 {raw:08x}"),
            Format::Bits128 => writeln!(self.text, "  irte 0 {:016x} {:016x}", raw as u64, raw >> 64),
        }
        .expect("a string");
    }
}

enum Changed {
    Dtes,
    Irte,
    Message(MsiMessage),
}

fn lines(commands: &[Command]) -> String {
    let mut text = String::new();
    let mut rest = commands;
    while let Some((&first, _)) = rest.split_first() {
        let (id, next): (_, fn(RequesterId) -> Command) = match first {
            Command::InvalidateDevtabEntry(id) => (id, Command::InvalidateDevtabEntry),
            Command::InvalidateInterruptTable(id) => (id, Command::InvalidateInterruptTable),
            Command::CompletionWait { data, .. } => {
                writeln!(text, "  COMPLETION_WAIT store {data}").expect("a string");
                rest = &rest[1..];
                continue;
            }
            other => panic!("{other:?} is in no recording"),
        };
        let run = rest
            .iter()
            .zip(id.0..)
            .take_while(|(command, id)| **command == next(RequesterId(*id)))
            .count();
        if run >= 3 {
            let last = RequesterId(id.0 + run as u16 - 1);
            writeln!(text, "  {} {id} .. {last} ({run})", first.name()).expect("a string");
            rest = &rest[run..];
        } else {
            writeln!(text, "  {} {id}", first.name()).expect("a string");
            rest = &rest[1..];
        }
    }
    text
}

fn topology(name: &str) -> (PciTree, RequesterId) {
    let mut tree = PciTree::default();
    let mut add = |function| tree.add(function).expect("fits");
    add(Function::bridge(
        RequesterId::new(0, 1, 1),
        BridgeKind::PciePort,
        2,
        3,
    ));
    let id = if name == "pci-bridge" {
        add(Function::bridge(
            RequesterId::new(2, 0, 0),
            BridgeKind::PcieToPci,
            3,
            3,
        ));
        RequesterId::new(3, 4, 0)
    } else {
        RequesterId::new(2, 0, 0)
    };
    let mut function = Function::endpoint(id, (0, 0), 0);
    let aliases = match name {
        "none" | "pci-bridge" => Vec::new(),
        "func1" => vec![1],
        "switchtec4" => (0x40..=0x43).collect(),
        "plx" => (0..=0xff).collect(),
        other => panic!("no topology {other}"),
    };
    aliases
        .into_iter()
        .for_each(|devfn| function.dma_aliases.insert(devfn));
    add(function);
    (tree, id)
}

fn record(profile: Profile, topology_name: &str, ivhd: Ivhd) -> String {
    let (tree, id) = topology(topology_name);
    let function = tree.get(id).expect("just added").clone();
    let mut ids = tree.dma_aliases(&function);
    ids.dedup();
    let machine = Machine::new(
        MachineConfig::default(),
        [LinkTo::new(id, ScriptedDevice::default())],
    )
    .expect("memory");
    let ivrs = Ivrs {
        ivhd,
        last_bdf: RequesterId(0x3ff),
        not_ours: Default::default(),
        aliases: Default::default(),
    };
    let tree = Rc::new(RefCell::new(tree));
    let driver = LinuxDriver::new(profile, Options::default(), ivrs, tree, machine.memory()).expect("memory");
    let run = machine.run(|cpu| async move {
        let table = DevTabBase::new()
            .with_base(driver.device_table >> 12)
            .with_size(7);
        boot::write_base(&cpu, offset::DEV_TAB_BASE, table.into_bits()).await;
        driver.enable_command_buffer(&cpu).await;
        boot::control(&cpu, |c| c.with_ga_en(driver.irte_format == Format::Bits128)).await;
        boot::control(&cpu, |c| c.with_iommu_en(true)).await;
        cpu.machine().trace().take();
        let mut r = Recorder {
            driver,
            cpu: cpu.clone(),
            ids,
            text: String::new(),
        };

        r.driver.probe_device(&cpu, id).await.expect("probe");
        r.operation("probe", 0, &[Changed::Dtes]);
        let (first, message) = allocate(&cpu, &r.driver, id, FIRST).await.expect("allocate");
        r.operation("allocate", 0, &[Changed::Dtes, Changed::Irte]);
        r.driver.activate(&cpu, first, FIRST).await.expect("activate");
        r.operation("activate", 0, &[Changed::Irte, Changed::Message(message)]);
        for (name, apic_id, vector) in [("set_affinity", 2, 0x41), ("set_affinity_again", 0x1f, 0x52)] {
            r.driver
                .set_affinity(&cpu, first, Target { apic_id, vector })
                .await
                .expect("set_affinity");
            // 2 is IRQ_SET_MASK_OK_DONE.
            r.operation(name, 2, &[Changed::Irte]);
        }
        let (second, _) = allocate(&cpu, &r.driver, id, SECOND).await.expect("allocate");
        r.operation("allocate_second", 0, &[]);
        r.driver.activate(&cpu, second, SECOND).await.expect("activate");
        r.operation("activate_second", 0, &[]);
        r.driver.deactivate(&cpu, first).await.expect("deactivate");
        r.operation("deactivate", 0, &[Changed::Irte]);
        r.driver.free(&cpu, first).await.expect("free");
        r.operation("free", 0, &[Changed::Irte]);
        r.driver.deactivate(&cpu, second).await.expect("deactivate");
        r.operation("deactivate_second", 0, &[]);
        r.driver.free(&cpu, second).await.expect("free");
        r.operation("free_second", 0, &[]);
        r.driver.release(&cpu, id).await.expect("release");
        r.operation("release", 0, &[]);
        r.text
    });
    run.expect("nothing stalls")
}

#[test]
fn streams_equal_those_of_the_kernels_own_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/linux/golden");
    let ga = Efr::new().with_ia_sup(true).with_ga_sup(true);
    let mut compared = 0;
    for profile in [Profile::LINUX_6_12, Profile::LINUX_7_2] {
        for name in ["none", "func1", "switchtec4", "plx", "pci-bridge"] {
            for (bits, ivhd) in [(32, Ivhd::Type10), (128, Ivhd::Type11(ga, Efr2::new()))] {
                let file = format!("linux-{}-{name}-irte{bits}.txt", profile.release);
                let golden = std::fs::read_to_string(folder.join(&file)).expect("a golden file");
                let (_heading, golden) = golden.split_once('\n').expect("a heading");
                let ours = record(profile, name, ivhd);
                for (n, (ours, golden)) in ours.lines().zip(golden.lines()).enumerate() {
                    assert_eq!(ours, golden, "{file}:{}", n + 2);
                }
                assert_eq!(ours.lines().count(), golden.lines().count(), "{file}");
                compared += 1;
            }
        }
    }
    let files = std::fs::read_dir(&folder).expect("the golden folder").count();
    assert_eq!(compared, files, "every golden file is compared");
}
