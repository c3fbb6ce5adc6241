//! Unsupported, aborted, poisoned and unexpected TLPs.

use ntb_rtl::registers::*;
use ntb_rtl::stream::Beat;
use sim_bridge::RequesterId;
use sim_bridge::tlp::{AddressType, Body, Completion, CompletionStatus, MemRead, Message, Payload, Tlp};

use crate::harness::{BAR0, DEVICE, HOST, Host, beats, status, write_beats, write_tlp};

const UR: CompletionStatus = CompletionStatus::UnsupportedRequest;

#[test]
fn reads_outside_bar0_or_with_memory_space_off_are_unsupported() {
    let mut host = Host::new();
    for address in [0, 0xfee0_0000, BAR0 - 4, BAR0 + BAR0_SIZE, BAR0 | 1 << 63] {
        let completion = host.request(&Tlp::mem_read(HOST, 3, address, 4).unwrap());
        assert_eq!(
            (completion.status, completion.data.len()),
            (UR, 0),
            "{address:#x}"
        );
        assert_eq!(completion.byte_count, 4);
    }
    assert_eq!(host.counters(), [0, 5, 0, 0]);
    assert_eq!(host.device_status(), status::UNSUPPORTED | status::CORRECTABLE);
    host.config_write(config::COMMAND, 0x0004);
    assert_eq!(host.request(&Tlp::mem_read(HOST, 3, BAR0, 4).unwrap()).status, UR);
}

#[test]
fn writes_outside_bar0_or_with_memory_space_off_are_dropped_and_counted() {
    let mut host = Host::new();
    host.send(&Tlp::mem_write(HOST, BAR0 + BAR0_SIZE + scratchpad(0), &[1]).unwrap());
    assert_eq!(host.device_status(), status::UNSUPPORTED | status::NON_FATAL);
    host.config_write(config::COMMAND, 0x0004);
    host.write(scratchpad(0), 1);
    host.config_write(config::COMMAND, 0x0006);
    assert_eq!(host.read(scratchpad(0)), 0);
    assert_eq!(host.counters(), [0, 2, 0, 0]);
}

#[test]
fn translated_and_translation_requests_are_unsupported() {
    let mut host = Host::new();
    for address_type in [
        AddressType::TranslationRequest,
        AddressType::Translated,
        AddressType::Reserved,
    ] {
        let mut read = host.read_tlp(0, 4);
        read.attributes.address_type = address_type;
        assert_eq!(host.request(&read).status, UR);
        let mut write = write_tlp(scratchpad(0), &[1]);
        write.attributes.address_type = address_type;
        host.send(&write);
    }
    assert_eq!(host.read(scratchpad(0)), 0);
    assert_eq!(host.counters(), [0, 6, 0, 0]);
}

#[test]
fn a_read_of_more_than_two_dws_is_aborted() {
    let mut host = Host::new();
    let read = host.read_tlp(0, 12);
    let completion = host.request(&read);
    assert_eq!(
        (completion.status, completion.data.len()),
        (CompletionStatus::CompleterAbort, 0)
    );
    assert_eq!((completion.byte_count, completion.lower_address), (12, 0));
    let whole_page = host.read_tlp(0, 4096);
    assert_eq!(host.request(&whole_page).status, CompletionStatus::CompleterAbort);
    assert_eq!(host.counters(), [0, 2, 0, 0]);
    assert_eq!(host.device_status(), status::CORRECTABLE);
    // Signaled Target Abort
    assert_eq!(host.config_read(config::COMMAND) >> 16, 0x0810);
}

#[test]
fn a_write_of_more_than_two_dws_is_dropped_and_counted() {
    let mut host = Host::new();
    host.send_beats(&write_beats(scratchpad(0), 12));
    host.send_beats(&write_beats(scratchpad(0), 128));
    assert_eq!(host.read64(scratchpad(0)), 0);
    assert_eq!(host.counters(), [0, 2, 0, 0]);
}

/// Header bytes 0 and 3 (Fmt/Type, Length), and the byte count of the completion.
#[test]
fn io_and_atomic_requests_are_unsupported() {
    for (fmt_type, length, byte_count) in [
        (0x02, 1, 4),  // IORd
        (0x42, 1, 4),  // IOWr
        (0x4c, 1, 4),  // FetchAdd
        (0x4d, 2, 8),  // Swap
        (0x6c, 2, 8),  // FetchAdd, 64-bit address
        (0x4e, 2, 4),  // CAS
        (0x6e, 8, 16), // CAS, 64-bit address
    ] {
        let mut host = Host::new();
        let mut header = [0; 16];
        header[0] = fmt_type;
        header[1] = 0x08;
        header[3] = length;
        header[6] = 0x5a;
        header[7] = if fmt_type & 0xf == 2 { 0x0f } else { 0 };
        header[11] = 0x40;
        let completions = host.send_beats(&[Beat {
            sop: true,
            eop: true,
            header,
            data: [0; 32],
        }]);
        let [(_, completion)] = &completions[..] else {
            panic!("{fmt_type:#x}: {completions:?}")
        };
        assert_eq!(
            (completion.status, completion.byte_count, completion.lower_address),
            (UR, byte_count, 0)
        );
        assert_eq!((completion.tag, completion.completer), (0x15a, DEVICE));
        assert_eq!(host.counters(), [0, 1, 0, 0]);
    }
}

