//! Commands: all eight with and without their features, flags and operands, and answers of devices.

use super::super::translate::read;
use super::*;
use crate::iommu::spec::features::{Efr, Efr2, Features};
use crate::iommu::translate::{MemoryRequest, TranslationResponse};

/// EFR.PreFSup, PPRSup, IASup, GASup; IotlbSup.
fn everything() -> Config {
    let features = Features::new(Efr::from_bits(0xc3), Efr2::new()).unwrap();
    Config {
        features: features.with_iotlb_sup(true),
        ..Config::default()
    }
}

fn nothing() -> Config {
    Config {
        features: Features::new(Efr::new(), Efr2::new()).unwrap(),
        ..Config::default()
    }
}

/// As Linux builds it (`build_inv_iotlb_pages`): one page, MaxPend 32.
const INVALIDATE_IOTLB: [u64; 2] = [4 << 60 | 0x4100 << 32 | 32 << 24 | 0x4100, 0x1000];

/// A legal command of each opcode, whether it needs a feature, and whether it is complete at once.
const COMMANDS_BY_FEATURE: [([u64; 2], bool, bool); 8] = [
    ([1 << 60, 0], false, true),
    ([2 << 60 | 0x4100, 0], false, true),
    ([3 << 60 | 0x5e << 32, 0x7fff_ffff_ffff_f003], false, true),
    (INVALIDATE_IOTLB, true, false),
    ([5 << 60 | 0x4100, 0], false, true),
    ([6 << 60 | 0x4100, 0x1000], true, true),
    ([7 << 60 | 0x4100, 0], true, true),
    ([8 << 60, 0], true, true),
];

#[test]
fn every_command_executes_with_its_feature() {
    for (command, _, at_once) in COMMANDS_BY_FEATURE {
        let rig = Rig::with(everything(), RUN);
        rig.queue(command);
        let steps = rig.run();
        assert!(
            matches!(steps[..], [Step::CommandExecuted { offset: 0, retired, .. }] if retired == at_once),
            "{steps:?}"
        );
        assert_eq!(
            (rig.iommu.read(0x2000, 4), status(&rig, CMD_BUF_RUN)),
            (16, CMD_BUF_RUN)
        );
    }
}

#[test]
fn a_command_without_its_feature_is_illegal() {
    for (command, needs_feature, _) in COMMANDS_BY_FEATURE {
        let rig = Rig::with(nothing(), RUN);
        rig.queue(command);
        let (line, head, run) = if needs_feature {
            (vec!["ILLEGAL_COMMAND_ERROR address=0x400000"], 0, 0)
        } else {
            (vec![], 16, CMD_BUF_RUN)
        };
        assert_eq!(new_events(&rig), line, "{command:x?}");
        assert_eq!(
            (rig.iommu.read(0x2000, 4), status(&rig, CMD_BUF_RUN)),
            (head, run)
        );
    }
}

#[test]
fn completion_wait_stores_with_s_and_sets_com_wait_int_with_i() {
    for flags in 0..8 {
        let rig = Rig::new();
        rig.queue([1 << 60 | SEMAPHORE | flags, u64::MAX]);
        rig.run();
        let stored = if flags & 1 == 0 { 0 } else { u64::MAX };
        let interrupt = if flags & 2 == 0 { 0 } else { COM_WAIT_INT };
        assert_eq!(
            (rig.semaphore(), status(&rig, COM_WAIT_INT)),
            (stored, interrupt),
            "s, i, f: {flags:#05b}"
        );
    }
}

#[test]
fn completion_wait_stores_where_bits_51_to_3_say() {
    for bit in 3..52 {
        let rig = Rig::new();
        rig.queue([1 << 60 | 1 << bit | 1, 7]);
        let steps = rig.run();
        if 1 << bit < MEMORY {
            assert_eq!(rig.memory.read_obj::<u64>(GuestAddress(1 << bit)).unwrap(), 7);
        } else {
            let halted = matches!(
                steps[0],
                Step::Halted { reason: HaltReason::StoreFailed(address), .. } if address == 1 << bit
            );
            assert!(halted, "{steps:?}");
        }
    }
}

