//! Guest mode.

use super::*;
use crate::checker::Freshness;
use crate::driver::GuestTarget;
use crate::iommu::spec::features::Features;
use crate::iommu::{Notice, Outcome};
use crate::trace::{Event, Kind};
use sim_bridge::SimTime;

const TARGET: Target = Target {
    apic_id: 1,
    vector: 0x31,
};

fn setup(profile: Profile) -> Setup {
    let mut setup = Setup::new(profile, &[0x40]);
    let efr = Efr::new().with_ia_sup(true).with_ga_sup(true).with_gam_sup(1);
    setup.ivrs.ivhd = Ivhd::Type11(efr, Efr2::new());
    setup.iommu.features = Features::new(efr, Efr2::new()).expect("implemented");
    setup
}

/// Commands of: into guest mode, a move of the virtual CPU, a move of the interrupt, out of guest mode. And whom an
/// interrupt under the alias told after each of the first two.
fn posted(profile: Profile) -> (Vec<String>, Vec<(Notice, Option<Freshness>)>) {
    setup(profile).run(|cpu, driver, device| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let (entry, message) = allocate(&cpu, &driver, NTB, TARGET).await.expect("room");
        driver.activate(&cpu, entry, TARGET).await.expect("activate");
        let backing_page = cpu.machine().memory().allocate(0x1000, 0x1000).expect("memory");
        let guest = GuestTarget {
            backing_page,
            vector: 0x55,
            ga_tag: 7,
            runs_on: Some(2),
        };
        let interrupt = async |count| -> (Notice, Option<Freshness>) {
            let machine = cpu.machine();
            machine.trace().take();
            device.interrupt_at(machine.now(), RequesterId(0x240), message.data);
            assert!(machine.wait_for_endings(count, SimTime::from_us(100)).await);
            let events: Vec<Event> = machine.trace().take();
            let answered = events.iter().find_map(|event| match &event.kind {
                Kind::Answered { answer, freshness } => match answer.outcome {
                    Outcome::Posted(posted) => Some((posted.notice, *freshness)),
                    _ => None,
                },
                _ => None,
            });
            answered.expect("posted")
        };
        let mut commands = Vec::new();
        let mut told = Vec::new();
        commands.push(
            commands_of(&cpu, driver.activate_guest_mode(&cpu, entry, guest))
                .await
                .1,
        );
        told.push(interrupt(1).await);
        commands.push(
            commands_of(&cpu, driver.update_guest(&cpu, entry, Some(3)))
                .await
                .1,
        );
        told.push(interrupt(2).await);
        commands.push(
            commands_of(&cpu, driver.set_affinity(&cpu, entry, TARGET))
                .await
                .1,
        );
        commands.push(
            commands_of(&cpu, driver.deactivate_guest_mode(&cpu, entry, TARGET))
                .await
                .1,
        );
        (commands, told)
    })
}

#[test]
fn a_move_of_the_virtual_cpu_needs_no_flush_and_reaches_it() {
    let fresh = Some(Freshness::Fresh);
    let told = vec![(Notice::Doorbell(2), fresh), (Notice::Doorbell(3), fresh)];
    let flush = "R200 R240 W";
    let expected = [flush, "", "", flush].map(str::to_owned).to_vec();
    assert_eq!(posted(Profile::LINUX_7_2), (expected, told));
    let flush = "R200 W";
    let expected = [flush, "", "", flush].map(str::to_owned);
    assert_eq!(posted(Profile::LINUX_6_12).0, expected);
    let expected = [flush, flush, "", flush].map(str::to_owned);
    assert_eq!(posted(Profile::LINUX_6_1).0, expected);
}

#[test]
fn without_a_vapic_guest_mode_is_refused_and_an_update_does_nothing() {
    let results = Setup::new(Profile::LINUX_7_2, &[]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let (entry, _) = allocate(&cpu, &driver, NTB, TARGET).await.expect("room");
        let guest = GuestTarget {
            backing_page: 0x1000,
            vector: 0x55,
            ga_tag: 7,
            runs_on: None,
        };
        (
            driver.activate_guest_mode(&cpu, entry, guest).await,
            driver.update_guest(&cpu, entry, Some(1)).await,
            driver.deactivate_guest_mode(&cpu, entry, TARGET).await,
        )
    });
    let refused = Err(DriverError::Invalid("the IOMMU's vAPIC is not enabled"));
    assert_eq!(results, (refused, Ok(()), refused));
}
