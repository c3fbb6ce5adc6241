use super::*;
use crate::trace::Loss;

async fn online(rig: &Rig) -> String {
    rig.cpu.machine().irqs().online().to_string()
}

#[test]
fn taking_a_cpu_away_moves_its_interrupts_only() {
    let (slots, writes, logs, mask) =
        setup(Profile::LINUX_7_2, &[0x40]).run(|cpu, driver, device| async move {
            let rig = Rig::probed(cpu, driver, device).await;
            let irqs = rig.core.allocate_vectors(&rig.cpu, &MSIX, 2).await.expect("room");
            rig.request_on(irqs[0], 2).await.expect("request");
            rig.request_on(irqs[1], 3).await.expect("request");
            rig.events();
            rig.core.cpu_down(&rig.cpu, 2).await.expect("down");
            let events = rig.events();
            let slots: Vec<_> = irqs.iter().map(|irq| rig.slot(*irq)).collect();
            (slots, entry_writes(&events), log(&events), online(&rig).await)
        });
    assert_eq!(slots, [(1, 0x20), (3, 0x20)]);
    assert_eq!(writes, "20@1 R200 R240 W");
    assert_eq!(logs, ["IRQ 24: no longer affine to CPU2"]);
    assert_eq!(mask, "0-1,3");
}

#[test]
fn an_interrupt_stays_within_its_mask_where_that_has_another_cpu() {
    let (slot, affinity, logs) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let irqs = rig.core.allocate_vectors(&rig.cpu, &MSIX, 1).await.expect("room");
        let mask: CpuMask = [2, 3].into_iter().collect();
        rig.request_on(irqs[0], mask).await.expect("request");
        rig.events();
        rig.core.cpu_down(&rig.cpu, 2).await.expect("down");
        let affinity = rig.cpu.machine().irqs().affinity(irqs[0]).map(CpuMask::to_string);
        (rig.slot(irqs[0]), affinity, log(&rig.events()))
    });
    assert_eq!((slot, affinity.as_deref()), ((3, 0x20), Some("2-3")));
    assert_eq!(logs, [""; 0]);
}

#[test]
fn all_cpus_have_interrupts_off_and_nothing_else_runs_while_a_cpu_leaves() {
    let (moved, progress) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        let machine = rig.cpu.machine();
        let counter = Rc::new(Cell::new(0));
        let (other, count) = (machine.cpu(3), counter.clone());
        machine.executor().spawn("work on CPU 3", async move {
            loop {
                other.udelay(1).await;
                count.set(count.get() + 1);
            }
        });
        rig.cpu.udelay(10).await;
        rig.events();
        let core = rig.core.clone();
        let away = rig.cpu.clone();
        machine.executor().spawn("unplug", async move {
            core.cpu_down(&away, 1).await.expect("down");
        });
        machine.executor().sleep(SimTime::from_us(100)).await;
        let before = counter.get();
        let off: Vec<bool> = (0..4).map(|cpu| machine.cpu(cpu).has_interrupts_off()).collect();
        machine.executor().sleep(SimTime::from_us(800)).await;
        let meanwhile = counter.get() - before;
        machine.executor().sleep(SimTime::from_us(200)).await;
        assert_eq!(off, [true; 4]);
        (rig.slot(irqs[0]).0, (meanwhile, counter.get() > before))
    });
    assert_eq!(moved, 2);
    assert_eq!(progress, (0, true));
}

#[test]
fn a_cpu_leaves_only_when_no_cpu_has_interrupts_off() {
    let (before, after) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        let machine = rig.cpu.machine();
        let off = machine.cpu(3).disable_interrupts();
        let (core, away) = (rig.core.clone(), rig.cpu.clone());
        machine.executor().spawn("unplug", async move {
            core.cpu_down(&away, 1).await.expect("down");
        });
        rig.cpu.udelay(500).await;
        let before = rig.slot(irqs[0]).0;
        drop(off);
        rig.cpu.udelay(500).await;
        (before, rig.slot(irqs[0]).0)
    });
    assert_eq!((before, after), (1, 2));
}

