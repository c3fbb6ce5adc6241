//! Whose IOMMU an ID is: who is told of it by the IVRS table, who by `clone_alias`, and who gets which command.

use super::sequences::{BEHIND_BRIDGE, behind_bridge};
use super::*;
use crate::trace::{Kind, LockStep};

const TARGET: Target = Target {
    apic_id: 1,
    vector: 0x31,
};
/// A DMA alias when the function is probed.
const EARLY: RequesterId = RequesterId(0x241);
/// One that a final fixup adds after that.
const LATE: RequesterId = RequesterId(0x240);

const CALLER: &str = "set_remap_table_entry_alias";

/// A function with an early alias that is to be plugged in. The IVRS table lists both aliases for `owner`.
fn setup(profile: Profile, owner: Option<Owner>) -> Setup {
    let mut setup = Setup::new(profile, &[EARLY.devfn()]);
    setup.ivrs.not_ours = [(EARLY, owner), (LATE, owner)].into();
    setup
}

/// Probes it, then its late alias is found.
async fn plug_in(cpu: &Cpu, driver: &LinuxDriver) {
    start(cpu, driver).await;
    driver.probe(cpu, NTB).await.expect("probe");
    add_alias(driver, NTB, LATE);
}

fn elsewhere(events: &[Event]) -> Vec<(Command, &'static str)> {
    let queued = events.iter().filter_map(|event| match event.kind {
        Kind::QueuedElsewhere {
            command, function, ..
        } => Some((command, function)),
        _ => None,
    });
    queued.collect()
}

/// What the first vector comes to.
struct FirstVector {
    /// Commands that this IOMMU executed.
    ours: String,
    /// Commands that went to another one.
    theirs: Vec<(Command, &'static str)>,
    result: Result<(), DriverError>,
    /// `rlookup_table` was NULL for an ID: the function that found it so, the table, the ID and the lock.
    oopses: Vec<(&'static str, &'static str, RequesterId, Lock)>,
}

fn first_vector(setup: Setup) -> FirstVector {
    setup.run(|cpu, driver, _| async move {
        plug_in(&cpu, &driver).await;
        cpu.machine().trace().take();
        let result = allocate(&cpu, &driver, NTB, TARGET).await.map(drop);
        cpu.udelay(1).await;
        let events = cpu.machine().trace().take();
        let oopses = events.iter().filter_map(|event| match event.kind {
            Kind::NullDereference {
                function,
                table,
                device,
                lock,
            } => Some((function, table, device, lock)),
            _ => None,
        });
        FirstVector {
            ours: notation(&events),
            theirs: elsewhere(&events),
            result,
            oopses: oopses.collect(),
        }
    })
}

fn walks_aliases(profile: &Profile) -> bool {
    profile.table_ids == TableIds::AllAliases
}

#[test]
fn the_dte_of_an_alias_that_clone_alias_has_not_seen_is_invalidated_by_the_iommu_that_firmware_has_for_it() {
    for profile in Profile::ALL {
        let seen = first_vector(setup(profile, Some(Owner::Another)));
        let (ours, theirs) = match walks_aliases(&profile) {
            true => (
                "D200 D241 W",
                vec![(Command::InvalidateDevtabEntry(LATE), CALLER)],
            ),
            false => ("D200 W", vec![]),
        };
        assert_eq!((seen.ours.as_str(), seen.theirs), (ours, theirs), "{profile}");
        assert_eq!((seen.result, seen.oopses), (Ok(()), vec![]), "{profile}");
    }
}

#[test]
fn an_alias_that_is_listed_for_this_iommu_is_invalidated_there_whenever_it_is_found() {
    for profile in Profile::ALL {
        let seen = first_vector(setup(profile, Some(Owner::This)));
        let ours = match walks_aliases(&profile) {
            true => "D200 D240 D241 W",
            false => "D200 W",
        };
        assert_eq!((seen.ours.as_str(), seen.theirs), (ours, vec![]), "{profile}");
        assert_eq!((seen.result, seen.oopses), (Ok(()), vec![]), "{profile}");
    }
}

#[test]
fn an_alias_without_an_iommu_that_clone_alias_has_not_seen_kills_the_task() {
    for profile in Profile::ALL {
        let seen = first_vector(setup(profile, None));
        let table = match profile.name {
            "5.10" => "amd_iommu_rlookup_table",
            _ => "rlookup_table",
        };
        let error = DriverError::NullDereference {
            function: CALLER,
            table,
            device: LATE,
        };
        let (ours, result, oopses) = match walks_aliases(&profile) {
            // It has queued what came before, and no wait.
            true => ("D200", Err(error), vec![(CALLER, table, LATE, Lock::IommuTable)]),
            false => ("D200 W", Ok(()), vec![]),
        };
        assert_eq!(
            (seen.ours.as_str(), seen.result, seen.oopses),
            (ours, result, oopses),
            "{profile}"
        );
        assert_eq!(seen.theirs, [], "{profile}");
    }
}

#[test]
fn an_alias_that_is_known_at_probe_gets_the_iommu_of_the_function() {
    for profile in Profile::ALL {
        let owners = setup(profile, None).run(|cpu, driver, _| async move {
            plug_in(&cpu, &driver).await;
            [NTB, EARLY, LATE].map(|id| driver.rlookup(id))
        });
        assert_eq!(owners, [Some(Owner::This), Some(Owner::This), None], "{profile}");
    }
}

/// Whether the DTE of an alias that the IVRS table lists for `owner` is written when 5.4 probes the function, and whose
/// it is then.
fn probed_by_5_4(owner: Option<Owner>) -> (bool, Option<Owner>) {
    setup(Profile::LINUX_5_4, owner).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe_device(&cpu, NTB).await.expect("probe");
        let events = cpu.machine().trace().take();
        let written = |event: &Event| matches!(event.kind, Kind::DteWritten { device: EARLY, .. });
        (events.iter().any(written), driver.rlookup(EARLY))
    })
}

