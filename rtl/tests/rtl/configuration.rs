//! Configuration space.

use ntb_rtl::NtbConfig;
use ntb_rtl::registers::config::*;
use sim_bridge::RequesterId;
use sim_bridge::tlp::{Body, CompletionStatus, ConfigRead, ConfigType, ConfigWrite};

use crate::harness::{BAR0 as BAR0_ADDRESS, DEVICE, Host};

fn cold() -> Host {
    Host::cold(&NtbConfig::default())
}

#[test]
fn ids_and_class_are_those_configured() {
    let config = NtbConfig {
        vendor_id: 0x10b5,
        device_id: 0x87b0,
        class_code: 0x12_3456,
        ..Default::default()
    };
    let mut host = Host::cold(&config);
    assert_eq!(host.config_read(ID), 0x87b0_10b5);
    assert_eq!(host.config_read(CLASS), 0x1234_5601);
    assert_eq!(host.config_read(SUBSYSTEM), 0x87b0_10b5);
    let config = NtbConfig {
        subsystem: Some((0x9005, 0x02bb)),
        ..config
    };
    assert_eq!(Host::cold(&config).config_read(SUBSYSTEM), 0x02bb_9005);
}

#[test]
fn the_header_is_type_0_with_a_capability_list_and_no_interrupt_pin() {
    let mut host = cold();
    assert_eq!(host.config_read(0x0c), 0);
    assert_eq!(host.config_read(COMMAND), 0x0010_0000);
    assert_eq!(host.config_read(CAPABILITIES), 0x40);
    host.config_write(INTERRUPT, 0xffff_ffff);
    assert_eq!(host.config_read(INTERRUPT), 0xff);
}

#[test]
fn bar0_sizes_as_128_kib_of_64_bit_memory() {
    let mut host = cold();
    host.config_write(BAR0, !0);
    host.config_write(BAR0_HIGH, !0);
    assert_eq!(host.config_read(BAR0), 0xfffe_0004);
    assert_eq!(host.config_read(BAR0_HIGH), 0xffff_ffff);
}

#[test]
fn other_bars_and_the_expansion_rom_are_absent() {
    let mut host = cold();
    for register in [0x18, 0x1c, 0x20, 0x24, 0x30] {
        host.config_write(register, !0);
        assert_eq!(host.config_read(register), 0, "{register:#x}");
    }
}

#[test]
fn command_has_the_bits_of_an_endpoint_without_io() {
    let mut host = cold();
    host.config_write(COMMAND, 0x0000_ffff);
    assert_eq!(host.config_read(COMMAND), 0x0010_0546);
}

#[test]
fn configuration_writes_honour_byte_enables() {
    let mut host = cold();
    host.config_write_bytes(BAR0, 0xaabb_0000, 0b0100);
    assert_eq!(host.config_read(BAR0), 0x00ba_0004);
    host.config_write_bytes(BAR0, 0xaabb_0000, 0b1000);
    assert_eq!(host.config_read(BAR0), 0xaaba_0004);
    host.config_write_bytes(COMMAND, 0x0000_0506, 0b0010);
    assert_eq!(host.config_read(COMMAND) & 0xffff, 0x0500);
    host.config_write_bytes(COMMAND, 0, 0b0000);
    assert_eq!(host.config_read(COMMAND) & 0xffff, 0x0500);
}

#[test]
fn the_capability_list_is_pcie_msi_msix() {
    let mut host = cold();
    let mut found = Vec::new();
    let mut at = host.config_read(CAPABILITIES) as u16;
    while at != 0 {
        let header = host.config_read(at);
        found.push((at, header & 0xff));
        at = (header >> 8 & 0xff) as u16;
    }
    assert_eq!(found, [(PCIE, 0x10), (MSI, 0x05), (MSIX, 0x11)]);
}

#[test]
fn the_pcie_capability_is_version_2_of_an_endpoint_that_completes_10_bit_tags() {
    let mut host = cold();
    assert_eq!(host.config_read(PCIE) >> 16, 0x0002);
    // Max_Payload_Size 512, extended tags, role-based error reporting
    assert_eq!(host.config_read(0x44), 0x0000_8022);
    assert_eq!(host.config_read(0x64), 0x0001_0000);
}

#[test]
fn device_control_has_its_reset_values_and_reserved_bits() {
    let mut host = cold();
    assert_eq!(host.config_read(DEVICE_CONTROL), 0x0000_2810);
    host.config_write_bytes(DEVICE_CONTROL, 0xffff, 0b0011);
    assert_eq!(host.config_read(DEVICE_CONTROL), 0x0000_79ff);
}

#[test]
fn link_status_reports_8_gt_on_eight_lanes() {
    let mut host = cold();
    assert_eq!(host.config_read(0x4c) & 0x3ff, 0x083);
    assert_eq!(host.config_read(0x50) >> 16, 0x1083);
    host.config_write(0x50, !0);
    assert_eq!(host.config_read(0x50) & 0xffff, 0x00cb);
}