#[test]
fn what_waits_at_the_leaving_cpu_is_raised_at_the_new_one() {
    let (ending, counts) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        let (core, away) = (rig.core.clone(), rig.cpu.clone());
        let machine = rig.cpu.machine();
        rig.interrupt(NTB, 0).await;
        rig.cpu.udelay(50).await;
        rig.events();
        // The next meets the cached entry, which is not invalidated yet, and a CPU with interrupts off.
        rig.device.interrupt_at(machine.now(), NTB, 0);
        rig.cpu.delay(SimTime::from_ns(400)).await;
        machine.executor().spawn("unplug", async move {
            core.cpu_down(&away, 1).await.expect("down");
        });
        rig.cpu.udelay(2_000).await;
        let counts = machine.irqs().counts(irqs[0]).expect("irq").taken;
        let events = rig.events();
        let ending = events.iter().find_map(|event| match event.kind {
            Kind::Ended { ending, .. } => Some(ending),
            _ => None,
        });
        (ending, counts)
    });
    assert_eq!(ending, Some(Ending::Delivered { cpu: 1, vector: 0x20 }));
    assert_eq!(counts, [0, 1, 1]);
}

#[test]
fn an_interrupt_for_a_cpu_that_has_left_is_lost() {
    let ending = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, _) = Rig::bound(cpu, driver.clone(), device, 1).await;
        rig.core.cpu_down(&rig.cpu, 1).await.expect("down");
        let entry = crate::driver::Entry {
            device: NTB,
            index: 0,
        };
        let target = crate::driver::Target {
            apic_id: 1,
            vector: 0x20,
        };
        driver
            .set_affinity(&rig.cpu, entry, target)
            .await
            .expect("set_affinity");
        rig.interrupt(NTB, 0).await
    });
    assert_eq!(ending, Ending::Lost(Loss::ApicDisabled(1)));
}

#[test]
fn a_move_under_way_ends_when_the_old_or_the_new_cpu_leaves() {
    for (leaves, slot, writes) in [(1, (2, 0x20), ""), (2, (1, 0x21), "21@1 R200 W")] {
        let seen = setup(Profile::LINUX_7_2, &[]).run(move |cpu, driver, device| async move {
            let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
            let old = rig.slot(irqs[0]);
            rig.core.set_affinity(&rig.cpu, irqs[0], 2).await.expect("move");
            // CPU 1 is where it goes, past the vector that is not free yet.
            rig.fill(0);
            rig.fill(3);
            rig.events();
            let left = rig.core.cpu_down(&rig.cpu, leaves).await;
            let writes = entry_writes(&rig.events());
            rig.cpu.delay(JIFFY).await;
            (left, rig.slot(irqs[0]), writes, rig.is_used(old))
        });
        // The old vector is free before a new one is looked for.
        let slot = if leaves == 2 { (1, 0x20) } else { slot };
        let writes = if leaves == 2 { "20@1 R200 W" } else { writes };
        assert_eq!(seen, (Ok(()), slot, writes.to_owned(), leaves == 2));
    }
}

#[test]
fn a_cpu_whose_vectors_fit_nowhere_stays() {
    let (refused, slot, mask) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        [0, 2, 3].into_iter().for_each(|cpu| rig.fill(cpu));
        let refused = rig.core.cpu_down(&rig.cpu, 1).await;
        (refused, rig.slot(irqs[0]), online(&rig).await)
    });
    let expected = HotplugError::NoVectors {
        cpu: 1,
        has: 1,
        available: 0,
    };
    assert_eq!((refused, slot, mask.as_str()), (Err(expected), (1, 0x20), "0-3"));
}

#[test]
fn a_cpu_that_is_back_takes_interrupts_again_when_told() {
    let (before, after) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        rig.core.cpu_down(&rig.cpu, 1).await.expect("down");
        rig.core.cpu_up(&rig.cpu, 1).await.expect("up");
        let before = rig.slot(irqs[0]).0;
        rig.core.set_affinity(&rig.cpu, irqs[0], 1).await.expect("move");
        let ending = rig.interrupt(NTB, 0).await;
        rig.cpu.udelay(50).await;
        assert_eq!(rig.handled.get(), 1);
        (before, ending)
    });
    assert_eq!((before, after), (2, Ending::Delivered { cpu: 1, vector: 0x20 }));
}

#[test]
fn only_cpus_that_can_leave_or_return_do() {
    let results = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let (core, cpu) = (&rig.core, &rig.cpu);
        core.cpu_down(cpu, 3).await.expect("down");
        [
            core.cpu_down(cpu, 9).await,
            core.cpu_down(cpu, 0).await,
            core.cpu_down(cpu, 3).await,
            core.cpu_up(cpu, 9).await,
            core.cpu_up(cpu, 1).await,
        ]
    });
    use HotplugError::{Already, BootCpu, NoSuchCpu};
    let expected = [
        NoSuchCpu(9),
        BootCpu(0),
        Already {
            cpu: 3,
            online: false,
        },
        NoSuchCpu(9),
        Already { cpu: 1, online: true },
    ];
    assert_eq!(results, expected.map(Err));
}
