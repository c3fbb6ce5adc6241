//! Whatever software gets wrong: the counter that says so, and that no other one does.

use super::super::translate::{READ_WRITE, read};
use super::*;
use crate::iommu::spec::features::{Efr, Efr2, Features};

/// Outside of memory.
const NOWHERE: u64 = 1 << 40;

/// What software or a device does, and what is counted.
type Row = (fn(&Rig), fn(&mut RegisterStatistics));

fn one_of<T>(rows: &[T], provoke: impl Fn(&Rig, &T), count: impl Fn(&mut RegisterStatistics)) {
    for row in rows {
        let rig = Rig::with(with_efr(EVERYTHING), RUN);
        assert_eq!(rig.iommu.register_statistics(), RegisterStatistics::default());
        provoke(&rig, row);
        rig.run();
        let mut expected = RegisterStatistics::default();
        count(&mut expected);
        assert_eq!(rig.iommu.register_statistics(), expected);
    }
}

fn off(rig: &Rig) {
    rig.iommu.write(CONTROL, 8, 0);
}

#[test]
fn an_access_of_another_size_or_alignment_is_counted() {
    let accesses = [
        (0x00, 0),
        (0x00, 1),
        (0x18, 2),
        (0x18, 3),
        (0x18, 16),
        (0x1c, 8),
        (0x1a, 4),
        (0x2009, 4),
        (0x2008, 1),
        (0x2008, usize::MAX),
        (u64::MAX, 4),
    ];
    let count = |counted: &mut RegisterStatistics| counted.refusals.bad_access = 1;
    one_of(
        &accesses,
        |rig, &(offset, size)| rig.iommu.write(offset, size, 0),
        count,
    );
    one_of(
        &accesses,
        |rig, &(offset, size)| assert_eq!(rig.iommu.read(offset, size), 0),
        count,
    );
}

#[test]
fn a_write_that_sets_reserved_bits_is_counted_and_its_other_bits_are_there() {
    // Offset, reserved bits, others.
    let writes = [
        (0x00, 1 << 9, 0x3000 | 7),
        (0x00, 1 << 52, 0x3000 | 7),
        (0x20, 1 << 2, 0x3000),
        (0x28, 1, 0x3000),
        (0x100, 1 << 8, 0x3000 | 7),
        (0xe8, 1, 0x3008),
        (0x170, 1, 0x31 << 32),
        (0x2008, 1 << 3, 0),
        (0x2008, 1 << 19, 0),
        (0x2008, 1 << 63, 0),
        (0x2010, 1, 0x40),
        (0x2040, 1 << 2, 0x48),
    ];
    let count = |counted: &mut RegisterStatistics| counted.refusals.reserved_bits = 1;
    one_of(
        &writes,
        |rig, &(offset, reserved, others)| {
            rig.iommu.write(offset, 8, reserved | others);
            assert_eq!(rig.iommu.read(offset, 8), others, "{offset:#x}");
        },
        count,
    );
}

/// Base, head and tail.
const RINGS: [(u64, u64, u64); 4] = [
    (0x08, 0x2000, 0x2008),
    (0x10, 0x2010, 0x2018),
    (0x38, 0x2030, 0x2038),
    (0xe0, 0x2040, 0x2048),
];

#[test]
fn a_ring_of_reserved_length_is_counted() {
    let rows: Vec<_> = RINGS
        .iter()
        .flat_map(|ring| (0..8).map(|length| (ring.0, length)))
        .collect();
    one_of(
        &rows,
        |rig, &(base, length)| {
            off(rig);
            rig.iommu.write(base, 8, EVENTS | length << 56);
        },
        |counted| counted.refusals.reserved_value = 1,
    );
}

#[test]
fn a_pointer_beyond_its_ring_is_counted_and_kept() {
    let rows: Vec<_> = RINGS
        .into_iter()
        .flat_map(|(base, head, tail)| [(base, head), (base, tail)])
        .flat_map(|(base, pointer)| [8, 9, 14].map(|length| (base, pointer, length)))
        .collect();
    let write = |rig: &Rig, &(base, pointer, length): &(u64, u64, u64), value| {
        off(rig);
        rig.iommu.write(base, 8, EVENTS | length << 56);
        rig.iommu.write(pointer, 4, value);
        assert_eq!(rig.iommu.read(pointer, 4), value, "{pointer:#x}");
    };
    one_of(&rows, |rig, row| write(rig, row, (16 << row.2) - 16), |_| ());
    for value in [|length| 16 << length, |_| 0x7_fff0] as [fn(u64) -> u64; 2] {
        one_of(
            &rows,
            |rig, row| write(rig, row, value(row.2)),
            |counted| counted.refusals.beyond_ring = 1,
        );
    }
}

