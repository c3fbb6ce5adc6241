use super::Freshness::{Fresh, InFlight, Stale};
use super::*;

#[test]
fn an_entry_that_was_changed_and_not_invalidated_is_stale() {
    let (judged, findings) = run(|rig| async move {
        rig.write(0, irte(0x31)).await;
        rig.interrupt(RID, 0).await;
        rig.write(0, irte(0x41)).await;
        (rig.interrupt(RID, 0).await, rig.findings())
    });
    assert_eq!(judged, (Stale, Some(0x31)));
    let stale = findings
        .iter()
        .find(|f| f.kind == FindingKind::Stale)
        .expect("a finding");
    let place = |vector| Some(Place { cpu: 1, vector });
    assert_eq!(stale.subject, entry(RID, 0));
    assert_eq!((stale.got, stale.expected), (place(0x31), place(0x41)));
    assert_eq!(ids(&stale.missing), [RID]);
    assert_eq!(changed(stale), ("IRTE", Some("write")));
    let history = history(stale);
    let used_at = history.used.as_ref().map(|used| used.at);
    assert!(history.cached_at < history.changed.at && Some(history.changed.at) < used_at);
    assert_eq!(history.invalidated, []);
}

#[test]
fn an_invalidation_under_another_id_leaves_it_stale_and_is_told() {
    let (judged, findings) = run(|rig| async move {
        rig.write(0, irte(0x31)).await;
        rig.interrupt(RIDS[1], 0).await;
        let mover = rig.clone();
        rig.cpu
            .call("move", async |cpu| {
                store(&cpu, 0, irte(0x41));
                mover.command(invalidate_irt(RID)).await;
            })
            .await;
        (rig.interrupt(RIDS[1], 0).await, rig.findings())
    });
    assert_eq!(judged.0, Stale);
    let stale = findings
        .iter()
        .find(|f| f.kind == FindingKind::Stale)
        .expect("a finding");
    assert_eq!(ids(&stale.missing), [RIDS[1]]);
    assert_eq!(ids(&history(stale).invalidated), [RID]);
}

#[test]
fn an_interrupt_between_write_and_invalidation_is_in_flight_and_no_finding() {
    let (during, after, stale) = run(|rig| async move {
        rig.write(0, irte(0x31)).await;
        rig.interrupt(RID, 0).await;
        let mover = rig.clone();
        let during = rig
            .cpu
            .call("move", async |cpu| {
                store(&cpu, 0, irte(0x41));
                let during = mover.interrupt(RID, 0).await;
                mover.command(invalidate_irt(RID)).await;
                during
            })
            .await;
        let after = rig.interrupt(RID, 0).await;
        let stale = rig.findings().iter().any(|f| f.kind == FindingKind::Stale);
        (during, after, stale)
    });
    assert_eq!(during, (InFlight, Some(0x31)));
    assert_eq!(after, (Fresh, Some(0x41)));
    assert!(!stale);
}

#[test]
fn what_was_judged_in_flight_stays_so_when_the_call_returns_before_it_arrives() {
    let (judged, stale) = run(|rig| async move {
        rig.write(0, irte(0x31)).await;
        rig.interrupt(RID, 0).await;
        let (machine, sender) = (rig.cpu.machine().clone(), rig.device.clone());
        rig.cpu
            .call("move", async |cpu| {
                store(&cpu, 0, irte(0x41));
                sender.interrupt_at(cpu.machine().now(), RID, 0);
                // It is answered at 500 ns, and delivered at 560.
                cpu.delay(SimTime::from_ns(520)).await;
            })
            .await;
        assert_eq!(machine.interrupts_ended(), 1);
        machine.wait_for_endings(2, SimTime::from_us(1)).await;
        let stale = rig.findings().iter().any(|f| f.kind == FindingKind::Stale);
        (rig.judged(), stale)
    });
    assert_eq!(judged, [(InFlight, Some(0x31))]);
    assert!(!stale);
}

#[test]
fn a_fill_that_sampled_before_the_change_is_cached_as_of_its_sample() {
    let (judged, finding) = run(|rig| async move {
        rig.write(0, irte(0x31)).await;
        // The DTE is cached, the entry is not.
        rig.interrupt(RID, 1).await;
        rig.judged();
        let machine = rig.cpu.machine();
        let sent = machine.now();
        rig.device.interrupt_at(sent, RID, 0);
        // The entry is read from 500 to 620 ns.
        machine.executor().sleep_until(sent + SimTime::from_ns(560)).await;
        rig.write(0, irte(0x41)).await;
        machine.wait_for_endings(2, SimTime::from_us(1)).await;
        let mut judged = rig.judged();
        judged.push(rig.interrupt(RID, 0).await);
        let finding = rig.findings().into_iter().find(|f| f.kind == FindingKind::Stale);
        (judged, finding.expect("a finding"))
    });
    // The fill itself is no cached answer.
    assert_eq!(judged, [(Fresh, Some(0x31)), (Stale, Some(0x31))]);
    let history = history(&finding);
    assert_eq!(history.changed.at - history.cached_at, SimTime::from_ns(60));
}

