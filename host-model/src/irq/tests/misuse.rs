use super::*;

#[test]
fn free_irq_waits_for_a_running_handler() {
    let handled = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        rig.interrupt(NTB, 0).await;
        // The handler has begun, and takes 10 us.
        rig.cpu.udelay(1).await;
        assert_eq!(rig.handled.get(), 0);
        let start = rig.cpu.machine().now();
        rig.core.free_irq(&rig.cpu, irqs[0]).await.expect("free_irq");
        assert!(rig.cpu.machine().now() - start > SimTime::from_us(8));
        rig.handled.get()
    });
    assert_eq!(handled, 1);
}

#[test]
fn a_failed_allocation_gives_back_what_it_had() {
    let (refused, left) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver.clone(), device).await;
        let target = crate::driver::Target {
            apic_id: 0,
            vector: 0xef,
        };
        let mut taken = Vec::new();
        for _ in 0..511 {
            let allocated = driver.allocate(&rig.cpu, NTB, Interrupts::Msix, target).await;
            taken.push(allocated.expect("room"));
        }
        let refused = rig.core.allocate_vectors(&rig.cpu, &MSIX, 2).await;
        (
            refused,
            driver
                .allocate(&rig.cpu, NTB, Interrupts::Msix, target)
                .await
                .map(|allocated| allocated.message.data),
        )
    });
    assert_eq!(refused, Err(IrqError::Driver(DriverError::NoSpace(NTB))));
    assert_eq!(left, Ok(511));
}

#[test]
fn a_task_that_dies_in_an_allocation_puts_nothing_in_order() {
    const LATE: RequesterId = RequesterId(0x240);
    let mut setup = setup(Profile::LINUX_7_2, &[]);
    setup.ivrs.not_ours = [(LATE, None)].into();
    let (died, reserved, accesses) = setup.run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver.clone(), device).await;
        add_alias(&driver, NTB, LATE);
        let before = rig.device.sent().len();
        let died = rig.core.allocate_vectors(&rig.cpu, &MSIX, 1).await;
        let (_, _, reserved) = rig.cpu.machine().irqs().vectors.unplug_balance(1);
        (died, reserved, accesses(&rig.device, before))
    });
    assert!(died.is_err_and(|error| error.is_oops()));
    // MSI-X stays enabled.
    assert_eq!(
        accesses,
        ["read MSI-X control", "MSI-X enable 1 mask all 1", "read control0"]
    );
    assert_eq!(reserved, 1);
}

#[test]
fn misuse_is_refused_by_name() {
    let (irq, results) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let too_many = rig.core.allocate_vectors(&rig.cpu, &MSIX, 3).await.map(|_| ());
        let irqs = rig.core.allocate_vectors(&rig.cpu, &MSIX, 1).await.expect("room");
        let freed = rig.core.free_irq(&rig.cpu, irqs[0]).await;
        rig.request(irqs[0]).await.expect("request");
        let twice = rig.request(irqs[0]).await;
        let in_use = rig.core.free_vectors(&rig.cpu, &irqs).await;
        let nowhere = rig.core.set_affinity(&rig.cpu, irqs[0], 9).await;
        let hint = rig.core.update_affinity_hint(&rig.cpu, Irq(7), None).await;
        let unknown = rig.core.set_affinity(&rig.cpu, Irq(7), 2).await;
        (irqs[0], [too_many, freed, twice, in_use, nowhere, unknown, hint])
    });
    let too_many = IrqError::TooManyVectors {
        device: NTB,
        want: 3,
        have: 2,
    };
    let expected = [
        too_many,
        IrqError::NotRequested(irq),
        IrqError::Requested(irq),
        IrqError::Requested(irq),
        IrqError::NoOnlineCpu(9.into()),
        IrqError::NoSuchIrq(Irq(7)),
        IrqError::NoSuchIrq(Irq(7)),
    ];
    assert_eq!(results, expected.map(Err));
}
