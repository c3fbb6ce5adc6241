//! The command ring: execution, order, errors and restart.

use super::*;
use crate::iommu::spec::command::{Command, CommandError};

const CMD_BUF_RUN: u64 = 1 << 4;

/// Asks under `RID` for index 3 after the entry went from vector 0x31 to 0x32, with `commands` in between.
fn vector_after(config: Config, commands: &[[u64; 2]]) -> u8 {
    let rig = Rig::with(config, RUN);
    rig.set_irte32(3, irte32(5, 0x31));
    rig.ask(&Rig::message(RID, 3));
    rig.set_irte32(3, irte32(5, 0x32));
    rig.queue_all(commands);
    rig.run();
    target(&rig.ask(&Rig::message(RID, 3))).1
}

#[test]
fn an_entry_stays_cached_until_its_requester_id_is_invalidated() {
    let alias = RequesterId(0x4101);
    assert_eq!(vector_after(Config::default(), &[]), 0x31);
    assert_eq!(vector_after(Config::default(), &[invalidate_irt(alias)]), 0x31);
    assert_eq!(vector_after(Config::default(), &[invalidate_irt(RID)]), 0x32);
    assert_eq!(vector_after(Config::default(), &[INVALIDATE_ALL]), 0x32);
}

#[test]
fn pages_and_waits_invalidate_no_entry() {
    let pages = [3 << 60 | 0x5e << 32, 0x7fff_ffff_ffff_f003];
    assert_eq!(
        vector_after(Config::default(), &[pages, completion_wait(1)]),
        0x31
    );
}

#[test]
fn invalidate_devtab_entry_leaves_irtes_or_drops_them_by_policy() {
    let drops = Policies {
        devtab_invalidation: DevtabInvalidation::DteAndIrtes,
        ..Policies::default()
    };
    assert_eq!(vector_after(Config::default(), &[invalidate_dte(RID)]), 0x31);
    let config = Config {
        policies: drops,
        ..Config::default()
    };
    assert_eq!(vector_after(config, &[invalidate_dte(RID)]), 0x32);
}

#[test]
fn a_disabled_cache_needs_no_invalidation() {
    let config = Config {
        irt_cache: CacheShape::DISABLED,
        ..Config::default()
    };
    assert_eq!(vector_after(config, &[]), 0x32);
}

#[test]
fn aliases_cache_the_same_table_apart() {
    let rig = Rig::new();
    let alias = RequesterId(0x4101);
    rig.set_dte(alias, dte_remap(TABLE, 9));
    rig.set_irte32(3, irte32(5, 0x31));
    rig.ask(&Rig::message(RID, 3));
    rig.ask(&Rig::message(alias, 3));
    rig.set_irte32(3, irte32(6, 0x32));
    rig.queue(invalidate_irt(RID));
    rig.run();
    assert_eq!(target(&rig.ask(&Rig::message(RID, 3))), (6, 0x32));
    assert_eq!(target(&rig.ask(&Rig::message(alias, 3))), (5, 0x31));
}

#[test]
fn a_dte_stays_cached_until_it_is_invalidated() {
    for (command, forwarded) in [
        (None, false),
        (Some(invalidate_irt(RID)), false),
        (Some(invalidate_dte(RID)), true),
        (Some(INVALIDATE_ALL), true),
    ] {
        let rig = Rig::new();
        rig.set_irte32(3, irte32(5, 0x31));
        rig.ask(&Rig::message(RID, 3));
        rig.set_dte(RID, [0; 4]);
        command.into_iter().for_each(|command| rig.queue(command));
        rig.run();
        let outcome = rig.ask(&Rig::message(RID, 3)).outcome;
        assert_eq!(
            matches!(outcome, Outcome::Forwarded { .. }),
            forwarded,
            "{command:?}"
        );
    }
}

#[test]
fn entries_without_remap_en_are_not_cached_or_cached_by_policy() {
    for (policy, remapped) in [(CacheRemapEnClear::No, true), (CacheRemapEnClear::Yes, false)] {
        let policies = Policies {
            cache_remap_en_clear: policy,
            ..Policies::default()
        };
        let rig = Rig::with(
            Config {
                policies,
                ..Config::default()
            },
            RUN,
        );
        let blocked = rig.ask(&Rig::message(RID, 3));
        assert!(matches!(blocked.outcome, Outcome::Blocked { .. }));
        rig.set_irte32(3, irte32(5, 0x31));
        let outcome = rig.ask(&Rig::message(RID, 3)).outcome;
        assert_eq!(matches!(outcome, Outcome::Remapped(_)), remapped);
    }
}

