//! After errors: what software has to do, what is not enough, and pointers, bases and Control bits as software gives
//! them.

use super::*;
use crate::driver::MsiMessage;

const COM_WAIT_INT_EN: u64 = 1 << 4;

fn head(rig: &Rig) -> u64 {
    rig.iommu.read(0x2000, 4)
}

/// The command buffer off, `change`, and on again.
fn restart(rig: &Rig, change: impl FnOnce(&Rig)) {
    rig.iommu.write(CONTROL, 8, RUN & !CMD_BUF_EN);
    change(rig);
    rig.iommu.write(CONTROL, 8, RUN);
}

fn put(rig: &Rig, address: u64, command: [u64; 2]) {
    rig.memory.write_obj(command, GuestAddress(address)).unwrap();
}

/// Stopped at the second of three commands, and that is reported.
fn halted_by(offender: [u64; 2], line: &str) -> Rig {
    let rig = Rig::new();
    rig.queue_all(&[completion_wait(1), offender, completion_wait(2)]);
    assert_eq!(new_events(&rig), [line]);
    assert_eq!(
        (head(&rig), rig.semaphore(), status(&rig, CMD_BUF_RUN)),
        (16, 1, 0)
    );
    rig
}

/// What software does while the command buffer is off; head and semaphore after it went on.
type Recovery = (fn(&Rig), u64, u64);

const RECOVERIES: [Recovery; 4] = [
    // The offender is replaced.
    (|rig| put(rig, COMMANDS + 16, invalidate_irt(RID)), 48, 2),
    // It is left out.
    (|rig| rig.iommu.write(0x2000, 4, 32), 48, 2),
    // Linux amd_iommu_reset_cmd_buffer, and the next command.
    (
        |rig| {
            rig.iommu.write(0x2000, 4, 0);
            rig.iommu.write(0x2008, 4, 0);
            rig.queue(completion_wait(3));
        },
        16,
        3,
    ),
    // Another ring.
    (
        |rig| {
            put(rig, COMMANDS + 0x8000, completion_wait(4));
            rig.iommu.write(0x08, 8, (COMMANDS + 0x8000) | 8 << 56);
            rig.iommu.write(0x2008, 4, 16);
        },
        16,
        4,
    ),
];

#[test]
fn commands_go_on_after_each_recovery_from_each_error() {
    for (offender, line) in [
        ([0; 2], "ILLEGAL_COMMAND_ERROR address=0x400010"),
        (
            [1 << 60 | 1 << 40 | 1, 7],
            "COMMAND_HARDWARE_ERROR address=0x10000000000 flags=0x0200",
        ),
    ] {
        for (recovery, expected_head, semaphore) in RECOVERIES {
            let rig = halted_by(offender, line);
            restart(&rig, recovery);
            assert_eq!(status(&rig, CMD_BUF_RUN), CMD_BUF_RUN);
            assert_eq!(new_events(&rig), [""; 0]);
            assert_eq!((head(&rig), rig.semaphore()), (expected_head, semaphore));
            assert_eq!(status(&rig, CMD_BUF_RUN), CMD_BUF_RUN);
        }
    }
}

#[test]
fn a_restart_without_recovery_halts_at_the_same_command() {
    let line = "ILLEGAL_COMMAND_ERROR address=0x400010";
    let rig = halted_by([0; 2], line);
    for _ in 0..3 {
        restart(&rig, |_| {});
        assert_eq!(new_events(&rig), [line]);
        assert_eq!(
            (head(&rig), rig.semaphore(), status(&rig, CMD_BUF_RUN)),
            (16, 1, 0)
        );
    }
}

#[test]
fn nothing_but_cmd_buf_en_restarts_a_halted_command_buffer() {
    let attempts: [fn(&Rig); 5] = [
        |rig| rig.queue(completion_wait(3)),
        |rig| rig.iommu.write(0x2000, 4, 32),
        |rig| rig.iommu.write(STATUS, 4, 0xffff_ffff),
        |rig| rig.iommu.write(CONTROL, 8, RUN | COM_WAIT_INT_EN),
        |rig| {
            rig.iommu.write(CONTROL, 8, RUN & !IOMMU_EN);
            rig.iommu.write(CONTROL, 8, RUN);
        },
    ];
    for attempt in attempts {
        let rig = halted_by([0; 2], "ILLEGAL_COMMAND_ERROR address=0x400010");
        attempt(&rig);
        assert_eq!(rig.run(), []);
        assert_eq!((rig.semaphore(), status(&rig, CMD_BUF_RUN)), (1, 0));
    }
}

