//! Layouts against Linux's decoder, lines from real machines, and bit positions written by hand.

use super::super::Pasid;
use super::*;
use crate::iommu::tests::linux_event;

const DEVICE: RequesterId = RequesterId(0x4101);
const INTERRUPT: EventFlags = EventFlags::new().with_interrupt(true);
/// Flags and PASID all set.
const ALL: EventFlags = EventFlags::from_bits(u32::MAX);

/// Lines that Linux printed on real machines.
#[test]
fn golden_lines_of_silicon() {
    let memory = EventFlags::new()
        .with_present(true)
        .with_write(true)
        .with_permission(true);
    let golden = [
        (
            Event::IoPageFault {
                device: RequesterId::new(0x42, 0, 0),
                domain: 0x5e,
                address: 0xffff_fffd_f803_0000,
                flags: INTERRUPT,
            },
            "IO_PAGE_FAULT device=42:00.0 domain=0x005e address=0xfffffffdf8030000 flags=0x0008",
        ),
        (
            Event::IoPageFault {
                device: RequesterId::new(0xc8, 2, 0),
                domain: 1,
                address: 0xffff_fffd_f805_0000,
                flags: INTERRUPT,
            },
            "IO_PAGE_FAULT device=c8:02.0 domain=0x0001 address=0xfffffffdf8050000 flags=0x0008",
        ),
        (
            Event::IllegalDevTableEntry {
                device: RequesterId::new(0xc0, 0, 1),
                address: 0xffff_fffd_f814_0000,
                flags: INTERRUPT,
            },
            "ILLEGAL_DEV_TABLE_ENTRY device=c0:00.1 address=0xfffffffdf8140000 flags=0x0008",
        ),
    ];
    for (event, line) in golden {
        assert_eq!(linux_event(event.encode()), line);
    }
    assert_eq!(memory.into_bits(), 0x0070);
}