#[test]
fn irt_cache_dis_neither_hits_nor_fills() {
    let rig = Rig::new();
    rig.set_irte32(3, irte32(5, 0x31));
    assert_eq!(irte_from(&rig.ask(&Rig::message(RID, 3))), LookupFrom::Fill);
    rig.iommu.write(0x18, 8, RUN | 1 << 59);
    rig.set_irte32(3, irte32(5, 0x32));
    for _ in 0..2 {
        let answer = rig.ask(&Rig::message(RID, 3));
        assert_eq!(
            (irte_from(&answer), target(&answer).1),
            (LookupFrom::Uncached, 0x32)
        );
    }
    rig.iommu.write(0x18, 8, RUN);
    // What was cached before is still there: only invalidations drop it.
    assert_eq!(target(&rig.ask(&Rig::message(RID, 3))).1, 0x31);
}

#[test]
fn once_irt_cache_dis_is_0_again_the_cache_has_what_it_held_or_nothing_by_policy() {
    for (policy, vector) in [
        (IrtCacheEnabledAgain::WhatItHeld, 0x31),
        (IrtCacheEnabledAgain::Nothing, 0x32),
    ] {
        let policies = Policies {
            irt_cache_enabled_again: policy,
            ..Policies::default()
        };
        let rig = Rig::with(
            Config {
                policies,
                ..Config::default()
            },
            RUN,
        );
        rig.set_irte32(3, irte32(5, 0x31));
        let vector_now = || match rig.outcome(&Rig::message(RID, 3)) {
            Outcome::Remapped(to) => to.vector(),
            outcome => panic!("{outcome:?}"),
        };
        assert_eq!([vector_now(), vector_now()], [0x31; 2]);
        rig.set_irte32(3, irte32(5, 0x32));
        // A write that leaves the bit alone drops nothing.
        rig.iommu.write(0x18, 8, RUN);
        assert_eq!(vector_now(), 0x31);
        rig.iommu.write(0x1c, 4, 1 << 27);
        assert_eq!(vector_now(), 0x32);
        rig.iommu.write(0x1c, 4, 0);
        assert_eq!([vector_now(), vector_now()], [vector; 2], "{policy:?}");
    }
}

#[test]
fn entries_of_one_format_are_not_hit_in_the_other() {
    let rig = Rig::new();
    rig.set_irte32(0, irte32(5, 0x31));
    rig.ask(&Rig::message(RID, 0));
    rig.iommu.write(0x18, 8, RUN | GA_EN);
    rig.set_irte128(0, [6 << 8 | 1, 0x41]);
    let answer = rig.ask(&Rig::message(RID, 0));
    assert_eq!(
        (irte_from(&answer), target(&answer)),
        (LookupFrom::Fill, (6, 0x41))
    );
}

#[test]
fn more_entries_than_the_cache_holds_evict_the_least_recently_used() {
    let rig = Rig::with(
        Config {
            irt_cache: CacheShape::TINY,
            ..Config::default()
        },
        RUN,
    );
    (0..3).for_each(|index| rig.set_irte32(index, irte32(5, 0x31)));
    let from = [0, 1, 0, 2, 0, 1].map(|index| irte_from(&rig.ask(&Rig::message(RID, index))));
    use LookupFrom::{Fill, Hit};
    assert_eq!(from, [Fill, Fill, Hit, Fill, Hit, Fill]);
}

#[test]
fn completion_wait_stores_its_data_and_says_so() {
    let rig = Rig::new();
    rig.queue(completion_wait(0x1234_5678_9abc_def0));
    let wait = Command::CompletionWait {
        store: Some(SEMAPHORE),
        interrupt: false,
        flush: false,
        data: 0x1234_5678_9abc_def0,
    };
    let stored = Step::CompletionStored {
        offset: 0,
        command: wait,
        address: SEMAPHORE,
        data: 0x1234_5678_9abc_def0,
    };
    assert_eq!(rig.run(), [stored]);
    assert_eq!(rig.semaphore(), 0x1234_5678_9abc_def0);
}

