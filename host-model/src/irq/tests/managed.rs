use super::*;

async fn bound(rig: &Rig) -> Vec<Irq> {
    let irqs = rig
        .core
        .allocate_managed_vectors(&rig.cpu, &MSIX, 2)
        .await
        .expect("room");
    for &irq in &irqs {
        // Where is not asked.
        rig.request_on(irq, 0).await.expect("request");
    }
    irqs
}

#[test]
fn managed_interrupts_are_spread_and_stay() {
    let (masks, cpus, refused) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let irqs = bound(&rig).await;
        let refused = rig.core.set_affinity(&rig.cpu, irqs[0], 3).await;
        let state = rig.cpu.machine().irqs();
        let masks: Vec<_> = irqs
            .iter()
            .map(|irq| state.affinity(*irq).expect("irq").to_string())
            .collect();
        let cpus: Vec<_> = irqs.iter().map(|irq| state.effective_affinity(*irq)).collect();
        (masks, cpus, (refused, irqs[0]))
    });
    assert_eq!(masks, ["0-1", "2-3"]);
    assert_eq!(cpus, [Some(1), Some(3)]);
    assert_eq!(refused.0, Err(IrqError::Managed(refused.1)));
}

#[test]
fn a_managed_interrupt_is_shut_down_with_its_last_cpu_and_comes_back_with_the_first() {
    let seen = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let irqs = bound(&rig).await;
        let mut seen = Vec::new();
        let (core, cpu) = (&rig.core, &rig.cpu);
        rig.events();
        for (down, id) in [(true, 3), (true, 2), (false, 2), (false, 3)] {
            if down {
                core.cpu_down(cpu, id).await.expect("down");
            } else {
                core.cpu_up(cpu, id).await.expect("up");
            }
            let at = cpu.machine().irqs().effective_affinity(irqs[1]);
            seen.push((at, entry_writes(&rig.events())));
        }
        seen
    });
    let expected = [
        (Some(2), "20@2 R200 W"),
        (None, "off R200 W"),
        (Some(2), "20@2 R200 W 20@2 R200 W 20@2 R200 W"),
        (Some(2), ""),
    ];
    assert_eq!(seen, expected.map(|(at, writes)| (at, writes.to_owned())));
}

#[test]
fn managed_vectors_are_given_back_with_the_interrupts() {
    let (before, after) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let balance = || {
            let state = rig.cpu.machine().irqs();
            [0, 1, 2, 3].map(|cpu| state.vectors.unplug_balance(cpu))
        };
        let before = balance();
        let irqs = bound(&rig).await;
        assert_ne!(balance(), before);
        for &irq in &irqs {
            rig.core.free_irq(&rig.cpu, irq).await.expect("free_irq");
        }
        rig.core
            .free_vectors(&rig.cpu, &irqs)
            .await
            .expect("free_vectors");
        (before, balance())
    });
    assert_eq!(before, after);
}
