//! Peripheral page requests: what reaches the PPR log, and what is refused by which event.

use super::registers::{CONTROL, EVERYTHING, STATUS, with_efr};
use super::*;
use crate::iommu::spec::Pasid;

const PPR_LOG: u64 = 0x60_0000;
const PPR_LOG_EN: u64 = 1 << 13;
const PPR_EN: u64 = 1 << 15;
const GT_EN: u64 = 1 << 16;
const PPR_INT: u64 = 1 << 6;

/// DTE.V, DTE.PPR, DTE.GV.
const V: u64 = 1;
const PPR: u64 = 1 << 52;
const GV: u64 = 1 << 55;

const REQUEST: PageRequest = PageRequest {
    requester: RID,
    address: 0x1234_5678,
    group: 5,
    last: true,
    read: true,
    write: true,
    pasid: None,
};

const PASID: Option<PasidPrefix> = Some(PasidPrefix {
    pasid: Pasid::new(0xa_bcde).unwrap(),
    execute: true,
    privileged: false,
});

/// With guest translation, the PPR log running, and a DTE.
fn rig(control: u64, dte: u64) -> Rig {
    let rig = Rig::with(with_efr(EVERYTHING | 1 << 4), 0);
    rig.iommu.write(0x38, 8, PPR_LOG | 9 << 56);
    rig.iommu.write(CONTROL, 8, RUN | PPR_LOG_EN | control);
    rig.set_dte(RID, [dte, 0, 0, 0]);
    rig
}

#[test]
fn a_request_is_in_the_ppr_log_as_linux_reads_it() {
    // PPR_REQ_TYPE 1, PPR_FLAG_WRITE | PPR_FLAG_READ, tag with the last bit, device.
    let rig = rig(PPR_EN, V | PPR);
    assert!(matches!(
        rig.iommu.page_request(&REQUEST),
        PageRequestOutcome::Logged(_)
    ));
    assert!(matches!(rig.run()[..], [Step::PprWritten { offset: 0, .. }]));
    let entry: [u64; 2] = rig.memory.read_obj(GuestAddress(PPR_LOG)).unwrap();
    assert_eq!(entry, [0x1024_0205_0000_4100, 0x1234_5000]);
    assert_eq!(rig.iommu.read(0x2038, 4), 16);
    assert_eq!(rig.iommu.read(STATUS, 4) & PPR_INT, PPR_INT);
}

#[test]
fn a_request_with_a_pasid_says_so() {
    let rig = rig(PPR_EN | GT_EN, V | PPR | GV);
    let request = PageRequest {
        pasid: PASID,
        last: false,
        ..REQUEST
    };
    assert!(matches!(
        rig.iommu.page_request(&request),
        PageRequestOutcome::Logged(_)
    ));
    rig.run();
    // GN | US | WRITE | READ | EXEC; PASID 19:16 in bits 45:42, 15:0 in bits 31:16.
    let entry: [u64; 2] = rig.memory.read_obj(GuestAddress(PPR_LOG)).unwrap();
    assert_eq!(entry, [0x1166_2805_bcde_4100, 0x1234_5000]);
}

#[test]
fn a_cached_dte_decides_until_it_is_invalidated() {
    let rig = rig(PPR_EN, V | PPR);
    let [_, _, interrupts, _] = dte_remap(TABLE, 9);
    rig.set_dte(RID, [V | PPR, 0, interrupts, 0]);
    rig.ask(&Rig::message(RID, 0));
    rig.set_dte(RID, [V, 0, interrupts, 0]);
    assert!(matches!(
        rig.iommu.page_request(&REQUEST),
        PageRequestOutcome::Logged(_)
    ));
    rig.queue(invalidate_dte(RID));
    rig.run();
    assert!(matches!(
        rig.iommu.page_request(&REQUEST),
        PageRequestOutcome::Refused {
            reason: PageRequestRefusal::NotAllowed,
            ..
        }
    ));
}

#[test]
fn what_is_not_allowed_is_an_invalid_ppr_request() {
    let with_pasid = PageRequest {
        pasid: PASID,
        ..REQUEST
    };
    for (control, dte, request, reason) in [
        (0, V | PPR, REQUEST, PageRequestRefusal::NotEnabled),
        (PPR_EN, PPR, REQUEST, PageRequestRefusal::NotAllowed),
        (PPR_EN, V, REQUEST, PageRequestRefusal::NotAllowed),
        (
            PPR_EN,
            V | PPR | GV,
            with_pasid,
            PageRequestRefusal::NoGuestTranslation,
        ),
        (
            PPR_EN | GT_EN,
            V | PPR,
            with_pasid,
            PageRequestRefusal::NoGuestTranslation,
        ),
    ] {
        let rig = rig(control, dte);
        let outcome = rig.iommu.page_request(&request);
        assert!(matches!(outcome, PageRequestOutcome::Refused { reason: r, .. } if r == reason));
        assert!(matches!(rig.run()[..], [Step::EventWritten { .. }]));
        let [line] = &rig.event_lines()[..] else {
            panic!("one event")
        };
        assert!(line.starts_with("INVALID_PPR_REQUEST device=41:00.0"), "{line}");
    }
}

#[test]
fn a_device_beyond_the_table_is_refused() {
    let rig = rig(PPR_EN, V | PPR);
    rig.iommu.write(0x00, 8, DEVICE_TABLE);
    let PageRequestOutcome::Refused { reason, event } = rig.iommu.page_request(&REQUEST) else {
        panic!("it is beyond the table")
    };
    assert_eq!(reason, PageRequestRefusal::DeviceOutOfRange);
    assert_eq!(event.map(|event| event.name()), Some("INVALID_PPR_REQUEST"));
}

#[test]
fn a_dte_that_can_not_be_read_is_a_hardware_error() {
    let rig = rig(PPR_EN, V | PPR);
    rig.iommu.write(0x00, 8, 1 << 40 | 0x1ff);
    rig.iommu.page_request(&REQUEST);
    rig.run();
    assert!(rig.event_lines()[0].starts_with("DEV_TAB_HARDWARE_ERROR device=41:00.0"));
}

#[test]
fn an_iommu_that_is_off_refuses_without_an_event() {
    let rig = rig(0, V | PPR);
    rig.iommu.write(CONTROL, 8, 0);
    let (reason, event) = (PageRequestRefusal::IommuOff, None);
    assert_eq!(
        rig.iommu.page_request(&REQUEST),
        PageRequestOutcome::Refused { reason, event }
    );
    assert!(!rig.iommu.has_work());
}