#[test]
fn the_head_moves_command_by_command_and_wraps() {
    let rig = Rig::new();
    rig.iommu.write(0x18, 8, 0);
    rig.iommu.write(0x2000, 4, 8192 - 32);
    rig.iommu.write(0x2008, 4, 8192 - 32);
    rig.iommu.write(0x18, 8, RUN);
    (0..4).for_each(|_| rig.queue(invalidate_irt(RID)));
    let heads = std::array::from_fn(|_| {
        assert!(matches!(rig.iommu.step(), Some(Step::CommandExecuted { .. })));
        rig.iommu.read(0x2000, 8)
    });
    assert_eq!(heads, [8192 - 16, 0, 16, 32]);
    assert!(!rig.iommu.has_work());
    assert_eq!(rig.iommu.step(), None);
}

#[test]
fn pointers_beyond_the_ring_wrap() {
    let rig = Rig::new();
    rig.memory
        .write_obj(completion_wait(9), GuestAddress(COMMANDS))
        .unwrap();
    rig.iommu.write(0x2008, 4, 8192 * 3 + 16);
    assert_eq!(rig.run().len(), 1);
    assert_eq!(rig.semaphore(), 9);
}

#[test]
fn commands_wait_for_the_iommu_and_the_ring_to_be_enabled() {
    for control in [0, IOMMU_EN, CMD_BUF_EN] {
        let rig = Rig::with(Config::default(), control);
        rig.queue(completion_wait(1));
        assert!(!rig.iommu.has_work());
        rig.iommu.write(0x18, 8, RUN);
        rig.run();
        assert_eq!(rig.semaphore(), 1);
    }
}

#[test]
fn an_illegal_command_halts_with_the_head_on_it() {
    let illegal = [
        ([0; 2], CommandError::ReservedOpcode(0)),
        ([9 << 60, 0], CommandError::ReservedOpcode(9)),
        ([4 << 60, 0], CommandError::Unsupported("INVALIDATE_IOTLB_PAGES")),
        ([6 << 60, 0], CommandError::Unsupported("PREFETCH_IOMMU_PAGES")),
        ([7 << 60, 0], CommandError::Unsupported("COMPLETE_PPR_REQUEST")),
        (
            [5 << 60 | 0x1_4100, 0],
            CommandError::ReservedBits {
                command: "INVALIDATE_INTERRUPT_TABLE",
                quadword: 0,
                bits: 0x1_0000,
            },
        ),
    ];
    for (command, error) in illegal {
        let rig = Rig::new();
        rig.queue_all(&[invalidate_irt(RID), command, completion_wait(1)]);
        let steps = rig.run();
        assert!(matches!(steps[0], Step::CommandExecuted { offset: 0, .. }));
        assert!(
            matches!(steps[1], Step::Halted { offset: 16, reason: HaltReason::Illegal(e), .. } if e == error)
        );
        assert!(matches!(steps[2..], [Step::EventWritten { .. }]));
        assert_eq!(rig.event_lines(), ["ILLEGAL_COMMAND_ERROR address=0x400010"]);
        assert_eq!((rig.iommu.read(0x2000, 4), rig.semaphore()), (16, 0));
        assert_eq!(rig.iommu.read(0x2020, 4) & CMD_BUF_RUN, 0);
    }
}

#[test]
fn a_ring_outside_of_memory_is_a_hardware_error() {
    let rig = Rig::with(Config::default(), 0);
    rig.iommu.write(0x08, 8, 1 << 40 | 9 << 56);
    rig.iommu.write(0x18, 8, RUN);
    rig.iommu.write(0x2008, 4, 16);
    let steps = rig.run();
    assert!(matches!(steps[0], Step::Halted { reason: HaltReason::FetchFailed(a), .. } if a == 1 << 40));
    assert_eq!(
        rig.event_lines(),
        ["COMMAND_HARDWARE_ERROR address=0x10000000000 flags=0x0200"]
    );
}

#[test]
fn a_store_outside_of_memory_is_a_hardware_error() {
    let rig = Rig::new();
    rig.queue([1 << 60 | 1 << 40 | 1 | 2, 7]);
    let steps = rig.run();
    assert!(matches!(steps[0], Step::Halted { reason: HaltReason::StoreFailed(a), .. } if a == 1 << 40));
    assert_eq!(
        rig.event_lines(),
        ["COMMAND_HARDWARE_ERROR address=0x10000000000 flags=0x0200"]
    );
    assert_eq!(rig.iommu.read(0x2020, 4) & 1 << 2, 0, "no ComWaitInt");
}