#[test]
fn a_tail_beyond_the_running_command_buffer_is_counted_each_time_and_commands_run_to_where_it_wraps() {
    let rig = Rig::new();
    rig.memory
        .write_obj(completion_wait(7), GuestAddress(COMMANDS))
        .unwrap();
    for tail in [0x2010, 0x4010, 0x4010] {
        rig.iommu.write(0x2008, 4, tail);
        rig.run();
    }
    assert_eq!((rig.semaphore(), rig.iommu.read(0x2000, 4)), (7, 16));
    assert_eq!(rig.iommu.register_statistics().refusals.beyond_ring, 3);
    // A shorter ring, after a longer one.
    off(&rig);
    rig.iommu.write(0x08, 8, COMMANDS | 8 << 56);
    rig.iommu.write(0x2008, 4, 0x1ff0);
    assert_eq!(rig.iommu.register_statistics().refusals.beyond_ring, 4);
}

fn ask(rig: &Rig) {
    send(rig, RID, 3);
}

#[rustfmt::skip]
const ROWS: [Row; 22] = [
    // Registers.
    (|rig| rig.iommu.write(0x58, 8, 0), |counted| counted.refusals.absent = 1),
    (|rig| _ = rig.iommu.read(0x4000, 8), |counted| counted.refusals.absent = 1),
    (|rig| rig.iommu.write(0x30, 8, 0), |counted| counted.refusals.read_only = 1),
    (|rig| rig.iommu.write(0x08, 8, 0), |counted| counted.refusals.running = 1),
    (|rig| rig.iommu.write(0x2000, 4, 0), |counted| counted.refusals.running = 1),
    (|rig| rig.iommu.write(0x10, 8, 0), |counted| counted.refusals.running = 1),
    (|rig| rig.iommu.write(0x2018, 4, 0), |counted| counted.refusals.running = 1),
    (|rig| rig.iommu.write(CONTROL, 8, RUN | 1 << 16), |counted| counted.refusals.reserved_bits = 1),
    // Tables outside of memory.
    (|rig| { rig.iommu.write(0x00, 8, NOWHERE | 0x1ff); ask(rig); }, |counted| {
        (counted.raised.dev_tab_hardware_error, counted.events.written) = (1, 1);
    }),
    (|rig| { rig.set_dte(RID, dte_remap(NOWHERE, 9)); ask(rig); }, |counted| {
        (counted.raised.page_tab_hardware_error, counted.events.written) = (1, 1);
    }),
    (|rig| { rig.set_dte(RID, [3 | READ_WRITE | 1 << 9 | NOWHERE, 0, 0, 0]); rig.translate(&read(0)); }, |counted| {
        (counted.raised.page_tab_hardware_error, counted.events.written) = (1, 1);
    }),
    // Commands.
    (|rig| rig.queue([0; 2]), |counted| {
        (counted.raised.illegal_command_error, counted.events.written) = (1, 1);
    }),
    (|rig| rig.queue([1 << 60 | NOWHERE | 1, 0]), |counted| {
        (counted.raised.command_hardware_error, counted.events.written) = (1, 1);
    }),
    (|rig| {
        off(rig);
        rig.iommu.write(0x08, 8, NOWHERE | 9 << 56);
        rig.iommu.write(CONTROL, 8, RUN);
        rig.iommu.write(0x2008, 4, 16);
    }, |counted| (counted.raised.command_hardware_error, counted.events.written) = (1, 1)),
    // Entries.
    (|rig| { rig.set_dte(RID, [3, 0, 1 | 3 << 60, 0]); ask(rig); }, |counted| {
        (counted.raised.illegal_dev_table_entry, counted.events.written) = (1, 1);
    }),
    (ask, |counted| (counted.raised.io_page_fault, counted.events.written) = (1, 1)),
    // Aborts.
    (|rig| { rig.set_dte(RID, [3, 0, 1, 0]); ask(rig); }, |counted| counted.unreported = 1),
    (|rig| _ = send(rig, RID, 0x400), |counted| counted.unreported = 1),
    (|rig| { rig.set_irte32(3, 2); ask(rig); }, |counted| counted.unreported = 1),
    (|rig| { rig.set_dte(RID, [3, 1 << 34, 0, 0]); rig.translate(&read(0)); }, |counted| counted.unreported = 1),
    // Logs.
    (|rig| { rig.iommu.write(CONTROL, 8, RUN & !EVENT_LOG_EN); ask(rig); }, |counted| {
        (counted.raised.io_page_fault, counted.events.not_running) = (1, 1);
    }),
    (|rig| {
        off(rig);
        rig.iommu.write(0x10, 8, NOWHERE | 9 << 56);
        rig.iommu.write(CONTROL, 8, RUN);
        ask(rig);
    }, |counted| (counted.raised.io_page_fault, counted.events.unwritable) = (1, 1)),
];

