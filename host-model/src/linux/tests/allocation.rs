//! Which entries of which table are allocated, and whose DTEs point there.

use super::sequences::{BEHIND_BRIDGE, SIBLING, behind_bridge};
use super::*;
use crate::iommu::spec::dte::DteInterrupts;
use crate::iommu::spec::features::Features;
use crate::trace::{Ending, Kind};
use sim_bridge::SimTime;
use sim_bridge::tlp::Tlp;

const TARGET: Target = Target {
    apic_id: 1,
    vector: 0x31,
};
/// An IOAPIC that no function has the ID of.
const IOAPIC: RequesterId = RequesterId(0xa0);

fn indices(allocation: Result<Allocation, DriverError>) -> Result<Vec<u16>, DriverError> {
    Ok(allocation?.entries.iter().map(|entry| entry.index).collect())
}

#[test]
fn messages_of_an_msi_have_consecutive_entries_aligned_to_the_power_of_two() {
    let allocated = Setup::new(Profile::LINUX_7_2, &[]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let mut allocated = Vec::new();
        for interrupts in [
            Interrupts::Msix,
            Interrupts::Msi { count: 4 },
            Interrupts::Msi { count: 3 },
            Interrupts::Msix,
            Interrupts::Msi { count: 32 },
        ] {
            let allocation = driver
                .allocate(&cpu, NTB, interrupts, TARGET)
                .await
                .expect("room");
            allocated.push((
                allocation.entries[0].index,
                allocation.entries.len(),
                allocation.message.data,
            ));
        }
        allocated
    });
    let expected = [(0, 1, 0), (4, 4, 4), (8, 3, 8), (1, 1, 1), (32, 32, 32)];
    assert_eq!(allocated, expected);
}

#[test]
fn a_gap_that_is_too_small_for_an_msi_is_passed_over() {
    let allocated = Setup::new(Profile::LINUX_7_2, &[]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let mut entries = Vec::new();
        for _ in 0..512 {
            entries.push(allocate(&cpu, &driver, NTB, TARGET).await.expect("room").0);
        }
        for index in [9, 10, 11, 12, 20, 21, 22] {
            driver.free(&cpu, entries[index]).await.expect("free");
        }
        let mut allocated = Vec::new();
        for count in [4, 3, 2] {
            let interrupts = Interrupts::Msi { count };
            allocated.push(indices(driver.allocate(&cpu, NTB, interrupts, TARGET).await));
        }
        allocated
    });
    let expected = [
        Err(DriverError::NoSpace(NTB)),
        Ok(vec![20, 21, 22]),
        Ok(vec![10, 11]),
    ];
    assert_eq!(allocated, expected);
}

#[test]
fn an_msi_has_1_to_32_messages() {
    let refused = Setup::new(Profile::LINUX_7_2, &[]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let mut refused = Vec::new();
        for count in [0, 33] {
            let interrupts = Interrupts::Msi { count };
            refused.push(indices(driver.allocate(&cpu, NTB, interrupts, TARGET).await));
        }
        refused
    });
    let error = DriverError::Invalid("a function's MSI has 1 to 32 messages");
    assert_eq!(refused, [Err(error), Err(error)]);
}

#[test]
fn pins_of_an_ioapic_have_their_own_entries_and_others_those_behind() {
    let (pins, others, commands) = Setup::new(Profile::LINUX_7_2, &[]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        let call = driver.allocate(&cpu, IOAPIC, Interrupts::IoApic { pin: 2 }, TARGET);
        let (first, commands) = commands_of(&cpu, call).await;
        let mut pins = vec![(first.entries[0].index, first.message.data)];
        let last = driver
            .allocate(&cpu, IOAPIC, Interrupts::IoApic { pin: 23 }, TARGET)
            .await
            .expect("free");
        pins.push((last.entries[0].index, last.message.data));
        let hpet = driver.allocate(&cpu, IOAPIC, Interrupts::Hpet, TARGET).await;
        let out_of_range = driver
            .allocate(&cpu, IOAPIC, Interrupts::IoApic { pin: 32 }, TARGET)
            .await;
        (pins, [indices(hpet), indices(out_of_range)], commands)
    });
    assert_eq!(pins, [(2, 2), (23, 23)]);
    let error = DriverError::Invalid("an IOAPIC has pins 0 to 31");
    assert_eq!(others, [Ok(vec![32]), Err(error)]);
    assert_eq!(commands, "Da0 W");
}

