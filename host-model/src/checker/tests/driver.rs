//! Mistakes of Linux's driver that are known from its source, as the checker tells them.

use std::rc::Rc;

use super::*;
use crate::driver::{Entry, Interrupts, Target};
use crate::irq::{Handler, IrqCore, IrqReturn, MsixDevice};
use crate::linux::tests::{NTB, Setup, start};
use crate::linux::{LinuxDriver, Profile};
use crate::pci::Function;
use crate::trace::Ending;

/// In NTB's slot.
const FUNC1: RequesterId = RequesterId(0x201);
/// Of the NTB.
const ALIAS: RequesterId = RequesterId(0x240);
const TARGET: Target = Target {
    apic_id: 1,
    vector: 0x31,
};
const MOVED: Target = Target {
    apic_id: 2,
    vector: 0x41,
};
const TABLE_OF_MSIX: u64 = 0xe000_0000;

/// A machine on which the driver's calls are seen.
#[derive(Clone)]
struct Driven {
    cpu: Cpu,
    driver: Rc<LinuxDriver>,
    device: ScriptedDevice,
}

impl Driven {
    async fn new(cpu: Cpu, driver: Rc<LinuxDriver>, device: ScriptedDevice) -> Self {
        start(&cpu, &driver).await;
        cpu.machine()
            .with_checker(|checker| checker.set_driver(driver.clone()));
        Self { cpu, driver, device }
    }

    async fn probe(&self, id: RequesterId) {
        let driver = &self.driver;
        let probed = self
            .cpu
            .call("probe", async |cpu| driver.probe(&cpu, id).await)
            .await;
        probed.expect("probe");
    }

    async fn release(&self, id: RequesterId) {
        let driver = &self.driver;
        let released = self
            .cpu
            .call("release", async |cpu| driver.release(&cpu, id).await)
            .await;
        released.expect("release");
    }

    /// An entry that is active.
    async fn entry(&self, id: RequesterId, interrupts: Interrupts) -> (Entry, u32) {
        let driver = &self.driver;
        let allocation = self
            .cpu
            .call("allocate", async |cpu| {
                driver.allocate(&cpu, id, interrupts, TARGET).await
            })
            .await
            .expect("room");
        let entry = allocation.entries[0];
        let active = self
            .cpu
            .call("activate", async |cpu| driver.activate(&cpu, entry, TARGET).await)
            .await;
        active.expect("activate");
        (entry, allocation.message.data)
    }

    async fn set_affinity(&self, entry: Entry) {
        let driver = &self.driver;
        let moved = self
            .cpu
            .call("set_affinity", async |cpu| {
                driver.set_affinity(&cpu, entry, MOVED).await
            })
            .await;
        moved.expect("set_affinity");
    }

    async fn free(&self, entry: Entry) {
        let driver = &self.driver;
        let call = async |name, deactivates: bool| {
            self.cpu
                .call(name, async |cpu| match deactivates {
                    true => driver.deactivate(&cpu, entry).await,
                    false => driver.free(&cpu, entry).await,
                })
                .await
                .expect(name);
        };
        call("deactivate", true).await;
        call("free", false).await;
    }

    async fn interrupt(&self, id: RequesterId, data: u32) -> Ending {
        let machine = self.cpu.machine();
        machine.trace().take();
        self.device.interrupt_at(machine.now(), id, data);
        let count = machine.interrupts_ended() + 1;
        assert!(machine.wait_for_endings(count, SimTime::from_us(100)).await);
        let ended = machine
            .trace()
            .take()
            .into_iter()
            .find_map(|event| match event.kind {
                Kind::Ended { ending, .. } => Some(ending),
                _ => None,
            });
        ended.expect("it ended")
    }

    /// Each kind of finding with its sentence, and what is missing where.
    fn findings(&self) -> Vec<String> {
        let findings = self.cpu.machine().with_checker(|checker| checker.findings());
        let findings = findings.expect("it is checked");
        let told = Explanation::of(&findings).into_iter().map(|told| {
            let missing = told
                .missing()
                .map_or(String::new(), |missing| format!(" Missing: {missing}."));
            let function = told.finding.function.unwrap_or("-");
            format!(
                "{}: {}{missing} [{function}]",
                told.finding.kind.name(),
                told.sentence()
            )
        });
        told.collect()
    }
}

fn run_driver<T: 'static, F: Future<Output = T> + 'static>(
    setup: Setup,
    main: impl FnOnce(Driven) -> F + 'static,
) -> T {
    setup.run(|cpu, driver, device| async move { main(Driven::new(cpu, driver, device).await).await })
}

/// An interrupt under `id`, a change of its entry, and another interrupt if `again`.
fn changed_entry(setup: Setup, id: RequesterId, frees: bool, again: bool) -> Vec<String> {
    run_driver(setup, move |driven| async move {
        driven.probe(NTB).await;
        let (entry, data) = driven.entry(NTB, Interrupts::Msix).await;
        driven.interrupt(id, data).await;
        if frees {
            driven.free(entry).await;
        } else {
            driven.set_affinity(entry).await;
        }
        if again {
            driven.interrupt(id, data).await;
        }
        let mut told = driven.findings();
        // No handler is installed anywhere.
        told.retain(|finding| !finding.starts_with("spurious"));
        told
    })
}

#[test]
fn an_ivrs_alias_on_another_bus_stays_stale_with_the_fix_too() {
    let other_bus = RequesterId(0x300);
    for profile in [Profile::LINUX_6_12, Profile::LINUX_7_2] {
        let mut setup = Setup::new(profile, &[]);
        setup.ivrs.aliases.insert(NTB, other_bus);
        let expected = "stale: IRTE 0 of 02:00.0 was changed by set_affinity and invalidated under 02:00.0 only; 03:00.0 \
                        still has the old entry cached. Missing: INVALIDATE_INTERRUPT_TABLE 03:00.0. \
                        [iommu_flush_irt_and_complete]";
        assert_eq!(
            changed_entry(setup, other_bus, false, true),
            [expected],
            "{profile}"
        );
    }
}