#[test]
fn a_command_buffer_that_was_outside_of_memory_goes_on_where_it_is_moved() {
    let rig = Rig::with(Config::default(), 0);
    rig.iommu.write(0x08, 8, 1 << 40 | 9 << 56);
    rig.iommu.write(CONTROL, 8, RUN);
    rig.iommu.write(0x2008, 4, 16);
    let line = "COMMAND_HARDWARE_ERROR address=0x10000000000 flags=0x0200";
    assert_eq!(new_events(&rig), [line]);
    restart(&rig, |rig| rig.iommu.write(0x08, 8, COMMANDS | 9 << 56));
    rig.queue(completion_wait(1));
    assert_eq!(new_events(&rig), [""; 0]);
    assert_eq!(rig.semaphore(), 1);
}

#[test]
fn a_command_buffer_halts_where_memory_ends() {
    let end = MEMORY as u64;
    let rig = Rig::with(Config::default(), 0);
    rig.iommu.write(0x08, 8, (end - 0x1000) | 9 << 56);
    rig.iommu.write(0x2000, 4, 0xff0);
    rig.iommu.write(CONTROL, 8, RUN);
    put(&rig, end - 16, completion_wait(1));
    rig.iommu.write(0x2008, 4, 0x1010);
    assert_eq!(
        new_events(&rig),
        ["COMMAND_HARDWARE_ERROR address=0x800000 flags=0x0200"]
    );
    assert_eq!((head(&rig), rig.semaphore()), (0x1000, 1));
}

#[test]
fn a_command_halts_though_its_event_is_lost() {
    let rig = Rig::with(Config::default(), RUN & !EVENT_LOG_EN);
    rig.queue_all(&[[0; 2], completion_wait(1)]);
    let steps = rig.run();
    let lost = DropReason::NotRunning;
    assert!(
        matches!(steps[..], [Step::Halted { .. }, Step::EventDropped { reason, .. }] if reason == lost),
        "{steps:?}"
    );
    assert_eq!(
        (head(&rig), rig.semaphore(), status(&rig, CMD_BUF_RUN)),
        (0, 0, 0)
    );
}

/// What software does to a log that has overflown.
#[derive(Debug, Clone, Copy)]
enum Act {
    Off,
    /// EventOverflow, by writing 1.
    Clear,
    On,
}

/// The shortest log, filled by one event too many.
fn overflown() -> Rig {
    let rig = Rig::with(Config::default(), 0);
    rig.iommu.write(0x10, 8, EVENTS | 8 << 56);
    rig.iommu.write(CONTROL, 8, RUN);
    for _ in 0..256 {
        send(&rig, RID, 3);
        rig.run();
    }
    assert_eq!(status(&rig, 1 | EVENT_LOG_RUN), 1);
    assert_eq!(rig.iommu.read(0x2018, 4), 0xff0);
    rig
}

#[test]
fn an_overflown_log_runs_once_it_is_switched_on_with_the_overflow_cleared() {
    use Act::{Clear, Off, On};
    for (acts, runs) in [
        (&[Off, Clear, On][..], true),
        (&[Clear, Off, On], true),
        (&[Clear], false),
        (&[Off, On], false),
        (&[Clear, On], false),
        (&[Off, On, Clear], false),
        (&[Off, On, Clear, Off, On], true),
    ] {
        let rig = overflown();
        rig.iommu.write(0x2010, 4, 0xff0);
        for act in acts {
            match act {
                Off => rig.iommu.write(CONTROL, 8, RUN & !EVENT_LOG_EN),
                Clear => rig.iommu.write(STATUS, 4, 1),
                On => rig.iommu.write(CONTROL, 8, RUN),
            }
        }
        send(&rig, RID, 3);
        rig.run();
        let (run, tail) = if runs { (EVENT_LOG_RUN, 0) } else { (0, 0xff0) };
        assert_eq!(status(&rig, EVENT_LOG_RUN), run, "{acts:?}");
        assert_eq!(rig.iommu.read(0x2018, 4), tail, "{acts:?}");
    }
}

