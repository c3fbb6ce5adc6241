//! Fills that overlap with invalidations.

use super::*;

/// The entry goes from vector 0x31 to 0x32 while a fill has the old one.
fn old_fill(rig: &Rig) -> FillToken<'_> {
    rig.set_irte32(3, irte32(5, 0x31));
    let token = rig.ask_until_irte_fill(&Rig::message(RID, 3));
    rig.set_irte32(3, irte32(5, 0x32));
    token
}

#[test]
fn a_fill_answers_with_what_was_read_when_it_began() {
    let rig = Rig::new();
    let token = old_fill(&rig);
    let answer = rig.complete(token);
    assert_eq!((target(&answer).1, irte_from(&answer)), (0x31, LookupFrom::Fill));
}

#[test]
fn a_fill_that_an_invalidation_overtakes_answers_but_is_never_hit() {
    for command in [invalidate_irt(RID), INVALIDATE_ALL] {
        let rig = Rig::new();
        let token = old_fill(&rig);
        rig.queue(command);
        rig.run();
        let old = rig.complete(token);
        assert_eq!((target(&old).1, irte_from(&old)), (0x31, LookupFrom::Uncached));
        let new = rig.ask(&Rig::message(RID, 3));
        assert_eq!((target(&new).1, irte_from(&new)), (0x32, LookupFrom::Fill));
    }
}

/// Its generation is the current one again when it completes.
#[test]
fn a_fill_that_a_whole_round_of_generations_overtakes_is_never_hit() {
    for (generation_bits, rounds) in [(1, 1), (1, 3), (4, 1), (4, 2)] {
        let config = Config {
            generation_bits,
            ..Config::default()
        };
        let rig = Rig::with(config, RUN);
        let token = old_fill(&rig);
        for _ in 0..rounds << generation_bits {
            rig.queue(invalidate_irt(RID));
            rig.run();
        }
        let old = rig.complete(token);
        assert_eq!((target(&old).1, irte_from(&old)), (0x31, LookupFrom::Uncached));
        assert_eq!(target(&rig.ask(&Rig::message(RID, 3))).1, 0x32);
    }
}

#[test]
fn a_dte_fill_that_an_invalidation_overtakes_is_never_hit() {
    let rig = Rig::new();
    let Response::Fill(token) = rig.iommu.request(&Rig::message(RID, 3)) else {
        panic!("no fill")
    };
    assert_eq!(
        (token.entry(), token.address()),
        (TableEntry::Dte, DEVICE_TABLE + 0x4100 * 32)
    );
    rig.set_dte(RID, [0; 4]);
    rig.queue(invalidate_dte(RID));
    rig.run();
    let old = rig.complete(token);
    assert_eq!(old.dte.unwrap().from, LookupFrom::Uncached);
    let new = rig.ask(&Rig::message(RID, 3));
    assert!(matches!(new.outcome, Outcome::Forwarded { .. }));
}

/// The walk's table root comes from before the invalidation, so its IRTE must not outlive it even though that is
/// read afterwards.
#[test]
fn an_irte_read_by_way_of_an_old_dte_is_never_hit() {
    let rig = Rig::new();
    let new_table = TABLE + 0x1000;
    rig.set_irte32(3, irte32(5, 0x31));
    rig.memory
        .write_obj(irte32(5, 0x32), GuestAddress(new_table + 12))
        .unwrap();
    let Response::Fill(token) = rig.iommu.request(&Rig::message(RID, 3)) else {
        panic!("no fill")
    };
    rig.set_dte(RID, dte_remap(new_table, 9));
    rig.queue(invalidate_dte(RID));
    rig.queue(invalidate_irt(RID));
    rig.run();
    let old = rig.complete(token);
    assert_eq!((target(&old).1, irte_from(&old)), (0x31, LookupFrom::Uncached));
    assert_eq!(target(&rig.ask(&Rig::message(RID, 3))).1, 0x32);
}