#[test]
fn an_invalidation_of_all_makes_it_fresh() {
    let judged = run(|rig| async move {
        rig.write(0, irte(0x31)).await;
        rig.interrupt(RID, 0).await;
        rig.write(0, irte(0x41)).await;
        rig.command(INVALIDATE_ALL).await;
        rig.interrupt(RID, 0).await
    });
    assert_eq!(judged, (Fresh, Some(0x41)));
}

#[test]
fn a_write_of_equal_bytes_is_no_change() {
    let (unchanged, changed) = run(|rig| async move {
        rig.write(0, irte(0x31)).await;
        rig.interrupt(RID, 0).await;
        rig.write(0, irte(0x31)).await;
        let unchanged = rig.interrupt(RID, 0).await;
        let inner = rig.clone();
        let changed = rig
            .cpu
            .call("move", async |cpu| {
                store(&cpu, 0, irte(0x41));
                inner.interrupt(RID, 0).await
            })
            .await;
        (unchanged, changed)
    });
    assert_eq!(unchanged, (Fresh, Some(0x31)));
    // The oldest change that it misses is the open one.
    assert_eq!(changed, (InFlight, Some(0x31)));
}

#[test]
fn a_change_that_is_taken_back_is_fresh_again() {
    let judged = run(|rig| async move {
        rig.write(0, irte(0x31)).await;
        rig.interrupt(RID, 0).await;
        rig.write(0, irte(0x41)).await;
        rig.write(0, irte(0x31)).await;
        rig.interrupt(RID, 0).await
    });
    assert_eq!(judged, (Fresh, Some(0x31)));
}

#[test]
fn stale_interrupts_of_one_id_and_index_are_one_finding() {
    let findings = run(|rig| async move {
        for index in [0, 1] {
            rig.write(index, irte(0x31)).await;
            rig.interrupt(RID, index).await;
            rig.write(index, irte(0x41)).await;
        }
        for index in [0, 0, 0, 1] {
            rig.interrupt(RID, index).await;
        }
        rig.findings()
    });
    let stale = findings.iter().filter(|f| f.kind == FindingKind::Stale);
    let each: Vec<_> = stale.map(|f| (f.subject, f.endings.len())).collect();
    assert_eq!(each, [(entry(RID, 0), 3), (entry(RID, 1), 1)]);
}

#[test]
fn a_dte_that_was_changed_and_not_invalidated_is_stale() {
    let (judged, findings) = run(|rig| async move {
        rig.write(0, irte(0x31)).await;
        rig.interrupt(RID, 0).await;
        rig.cpu.store(OTHER_TABLE, &irte(0x41).to_le_bytes());
        rig.write_dte(RID, OTHER_TABLE).await;
        (rig.interrupt(RID, 0).await, rig.findings())
    });
    assert_eq!(judged, (Stale, Some(0x31)));
    let stale = findings
        .iter()
        .find(|f| f.kind == FindingKind::Stale)
        .expect("a finding");
    assert_eq!(stale.expected, Some(Place { cpu: 1, vector: 0x41 }));
    assert_eq!(changed(stale), ("DTE", Some("write_dte")));
}

#[test]
fn an_entry_of_the_table_before_is_stale_though_that_table_never_changed() {
    let (judged, findings) = run(|rig| async move {
        rig.write(0, irte(0x31)).await;
        rig.interrupt(RID, 0).await;
        rig.cpu.store(OTHER_TABLE, &irte(0x41).to_le_bytes());
        rig.write_dte(RID, OTHER_TABLE).await;
        rig.command(invalidate_dte(RID)).await;
        (rig.interrupt(RID, 0).await, rig.findings())
    });
    assert_eq!(judged, (Stale, Some(0x31)));
    let stale = findings
        .iter()
        .find(|f| f.kind == FindingKind::Stale)
        .expect("a finding");
    assert_eq!(changed(stale), ("IRTE", Some("write_dte")));
    assert!(history(stale).moved_away);
    assert_eq!(ids(&stale.missing), [RID]);
}

#[test]
fn a_device_that_overwrites_a_table_is_nobody_known() {
    let (judged, findings) = run(|rig| async move {
        rig.write(0, irte(0x31)).await;
        rig.interrupt(RID, 0).await;
        let write = sim_bridge::tlp::Tlp::mem_write(RID, TABLE, &irte(0x41).to_le_bytes());
        rig.device
            .send_at(rig.cpu.machine().now(), write.expect("one DW"));
        rig.cpu.udelay(1).await;
        (rig.interrupt(RID, 0).await, rig.findings())
    });
    assert_eq!(judged, (Stale, Some(0x31)));
    let stale = findings
        .iter()
        .find(|f| f.kind == FindingKind::Stale)
        .expect("a finding");
    let history = history(stale);
    assert_eq!((history.changed.by, history.returned_at), (None, None));
    assert!(history.changed.at > history.cached_at);
}