#[test]
fn a_log_that_is_restarted_without_room_overflows_again() {
    let rig = overflown();
    rig.iommu.write(CONTROL, 8, RUN & !EVENT_LOG_EN);
    rig.iommu.write(STATUS, 4, 1);
    rig.iommu.write(CONTROL, 8, RUN);
    assert_eq!(status(&rig, 1 | EVENT_LOG_RUN), EVENT_LOG_RUN);
    send(&rig, RID, 3);
    assert!(matches!(
        rig.run()[..],
        [Step::EventDropped {
            reason: DropReason::Overflow,
            ..
        }]
    ));
    assert_eq!(status(&rig, 1 | EVENT_LOG_RUN), 1);
}

#[test]
fn a_logs_pointers_beyond_its_end_count_from_its_start() {
    // Head, tail; the tail after an event, or an overflow.
    for (head, tail, after) in [
        (0, 0x2000 + 16, Some(32)),
        (0x2000 + 32, 16, None),
        (0x7_fff0, 0, Some(16)),
        (0x4000, 0x1ff0, None),
        (0x4010, 0x7_fff0, Some(0)),
    ] {
        let rig = Rig::with(Config::default(), 0);
        rig.iommu.write(0x2010, 4, head);
        rig.iommu.write(0x2018, 4, tail);
        rig.iommu.write(CONTROL, 8, RUN);
        send(&rig, RID, 3);
        rig.run();
        let expected = after.map_or((tail, 1), |after| (after, 0));
        assert_eq!(
            (rig.iommu.read(0x2018, 4), status(&rig, 1)),
            expected,
            "{head:#x} {tail:#x}"
        );
    }
}

/// The bits in the order of the `n`th permutation.
fn permutation<const N: usize>(bits: [u64; N], mut n: usize) -> Vec<u64> {
    let mut left = bits.to_vec();
    let mut order = vec![];
    while !left.is_empty() {
        order.push(left.remove(n % left.len()));
        n /= left.len() + 1;
    }
    order
}

const BITS: [u64; 4] = [IOMMU_EN, EVENT_LOG_EN, CMD_BUF_EN, COM_WAIT_INT_EN];
/// 4!
const ORDERS: usize = 24;

fn sent(steps: &[Step]) -> usize {
    steps
        .iter()
        .filter(|step| matches!(step, Step::Interrupt { .. }))
        .count()
}

#[test]
fn there_are_so_many_orders() {
    let mut orders: Vec<_> = (0..ORDERS).map(|n| permutation(BITS, n)).collect();
    orders.sort();
    orders.dedup();
    assert_eq!(orders.len(), ORDERS);
}

#[test]
fn control_bits_can_be_set_in_any_order() {
    for n in 0..ORDERS {
        let rig = Rig::with(Config::default(), 0);
        rig.iommu.set_msi(Some(MsiMessage {
            address: 0xfee0_1000,
            data: 0x41,
        }));
        let [wait, data] = completion_wait(1);
        rig.queue([wait | 2, data]);
        let (mut control, mut interrupts) = (0, 0);
        for bit in permutation(BITS, n) {
            control |= bit;
            rig.iommu.write(CONTROL, 4, control);
            interrupts += sent(&rig.run());
        }
        assert_eq!(
            rig.iommu.read(STATUS, 8),
            CMD_BUF_RUN | EVENT_LOG_RUN | COM_WAIT_INT
        );
        assert_eq!((rig.semaphore(), interrupts), (1, 1), "order {n}");
    }
}

#[test]
fn control_bits_can_be_cleared_in_any_order() {
    for n in 0..ORDERS {
        let all = BITS.into_iter().sum::<u64>();
        let rig = Rig::with(Config::default(), all);
        let mut control = all;
        for bit in permutation(BITS, n) {
            control &= !bit;
            rig.iommu.write(CONTROL, 4, control);
            let runs = |enable: u64, run| {
                if control & (IOMMU_EN | enable) == IOMMU_EN | enable {
                    run
                } else {
                    0
                }
            };
            let expected = runs(CMD_BUF_EN, CMD_BUF_RUN) | runs(EVENT_LOG_EN, EVENT_LOG_RUN);
            assert_eq!(rig.iommu.read(STATUS, 8), expected, "{control:#x}");
        }
        rig.queue(completion_wait(1));
        assert_eq!((rig.run().len(), rig.semaphore()), (0, 0));
        let forwarded = Rig::message(RID, 3);
        let Outcome::Forwarded { address, data } = rig.ask(&forwarded).outcome else {
            panic!("the IOMMU is off")
        };
        assert_eq!((address, data), (forwarded.address, forwarded.data));
    }
}
