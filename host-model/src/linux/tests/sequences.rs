use super::*;

const FIRST: Target = Target {
    apic_id: 1,
    vector: 0x31,
};
const SECOND: Target = Target {
    apic_id: 2,
    vector: 0x41,
};

/// Probe, attach, first vector's table, activate, set_affinity, deactivate and free of a function.
fn lifetime(setup: Setup, id: RequesterId) -> Vec<String> {
    setup.run(move |cpu, driver, _| async move {
        start(&cpu, &driver).await;
        let mut calls = Vec::new();
        calls.push(commands_of(&cpu, driver.probe_device(&cpu, id)).await.1);
        calls.push(commands_of(&cpu, driver.attach(&cpu, id)).await.1);
        let ((entry, _), table) = commands_of(&cpu, allocate(&cpu, &driver, id, FIRST)).await;
        calls.push(table);
        calls.push(commands_of(&cpu, driver.activate(&cpu, entry, FIRST)).await.1);
        calls.push(
            commands_of(&cpu, driver.set_affinity(&cpu, entry, SECOND))
                .await
                .1,
        );
        calls.push(commands_of(&cpu, driver.deactivate(&cpu, entry)).await.1);
        calls.push(commands_of(&cpu, driver.free(&cpu, entry)).await.1);
        calls
    })
}

/// `flush` once for each change of the entry; activation changes it twice.
fn expected(probe: &str, attach: &str, table: &str, flush: &str) -> Vec<String> {
    let twice = format!("{flush} {flush}");
    [probe, attach, table, &twice, flush, flush, flush]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn linux_6_12_flushes_entries_under_the_own_id_only() {
    let calls = lifetime(Setup::new(Profile::LINUX_6_12, &[0x40, 0x41]), NTB);
    let attach = "D240 W D241 W D200 D240 D241 W";
    assert_eq!(
        calls,
        expected("D240 W D241 W", attach, "D200 D240 D241 W", "R200 W")
    );
}

#[test]
fn linux_7_2_flushes_entries_under_every_alias() {
    let calls = lifetime(Setup::new(Profile::LINUX_7_2, &[0x40, 0x41]), NTB);
    let attach = "D200 W D240 W D241 W D200 D240 D241 W";
    let flush = "R200 R240 R241 W";
    assert_eq!(
        calls,
        expected("D240 W D241 W", attach, "D200 D240 D241 W", flush)
    );
}

#[test]
fn an_own_id_in_the_alias_mask_is_walked_twice_and_not_cloned() {
    let aliases = [0x00, 0x40, 0x41];
    let table = "D200 D200 D240 D241 W";
    let calls = lifetime(Setup::new(Profile::LINUX_6_12, &aliases), NTB);
    let attach = "D240 W D241 W D200 D200 D240 D241 W";
    assert_eq!(calls, expected("D240 W D241 W", attach, table, "R200 W"));
    let calls = lifetime(Setup::new(Profile::LINUX_7_2, &aliases), NTB);
    let attach = "D200 W D240 W D241 W D200 D200 D240 D241 W";
    assert_eq!(
        calls,
        expected("D240 W D241 W", attach, table, "R200 R200 R240 R241 W")
    );
}

/// 03:04.0 behind the PCIe-to-PCI bridge 02:01.0.
pub(super) const BEHIND_BRIDGE: RequesterId = RequesterId(0x320);
pub(super) const SIBLING: RequesterId = RequesterId(0x328);

pub(super) fn behind_bridge(profile: Profile, ivrs: &[(u16, u16)]) -> Setup {
    let bridge = Function::bridge(RequesterId(0x208), BridgeKind::PcieToPci, 3, 3);
    let mut setup = Setup::new(profile, &[])
        .add(bridge)
        .add(Function::endpoint(BEHIND_BRIDGE, (0, 0), 0))
        .add(Function::endpoint(SIBLING, (0, 0), 0));
    let ids = ivrs
        .iter()
        .map(|&(from, to)| (RequesterId(from), RequesterId(to)));
    setup.ivrs.aliases = ids.collect();
    setup
}

#[test]
fn aliases_behind_a_bridge_are_those_of_bridge_and_firmware() {
    type Row = (&'static [(u16, u16)], &'static str, &'static str, &'static str);
    // IVRS alias, probe (clone), attach's flush and table, 7.2's flush of an entry.
    let rows: [Row; 3] = [
        (&[], "D300 W", "D320 D300 W", "R320 R300 W"),
        (
            &[(0x320, 0x300)],
            "D300 W D300 W D300 W",
            "D320 D300 D300 D300 W",
            "R320 R300 R300 W",
        ),
        // Not a DMA alias of the function: its entries stay cached.
        (
            &[(0x320, 0x208)],
            "D208 W D300 W",
            "D320 D300 D208 W",
            "R320 R300 W",
        ),
    ];
    for (ivrs, clone, walk, flush) in rows {
        let calls = lifetime(behind_bridge(Profile::LINUX_6_12, ivrs), BEHIND_BRIDGE);
        let attach = format!("{clone} {walk}");
        assert_eq!(calls, expected(clone, &attach, walk, "R320 W"), "6.12 {ivrs:x?}");
        let calls = lifetime(behind_bridge(Profile::LINUX_7_2, ivrs), BEHIND_BRIDGE);
        let attach = format!("D320 W {clone} {walk}");
        assert_eq!(calls, expected(clone, &attach, walk, flush), "7.2 {ivrs:x?}");
    }
}

/// Both functions allocate an entry: the second one's commands and index, and whose table the alias has then.
fn siblings(ivrs: &[(u16, u16)]) -> (String, u16, bool, bool) {
    behind_bridge(Profile::LINUX_7_2, ivrs).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        for id in [BEHIND_BRIDGE, SIBLING] {
            driver.probe(&cpu, id).await.expect("probe");
        }
        allocate(&cpu, &driver, BEHIND_BRIDGE, FIRST)
            .await
            .expect("allocate");
        let ((entry, _), commands) = commands_of(&cpu, allocate(&cpu, &driver, SIBLING, FIRST)).await;
        let root = |id| driver.dte(&cpu, RequesterId(id))[2];
        let (first, alias, second) = (root(BEHIND_BRIDGE.0), root(0x300), root(SIBLING.0));
        (commands, entry.index, alias == first, alias == second)
    })
}

