//! Events: each code as it lies in the log, what happened to memory, the address of an interrupt; and that the
//! interrupt which tells of them is not remapped.

use super::super::translate::{read, write};
use super::*;
use crate::driver::MsiMessage;
use crate::iommu::spec::event::HardwareError;

/// Control.
const COM_WAIT_INT_EN: u64 = 1 << 4;

/// Of an event for index 3.
const ADDRESS: u64 = 0xffff_fffd_f803_0000;

const PAGE_REQUEST: PageRequest = PageRequest {
    requester: RID,
    address: 0x1234_5678,
    group: 5,
    last: true,
    read: true,
    write: false,
    pasid: None,
};

/// Device in 15:0, domain in 47:32, flags (GN, NX, US, I, PR, RW, PE, RZ, TN or TR, Type) from 48, code in 63:60.
const fn word(code: u64, flags: u64, domain: u64) -> u64 {
    code << 60 | flags << 48 | domain << 32 | 0x4100
}

fn ask(rig: &Rig) {
    rig.ask(&Rig::message(RID, 3));
}

/// What provokes an event, and the event in memory.
type Row = (fn(&Rig), [u64; 2]);

#[rustfmt::skip]
const ROWS: [Row; 15] = [
    // ILLEGAL_DEV_TABLE_ENTRY: I and RZ; RW and RZ; I alone.
    (|rig| { rig.set_dte(RID, [3, 0x5e, 1 | 3 << 60, 0]); ask(rig); }, [word(1, 0x088, 0), ADDRESS]),
    (|rig| { rig.set_dte(RID, [3 | 1 << 2, 0x5e, 0, 0]); rig.translate(&write(0x1abc)); }, [word(1, 0x0a0, 0), 0x1abc]),
    (|rig| { rig.set_dte(RID, dte_remap(TABLE, 12)); ask(rig); }, [word(1, 0x008, 0), ADDRESS]),
    // IO_PAGE_FAULT: I; I, PR and RZ; PR and PE; PR, RW and PE; none.
    (ask, [word(2, 0x008, 0x5e), ADDRESS]),
    (|rig| { rig.set_irte32(3, irte32(5, 0x31) | 7 << 2); ask(rig); }, [word(2, 0x098, 0x5e), ADDRESS]),
    (|rig| { rig.set_dte(RID, [3, 0x5e, 0, 0]); rig.translate(&read(0x1abc)); }, [word(2, 0x050, 0x5e), 0x1abc]),
    (|rig| { rig.set_dte(RID, [3, 0x5e, 0, 0]); rig.translate(&write(0x1abc)); }, [word(2, 0x070, 0x5e), 0x1abc]),
    (|rig| { rig.set_dte(RID, [1, 0x5e, 0, 0]); rig.translate(&read(0x1abc)); }, [word(2, 0, 0x5e), 0x1abc]),
    // DEV_TAB_HARDWARE_ERROR and PAGE_TAB_HARDWARE_ERROR: I, master abort, and the entry's address.
    (
        |rig| { rig.iommu.write(0x00, 8, 1 << 40 | 0x1ff); ask(rig); },
        [word(3, 0x208, 0), (1 << 40) + 0x4100 * 32],
    ),
    (|rig| { rig.set_dte(RID, dte_remap(1 << 40, 9)); ask(rig); }, [word(4, 0x208, 0x5e), (1 << 40) + 12]),
    // ILLEGAL_COMMAND_ERROR: the command's address and nothing else.
    (|rig| rig.queue([0xf << 60 | 0x4100, !0]), [5 << 60, COMMANDS]),
    // COMMAND_HARDWARE_ERROR: master abort, and the address of the access.
    (|rig| rig.queue([1 << 60 | 1 << 40 | 1, 0]), [6 << 60 | 1 << 57, 1 << 40]),
    // IOTLB_INV_TIMEOUT: device, and the command's address.
    (
        |rig| {
            rig.queue([4 << 60 | 0x4100 << 32 | 0x4100, 0x1000]);
            rig.run();
            rig.iommu.iotlb_response(RID, IotlbResponse::TimedOut);
        },
        [word(7, 0, 0), COMMANDS],
    ),
    // INVALID_DEVICE_REQUEST: TR 0, type 0.
    (|rig| { rig.translate(&read(0xfee0_1000)); }, [word(8, 0, 0), 0xfee0_1000]),
    // INVALID_PPR_REQUEST: RX, tag in 41:32.
    (|rig| { rig.iommu.page_request(&PAGE_REQUEST); }, [word(9, 1, 0x205), 0x1234_5000]),
];

#[test]
fn events_lie_in_the_log_as_their_table_has_them() {
    for (provoke, event) in ROWS {
        let mut config = Config::default();
        config.features = config.features.with_iotlb_sup(true);
        let rig = Rig::with(config, RUN);
        provoke(&rig);
        rig.run();
        let logged: [u64; 2] = rig.memory.read_obj(GuestAddress(EVENTS)).unwrap();
        assert_eq!(
            (logged, rig.iommu.read(0x2018, 4)),
            (event, 16),
            "{}",
            linux_event(event)
        );
    }
}

