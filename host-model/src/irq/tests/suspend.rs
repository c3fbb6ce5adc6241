use super::*;
use crate::iommu::PowerOnCaches;
use crate::machine::IOMMU_MMIO;

const CONTROL: u64 = 0x18;
const CMD_BUF_TAIL: u64 = 0x2008;

#[test]
fn what_comes_while_interrupts_are_suspended_is_handled_once_after() {
    let (accesses, handled) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, _) = Rig::bound(cpu, driver, device, 1).await;
        rig.core.suspend_device_irqs(&rig.cpu).await;
        let before = rig.device.sent().len();
        for _ in 0..2 {
            rig.interrupt(NTB, 0).await;
            rig.cpu.udelay(50).await;
        }
        let suspended = rig.handled.get();
        rig.core.resume_device_irqs(&rig.cpu).await;
        rig.cpu.udelay(50).await;
        (accesses(&rig.device, before), [suspended, rig.handled.get()])
    });
    assert_eq!(accesses, ["control0 = 1", "read control0", "control0 = 0"]);
    assert_eq!(handled, [0, 1]);
}

#[test]
fn suspending_waits_for_the_handler_that_runs() {
    let handled = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, _) = Rig::bound(cpu, driver, device, 1).await;
        rig.interrupt(NTB, 0).await;
        // CPU 1's handler runs for 10 us.
        rig.cpu.udelay(1).await;
        let before = rig.handled.get();
        rig.core.suspend_device_irqs(&rig.cpu).await;
        [before, rig.handled.get()]
    });
    assert_eq!(handled, [0, 1]);
}

#[test]
fn an_msix_table_that_was_lost_is_written_anew_each_vector_masked_as_it_was() {
    let (accesses, delivered) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver.clone(), device, 2).await;
        rig.core.free_irq(&rig.cpu, irqs[1]).await.expect("free_irq");
        driver.suspend(&rig.cpu).await.expect("suspend");
        rig.cpu.machine().power_cycle().await;
        driver.resume(&rig.cpu).await.expect("resume");
        let before = rig.device.sent().len();
        rig.core.restore_msi_state(&rig.cpu, NTB).await;
        let accesses = accesses(&rig.device, before);
        (accesses, rig.interrupt(NTB, 0).await)
    });
    let expected = [
        "read MSI-X control",
        "MSI-X enable 1 mask all 1",
        // Not masked: it is while its message changes.
        "control0 = 1",
        "address0 = fee00000",
        "high0 = 0",
        "data0 = 0",
        "read data0",
        "control0 = 0",
        "control0 = 0",
        // Masked.
        "address1 = fee00000",
        "high1 = 0",
        "data1 = 1",
        "read data1",
        "control1 = 1",
        "read MSI-X control",
        "MSI-X enable 1 mask all 0",
    ];
    assert_eq!(accesses, expected);
    assert_eq!(delivered, Ending::Delivered { cpu: 1, vector: 0x20 });
}

#[test]
fn an_msi_capability_that_was_lost_is_written_anew() {
    let (before, lost, after) = super::platform::msi_setup().run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let msi = super::platform::MSI;
        let irqs = rig.core.allocate_msi(&rig.cpu, &msi, 4).await.expect("room");
        rig.request(irqs[1]).await.expect("request");
        let capability = async || {
            let mut read = Vec::new();
            for offset in (0x60..0x78).step_by(4) {
                read.push(rig.cpu.config_read(NTB, offset).await);
            }
            read
        };
        let before = capability().await;
        rig.cpu.machine().power_cycle().await;
        let lost = capability().await;
        rig.core.restore_msi_state(&rig.cpu, NTB).await;
        (before, lost, capability().await)
    });
    assert_eq!(lost, [0; 6]);
    assert_eq!(after, before);
    // All but the second are masked.
    assert_eq!(after[4], 0b1101);
}

/// Offset, bytes and value.
type Write = (u64, usize, u64);

/// What is found of an interrupt under an alias after a resume that `forgets` to write some registers, or parts of them. The
/// entry was cached under the alias, and invalidated under the own ID only when it moved; the IOMMU's caches come up with what
/// they held.
fn found(forgets: fn(Write) -> Option<Write>) -> Vec<(FindingKind, Option<&'static str>)> {
    const ALIAS: RequesterId = RequesterId(0x240);
    let mut setup = setup(Profile::LINUX_6_12, &[0x40]);
    setup.iommu.policies.power_on_caches = PowerOnCaches::Kept;
    setup.run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver.clone(), device, 1).await;
        let machine = rig.cpu.machine();
        machine.with_checker(|checker| checker.set_driver(driver.clone()));
        driver.suspend(&rig.cpu).await.expect("suspend");
        rig.events();
        driver.resume(&rig.cpu).await.expect("resume");
        let written = rig.events().into_iter().filter_map(|event| match event.kind {
            Kind::RegisterWritten { offset, size, value } => Some((offset, size, value)),
            _ => None,
        });
        let written: Vec<Write> = written.collect();
        rig.interrupt(ALIAS, 0).await;
        rig.core.set_affinity(&rig.cpu, irqs[0], 2).await.expect("move");
        rig.cpu.delay(JIFFY).await;
        driver.suspend(&rig.cpu).await.expect("suspend");
        machine.power_cycle().await;
        // The commands are in the ring still.
        rig.cpu
            .call("resume", async |cpu| {
                for (offset, size, value) in written.into_iter().filter_map(forgets) {
                    cpu.mmio_write(IOMMU_MMIO + offset, size, value).await;
                }
                cpu.udelay(10).await;
            })
            .await;
        rig.core.restore_msi_state(&rig.cpu, NTB).await;
        rig.interrupt(ALIAS, 0).await;
        let findings = machine.with_checker(|checker| checker.findings());
        let findings = findings.unwrap_or_default().into_iter();
        findings.map(|finding| (finding.kind, finding.function)).collect()
    })
}

#[test]
fn whatever_a_driver_forgets_when_it_resumes_is_found() {
    fn keeps(write: Write) -> Option<Write> {
        Some(write)
    }
    fn clears(bit: u32, (offset, size, value): Write) -> Option<Write> {
        let kept = if offset == CONTROL {
            value & !(1 << bit)
        } else {
            value
        };
        Some((offset, size, kept))
    }
    assert_eq!(found(keeps), []);
    let resume = Some("amd_iommu_resume");
    type Row = (
        &'static str,
        fn(Write) -> Option<Write>,
        (FindingKind, Option<&'static str>),
    );
    let rows: [Row; 4] = [
        (
            "where the device table is",
            |write| Some(write).filter(|(offset, ..)| *offset >= 8),
            (FindingKind::Blocked, resume),
        ),
        ("IommuEn", |write| clears(0, write), (FindingKind::Lost, resume)),
        ("GAEn", |write| clears(17, write), (FindingKind::Lost, None)),
        (
            "to invalidate",
            |write| Some(write).filter(|(offset, ..)| *offset != CMD_BUF_TAIL),
            (FindingKind::Stale, Some("iommu_flush_irt_and_complete")),
        ),
    ];
    for (forgets, without, expected) in rows {
        assert_eq!(found(without), [expected], "{forgets}");
    }
}
