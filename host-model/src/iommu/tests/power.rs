//! Loss of power: what is gone, and what may come back.

use super::*;

const CPU_5: (u32, u8) = (5, 0x31);

fn used(policy: PowerOnCaches) -> Rig {
    let policies = Policies {
        power_on_caches: policy,
        ..Policies::default()
    };
    let config = Config {
        policies,
        ..Config::default()
    };
    let rig = Rig::with(config, RUN);
    rig.set_irte32(3, irte32(5, 0x31));
    assert_eq!(target(&rig.ask(&Rig::message(RID, 3))), CPU_5);
    rig
}

/// Base registers and Control as before.
fn program(rig: &Rig) {
    rig.iommu.write(0x00, 8, DEVICE_TABLE | 0x1ff);
    rig.iommu.write(0x08, 8, COMMANDS | 9 << 56);
    rig.iommu.write(0x10, 8, EVENTS | 9 << 56);
    rig.iommu.write(0x18, 8, RUN);
}

#[test]
fn registers_and_pointers_are_as_after_reset() {
    let rig = used(PowerOnCaches::default());
    rig.queue(completion_wait(1));
    rig.run();
    // An event in the log, and its status bit.
    rig.ask(&Rig::message(RID, 4));
    rig.run();
    assert_eq!(rig.iommu.read(0x2018, 4), 16);
    rig.iommu.set_msi(Some(MsiMessage {
        address: 0xfee0_0000,
        data: 0x55,
    }));
    rig.iommu.power_cycle();
    let fresh = Iommu::new(rig.iommu.config().clone(), Arc::clone(&rig.memory));
    for register in (0..0x4000).step_by(8) {
        assert_eq!(
            rig.iommu.read(register, 8),
            fresh.read(register, 8),
            "{register:#x}"
        );
    }
}

#[test]
fn without_power_nothing_is_remapped() {
    let rig = used(PowerOnCaches::Kept);
    rig.iommu.power_cycle();
    assert!(matches!(
        rig.ask(&Rig::message(RID, 3)).outcome,
        Outcome::Forwarded { .. }
    ));
    assert!(matches!(
        rig.outcome(&Rig::message(RID, 3)),
        Outcome::Forwarded { .. }
    ));
}

#[test]
fn commands_and_log_entries_under_way_are_gone() {
    let rig = used(PowerOnCaches::default());
    rig.queue(completion_wait(1));
    rig.ask(&Rig::message(RID, 4));
    assert!(rig.iommu.has_work());
    rig.iommu.power_cycle();
    program(&rig);
    assert!(!rig.iommu.has_work());
    assert_eq!((rig.run(), rig.semaphore()), (vec![], 0));
}

#[test]
fn a_wait_that_waited_for_a_lookup_is_gone_when_that_is_answered() {
    let rig = used(PowerOnCaches::Kept);
    let token = rig.ask_until_irte_fill(&Rig::message(RID, 4));
    rig.queue_all(&[invalidate_irt(RID), completion_wait(1)]);
    assert!(matches!(rig.run().last(), Some(Step::Waiting { .. })));
    rig.iommu.power_cycle();
    program(&rig);
    rig.complete(token);
    assert_eq!(rig.semaphore(), 0);
    // And the ring works as ever.
    rig.queue(completion_wait(2));
    rig.run();
    assert_eq!(rig.semaphore(), 2);
}

#[test]
fn caches_are_empty_or_as_before() {
    for (policy, from, expected) in [
        (PowerOnCaches::Empty, LookupFrom::Fill, (6, 0x41)),
        (PowerOnCaches::Kept, LookupFrom::Hit, CPU_5),
    ] {
        let rig = used(policy);
        rig.iommu.power_cycle();
        rig.set_irte32(3, irte32(6, 0x41));
        program(&rig);
        let answer = rig.ask(&Rig::message(RID, 3));
        assert_eq!(
            (irte_from(&answer), target(&answer)),
            (from, expected),
            "{policy:?}"
        );
        // As whoever invalidates never has to know.
        rig.queue(INVALIDATE_ALL);
        rig.run();
        assert_eq!(target(&rig.ask(&Rig::message(RID, 3))), (6, 0x41), "{policy:?}");
    }
}

#[test]
fn what_was_being_read_is_not_cached_by_empty_caches() {
    let rig = used(PowerOnCaches::Empty);
    rig.set_irte32(4, irte32(5, 0x31));
    let token = rig.ask_until_irte_fill(&Rig::message(RID, 4));
    rig.iommu.power_cycle();
    assert_eq!(target(&rig.complete(token)), CPU_5);
    rig.set_irte32(4, irte32(6, 0x41));
    program(&rig);
    assert_eq!(target(&rig.ask(&Rig::message(RID, 4))), (6, 0x41));
}

#[test]
fn statistics_go_on() {
    let rig = used(PowerOnCaches::Empty);
    rig.ask(&Rig::message(RID, 4));
    rig.run();
    rig.iommu.read(0x3, 3);
    let before = (rig.iommu.statistics(), rig.iommu.register_statistics());
    assert_eq!((before.1.events.written, before.1.refusals.bad_access), (1, 1));
    rig.iommu.power_cycle();
    assert_eq!((rig.iommu.statistics(), rig.iommu.register_statistics()), before);
}