#[test]
fn before_5_4_17_only_an_alias_without_an_iommu_is_set_up_at_probe() {
    assert_eq!(probed_by_5_4(None), (true, Some(Owner::This)));
    for owner in [Owner::This, Owner::Another] {
        assert_eq!(probed_by_5_4(Some(owner)), (false, Some(owner)));
    }
}

#[test]
fn the_lock_of_a_dead_task_stays_held_and_its_cpu_takes_interrupts_again() {
    let (off, released) = setup(Profile::LINUX_7_2, None).run(|cpu, driver, _| async move {
        plug_in(&cpu, &driver).await;
        cpu.machine().trace().take();
        let allocated = allocate(&cpu, &driver, NTB, TARGET).await;
        assert!(allocated.is_err_and(|error| error.is_oops()));
        let events = cpu.machine().trace().take();
        let steps = events.iter().filter_map(|event| match event.kind {
            Kind::Lock {
                lock: Lock::IommuTable,
                step,
            } => Some(step),
            _ => None,
        });
        let steps: Vec<_> = steps.collect();
        (cpu.has_interrupts_off(), steps)
    });
    assert!(!off);
    let taken = LockStep::Taken { interrupts_off: true };
    // Once to look for a table, then to make it known.
    assert_eq!(released, [taken, LockStep::Released, taken]);
}

#[test]
fn whoever_allocates_after_that_spins_for_ever_which_ends_the_run() {
    const OTHER: RequesterId = RequesterId(0x208);
    let setup = setup(Profile::LINUX_7_2, None).add(Function::endpoint(OTHER, (0, 0), 0));
    let ended = setup.try_run(|cpu, driver, _| async move {
        plug_in(&cpu, &driver).await;
        driver.probe(&cpu, OTHER).await.expect("probe");
        let dead = allocate(&cpu, &driver, NTB, TARGET).await;
        assert!(dead.is_err());
        cpu.udelay(7).await;
        let _ = allocate(&cpu.machine().cpu(2), &driver, OTHER, TARGET).await;
        unreachable!("it never gets the lock");
    });
    let Err(error @ RunError::Deadlock { .. }) = ended else {
        panic!("{ended:?}");
    };
    let RunError::Deadlock {
        at,
        cpu,
        lock,
        held_by,
        died_at,
    } = error
    else {
        unreachable!("it is one");
    };
    assert_eq!((cpu, lock, held_by), (2, Lock::IommuTable, 0));
    assert_eq!((at - died_at).as_ps() / 1_000_000, 7);
    let told = format!(
        "from {at} on CPU 2 spins for iommu_table_lock for ever: the task that held it died on CPU 0 at {died_at}"
    );
    assert_eq!(error.to_string(), told);
}