#[test]
fn a_locked_read_is_unsupported_and_answered_by_a_locked_completion() {
    let mut host = Host::new();
    let mut beats = beats(&Tlp::mem_read(HOST, 0, BAR0, 4).unwrap());
    beats[0].header[0] |= 1;
    host.ntb.offer_beats(&beats).unwrap();
    let answer = (0..20).find_map(|_| host.cycle_beat()).unwrap();
    // CplLk, status UR
    assert_eq!((answer.header[0], answer.header[6] >> 5), (0x0b, 1));
}

fn message(code: u8, data: &[u8]) -> Tlp {
    let data = Payload::from_slice(data);
    Body::Message(Message {
        requester: HOST,
        tag: 0,
        routing: 4,
        code,
        fields: [0; 8],
        data,
    })
    .into()
}

#[test]
fn messages_without_effect_are_discarded() {
    let mut host = Host::new();
    for code in [0x00, 0x7f, 0x40, 0x41, 0x43, 0x44, 0x45, 0x47, 0x48] {
        host.send(&message(code, &[]));
    }
    host.send(&message(0x50, &[1, 2, 3, 4]));
    assert_eq!(host.counters(), [0; 4]);
}

#[test]
fn other_messages_are_dropped_and_counted() {
    let mut host = Host::new();
    host.send(&message(0x7e, &[]));
    host.send(&message(0x20, &[1, 2, 3, 4]));
    assert_eq!(host.counters(), [0, 2, 0, 0]);
}

#[test]
fn poisoned_data_is_dropped_and_counted() {
    let mut host = Host::new();
    let mut write = write_tlp(scratchpad(0), &[1, 2, 3, 4]);
    write.attributes.poisoned = true;
    host.send(&write);
    let mut slot_power = message(0x50, &[1, 2, 3, 4]);
    slot_power.attributes.poisoned = true;
    host.send(&slot_power);
    assert_eq!(host.read(scratchpad(0)), 0);
    assert_eq!(host.counters(), [0, 0, 0, 2]);
    assert_eq!(host.device_status(), status::NON_FATAL);
    // Detected Parity Error
    assert_eq!(host.config_read(config::COMMAND) >> 16, 0x8010);
}

#[test]
fn a_poisoned_configuration_write_is_unsupported_and_changes_nothing() {
    let mut host = Host::new();
    let mut write = Tlp::from(Body::ConfigWrite(host.config_write_tlp(config::COMMAND, 0)));
    write.attributes.poisoned = true;
    assert_eq!(host.request(&write).status, UR);
    assert_eq!(host.config_read(config::COMMAND) & 0xffff, 6);
    assert_eq!(host.counters(), [0, 0, 0, 1]);
}

#[test]
fn the_poisoned_flag_of_a_read_means_nothing() {
    let mut host = Host::new();
    let mut read = host.read_tlp(0, 4);
    read.attributes.poisoned = true;
    assert_eq!(host.request(&read).status, CompletionStatus::Successful);
}

#[test]
fn completions_are_unexpected_and_counted() {
    let mut host = Host::new();
    for data in [&[][..], &[1, 2, 3, 4], &[0; 64]] {
        let completion = Completion {
            completer: HOST,
            status: CompletionStatus::Successful,
            bcm: false,
            byte_count: data.len().max(4) as u16,
            requester: DEVICE,
            tag: 0,
            lower_address: 0,
            data: Payload::from_slice(data),
        };
        host.send(&Body::Completion(completion).into());
    }
    assert_eq!(host.counters(), [0, 0, 3, 0]);
    assert_eq!(host.device_status(), status::CORRECTABLE);
}

#[test]
fn device_status_bits_are_cleared_by_writing_ones() {
    let mut host = Host::new();
    host.send(&Tlp::mem_write(RequesterId(1), 0x1000, &[1]).unwrap());
    host.config_write_bytes(config::DEVICE_CONTROL, status::UNSUPPORTED << 16, 0b0100);
    assert_eq!(host.device_status(), status::NON_FATAL);
    host.config_write_bytes(config::DEVICE_CONTROL, status::NON_FATAL << 16, 0b1000);
    assert_eq!(host.device_status(), status::NON_FATAL);
    host.config_write_bytes(config::DEVICE_CONTROL, status::NON_FATAL << 16, 0b0100);
    assert_eq!(host.device_status(), 0);
}

#[test]
fn status_bits_are_cleared_by_writing_ones() {
    let mut host = Host::new();
    let read = host.read_tlp(0, 12);
    host.request(&read);
    let mut write = write_tlp(0, &[0]);
    write.attributes.poisoned = true;
    host.send(&write);
    assert_eq!(host.config_read(config::COMMAND) >> 16, 0x8810);
    host.config_write_bytes(config::COMMAND, 0x0800_0000, 0b1000);
    assert_eq!(host.config_read(config::COMMAND) >> 16, 0x8010);
    host.config_write_bytes(config::COMMAND, 0x8000_0000, 0b1000);
    assert_eq!(host.config_read(config::COMMAND) >> 16, 0x0010);
}

#[test]
fn a_long_read_outside_bar0_keeps_its_byte_count_in_the_refusal() {
    let mut host = Host::new();
    let read = MemRead {
        requester: HOST,
        tag: 1,
        address: 0x1000,
        length: 1024,
        first_be: 0b1000,
        last_be: 0b0001,
    };
    let completion = host.request(&Body::MemRead(read).into());
    assert_eq!(
        (completion.status, completion.byte_count, completion.lower_address),
        (UR, 4090, 3)
    );
}
