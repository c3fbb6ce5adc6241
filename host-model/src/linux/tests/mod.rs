//! The driver model in a machine with a scripted device. The command sequences are those that the kernels' own object
//! code emitted, in a short notation: `D240` is INVALIDATE_DEVTAB_ENTRY of 02:08.0, `R240` INVALIDATE_INTERRUPT_TABLE,
//! `P1` INVALIDATE_IOMMU_PAGES of domain 1, `ALL` INVALIDATE_IOMMU_ALL, `W` COMPLETION_WAIT.

mod allocation;
mod concurrency;
mod faults;
mod guest_mode;
mod lifetime;
mod operations;
mod power;
mod queue;
mod rlookup;
mod sequences;
mod start_up;
mod strategies;

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use sim_bridge::RequesterId;

use super::*;
use crate::driver::MsiMessage;
use crate::iommu::Config;
use crate::iommu::spec::features::{Efr, Efr2};
use crate::machine::{LinkTo, Machine, MachineConfig, RunError};
use crate::pci::{BridgeKind, Function};
use crate::scripted::ScriptedDevice;
use crate::trace::Event;

/// The function on the link.
pub(crate) const NTB: RequesterId = RequesterId(0x200);

/// IVHD type 0x11 with EFR = IA, GA.
pub(crate) fn ivhd_11() -> Ivhd {
    Ivhd::Type11(Efr::new().with_ia_sup(true).with_ga_sup(true), Efr2::new())
}

/// A machine to be.
pub(crate) struct Setup {
    pub(crate) profile: Profile,
    pub(crate) options: Options,
    pub(crate) ivrs: Ivrs,
    pub(crate) tree: PciTree,
    pub(crate) iommu: Config,
    pub(crate) seed: u64,
    pub(crate) trace: bool,
    pub(crate) device: ScriptedDevice,
}

impl Setup {
    /// 02:00.0 under a root port, with aliases at these device/function numbers.
    pub(crate) fn new(profile: Profile, aliases: &[u8]) -> Self {
        let mut tree = PciTree::default();
        let port = Function::bridge(RequesterId::new(0, 1, 1), BridgeKind::PciePort, 2, 3);
        tree.add(port).expect("fits");
        let mut ntb = Function::endpoint(NTB, (0, 0), 0);
        aliases.iter().for_each(|&devfn| ntb.dma_aliases.insert(devfn));
        tree.add(ntb).expect("fits");
        Self {
            profile,
            options: Options::default(),
            ivrs: Ivrs {
                ivhd: ivhd_11(),
                last_bdf: RequesterId(0x3ff),
                not_ours: Default::default(),
                aliases: Default::default(),
            },
            tree,
            iommu: Config::default(),
            seed: 0,
            trace: true,
            device: ScriptedDevice::default(),
        }
    }

    pub(crate) fn add(mut self, function: Function) -> Self {
        self.tree.add(function).expect("fits");
        self
    }

    /// Runs `main` on CPU 0, with nothing enabled yet.
    pub(crate) fn run<T: 'static, F>(self, main: impl FnOnce(Cpu, Rc<LinuxDriver>, ScriptedDevice) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        self.try_run(main).expect("nothing stalls")
    }

    /// The same of what may not come to its end.
    pub(crate) fn try_run<T: 'static, F>(
        self,
        main: impl FnOnce(Cpu, Rc<LinuxDriver>, ScriptedDevice) -> F,
    ) -> Result<T, RunError>
    where
        F: Future<Output = T> + 'static,
    {
        let config = MachineConfig {
            iommu: self.iommu,
            seed: self.seed,
            trace: self.trace,
            ..MachineConfig::default()
        };
        let machine = Machine::new(config, [LinkTo::new(NTB, self.device.clone())]).expect("memory");
        let tree = Rc::new(RefCell::new(self.tree));
        let driver = LinuxDriver::new(self.profile, self.options, self.ivrs, tree, machine.memory());
        let driver = Rc::new(driver.expect("memory"));
        machine.run(|cpu| main(cpu, driver, self.device))
    }
}

/// Allocates an MSI-X entry.
pub(crate) async fn allocate(
    cpu: &Cpu,
    driver: &LinuxDriver,
    id: RequesterId,
    target: Target,
) -> Result<(Entry, MsiMessage), DriverError> {
    let Allocation { entries, message } = driver.allocate(cpu, id, Interrupts::Msix, target).await?;
    Ok((entries[0], message))
}

/// A final fixup finds another alias of a function.
pub(crate) fn add_alias(driver: &LinuxDriver, id: RequesterId, alias: RequesterId) {
    let mut tree = driver.tree.borrow_mut();
    let function = tree.get_mut(id).expect("it is there");
    function.dma_aliases.insert(alias.devfn());
}

/// Enables the IOMMU with no device, and forgets how.
pub(crate) async fn start(cpu: &Cpu, driver: &LinuxDriver) {
    driver.enable(cpu).await.expect("enable");
    driver.take_devices(cpu, &[]).await.expect("take_devices");
    cpu.machine().trace().take();
}

/// A call's command sequence.
pub(crate) async fn commands_of<T>(
    cpu: &Cpu,
    call: impl Future<Output = Result<T, DriverError>>,
) -> (T, String) {
    cpu.machine().trace().take();
    let value = call.await.expect("the call succeeds");
    (value, notation(&cpu.machine().trace().take()))
}

/// What the IOMMU executed.
pub(crate) fn notation(events: &[Event]) -> String {
    let commands: Vec<String> = events.iter().filter_map(Event::executed).map(short).collect();
    commands.join(" ")
}

pub(crate) fn short(command: Command) -> String {
    match command {
        Command::InvalidateDevtabEntry(id) => format!("D{:x}", id.0),
        Command::InvalidateInterruptTable(id) => format!("R{:x}", id.0),
        Command::InvalidateIommuPages { domain, .. } => format!("P{domain:x}"),
        Command::InvalidateIommuAll => "ALL".to_owned(),
        Command::CompletionWait { .. } => "W".to_owned(),
        other => other.name().to_owned(),
    }
}