#[test]
fn msi_has_32_vectors_64_bits_and_masks() {
    let mut host = cold();
    assert_eq!(host.config_read(MSI) >> 16, 0x018a);
    for (register, kept) in [
        (MSI_ADDRESS, 0xffff_fffc),
        (MSI_ADDRESS_HIGH, !0),
        (MSI_DATA, 0xffff),
        (MSI_MASK, !0),
        (MSI_PENDING, 0),
    ] {
        host.config_write(register, !0);
        assert_eq!(host.config_read(register), kept, "{register:#x}");
    }
    host.config_write(MSI, !0);
    assert_eq!(host.config_read(MSI) >> 16, 0x01fb);
}

#[test]
fn msix_has_64_vectors_with_table_and_pba_in_bar0() {
    let mut host = cold();
    assert_eq!(host.config_read(MSIX) >> 16, 63);
    assert_eq!(host.config_read(MSIX_TABLE), 0x8000);
    assert_eq!(host.config_read(MSIX_PBA), 0x9000);
    host.config_write(MSIX, !0);
    assert_eq!(host.config_read(MSIX) >> 16, 0xc03f);
}

#[test]
fn extended_configuration_space_reads_zero() {
    let mut host = cold();
    for register in [0x100, 0x140, 0x180, 0x1a0, 0x400, 0xffc] {
        host.config_write(register, !0);
        assert_eq!(host.config_read(register), 0, "{register:#x}");
    }
}

#[test]
fn the_completer_id_is_what_the_last_configuration_write_was_sent_to() {
    let mut host = cold();
    let read = host.config_read_tlp(ID);
    assert_eq!(
        host.request(&Body::ConfigRead(read).into()).completer,
        RequesterId(0)
    );
    for target in [RequesterId::new(0x41, 0, 0), RequesterId::new(0x7f, 0x1f, 0)] {
        let write = ConfigWrite {
            target,
            ..host.config_write_tlp(COMMAND, 0)
        };
        assert_eq!(host.request(&Body::ConfigWrite(write).into()).completer, target);
        let read = host.config_read_tlp(ID);
        assert_eq!(host.request(&Body::ConfigRead(read).into()).completer, target);
    }
}

#[test]
fn a_configuration_completion_has_byte_count_4_and_lower_address_0() {
    let mut host = cold();
    let read = ConfigRead {
        first_be: 0b0100,
        ..host.config_read_tlp(ID)
    };
    let completion = host.request(&Body::ConfigRead(read).into());
    assert_eq!((completion.byte_count, completion.lower_address), (4, 0));
    assert_eq!(completion.data.len(), 4);
}

#[test]
fn another_function_is_unsupported_and_captures_nothing() {
    let mut host = Host::new();
    let target = RequesterId::new(0x55, 0, 1);
    let write = ConfigWrite {
        target,
        ..host.config_write_tlp(COMMAND, 0)
    };
    let read = ConfigRead {
        target,
        ..host.config_read_tlp(ID)
    };
    for body in [Body::ConfigWrite(write), Body::ConfigRead(read)] {
        let completion = host.request(&body.into());
        assert_eq!(completion.status, CompletionStatus::UnsupportedRequest);
        assert_eq!(completion.completer, DEVICE);
        assert!(completion.data.is_empty());
    }
    assert_eq!(host.config_read(COMMAND) & 0xffff, 6);
}

#[test]
fn type_1_requests_are_unsupported() {
    let mut host = Host::new();
    let config_type = ConfigType::Type1;
    let write = ConfigWrite {
        config_type,
        ..host.config_write_tlp(COMMAND, 0)
    };
    let read = ConfigRead {
        config_type,
        ..host.config_read_tlp(ID)
    };
    for body in [Body::ConfigWrite(write), Body::ConfigRead(read)] {
        assert_eq!(
            host.request(&body.into()).status,
            CompletionStatus::UnsupportedRequest
        );
    }
    assert_eq!(host.config_read(COMMAND) & 0xffff, 6);
}

#[test]
fn bar0_moves_with_its_address() {
    let mut host = Host::new();
    host.config_write(BAR0_HIGH, 0);
    host.config_write(BAR0, 0xfeb0_0000);
    let mut read = |address| {
        host.request(&sim_bridge::tlp::Tlp::mem_read(DEVICE, 1, address, 4).unwrap())
            .status
    };
    assert_eq!(read(0xfeb0_0000), CompletionStatus::Successful);
    assert_eq!(read(0xfeb1_fffc), CompletionStatus::Successful);
    assert_eq!(read(0xfeb2_0000), CompletionStatus::UnsupportedRequest);
    assert_eq!(read(0xfeaf_fffc), CompletionStatus::UnsupportedRequest);
    assert_eq!(read(BAR0_ADDRESS), CompletionStatus::UnsupportedRequest);
}