#[test]
fn siblings_with_one_firmware_alias_share_its_table() {
    let ivrs = [(BEHIND_BRIDGE.0, 0x300), (SIBLING.0, 0x300)];
    assert_eq!(siblings(&ivrs), ("D328 W".to_owned(), 1, true, true));
}

#[test]
fn a_sibling_without_firmware_alias_takes_the_bridges_id_over() {
    assert_eq!(siblings(&[]), ("D328 D300 W".to_owned(), 0, false, true));
}

#[test]
fn a_first_vector_points_every_aliass_dte_at_one_table_of_512() {
    let dtes = Setup::new(Profile::LINUX_7_2, &[0x40, 0x41]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let before: Vec<u64> = [0x200, 0x240]
            .map(|id| driver.dte(&cpu, RequesterId(id))[2])
            .to_vec();
        allocate(&cpu, &driver, NTB, FIRST).await.expect("allocate");
        let root = driver.table_of(NTB).expect("a table").address;
        let after = [0x200, 0x240, 0x241].map(|id| driver.dte(&cpu, RequesterId(id))[2] ^ root);
        (before, after)
    });
    assert_eq!(dtes, (vec![1, 1], [0x2000_0000_0000_0013; 3]));
}

#[test]
fn an_identity_domain_lets_dma_through_and_release_blocks_it() {
    let dtes = Setup::new(Profile::LINUX_7_2, &[0x40]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        allocate(&cpu, &driver, NTB, FIRST).await.expect("allocate");
        let attached = driver.dte(&cpu, NTB);
        driver.release(&cpu, NTB).await.expect("release");
        (attached, driver.dte(&cpu, NTB))
    });
    let (attached, released) = dtes;
    assert_eq!(attached[..2], [0x6000_0000_0000_0003, 1]);
    assert_eq!(released, [3, 0, attached[2], attached[3]]);
}

#[test]
fn a_function_that_was_not_probed_gets_no_entry() {
    let refused = Setup::new(Profile::LINUX_7_2, &[]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        allocate(&cpu, &driver, NTB, FIRST).await.map(|_| ())
    });
    assert_eq!(refused, Err(DriverError::NoDevice(NTB)));
}

#[test]
fn a_full_table_has_no_entry_until_one_is_freed() {
    let (full, again) = Setup::new(Profile::LINUX_6_12, &[]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let mut entries = Vec::new();
        let full = loop {
            match allocate(&cpu, &driver, NTB, FIRST).await {
                Ok((entry, _)) => entries.push(entry),
                Err(error) => break error,
            }
        };
        assert_eq!(entries.len(), 512);
        driver.free(&cpu, entries[100]).await.expect("free");
        let (entry, message) = allocate(&cpu, &driver, NTB, FIRST).await.expect("allocate");
        (full, (entry.index, message.data))
    });
    assert_eq!(full, DriverError::NoSpace(NTB));
    assert_eq!(again, (100, 100));
}