#[test]
fn an_ioapic_beyond_the_device_table_has_no_iommu() {
    let refused = Setup::new(Profile::LINUX_7_2, &[]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        let far = RequesterId(0x400);
        let pin = driver
            .allocate(&cpu, far, Interrupts::IoApic { pin: 0 }, TARGET)
            .await;
        let hpet = driver.allocate(&cpu, far, Interrupts::Hpet, TARGET).await;
        (indices(pin), indices(hpet))
    });
    let error = Err(DriverError::NoDevice(RequesterId(0x400)));
    assert_eq!(refused, (error.clone(), error));
}

#[test]
fn an_ioapic_with_a_functions_id_shares_its_table_and_not_its_aliases() {
    let (commands, flush) = Setup::new(Profile::LINUX_7_2, &[0x40]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        let pin = Interrupts::IoApic { pin: 4 };
        // Before the function is probed, as at start-up.
        let (allocation, commands) = commands_of(&cpu, driver.allocate(&cpu, NTB, pin, TARGET)).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let call = driver.set_affinity(&cpu, allocation.entries[0], TARGET);
        (commands, commands_of(&cpu, call).await.1)
    });
    // The lookup of the ID finds the function, so its aliases are invalidated for the IOAPIC's sake.
    assert_eq!((commands.as_str(), flush.as_str()), ("D200 W", "R200 R240 W"));
}

/// Of an IOMMU with 2048-entry tables, as firmware says too.
fn setup_2k(profile: Profile) -> Setup {
    let mut setup = Setup::new(profile, &[0x40]);
    let efr = Efr::new().with_ia_sup(true).with_ga_sup(true);
    let efr2 = Efr2::new().with_num_int_remap_sup(1);
    setup.ivrs.ivhd = Ivhd::Type11(efr, efr2);
    setup.iommu.features = Features::new(efr, efr2).expect("implemented");
    setup
}

/// Table lengths of the function and its alias, the message, and where interrupts 600 under each end.
fn large_tables(profile: Profile) -> (Vec<u8>, u64, Vec<Ending>) {
    setup_2k(profile).run(|cpu, driver, device| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let (first, message) = allocate(&cpu, &driver, NTB, TARGET).await.expect("room");
        let lengths = [0x200, 0x240]
            .map(|id| DteInterrupts::from_bits(driver.dte(&cpu, RequesterId(id))[2]).table_length());
        let mut endings = Vec::new();
        let mut last = Some(first);
        while let Some(entry) = last.filter(|entry| entry.index < 600) {
            last = allocate(&cpu, &driver, NTB, TARGET)
                .await
                .ok()
                .map(|(next, _)| next)
                .filter(|next| next.index > entry.index);
        }
        if let Some(entry) = last {
            driver.activate(&cpu, entry, TARGET).await.expect("activate");
            for (count, id) in (1..).zip([0x200, 0x240]) {
                let data = 600_u32.to_le_bytes();
                let tlp = Tlp::mem_write(RequesterId(id), message.address, &data).expect("one DW");
                device.send_at(cpu.machine().now(), tlp);
                assert!(cpu.machine().wait_for_endings(count, SimTime::from_us(100)).await);
            }
            let events = cpu.machine().trace().take();
            endings.extend(events.iter().filter_map(|event| match event.kind {
                Kind::Ended { ending, .. } => Some(ending),
                _ => None,
            }));
        }
        (lengths.to_vec(), message.address, endings)
    })
}

#[test]
fn a_table_of_2048_has_512_entries_under_an_alias() {
    let (cpu, vector) = (1, 0x31);
    // No handler is installed there.
    let reached = Ending::Spurious { cpu, vector };
    for profile in [Profile::LINUX_7_0, Profile::LINUX_7_2] {
        let expected = (vec![11, 9], 0xfee0_0004, vec![reached, Ending::Blocked]);
        assert_eq!(large_tables(profile), expected, "{profile}");
    }
    for profile in [Profile::LINUX_5_10, Profile::LINUX_6_12, Profile::LINUX_6_12_FIX] {
        assert_eq!(
            large_tables(profile),
            (vec![9, 9], 0xfee0_0000, vec![]),
            "{profile}"
        );
    }
}

#[test]
fn without_translation_there_is_no_entry_to_be_had() {
    for (profile, expected) in [
        (Profile::LINUX_7_2, Err(DriverError::NoSpace(NTB))),
        (Profile::LINUX_6_12, Ok(vec![0])),
    ] {
        let mut setup = Setup::new(profile, &[0x40]);
        let efr = Efr::new().with_ia_sup(true).with_ga_sup(true).with_hats(3);
        setup.ivrs.ivhd = Ivhd::Type11(efr, Efr2::new());
        let (probe, allocated, dte) = setup.run(|cpu, driver, _| async move {
            start(&cpu, &driver).await;
            let ((), probe) = commands_of(&cpu, driver.probe(&cpu, NTB)).await;
            let allocated = driver.allocate(&cpu, NTB, Interrupts::Msix, TARGET).await;
            (probe, indices(allocated), driver.dte(&cpu, NTB))
        });
        assert_eq!(allocated, expected, "{profile}");
        if profile.tables_of_2048 {
            // Set up for interrupts, not for memory: V and TV are 0.
            assert_eq!((probe.as_str(), dte[0]), ("D240 W", 0));
        }
    }
}

