//! Tables, rings and stores that lie on top of each other: what was written last is what is read.

use super::*;
use crate::iommu::spec::command::CommandError;

/// As a DTE and as a 32-bit IRTE, its low byte means something.
const DEVICE: RequesterId = RequesterId(0x4101);

/// The event log at `base`; [`DEVICE`] has no entries.
fn log_at(base: u64) -> Rig {
    let rig = Rig::with(Config::default(), 0);
    rig.iommu.write(0x10, 8, base | 9 << 56);
    rig.iommu.write(CONTROL, 8, RUN);
    rig.set_dte(DEVICE, dte_remap(TABLE, 9));
    rig
}

/// The last event.
fn last(rig: &Rig, base: u64) -> String {
    let tail = rig.iommu.read(0x2018, 4);
    linux_event(rig.memory.read_obj(GuestAddress(base + tail - 16)).unwrap())
}

#[test]
fn an_event_over_a_device_table_entry_is_that_entry() {
    let rig = log_at(DEVICE_TABLE);
    // IO_PAGE_FAULT twice: the second one's code is IntCtl 2, its device IV, its address reserved bits.
    for _ in 0..2 {
        send(&rig, DEVICE, 3);
        rig.run();
    }
    let expected = "DTE: reserved bits 0x3ffffdf8030000 of quadword 3 are set";
    assert_eq!(send(&rig, RequesterId(0), 3), expected);
    rig.run();
    let line = "ILLEGAL_DEV_TABLE_ENTRY device=00:00.0 address=0xfffffffdf8030000 flags=0x0088";
    assert_eq!(last(&rig, DEVICE_TABLE), line);
}

#[test]
fn an_event_over_an_interrupt_remapping_table_entry_is_that_entry() {
    let rig = log_at(TABLE);
    assert_eq!(send(&rig, DEVICE, 0), "IRTE: RemapEn is 0");
    rig.run();
    // Device 0x4101 is RemapEn and the destination.
    assert_eq!(send(&rig, DEVICE, 0), "41:00");
}

#[test]
fn an_event_over_the_command_that_it_is_about_is_the_next_command() {
    let rig = log_at(COMMANDS);
    rig.queue([0; 2]);
    let reasons: Vec<_> = (0..3)
        .map(|_| {
            let steps = rig.run();
            rig.iommu.write(CONTROL, 8, RUN & !CMD_BUF_EN);
            rig.iommu.write(CONTROL, 8, RUN);
            assert_eq!(last(&rig, COMMANDS), "ILLEGAL_COMMAND_ERROR address=0x400000");
            match steps[..] {
                [
                    Step::Halted {
                        offset: 0,
                        reason: HaltReason::Illegal(error),
                        ..
                    },
                    Step::EventWritten { .. },
                ] => error,
                _ => panic!("{steps:?}"),
            }
        })
        .collect();
    // Code 5 is the opcode of INVALIDATE_INTERRUPT_TABLE, which has no second quadword.
    let event = CommandError::ReservedBits {
        command: "INVALIDATE_INTERRUPT_TABLE",
        quadword: 1,
        bits: COMMANDS,
    };
    assert_eq!(reasons, [CommandError::ReservedOpcode(0), event, event]);
}

#[test]
fn a_store_over_the_next_command_is_what_is_fetched() {
    let rig = Rig::new();
    let [next, _] = completion_wait(0);
    rig.queue_all(&[[1 << 60 | (COMMANDS + 16) | 1, next], [0, 7]]);
    assert_eq!(new_events(&rig), [""; 0]);
    assert_eq!((rig.semaphore(), rig.iommu.read(0x2000, 4)), (7, 32));
}

#[test]
fn a_store_over_a_table_entry_is_seen_once_the_entry_is_invalidated() {
    let rig = Rig::new();
    rig.set_irte32(0, irte32(5, 0x31));
    assert_eq!(send(&rig, RID, 0), "5:31");
    rig.queue([1 << 60 | TABLE | 1, irte32(6, 0x32).into()]);
    rig.run();
    assert_eq!(send(&rig, RID, 0), "5:31");
    rig.queue(invalidate_irt(RID));
    rig.run();
    assert_eq!(send(&rig, RID, 0), "6:32");
}

#[test]
fn a_device_table_on_the_command_buffer_is_read_as_it_is() {
    let rig = Rig::new();
    rig.iommu.write(0x00, 8, COMMANDS);
    // Quadword 2 of the first entry: opcode 2 is IntCtl 2, the device IV and a length of 1.
    rig.queue_all(&[completion_wait(1), invalidate_dte(RequesterId(1))]);
    rig.run();
    assert_eq!(
        send(&rig, RequesterId(0), 1),
        "index 1 is beyond the table of 1 entries"
    );
    let line = "IO_PAGE_FAULT device=00:00.0 domain=0x0001 address=0xfffffffdf8010000 flags=0x0008";
    assert_eq!(new_events(&rig), [line]);
}
