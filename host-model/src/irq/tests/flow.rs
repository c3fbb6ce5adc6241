use super::*;
use crate::driver::{Entry, Target};

/// Points the entry of MSI-X vector 0 elsewhere behind the interrupt core's back, as a stale cached entry does.
async fn divert(rig: &Rig, driver: &crate::linux::LinuxDriver, cpu: u32, vector: u8) {
    let entry = Entry {
        device: NTB,
        index: 0,
    };
    let target = Target { apic_id: cpu, vector };
    driver
        .set_affinity(&rig.cpu, entry, target)
        .await
        .expect("set_affinity");
}

async fn interrupt_and_wait(rig: &Rig) -> Ending {
    let ending = rig.interrupt(NTB, 0).await;
    rig.cpu.udelay(50).await;
    ending
}

#[test]
fn the_first_stray_after_free_irq_is_silent_and_the_next_is_logged() {
    let (endings, logs) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver.clone(), device, 2).await;
        let (on, vector) = rig.slot(irqs[1]);
        rig.core.free_irq(&rig.cpu, irqs[1]).await.expect("free_irq");
        divert(&rig, &driver, on, vector).await;
        let (mut endings, mut logs) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            endings.push(interrupt_and_wait(&rig).await);
            logs.push(log(&rig.events()));
        }
        (endings, logs)
    });
    assert_eq!(endings, [Ending::Spurious { cpu: 1, vector: 0x21 }; 3]);
    let line = || vec!["1.33 No irq handler for vector".to_owned()];
    assert_eq!(logs, [vec![], line(), line()]);
}

#[test]
fn a_stray_at_a_moved_interrupts_old_vector_is_logged_at_once() {
    let logs = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver.clone(), device, 1).await;
        rig.core.set_affinity(&rig.cpu, irqs[0], 2).await.expect("move");
        rig.cpu.delay(JIFFY).await;
        divert(&rig, &driver, 1, 0x20).await;
        interrupt_and_wait(&rig).await;
        log(&rig.events())
    });
    assert_eq!(logs, ["1.32 No irq handler for vector"]);
}

#[test]
fn ten_strays_are_logged_in_five_seconds_and_the_next_line_tells_of_the_others() {
    let logs = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, _) = Rig::bound(cpu, driver.clone(), device, 1).await;
        divert(&rig, &driver, 1, 0x40).await;
        for _ in 0..12 {
            interrupt_and_wait(&rig).await;
        }
        rig.cpu.delay(SimTime::from_us(5_000_000)).await;
        interrupt_and_wait(&rig).await;
        log(&rig.events())
    });
    let line = "1.64 No irq handler for vector";
    let mut expected = vec![line; 10];
    expected.extend(["call_irq_handler: 2 callbacks suppressed", line]);
    assert_eq!(logs, expected);
}

#[test]
fn an_interrupt_at_the_shutdown_vector_is_a_spurious_interrupt() {
    let (ending, logs) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        rig.core.allocate_vectors(&rig.cpu, &MSIX, 1).await.expect("room");
        (interrupt_and_wait(&rig).await, log(&rig.events()))
    });
    assert_eq!(ending, Ending::Spurious { cpu: 0, vector: 0xef });
    assert_eq!(logs, ["Spurious interrupt (vector 0xef) on CPU#0. Acked"]);
}

#[test]
fn a_misrouted_interrupt_counts_for_the_handler_that_it_reaches() {
    let (ending, counts) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver.clone(), device, 1).await;
        let others = rig.core.allocate_vectors(&rig.cpu, &MSIX, 2).await.expect("room");
        let handler: Handler = Rc::new(|_| Box::pin(async { IrqReturn::None }));
        rig.core
            .request(&rig.cpu, others[1], 3, handler)
            .await
            .expect("request");
        interrupt_and_wait(&rig).await;
        let (on, vector) = rig.slot(others[1]);
        divert(&rig, &driver, on, vector).await;
        let ending = interrupt_and_wait(&rig).await;
        let state = rig.cpu.machine().irqs();
        let counts = [irqs[0], others[1]].map(|irq| state.counts(irq).expect("irq"));
        (ending, counts)
    });
    assert_eq!(ending, Ending::Misrouted { cpu: 3, vector: 0x20 });
    let own = IrqCounts {
        taken: vec![0, 1],
        unhandled: 0,
    };
    let other = IrqCounts {
        taken: vec![0, 0, 0, 1],
        unhandled: 1,
    };
    assert_eq!(counts, [own, other]);
}

#[test]
fn what_comes_to_another_cpu_while_the_handler_runs_masks_and_is_handled_by_the_first() {
    let (accesses, handled, taken) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        rig.interrupt(NTB, 0).await;
        // CPU 1's handler runs for 10 us.
        rig.cpu.udelay(1).await;
        rig.core.set_affinity(&rig.cpu, irqs[0], 2).await.expect("move");
        let before = rig.device.sent().len();
        rig.interrupt(NTB, 0).await;
        rig.cpu.udelay(50).await;
        let counts = rig.cpu.machine().irqs().counts(irqs[0]).expect("irq");
        (accesses(&rig.device, before), rig.handled.get(), counts.taken)
    });
    assert_eq!(accesses, ["control0 = 1", "read control0", "control0 = 0"]);
    assert_eq!((handled, taken), (2, vec![0, 1]));
}

#[test]
fn a_handler_spins_while_another_cpu_has_the_descriptors_lock() {
    let (contended, handled) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        let lock = rig.cpu.machine().irqs().get(irqs[0]).expect("irq").lock.clone();
        let guard = lock.lock_irqsave(&rig.cpu).await;
        rig.interrupt(NTB, 0).await;
        rig.cpu.udelay(50).await;
        let before = rig.handled.get();
        drop(guard);
        rig.cpu.udelay(50).await;
        let contended = rig.events().iter().any(|event| {
            event.source == crate::trace::Source::Cpu(1)
                && matches!(
                    event.kind,
                    Kind::Lock {
                        step: crate::trace::LockStep::Contended,
                        ..
                    }
                )
        });
        (contended, [before, rig.handled.get()])
    });
    assert_eq!((contended, handled), (true, [0, 1]));
}

#[test]
fn an_interrupt_that_nobody_cared_for_is_masked_when_the_next_comes() {
    let (logs, accesses, disabled) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let irqs = rig.core.allocate_vectors(&rig.cpu, &MSIX, 1).await.expect("room");
        let handler: Handler = Rc::new(|_| Box::pin(async { IrqReturn::None }));
        rig.core
            .request(&rig.cpu, irqs[0], 1, handler)
            .await
            .expect("request");
        // All but one have been counted already.
        {
            let mut state = rig.cpu.machine().irqs_mut();
            let unhandled = &mut state.get_mut(irqs[0]).expect("irq").unhandled;
            (1..100_000).for_each(|_| assert!(!unhandled.note(IrqReturn::None, 0, 250)));
        }
        rig.events();
        interrupt_and_wait(&rig).await;
        let before = rig.device.sent().len();
        interrupt_and_wait(&rig).await;
        let disabled = rig.cpu.machine().irqs().is_disabled(irqs[0]);
        (log(&rig.events()), accesses(&rig.device, before), disabled)
    });
    let nobody = "irq 24: nobody cared (try booting with the \"irqpoll\" option)";
    assert_eq!(logs, [nobody, "Disabling IRQ #24"]);
    assert_eq!(accesses, ["control0 = 1", "read control0"]);
    assert!(disabled);
}