/// By code.
fn raised(rig: &Rig) -> [u64; 10] {
    let EventCounts {
        illegal_dev_table_entry,
        io_page_fault,
        dev_tab_hardware_error,
        page_tab_hardware_error,
        illegal_command_error,
        command_hardware_error,
        iotlb_inv_timeout,
        invalid_device_request,
        invalid_ppr_request,
        reverse_map,
    } = rig.iommu.register_statistics().raised;
    assert_eq!(reverse_map, 0);
    [
        0,
        illegal_dev_table_entry,
        io_page_fault,
        dev_tab_hardware_error,
        page_tab_hardware_error,
        illegal_command_error,
        command_hardware_error,
        iotlb_inv_timeout,
        invalid_device_request,
        invalid_ppr_request,
    ]
}

#[test]
fn each_event_is_counted_under_its_code_and_no_other() {
    for (provoke, [word, _]) in ROWS {
        let mut config = Config::default();
        config.features = config.features.with_iotlb_sup(true);
        // No log: it is counted all the same.
        let rig = Rig::with(config, RUN & !EVENT_LOG_EN);
        provoke(&rig);
        let mut expected = [0; 10];
        // What is wrong with a command is known once it is fetched.
        rig.run();
        expected[(word >> 60) as usize] = 1;
        assert_eq!(raised(&rig), expected);
        rig.iommu.power_cycle();
        assert_eq!(raised(&rig), expected, "statistics go on");
    }
}

#[test]
fn every_code_that_an_iommu_without_snp_has_is_in_that_table() {
    let mut codes = ROWS.map(|(_, [word, _])| word >> 60).to_vec();
    codes.dedup();
    assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

/// An IOMMU with an error at an address, after one interrupt and one COMPLETION_WAIT.
fn with_fault(addresses: std::ops::Range<u64>, error: HardwareError) -> (Vec<String>, u64) {
    let mut config = Config::default();
    config.faults.memory = vec![MemoryFault { addresses, error }];
    let rig = Rig::with(config, RUN);
    rig.set_irte32(3, irte32(5, 0x31));
    ask(&rig);
    rig.queue(completion_wait(1));
    (new_events(&rig), rig.semaphore())
}

#[test]
fn each_hardware_error_has_its_type_in_bits_58_57() {
    for (error, flags) in [
        (HardwareError::MasterAbort, 0x200),
        (HardwareError::TargetAbort, 0x400),
        (HardwareError::DataError, 0x600),
    ] {
        let interrupt = flags | 8;
        let dte = DEVICE_TABLE + 0x4100 * 32;
        let line = format!("DEV_TAB_HARDWARE_ERROR device=41:00.0 address={dte:#x} flags={interrupt:#06x}");
        assert_eq!(with_fault(dte + 16..dte + 17, error), (vec![line], 1));
        let line = format!(
            "PAGE_TAB_HARDWARE_ERROR device=41:00.0 domain=0x005e address=0x50000c flags={interrupt:#06x}"
        );
        assert_eq!(with_fault(TABLE + 12..TABLE + 16, error), (vec![line], 1));
        let line = format!("COMMAND_HARDWARE_ERROR address=0x400000 flags={flags:#06x}");
        assert_eq!(with_fault(COMMANDS..COMMANDS + 1, error), (vec![line], 0));
        // Poison is found by who reads.
        let line = format!("COMMAND_HARDWARE_ERROR address=0x420000 flags={flags:#06x}");
        let expected = match error {
            HardwareError::DataError => (vec![], 1),
            _ => (vec![line], 0),
        };
        assert_eq!(with_fault(SEMAPHORE..SEMAPHORE + 8, error), expected);
    }
}

#[test]
fn the_address_of_an_interrupt_has_the_low_byte_of_its_data() {
    for (data, address) in [
        (0x000, 0xffff_fffd_f800_0000_u64),
        (0x014, 0xffff_fffd_f814_0000),
        (0x0ff, 0xffff_fffd_f8ff_0000),
        (0x100, 0xffff_fffd_f800_0000),
        (0x1ff, 0xffff_fffd_f8ff_0000),
    ] {
        let rig = Rig::new();
        send(&rig, RID, data);
        let line = format!("IO_PAGE_FAULT device=41:00.0 domain=0x005e address={address:#x} flags=0x0008");
        assert_eq!(new_events(&rig), [line]);
    }
}

#[test]
fn the_iommus_own_interrupt_is_sent_as_it_is_whatever_the_device_table_says() {
    let rig = Rig::with(Config::default(), RUN | COM_WAIT_INT_EN);
    // IV, and IntCtl 0: aborts.
    (0..=u16::MAX).for_each(|device| rig.set_dte(RequesterId(device), [3, 0, 1, 0]));
    let message = MsiMessage {
        address: 0xfee0_1000,
        data: 0x41,
    };
    rig.iommu.set_msi(Some(message));
    rig.queue([1 << 60 | 2, 0]);
    let (source, form) = (InterruptSource::CompletionWait, InterruptForm::Msi(message));
    let steps = rig.run();
    assert!(
        matches!(steps[..], [Step::CommandExecuted { .. }, sent] if sent == Step::Interrupt { source, form }),
        "{steps:?}"
    );
}