/// One event of each code.
fn each(flags: EventFlags) -> [(Event, u64, &'static str); 11] {
    let (device, address, domain, error) = (DEVICE, 0x40, 0x5e, HardwareError::MasterAbort);
    [
        (
            Event::IllegalDevTableEntry {
                device,
                address,
                flags,
            },
            1,
            "ILLEGAL_DEV_TABLE_ENTRY device=41:00.1 address=0x40 flags=0x0008",
        ),
        (
            Event::IoPageFault {
                device,
                domain,
                address,
                flags,
            },
            2,
            "IO_PAGE_FAULT device=41:00.1 domain=0x005e address=0x40 flags=0x0008",
        ),
        (
            Event::DevTabHardwareError {
                device,
                address,
                flags,
                error,
            },
            3,
            "DEV_TAB_HARDWARE_ERROR device=41:00.1 address=0x40 flags=0x0208",
        ),
        (
            Event::PageTabHardwareError {
                device,
                domain,
                address,
                flags,
                error,
            },
            4,
            "PAGE_TAB_HARDWARE_ERROR device=41:00.1 domain=0x005e address=0x40 flags=0x0208",
        ),
        (
            Event::IllegalCommandError { address },
            5,
            "ILLEGAL_COMMAND_ERROR address=0x40",
        ),
        (
            Event::CommandHardwareError { address, error },
            6,
            "COMMAND_HARDWARE_ERROR address=0x40 flags=0x0200",
        ),
        (
            Event::IotlbInvTimeout { device, address },
            7,
            "IOTLB_INV_TIMEOUT device=41:00.1 address=0x40",
        ),
        (
            Event::InvalidDeviceRequest {
                device,
                address,
                request: InvalidRequest::ReservedInterruptRange,
                flags,
            },
            8,
            "INVALID_DEVICE_REQUEST device=41:00.1 pasid=0x00000 address=0x40 flags=0x0c00",
        ),
        (
            Event::InvalidPprRequest {
                device,
                address,
                tag: 0x3ab,
                response_expected: true,
                flags,
            },
            9,
            "INVALID_PPR_REQUEST device=41:00.1 pasid=0x00000 address=0x40 flags=0x0001 tag=0x3ab",
        ),
        (
            Event::RmpPageFault {
                device,
                guest_tag: 0x1234,
                address,
                rmp_flags: 0x56,
                flags,
            },
            0xd,
            "RMP_PAGE_FAULT device=41:00.1, vmg_tag=0x1234, gpa=0x40, flags_rmp=0x0056, flags=0x0008",
        ),
        (
            Event::RmpHardwareError {
                device,
                guest_tag: 0x1234,
                address,
                flags,
                error,
            },
            0xe,
            "RMP_HW_ERROR device=41:00.1, vmg_tag=0x1234, spa=0x40, flags=0x0208",
        ),
    ]
}

#[test]
fn each_event_is_read_by_linux_as_it_was_written() {
    for (event, code, line) in each(INTERRUPT) {
        let raw = event.encode();
        assert_eq!((raw[0] >> 60, raw[1]), (code, 0x40), "{}", event.name());
        assert_eq!(linux_event(raw), line);
        assert!(event.device().is_none_or(|device| device == DEVICE));
    }
}

#[test]
fn each_event_has_only_the_flags_of_its_layout() {
    // Bits 59:48, the type included, from the reference table of events.
    let flags = [
        0x1a9, 0x1ff, 0x328, 0x329, 0x000, 0x200, 0x000, 0xc01, 0x201, 0x1ff, 0x328,
    ];
    for ((event, ..), flags) in each(ALL).into_iter().zip(flags) {
        assert_eq!(event.encode()[0] >> 48 & 0xfff, flags, "{}", event.name());
    }
}

#[test]
fn a_pasid_stands_where_linux_looks_for_it() {
    // "IOMMU Event Log encodes 20-bit PASID": 15:0 in bits 47:32, 19:16 in bits 19:16. INVALID_PPR_REQUEST: 31:16, 45:42.
    let pasid = EventFlags::new().with_pasid_of(Pasid::new(0xa_bcde));
    for (event, code, _) in each(pasid) {
        let (expected, guest) = match code {
            1 | 2 | 4 | 8 => (0xbcde_000a_0000, 48),
            9 => (0x2bab_bcde_0000, 57),
            _ => continue,
        };
        let word = event.encode()[0];
        assert_eq!(word & 0xffff_ffff_0000, expected, "{}", event.name());
        assert_eq!(word >> guest & 1, 1, "{}", event.name());
    }
    assert_eq!(EventFlags::new().with_pasid_of(None), EventFlags::new());
}

#[test]
fn hardware_errors_carry_their_type_in_bits_58_57() {
    let types = [
        HardwareError::MasterAbort,
        HardwareError::TargetAbort,
        HardwareError::DataError,
    ];
    for (error, error_type) in types.into_iter().zip(1..) {
        let [word, address] = Event::CommandHardwareError {
            address: 0x1000,
            error,
        }
        .encode();
        assert_eq!((word, address), (6 << 60 | error_type << 57, 0x1000));
    }
}

#[test]
fn invalid_requests_carry_tr_in_bit_56_and_their_type_in_bits_59_57() {
    // illumos amd_iommu_log.c get_illegal_req.
    let golden = [
        (InvalidRequest::InterruptRangeRead, 0),
        (InvalidRequest::Pretranslated, 1 << 57),
        (InvalidRequest::PortIo, 2 << 57),
        (InvalidRequest::SystemManagementWrite, 3 << 57),
        (InvalidRequest::SystemManagementRead, 4 << 57),
        (InvalidRequest::Interrupt, 5 << 57),
        (InvalidRequest::ReservedInterruptRange, 6 << 57),
        (InvalidRequest::Untranslatable, 7 << 57),
        (InvalidRequest::TranslationRefused, 1 << 56),
        (InvalidRequest::TranslationOfSpecialRange, 1 << 56 | 1 << 57),
    ];
    for (request, bits) in golden {
        let event = Event::InvalidDeviceRequest {
            device: DEVICE,
            address: 0x40,
            request,
            flags: EventFlags::new(),
        };
        assert_eq!(event.encode(), [8 << 60 | bits | 0x4101, 0x40], "{request:?}");
    }
}

#[test]
fn addresses_of_aligned_things_have_no_low_bits() {
    let timeout = Event::IotlbInvTimeout {
        device: DEVICE,
        address: 0x4f,
    };
    assert_eq!(timeout.encode()[1], 0x40);
    let rmp = Event::RmpHardwareError {
        device: DEVICE,
        guest_tag: 0,
        address: 0x47,
        flags: EventFlags::new(),
        error: HardwareError::DataError,
    };
    assert_eq!(rmp.encode()[1], 0x40);
}
