//! Requester IDs and the device table.

use super::*;

/// A table of 128 devices, and a request from beyond it.
fn ask_beyond_the_table(policy: OutOfRangeDevice) -> (Outcome, Vec<String>) {
    let policies = Policies {
        out_of_range_device: policy,
        ..Policies::default()
    };
    let rig = Rig::with(
        Config {
            policies,
            ..Config::default()
        },
        RUN,
    );
    rig.iommu.write(0x00, 8, DEVICE_TABLE);
    rig.set_irte32(3, irte32(5, 0x31));
    rig.set_dte(RequesterId(0x80), dte_remap(TABLE, 9));
    let outcome = rig.ask(&Rig::message(RequesterId(0x80), 3)).outcome;
    rig.run();
    (outcome, rig.event_lines())
}

#[test]
fn a_requester_id_beyond_the_table_faults() {
    let (outcome, events) = ask_beyond_the_table(OutOfRangeDevice::IoPageFault);
    assert!(matches!(
        outcome,
        Outcome::Blocked {
            reason: BlockReason::DeviceOutOfRange,
            ..
        }
    ));
    let line = "IO_PAGE_FAULT device=00:10.0 domain=0x0000 address=0xfffffffdf8030000 flags=0x0008";
    assert_eq!(events, [line]);
}

#[test]
fn a_requester_id_beyond_the_table_has_an_illegal_entry_by_policy() {
    let (outcome, events) = ask_beyond_the_table(OutOfRangeDevice::IllegalDevTableEntry);
    assert!(matches!(
        outcome,
        Outcome::Blocked {
            reason: BlockReason::DeviceOutOfRange,
            ..
        }
    ));
    let line = "ILLEGAL_DEV_TABLE_ENTRY device=00:10.0 address=0xfffffffdf8030000 flags=0x0008";
    assert_eq!(events, [line]);
}

#[test]
fn a_requester_id_beyond_the_table_is_looked_up_by_policy() {
    let (outcome, events) = ask_beyond_the_table(OutOfRangeDevice::Unchecked);
    assert!(matches!(outcome, Outcome::Remapped(_)));
    assert!(events.is_empty());
}

#[test]
fn a_device_table_outside_of_memory_is_a_hardware_error() {
    let rig = Rig::new();
    rig.iommu.write(0x00, 8, 1 << 40 | 0x1ff);
    let address = (1 << 40) + 0x4100 * 32;
    let outcome = rig.ask(&Rig::message(RID, 3)).outcome;
    assert!(
        matches!(outcome, Outcome::Blocked { reason: BlockReason::DteUnreadable(a), .. } if a == address)
    );
    rig.run();
    let line = "DEV_TAB_HARDWARE_ERROR device=41:00.0 address=0x10000082000 flags=0x0208";
    assert_eq!(rig.event_lines(), [line]);
}