#[test]
fn who_spins_already_when_the_task_dies_spins_for_ever() {
    const OTHER: RequesterId = RequesterId(0x208);
    let mut orders = [0; 2];
    for seed in 0..8 {
        let mut setup = setup(Profile::LINUX_7_2, None).add(Function::endpoint(OTHER, (0, 0), 0));
        setup.seed = seed;
        let ended = setup.try_run(|cpu, driver, _| async move {
            plug_in(&cpu, &driver).await;
            driver.probe(&cpu, OTHER).await.expect("probe");
            for (n, id) in [(1, OTHER), (2, NTB)] {
                let (cpu, driver) = (cpu.machine().cpu(n), driver.clone());
                let executor = cpu.machine().executor().clone();
                executor.spawn("CPU", async move {
                    let _ = allocate(&cpu, &driver, id, TARGET).await;
                });
            }
            cpu.udelay(1000).await;
        });
        // Unless the other one was served first.
        match ended {
            Ok(()) => orders[0] += 1,
            Err(RunError::Deadlock {
                cpu: 1, held_by: 2, ..
            }) => orders[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(orders[1] > 0, "{orders:?}");
}

#[test]
fn what_has_no_iommu_or_another_one_is_not_managed() {
    const IOAPIC: RequesterId = RequesterId(0xa0);
    for owner in [None, Some(Owner::Another)] {
        let mut setup = Setup::new(Profile::LINUX_7_2, &[]);
        setup.ivrs.not_ours = [(NTB, owner), (IOAPIC, owner)].into();
        let refused = setup.run(|cpu, driver, _| async move {
            start(&cpu, &driver).await;
            let pin = Interrupts::IoApic { pin: 0 };
            [
                driver.probe(&cpu, NTB).await,
                driver.allocate(&cpu, IOAPIC, pin, TARGET).await.map(drop),
                driver
                    .allocate(&cpu, IOAPIC, Interrupts::Hpet, TARGET)
                    .await
                    .map(drop),
            ]
        });
        let expected = [NTB, IOAPIC, IOAPIC].map(|id| Err(DriverError::NoDevice(id)));
        assert_eq!(refused, expected, "{owner:?}");
    }
}

#[test]
fn start_up_passes_over_functions_that_have_no_iommu() {
    const OTHER: RequesterId = RequesterId(0x208);
    let mut setup = Setup::new(Profile::LINUX_7_2, &[]).add(Function::endpoint(OTHER, (0, 0), 0));
    setup.ivrs.not_ours = [(OTHER, None)].into();
    let commands = setup.run(|cpu, driver, _| async move {
        driver.enable(&cpu).await.expect("enable");
        commands_of(&cpu, driver.take_devices(&cpu, &[OTHER, NTB]))
            .await
            .1
    });
    assert_eq!(commands, "D200 W D200 W ALL W");
}

/// Probe and first vector of a function behind a bridge that the IVRS table does not list.
fn behind_unlisted_bridge(profile: Profile) -> (String, bool) {
    let mut setup = behind_bridge(profile, &[]);
    setup.ivrs.not_ours = [(RequesterId(0x208), None)].into();
    setup.run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, BEHIND_BRIDGE).await.expect("probe");
        cpu.machine().trace().take();
        let allocated = allocate(&cpu, &driver, BEHIND_BRIDGE, TARGET).await;
        cpu.udelay(1).await;
        let commands = notation(&cpu.machine().trace().take());
        (commands, allocated.is_err_and(|error| error.is_oops()))
    })
}

#[test]
fn a_step_whose_bridge_has_no_iommu_ends_the_walk_since_there_are_pci_segments() {
    for profile in Profile::ALL {
        let expected = match profile.name {
            // clone_alias has given the alias the IOMMU of the bridge, none.
            "5.10" => ("D320", true),
            _ => ("D320 W", false),
        };
        let (commands, oops) = behind_unlisted_bridge(profile);
        assert_eq!((commands.as_str(), oops), expected, "{profile}");
    }
}

#[test]
fn device_entries_fill_the_table() {
    let id = RequesterId;
    let ivrs = Ivrs {
        ivhd: ivhd_11(),
        last_bdf: id(0x3ff),
        not_ours: [
            (id(0x10), None),
            (id(0x11), Some(Owner::Another)),
            (id(0x20), None),
            (id(0x21), Some(Owner::Another)),
        ]
        .into(),
        aliases: [(id(0x20), id(0x500)), (id(0x30), id(0x21))].into(),
    };
    let table = ivrs.rlookup_table();
    for (id, owner) in [
        (0, Some(Owner::This)),
        (0x10, None),
        (0x11, Some(Owner::Another)),
        // Those of an alias entry are listed by it, unless another IOMMU has them.
        (0x20, Some(Owner::This)),
        (0x500, Some(Owner::This)),
        (0x21, Some(Owner::Another)),
        (0x3ff, Some(Owner::This)),
        (0x400, None),
        (0xffff, None),
    ] {
        assert_eq!(table[id], owner, "{id:#x}");
    }
}