#[test]
fn an_invalidation_drops_all_of_its_id_whatever_the_index_and_the_table() {
    let rig = Rig::new();
    let others = [0x0000, 0x4101, 0x4200, 0xffff].map(RequesterId);
    for device in others {
        rig.set_dte(device, dte_remap(TABLE, 9));
    }
    let indices = [0, 3, 0x1ff];
    for index in indices {
        rig.set_irte32(index.into(), irte32(5, 0x31));
    }
    for device in others.into_iter().chain([RID]) {
        for index in indices {
            rig.ask(&Rig::message(device, index));
        }
    }
    // Another table, and what is cached of the first one stays.
    let table = TABLE + 0x1000;
    rig.set_dte(RID, dte_remap(table, 9));
    for index in indices {
        let address = GuestAddress(table + u64::from(index) * 4);
        rig.memory.write_obj(irte32(6, 0x32), address).unwrap();
    }
    rig.queue(invalidate_dte(RID));
    rig.run();
    let sent = |device| indices.map(|index| send(&rig, device, index));
    assert_eq!(sent(RID), ["5:31"; 3]);
    rig.queue(invalidate_irt(RID));
    rig.run();
    assert_eq!(sent(RID), ["6:32"; 3]);
    for device in others {
        let from = indices.map(|index| irte_from(&rig.ask(&Rig::message(device, index))));
        assert_eq!(from, [LookupFrom::Hit; 3], "{device}");
    }
}

#[test]
fn completion_wait_waits_for_the_answers_of_devices() {
    for (response, lines) in [
        (IotlbResponse::Completed, vec![]),
        (
            IotlbResponse::TimedOut,
            vec!["IOTLB_INV_TIMEOUT device=41:00.0 address=0x400000"],
        ),
    ] {
        let rig = Rig::with(everything(), RUN);
        rig.queue_all(&[INVALIDATE_IOTLB, completion_wait(1)]);
        assert!(matches!(rig.run()[..], [_, Step::Waiting { offset: 16, .. }]));
        assert_eq!(rig.semaphore(), 0);
        assert!(rig.iommu.iotlb_response(RID, response));
        assert_eq!(new_events(&rig), lines);
        assert_eq!(rig.semaphore(), 1);
    }
}

#[test]
fn each_answer_of_a_device_is_for_one_invalidation() {
    let rig = Rig::with(everything(), RUN);
    rig.queue_all(&[INVALIDATE_IOTLB, INVALIDATE_IOTLB, completion_wait(1)]);
    rig.run();
    let other = RequesterId(0x4101);
    assert!(!rig.iommu.iotlb_response(other, IotlbResponse::Completed));
    for expected in [0, 1] {
        assert!(rig.iommu.iotlb_response(RID, IotlbResponse::Completed));
        rig.run();
        assert_eq!(rig.semaphore(), expected);
    }
    assert!(!rig.iommu.iotlb_response(RID, IotlbResponse::Completed));
}

#[test]
fn a_timeout_names_its_command_though_commands_are_fetched_no_more() {
    let stops: [fn(&Rig); 3] = [
        |rig| rig.queue([0; 2]),
        |rig| rig.iommu.write(CONTROL, 8, RUN & !CMD_BUF_EN),
        |rig| {
            rig.iommu.write(CONTROL, 8, RUN & !CMD_BUF_EN);
            rig.iommu.write(0x08, 8, (COMMANDS + 0x8000) | 9 << 56);
            rig.iommu.write(CONTROL, 8, RUN);
        },
    ];
    for stop in stops {
        let rig = Rig::with(everything(), RUN);
        rig.queue_all(&[completion_wait(1), INVALIDATE_IOTLB]);
        rig.run();
        stop(&rig);
        new_events(&rig);
        assert!(rig.iommu.iotlb_response(RID, IotlbResponse::TimedOut));
        assert_eq!(
            new_events(&rig),
            ["IOTLB_INV_TIMEOUT device=41:00.0 address=0x400010"]
        );
    }
}