#[test]
fn completion_wait_waits_for_older_lookups_of_an_invalidated_requester_id() {
    for command in [invalidate_irt(RID), invalidate_dte(RID), INVALIDATE_ALL] {
        let rig = Rig::new();
        let token = old_fill(&rig);
        rig.queue(command);
        rig.queue(completion_wait(1));
        assert!(matches!(
            rig.run()[..],
            [
                Step::CommandExecuted {
                    offset: 0,
                    retired: false,
                    ..
                },
                Step::Waiting { offset: 16, .. }
            ]
        ));
        assert!(!rig.iommu.has_work());
        assert_eq!((rig.semaphore(), rig.iommu.read(0x2000, 4)), (0, 16));
        rig.complete(token);
        assert!(rig.iommu.has_work());
        assert!(matches!(
            rig.run()[..],
            [
                Step::CommandRetired { offset: 0, .. },
                Step::CompletionStored { offset: 16, .. }
            ]
        ));
        assert_eq!((rig.semaphore(), rig.iommu.read(0x2000, 4)), (1, 32));
    }
}

#[test]
fn completion_wait_does_not_wait_for_other_or_younger_lookups() {
    let rig = Rig::new();
    let other = RequesterId(0x4200);
    rig.set_dte(other, dte_remap(TABLE, 9));
    let _older_of_another = rig.iommu.request(&Rig::message(other, 3));
    rig.queue(invalidate_irt(RID));
    assert!(matches!(
        rig.iommu.step(),
        Some(Step::CommandExecuted { retired: true, .. })
    ));
    let _younger = rig.iommu.request(&Rig::message(RID, 3));
    rig.queue(completion_wait(1));
    rig.run();
    assert_eq!(rig.semaphore(), 1);
}

#[test]
fn an_invalidation_retires_while_younger_lookups_are_unanswered() {
    let rig = Rig::new();
    let older = old_fill(&rig);
    rig.queue(invalidate_irt(RID));
    assert!(matches!(
        rig.run()[..],
        [Step::CommandExecuted { retired: false, .. }]
    ));
    let younger = rig.ask_until_irte_fill(&Rig::message(RID, 3));
    rig.complete(older);
    assert!(matches!(rig.run()[..], [Step::CommandRetired { .. }]));
    assert_eq!(target(&rig.complete(younger)).1, 0x32);
}

#[test]
fn an_abandoned_lookup_holds_nothing_up() {
    let rig = Rig::new();
    let token = old_fill(&rig);
    rig.queue(invalidate_irt(RID));
    rig.queue(completion_wait(1));
    rig.run();
    drop(token);
    rig.run();
    assert_eq!(rig.semaphore(), 1);
}

#[test]
fn invalidations_of_others_execute_while_one_waits_to_retire() {
    let rig = Rig::new();
    let token = old_fill(&rig);
    rig.queue(invalidate_irt(RID));
    rig.queue(invalidate_irt(RequesterId(0x4200)));
    assert!(matches!(
        rig.run()[..],
        [
            Step::CommandExecuted { retired: false, .. },
            Step::CommandExecuted { retired: true, .. }
        ]
    ));
    rig.complete(token);
    assert!(matches!(rig.run()[..], [Step::CommandRetired { offset: 0, .. }]));
}

#[test]
fn a_ring_full_of_invalidations_behind_one_lookup_completes() {
    let rig = Rig::new();
    let token = old_fill(&rig);
    (0..500).for_each(|_| rig.queue(invalidate_irt(RID)));
    rig.queue(completion_wait(1));
    rig.run();
    assert!(!rig.iommu.has_work());
    rig.complete(token);
    rig.run();
    assert_eq!(rig.semaphore(), 1);
}

#[test]
fn a_waiting_command_is_forgotten_with_its_ring() {
    let rig = Rig::new();
    let token = old_fill(&rig);
    rig.queue(invalidate_irt(RID));
    rig.queue(completion_wait(1));
    rig.run();
    rig.iommu.write(0x18, 8, RUN & !CMD_BUF_EN);
    rig.iommu.write(0x2000, 4, 0);
    rig.iommu.write(0x2008, 4, 0);
    rig.iommu.write(0x18, 8, RUN);
    rig.queue(completion_wait(2));
    rig.complete(token);
    rig.run();
    assert_eq!(rig.semaphore(), 2);
}

#[test]
fn a_waiting_command_that_software_takes_back_does_not_complete() {
    let rig = Rig::new();
    let token = old_fill(&rig);
    rig.queue(invalidate_irt(RID));
    rig.queue(completion_wait(1));
    rig.run();
    rig.iommu.write(0x2008, 4, 16);
    rig.complete(token);
    rig.run();
    assert_eq!((rig.semaphore(), rig.iommu.read(0x2000, 4)), (0, 16));
    rig.iommu.write(0x2008, 4, 32);
    rig.run();
    assert_eq!((rig.semaphore(), rig.iommu.read(0x2000, 4)), (1, 32));
}
