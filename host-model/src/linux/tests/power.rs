//! Suspend, loss of power, resume.

use super::*;
use crate::iommu::PowerOnCaches;
use crate::iommu::spec::features::Features;
use crate::machine::IOMMU_MMIO;
use crate::trace::Kind;

const TARGET: Target = Target {
    apic_id: 1,
    vector: 0x31,
};

/// All registers but the command ring's pointers.
fn registers(cpu: &Cpu) -> Vec<(u64, u64)> {
    let all = (0..0x4000).step_by(8);
    all.filter(|register| !(0x2000..0x2010).contains(register))
        .map(|register| (register, cpu.machine().iommu().read(register, 8)))
        .collect()
}

/// With all features that the driver uses, of which the IVHD tells or not.
fn setup(profile: Profile, told: bool) -> Setup {
    let efr = Efr::new().with_ia_sup(true).with_ga_sup(true).with_gam_sup(1);
    let mut setup = Setup::new(profile, &[0x40]);
    setup.iommu.features = Features::new(efr, Efr2::new().with_num_int_remap_sup(1)).expect("implemented");
    setup.iommu.policies.power_on_caches = PowerOnCaches::Kept;
    setup.ivrs.ivhd = match told {
        true => Ivhd::Type11(efr, Efr2::new().with_num_int_remap_sup(1)),
        false => Ivhd::Type10,
    };
    setup
}

async fn sleep(cpu: &Cpu, driver: &LinuxDriver) {
    driver.suspend(cpu).await.expect("suspend");
    cpu.machine().power_cycle().await;
}

#[test]
fn after_a_loss_of_power_resume_leaves_every_register_as_start_up_did() {
    for profile in Profile::ALL {
        for told in [true, false] {
            let (before, lost, after) = setup(profile, told).run(|cpu, driver, _| async move {
                start(&cpu, &driver).await;
                // Once, so that what start-up finds out late is known.
                driver.suspend(&cpu).await.expect("suspend");
                driver.resume(&cpu).await.expect("resume");
                let before = registers(&cpu);
                sleep(&cpu, &driver).await;
                let lost = registers(&cpu);
                driver.resume(&cpu).await.expect("resume");
                (before, lost, registers(&cpu))
            });
            assert_ne!(lost, before, "{profile}");
            assert_eq!(after, before, "{profile}, told of features: {told}");
        }
    }
}

#[test]
fn resume_leaves_what_start_up_left_and_flushes_everything_by_one_command() {
    for profile in Profile::ALL {
        let (before, after, commands, writes) = setup(profile, true).run(|cpu, driver, _| async move {
            start(&cpu, &driver).await;
            let before = registers(&cpu);
            sleep(&cpu, &driver).await;
            cpu.machine().trace().take();
            driver.resume(&cpu).await.expect("resume");
            let events = cpu.machine().trace().take();
            let writes: Vec<u64> = events
                .iter()
                .filter_map(|event| match event.kind {
                    Kind::RegisterWritten { offset, .. } => Some(offset),
                    _ => None,
                })
                .collect();
            (before, registers(&cpu), notation(&events), writes)
        });
        assert_eq!(after, before, "{profile}");
        assert_eq!(commands, "ALL W", "{profile}");
        // Device table, command ring and its pointers, in this order, before the tail moves.
        let first = |register| writes.iter().position(|offset| *offset == register);
        let order = [0x00, 0x08, 0x2000, 0x2008].map(first);
        assert!(
            order.is_sorted() && order.iter().all(Option::is_some),
            "{profile}"
        );
    }
}

#[test]
fn with_no_feature_told_of_resume_flushes_by_the_command_that_start_up_found_late() {
    let commands = setup(Profile::LINUX_7_2, false).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        sleep(&cpu, &driver).await;
        commands_of(&cpu, driver.resume(&cpu)).await.1
    });
    assert_eq!(commands, "ALL W");
}

#[test]
fn a_suspended_iommu_is_off_and_a_resumed_one_goes_on_with_its_numbers() {
    for profile in [Profile::LINUX_5_10, Profile::LINUX_6_12, Profile::LINUX_7_2] {
        let setup = Setup::new(profile, &[0x40]);
        let (suspended, flush, numbers) = setup.run(|cpu, driver, _| async move {
            start(&cpu, &driver).await;
            driver.probe(&cpu, NTB).await.expect("probe");
            let (entry, _) = allocate(&cpu, &driver, NTB, TARGET).await.expect("room");
            driver.suspend(&cpu).await.expect("suspend");
            let suspended = cpu.mmio_read(IOMMU_MMIO + 0x18, 8).await;
            cpu.machine().power_cycle().await;
            driver.resume(&cpu).await.expect("resume");
            let number = driver.queue.last_number();
            let call = driver.activate(&cpu, entry, TARGET);
            let ((), flush) = commands_of(&cpu, call).await;
            (suspended, flush, driver.queue.last_number() - number)
        });
        // IommuEn, CmdBufEn.
        assert_eq!(suspended & (1 << 12 | 1), 0, "{profile}");
        assert!(
            flush.ends_with('W') && flush.starts_with("R200"),
            "{profile}: {flush}"
        );
        assert_eq!(numbers, 2, "{profile}");
    }
}