#[test]
fn a_wait_that_is_over_holds_up_no_later_command() {
    let rig = Rig::new();
    let other = RequesterId(0x4200);
    for semaphore in 1..4 {
        let token = rig.ask_until_irte_fill(&Rig::message(RID, 3));
        rig.queue_all(&[
            invalidate_irt(RID),
            invalidate_irt(other),
            completion_wait(semaphore),
        ]);
        let steps = rig.run();
        assert!(
            matches!(
                steps[..],
                [
                    Step::CommandExecuted { retired: false, .. },
                    Step::CommandExecuted { retired: true, .. },
                    Step::Waiting { .. }
                ]
            ),
            "{semaphore}: {steps:?}"
        );
        rig.complete(token);
        rig.run();
        assert_eq!(rig.semaphore(), semaphore);
    }
}

/// An older lookup, until dropped.
#[derive(Debug, Clone, Copy)]
enum Older {
    Interrupt(RequesterId),
    Memory(RequesterId),
}

/// A command, and whether it waits for an older interrupt and memory request of [`RID`], and for those of another.
const WAITS_FOR: [([u64; 2], [bool; 4]); 7] = [
    (invalidate_dte(RID), [true, true, false, false]),
    ([3 << 60 | 0x5e << 32, 0x1000], [false, true, false, true]),
    (invalidate_irt(RID), [true, false, false, false]),
    // PREFETCH_IOMMU_PAGES without Inval, and with.
    ([6 << 60 | 0x4100, 0x1000], [false; 4]),
    ([6 << 60 | 0x4100, 0x1010], [false, true, false, true]),
    ([7 << 60 | 0x4100, 0], [false; 4]),
    (INVALIDATE_ALL, [true; 4]),
];

#[test]
fn an_invalidation_waits_for_the_older_lookups_that_may_use_what_it_invalidates() {
    let other = RequesterId(0x4200);
    let older = [
        Older::Interrupt(RID),
        Older::Memory(RID),
        Older::Interrupt(other),
        Older::Memory(other),
    ];
    for (command, waits) in WAITS_FOR {
        for (older, waits) in older.into_iter().zip(waits) {
            let rig = Rig::with(everything(), RUN);
            let (interrupt, memory) = match older {
                Older::Interrupt(requester) => (Some(rig.iommu.request(&Rig::message(requester, 3))), None),
                Older::Memory(requester) => {
                    let request = MemoryRequest {
                        requester,
                        ..read(0x1000)
                    };
                    (None, Some(rig.iommu.translate(&request)))
                }
            };
            assert!(
                matches!(
                    (&interrupt, &memory),
                    (Some(Response::Fill(_)), None) | (None, Some(TranslationResponse::Fill(_)))
                ),
                "it is under way"
            );
            rig.queue_all(&[command, completion_wait(1)]);
            rig.run();
            assert_eq!(rig.semaphore() == 0, waits, "{command:x?} after {older:?}");
            drop((interrupt, memory));
            rig.run();
            assert_eq!(rig.semaphore(), 1, "{command:x?} after {older:?}");
        }
    }
}

#[test]
fn a_wait_that_software_takes_back_stores_nothing_until_the_tail_is_beyond_it_again() {
    let rig = Rig::new();
    let token = rig.ask_until_irte_fill(&Rig::message(RID, 3));
    rig.queue_all(&[invalidate_irt(RID), completion_wait(1)]);
    rig.run();
    rig.iommu.write(0x2008, 4, 16);
    rig.complete(token);
    rig.run();
    assert_eq!((rig.semaphore(), rig.iommu.read(0x2000, 4)), (0, 16));
    rig.iommu.write(0x2008, 4, 32);
    rig.run();
    assert_eq!((rig.semaphore(), rig.iommu.read(0x2000, 4)), (1, 32));
}

#[test]
fn a_wait_that_was_fetched_is_not_fetched_again() {
    let rig = Rig::new();
    let token = rig.ask_until_irte_fill(&Rig::message(RID, 3));
    rig.queue_all(&[invalidate_irt(RID), completion_wait(1)]);
    assert!(matches!(rig.run()[..], [_, Step::Waiting { offset: 16, .. }]));
    rig.memory
        .write_obj(completion_wait(2), GuestAddress(COMMANDS + 16))
        .unwrap();
    rig.complete(token);
    rig.run();
    assert_eq!(rig.semaphore(), 1);
}
