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
fn a_move_while_the_old_vector_is_in_use_waits_for_the_first_interrupt_after_that() {
    let seen = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        let move_to = async |to| rig.core.set_affinity(&rig.cpu, irqs[0], to).await.expect("move");
        move_to(2).await;
        rig.events();
        move_to(3).await;
        let mut seen = vec![entry_writes(&rig.events())];
        // Too early, then after the tick, then where the second has moved it.
        for _ in 0..3 {
            rig.interrupt(NTB, 0).await;
            rig.cpu.udelay(50).await;
            let (pending, at) = {
                let state = rig.cpu.machine().irqs();
                let pending = state.pending_affinity(irqs[0]).map(CpuMask::to_string);
                (pending, state.effective_affinity(irqs[0]))
            };
            seen.push(format!("{at:?} {pending:?} {}", entry_writes(&rig.events())));
            rig.cpu.delay(JIFFY).await;
        }
        assert_eq!(rig.handled.get(), 3);
        seen
    });
    let expected = [
        "",
        "Some(2) Some(\"3\") ",
        "Some(3) None 20@3 R200 W",
        "Some(3) None ",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_move_in_an_interrupt_is_made_with_the_vector_masked() {
    let accesses = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        for to in [2, 3] {
            rig.core.set_affinity(&rig.cpu, irqs[0], to).await.expect("move");
        }
        rig.cpu.delay(JIFFY).await;
        let before = rig.device.sent().len();
        rig.interrupt(NTB, 0).await;
        rig.cpu.udelay(50).await;
        accesses(&rig.device, before)
    });
    assert_eq!(accesses, ["control0 = 1", "read control0", "control0 = 0"]);
}

#[test]
fn a_mask_is_met_by_the_cpu_with_most_free_vectors() {
    let cpus = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 2).await;
        let mut cpus = Vec::new();
        // CPU 0 has the timer's vector, CPU 1 both of these.
        for mask in [&[0, 1, 3][..], &[0, 2], &[1, 2]] {
            let mask: CpuMask = mask.iter().copied().collect();
            rig.core
                .set_affinity(&rig.cpu, irqs[0], mask)
                .await
                .expect("move");
            rig.cpu.delay(JIFFY).await;
            cpus.push(rig.slot(irqs[0]).0);
        }
        cpus
    });
    // The first stays: its CPU is in the mask.
    assert_eq!(cpus, [1, 2, 2]);
}

#[test]
fn a_cpu_without_free_vectors_refuses_and_the_interrupt_stays() {
    let (refused, slot, writes) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        rig.fill(2);
        rig.events();
        let refused = rig.core.set_affinity(&rig.cpu, irqs[0], 2).await;
        (refused, rig.slot(irqs[0]), entry_writes(&rig.events()))
    });
    assert_eq!(refused, Err(IrqError::NoVector(2.into())));
    assert_eq!((slot, writes), ((1, 0x20), String::new()));
}

#[test]
fn a_hint_is_kept_or_followed_and_freeing_with_one_is_warned_of() {
    let seen = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        let at = || {
            let state = rig.cpu.machine().irqs();
            let hint = state.affinity_hint(irqs[0]).map(CpuMask::to_string);
            (state.effective_affinity(irqs[0]), hint)
        };
        let mut seen = Vec::new();
        let (core, cpu) = (&rig.core, &rig.cpu);
        core.update_affinity_hint(cpu, irqs[0], Some(3.into()))
            .await
            .expect("irq");
        seen.push(at());
        core.set_affinity_hint(cpu, irqs[0], Some(2.into()))
            .await
            .expect("irq");
        seen.push(at());
        core.free_irq(cpu, irqs[0]).await.expect("free_irq");
        seen.push(at());
        (seen, log(&rig.events()))
    });
    let hint = |mask: &str| Some(mask.to_owned());
    assert_eq!(seen.0, [(Some(1), hint("3")), (Some(2), hint("2")), (None, None)]);
    assert_eq!(seen.1, ["WARNING: affinity_hint of IRQ 24 at free_irq"]);
}

#[test]
fn an_affinity_set_before_the_request_is_where_the_interrupt_starts() {
    let (before, after) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let irqs = rig.core.allocate_vectors(&rig.cpu, &MSIX, 1).await.expect("room");
        rig.events();
        rig.core.set_affinity(&rig.cpu, irqs[0], 3).await.expect("irq");
        let writes = entry_writes(&rig.events());
        let affinity = rig.cpu.machine().irqs().affinity(irqs[0]).cloned().expect("irq");
        rig.request_on(irqs[0], affinity).await.expect("request");
        (writes, rig.slot(irqs[0]))
    });
    assert_eq!((before.as_str(), after), ("", (3, 0x20)));
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

#[test]
fn before_6_6_the_old_vector_is_freed_as_soon_as_its_cpu_takes_interrupts() {
    let seen = setup(Profile::LINUX_6_12, &[]).run(|cpu, driver, device| async move {
        cpu.machine().irqs_mut().clean_up_by_ipi();
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        let old = rig.slot(irqs[0]);
        let interrupts_off = rig.cpu.machine().cpu(1).disable_interrupts();
        // One waits at the old vector, and is handled before that is freed.
        rig.interrupt(NTB, 0).await;
        rig.core.set_affinity(&rig.cpu, irqs[0], 2).await.expect("move");
        rig.cpu.delay(JIFFY).await;
        let before = rig.is_used(old);
        drop(interrupts_off);
        rig.cpu.udelay(50).await;
        (
            old,
            before,
            rig.handled.get(),
            rig.is_used(old),
            log(&rig.events()),
        )
    });
    assert_eq!(seen, ((1, 0x21), true, 1, false, vec![]));
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
        (finding.kind, finding.subject.requester(), finding.subject.index()),
        (FindingKind::Misrouted, Some(NTB), Some(0))
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