#[test]
fn an_entry_that_is_freed_is_left_under_its_alias_without_the_fix() {
    let left = "left: IRTE 0 of 02:00.0 was freed by deactivate and invalidated under 02:00.0 only; 02:08.0 still has the \
                old entry cached, unused so far. Missing: INVALIDATE_INTERRUPT_TABLE 02:08.0. \
                [iommu_flush_irt_and_complete]";
    for (profile, expected) in [(Profile::LINUX_6_12, &[left][..]), (Profile::LINUX_7_2, &[])] {
        let setup = Setup::new(profile, &[ALIAS.devfn()]);
        assert_eq!(changed_entry(setup, ALIAS, true, false), expected, "{profile}");
    }
}

#[test]
fn a_released_function_is_used_by_the_fix_alone() {
    let used = "use-after-release: iommu_flush_irt_and_complete used what the driver knew of 02:00.0, which CPU 0 had \
                released: a kernel reads freed memory there. [iommu_flush_irt_and_complete]";
    for (profile, expected) in [(Profile::LINUX_6_12, &[][..]), (Profile::LINUX_7_2, &[used])] {
        let told = run_driver(Setup::new(profile, &[]), |driven| async move {
            let (entry, _) = driven.entry(NTB, Interrupts::IoApic { pin: 4 }).await;
            driven.probe(NTB).await;
            driven.release(NTB).await;
            driven.set_affinity(entry).await;
            driven.findings()
        });
        assert_eq!(told, expected, "{profile}");
    }
}

/// A sibling has an entry, which is cached, before a function takes its table over: the sibling's next interrupt.
fn table_taken(profile: Profile) -> Vec<String> {
    let setup = Setup::new(profile, &[FUNC1.devfn()]).add(Function::endpoint(FUNC1, (0, 0), 0));
    run_driver(setup, |driven| async move {
        for id in [NTB, FUNC1] {
            driven.probe(id).await;
            driven.cpu.machine().irqs_mut().add_function(id, []);
        }
        let (_, data) = driven.entry(FUNC1, Interrupts::Msix).await;
        driven.interrupt(FUNC1, data).await;
        let (entry, _) = driven.entry(NTB, Interrupts::Msix).await;
        driven.set_affinity(entry).await;
        driven.interrupt(FUNC1, data).await;
        let mut told = driven.findings();
        told.retain(|finding| !finding.starts_with("spurious"));
        told
    })
}

#[test]
fn a_siblings_interrupt_goes_by_an_entry_of_who_took_its_table() {
    let stolen = "stolen: Interrupts of 02:00.1, index 0, were remapped by an entry that belongs to 02:00.0: allocate \
                  pointed the DTE of 02:00.1 at the table of 02:00.0. [set_remap_table_entry]";
    assert_eq!(table_taken(Profile::LINUX_7_2), [stolen]);
}

#[test]
fn a_siblings_interrupt_goes_by_the_table_that_was_taken_where_aliases_are_not_flushed() {
    let stale = "stale: 02:00.1 has IRTE 0 of another table cached: the DTE of 02:00.1 was changed by allocate, and the \
                 IRTEs that were cached by it were not invalidated. Missing: INVALIDATE_INTERRUPT_TABLE 02:00.1. \
                 [iommu_flush_irt_and_complete]";
    assert_eq!(table_taken(Profile::LINUX_6_12), [stale]);
}

#[test]
fn an_alias_that_got_no_table_is_told_when_its_interrupts_are_blocked() {
    let mut setup =
        Setup::new(Profile::LINUX_7_2, &[ALIAS.devfn()]).add(Function::endpoint(FUNC1, (0, 0), 0));
    setup.ivrs.aliases.insert(NTB, FUNC1);
    let masked = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    setup.device = ScriptedDevice::default()
        .config(0x40, 0x0000_0011, 0xc000_0000)
        .registers(TABLE_OF_MSIX, &masked);
    let told = run_driver(setup, |driven| async move {
        for id in [NTB, FUNC1] {
            driven.probe(id).await;
        }
        driven.entry(FUNC1, Interrupts::Msix).await;
        driven.cpu.machine().irqs_mut().add_function(NTB, [ALIAS]);
        let msix = MsixDevice {
            id: NTB,
            capability: 0x40,
            vectors: 1,
            table: TABLE_OF_MSIX,
        };
        let core = IrqCore::new(driven.driver.clone());
        let irqs = core.allocate_vectors(&driven.cpu, &msix, 1).await.expect("room");
        let handler: Handler = Rc::new(|_| Box::pin(async { IrqReturn::Handled }));
        core.request(&driven.cpu, irqs[0], 1, handler)
            .await
            .expect("request");
        let data = driven
            .cpu
            .machine()
            .irqs()
            .message(irqs[0])
            .expect("a message")
            .data;
        let own = driven.interrupt(NTB, data).await;
        assert!(matches!(own, Ending::Delivered { .. }), "{own}");
        assert_eq!(driven.interrupt(ALIAS, data).await, Ending::Blocked);
        driven.findings()
    });
    assert_eq!(
        told,
        [
            "blocked: Interrupts of 02:08.0, index 1, were blocked though 02:00.0 has requested them: the DTE of 02:08.0 \
             has no remapping table (IntCtl 0), which 02:00.0 has. [set_remap_table_entry]"
        ]
    );
}