#[test]
fn every_refusal_halt_and_abort_has_its_counter() {
    for (provoke, count) in ROWS {
        one_of(&[()], |rig, ()| provoke(rig), count);
    }
}

#[test]
fn repeated_faults_that_are_not_reported_are_counted_as_such() {
    let rig = Rig::new();
    // SE.
    rig.set_dte(RID, [3, 1 << 33 | 0x5e, 0, 0]);
    for _ in 0..3 {
        rig.translate(&read(0x1000));
    }
    rig.run();
    let counted = rig.iommu.register_statistics();
    assert_eq!((counted.raised.io_page_fault, counted.unreported), (1, 2));
}

/// XTEn without GAEn, GAMEn without GAEn, GALogEn without GAMEn: none of them means anything alone.
#[test]
fn control_bits_without_those_that_they_need_leave_32_bit_entries_as_they_are() {
    for bits in [1 << 50, 1 << 25, 1 << 28, 1 << 50 | 1 << 25 | 1 << 28] {
        let rig = Rig::with(with_efr(EVERYTHING), RUN | bits);
        rig.set_irte32(3, irte32(5, 0x31));
        rig.set_irte32(4, irte32(5, 0x31) | 1 << 7);
        assert_eq!(rig.iommu.read(CONTROL, 8), RUN | bits);
        assert_eq!(send(&rig, RID, 3), "5:31", "{bits:#x}");
        assert_eq!(send(&rig, RID, 4), "IRTE: GuestMode is set and not supported");
    }
}

/// XT and GA in any order, under traffic that the caches answer.
#[test]
fn an_entry_is_read_by_the_control_bits_of_its_request() {
    let rig = Rig::with(with_efr(EVERYTHING), RUN);
    rig.set_irte128(3, [0x00cd_ef05 << 8 | 1, 0xab << 56 | 0x31]);
    // As 32 bits, index 12 is where index 3 is as 128 bits.
    let request = |control| Rig::message(RID, if control & GA_EN == 0 { 12 } else { 3 });
    let (xt, ga) = (1 << 50, GA_EN);
    for control in [xt | ga, ga, xt | ga, xt, ga, 0, xt | ga] {
        rig.iommu.write(CONTROL, 8, RUN | control);
        let expected = match control {
            0 => None,
            _ if control == xt => None,
            GA_EN => Some((0x05, 0x31)),
            _ => Some((0xabcd_ef05, 0x31)),
        };
        for _ in 0..3 {
            let got = match rig.outcome(&request(control)) {
                Outcome::Remapped(to) => Some((to.destination(), to.vector())),
                Outcome::Blocked { .. } => None,
                outcome => panic!("{outcome:?}"),
            };
            assert_eq!(got, expected, "{control:#x}");
        }
    }
}

#[test]
fn every_access_to_a_register_of_an_absent_feature_is_counted() {
    let features = Features::new(Efr::new(), Efr2::new()).unwrap();
    let rig = Rig::with(
        Config {
            features,
            ..Config::default()
        },
        RUN,
    );
    let offsets = [
        0x38, 0x40, 0x48, 0x50, 0xe0, 0xe8, 0x100, 0x130, 0x150, 0x158, 0x160, 0x168, 0x170, 0x178, 0x180,
        0x2030, 0x2038, 0x2040, 0x2048,
    ];
    for offset in offsets {
        rig.iommu.write(offset, 8, 0);
        assert_eq!(rig.iommu.read(offset, 8), 0);
    }
    rig.iommu.write(CONTROL, 8, u64::MAX);
    let expected = RegisterRefusals {
        absent: 2 * offsets.len() as u64,
        reserved_bits: 1,
        ..RegisterRefusals::default()
    };
    assert_eq!(rig.iommu.register_statistics().refusals, expected);
}