/// The table addresses of DTEs.
fn tables(cpu: &Cpu, driver: &LinuxDriver, ids: &[u16]) -> Vec<u64> {
    let interrupts = |id: &u16| DteInterrupts::from_bits(driver.dte(cpu, RequesterId(*id))[2]);
    ids.iter().map(|id| interrupts(id).table_root() << 6).collect()
}

#[test]
fn a_function_takes_over_the_table_of_a_sibling_whose_id_is_its_alias() {
    const FUNC1: RequesterId = RequesterId(0x201);
    for profile in [Profile::LINUX_5_10, Profile::LINUX_6_12, Profile::LINUX_7_2] {
        let setup = Setup::new(profile, &[1]).add(Function::endpoint(FUNC1, (0, 0), 0));
        let (before, after) = setup.run(|cpu, driver, _| async move {
            start(&cpu, &driver).await;
            for id in [NTB, FUNC1] {
                driver.probe(&cpu, id).await.expect("probe");
            }
            allocate(&cpu, &driver, FUNC1, TARGET).await.expect("room");
            let before = tables(&cpu, &driver, &[0x200, 0x201]);
            allocate(&cpu, &driver, NTB, TARGET).await.expect("room");
            (before, tables(&cpu, &driver, &[0x200, 0x201]))
        });
        assert_eq!(before[0], 0, "{profile}");
        assert_eq!(after, [after[0]; 2], "{profile}");
        assert_ne!(after[1], before[1], "{profile}");
    }
}

#[test]
fn with_a_table_of_the_ivrs_alias_other_aliases_get_none() {
    let mut setup = behind_bridge(Profile::LINUX_7_2, &[(BEHIND_BRIDGE.0, SIBLING.0)]);
    let ntb = setup.tree.get_mut(BEHIND_BRIDGE).expect("it is there");
    ntb.dma_aliases.insert(0x40);
    let (commands, tables) = setup.run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        for id in [BEHIND_BRIDGE, SIBLING] {
            driver.probe(&cpu, id).await.expect("probe");
        }
        allocate(&cpu, &driver, SIBLING, TARGET).await.expect("room");
        let (_, commands) = commands_of(&cpu, allocate(&cpu, &driver, BEHIND_BRIDGE, TARGET)).await;
        (
            commands,
            tables(&cpu, &driver, &[SIBLING.0, BEHIND_BRIDGE.0, 0x340]),
        )
    });
    assert_eq!(commands, "D320 W");
    assert_eq!(tables, [tables[0], tables[0], 0]);
}

#[test]
fn before_5_4_17_only_the_ivrs_alias_shares_the_table() {
    let interrupts = Setup::new(Profile::LINUX_5_4, &[0x40]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        allocate(&cpu, &driver, NTB, TARGET).await.expect("room");
        driver.dte(&cpu, RequesterId(0x240))[2]
    });
    // IV alone: its interrupts are aborted.
    assert_eq!(interrupts, 1);
}

#[test]
fn the_dte_of_an_alias_beyond_the_device_table_goes_into_the_event_log_behind_it() {
    for profile in [
        Profile::LINUX_5_4,
        Profile::LINUX_6_1,
        Profile::LINUX_6_12,
        Profile::LINUX_7_2,
    ] {
        let mut setup = Setup::new(profile, &[]);
        // 0x400 entries, up to that of last_bdf.
        let beyond = RequesterId(0x400);
        setup.ivrs.aliases = [(NTB, beyond)].into();
        let (address, event_log, own, stored) = setup.run(move |cpu, driver, _| async move {
            start(&cpu, &driver).await;
            driver.probe(&cpu, NTB).await.expect("probe");
            allocate(&cpu, &driver, NTB, TARGET).await.expect("room");
            let stored: [u8; 32] = cpu.load(driver.event_log);
            (
                driver.dte_address(beyond),
                driver.event_log,
                driver.dte(&cpu, NTB),
                stored,
            )
        });
        assert_eq!(address, event_log, "{profile}");
        let stored = bytemuck::cast::<[u8; 32], [u64; 4]>(stored).map(u64::from_le);
        // The domain, and the table.
        assert_eq!(stored[1], own[1], "{profile}");
        assert_ne!(stored[2] >> 6, 0, "{profile}");
        assert_eq!(stored[2] >> 6, own[2] >> 6, "{profile}");
    }
}
