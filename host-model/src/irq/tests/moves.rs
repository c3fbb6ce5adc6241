use super::*;

#[test]
fn moving_to_the_same_cpu_rewrites_and_flushes_even_while_a_move_is_pending() {
    let writes = setup(Profile::LINUX_7_2, &[0x40]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        rig.core.set_affinity(&rig.cpu, irqs[0], 2).await.expect("move");
        rig.events();
        rig.core
            .set_affinity(&rig.cpu, irqs[0], 2)
            .await
            .expect("same CPU");
        entry_writes(&rig.events())
    });
    assert_eq!(writes, "20@2 R200 R240 W");
}

#[test]
fn a_move_while_the_old_vector_is_pending_is_refused_without_a_write() {
    let (refused, irq, writes, later) =
        setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
            let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
            rig.core.set_affinity(&rig.cpu, irqs[0], 2).await.expect("move");
            rig.events();
            let refused = rig.core.set_affinity(&rig.cpu, irqs[0], 3).await;
            let writes = entry_writes(&rig.events());
            rig.cpu.delay(JIFFY).await;
            (
                refused,
                irqs[0],
                writes,
                rig.core.set_affinity(&rig.cpu, irqs[0], 3).await,
            )
        });
    assert_eq!(refused, Err(IrqError::Busy(irq)));
    assert_eq!(writes, "");
    assert_eq!(later, Ok(()));
}

#[test]
fn the_old_vector_is_freed_on_the_next_tick() {
    let (old, before, after) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        let old = rig.slot(irqs[0]);
        rig.core.set_affinity(&rig.cpu, irqs[0], 2).await.expect("move");
        assert!(rig.cpu.machine().now() < JIFFY);
        let at = |time| rig.cpu.machine().executor().sleep_until(time);
        at(JIFFY - SimTime::from_ps(1)).await;
        let before = rig.is_used(old);
        at(JIFFY + SimTime::from_ps(1)).await;
        (old, before, rig.is_used(old))
    });
    assert_eq!((old, before, after), ((1, 0x20), true, false));
}

#[test]
fn the_old_vector_is_kept_while_an_interrupt_waits_there() {
    let (kept, handled, freed) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        let old = rig.slot(irqs[0]);
        let machine = rig.cpu.machine();
        let interrupts_off = machine.cpu(1).disable_interrupts();
        assert_eq!(
            rig.interrupt(NTB, 0).await,
            Ending::Delivered {
                cpu: 1,
                vector: old.1
            }
        );
        rig.core.set_affinity(&rig.cpu, irqs[0], 2).await.expect("move");
        machine
            .executor()
            .sleep_until(JIFFY + JIFFY + SimTime::from_us(1))
            .await;
        let kept = rig.is_used(old);
        drop(interrupts_off);
        rig.cpu.delay(JIFFY).await;
        (kept, rig.handled.get(), rig.is_used(old))
    });
    assert_eq!((kept, handled, freed), (true, 1, false));
}

/// Points the first vector's entry elsewhere, with a flush, and interrupts.
fn with_entry_at(vector: u8) -> (Ending, Vec<crate::checker::Finding>) {
    setup(Profile::LINUX_7_2, &[]).run(move |cpu, driver, device| async move {
        let (rig, _) = Rig::bound(cpu, driver.clone(), device, 2).await;
        let entry = crate::driver::Entry {
            device: NTB,
            index: 0,
        };
        let target = crate::driver::Target { apic_id: 1, vector };
        driver
            .set_affinity(&rig.cpu, entry, target)
            .await
            .expect("set_affinity");
        let ending = rig.interrupt(NTB, 0).await;
        let findings = rig.cpu.machine().with_checker(|checker| checker.findings());
        (ending, findings.expect("it is checked"))
    })
}

#[test]
fn another_vectors_place_with_fresh_tables_is_a_misrouted_finding() {
    let (ending, findings) = with_entry_at(0x21);
    assert_eq!(ending, Ending::Misrouted { cpu: 1, vector: 0x21 });
    let [finding] = &findings[..] else {
        panic!("{findings:?}")
    };
    assert_eq!(
        (finding.kind, finding.requester, finding.index),
        (FindingKind::Misrouted, NTB, 0)
    );
    assert_eq!(finding.endings, [ending]);
}

#[test]
fn a_place_without_handler_with_fresh_tables_is_a_spurious_finding() {
    let (ending, findings) = with_entry_at(0x77);
    assert_eq!(ending, Ending::Spurious { cpu: 1, vector: 0x77 });
    let [finding] = &findings[..] else {
        panic!("{findings:?}")
    };
    let place = Some(Place { cpu: 1, vector: 0x77 });
    assert_eq!(
        (finding.kind, finding.got, finding.expected),
        (FindingKind::Spurious, place, place)
    );
}
