//! TLPs that break the rules of their form: dropped to their last beat, and counted.

use ntb_rtl::registers::*;
use ntb_rtl::stream::Beat;
use sim_bridge::tlp::{Body, MemWrite, Payload, Tlp};

use crate::harness::{BAR0, HOST, Host, beats, status, write_beats, write_tlp};

fn assert_malformed(what: &str, beats: &[Beat]) {
    let mut host = Host::new();
    assert_eq!(host.send_beats(beats), [], "{what}");
    assert_eq!(host.counters(), [1, 0, 0, 0], "{what}");
    assert_eq!(host.device_status(), status::FATAL, "{what}");
    assert_eq!(host.read(scratchpad(0)), 0, "{what}");
    assert_eq!(host.interrupts(), [], "{what}");
}

/// A one-DW write to scratchpad 0 with changes to its header.
fn assert_malformed_write(what: &str, change: impl FnOnce(&mut [u8; 16])) {
    let mut beats = write_beats(scratchpad(0), 4);
    change(&mut beats[0].header);
    assert_malformed(what, &beats);
}

fn assert_malformed_config(what: &str, change: impl FnOnce(&mut [u8; 16])) {
    let write = Host::new().config_write_tlp(config::COMMAND, 0);
    let mut beats = beats(&Body::ConfigWrite(write).into());
    change(&mut beats[0].header);
    assert_malformed(what, &beats);
}

#[test]
fn reserved_fmt_and_type_are_malformed() {
    for fmt_type in [
        0x80, 0x81, 0x9f, // prefixes
        0xa0, 0xe0, // reserved Fmt
        0x03, 0x06, 0x0f, 0x1b, 0x1f, // reserved Type
        0x24, 0x22, 0x2a, // configuration, I/O and completions with four DWs
        0x41, 0x61, // locked write
        0x0c, 0x2d, // AtomicOps without data
        0x10, 0x50, // messages with three DWs
        0x36, 0x37, 0x76, // reserved message routing
    ] {
        assert_malformed_write(&format!("{fmt_type:#04x}"), |header| header[0] = fmt_type);
    }
}

#[test]
fn a_payload_shorter_than_its_length_is_malformed() {
    assert_malformed_write("9 DWs in one beat", |header| {
        header[3] = 9;
        header[7] = 0xff;
    });
    let mut two = write_beats(scratchpad(0), 64);
    two[0].header[3] = 17;
    assert_malformed("17 DWs in two beats", &two);
}

#[test]
fn a_payload_longer_than_its_length_is_malformed() {
    let mut two = write_beats(scratchpad(0), 64);
    two[0].header[3] = 8;
    assert_malformed("8 DWs in two beats", &two);
    let mut four = write_beats(scratchpad(0), 128);
    four[0].header[3] = 24;
    assert_malformed("24 DWs in four beats", &four);
    let read = beats(&Tlp::mem_read(HOST, 0, BAR0, 4).unwrap())[0];
    let more = Beat { sop: false, ..read };
    assert_malformed("a read of two beats", &[Beat { eop: false, ..read }, more]);
}

#[test]
fn a_digest_counts_in_the_length() {
    assert_malformed_write("8 DWs and a digest in one beat", |header| {
        header[2] |= 0x80;
        header[3] = 8;
        header[7] = 0xff;
    });
}

#[test]
fn a_malformed_tlp_is_drained_to_its_end() {
    let mut host = Host::new();
    let mut long = write_beats(scratchpad(0), 128);
    long[0].header[0] = 0x9f;
    host.ntb.offer_beats(&long).unwrap();
    host.send(&write_tlp(scratchpad(1), &[7]));
    assert_eq!(host.read(scratchpad(1)), 7);
    assert_eq!(host.counters(), [1, 0, 0, 0]);
}

#[test]
fn a_payload_above_max_payload_size_is_malformed() {
    assert_malformed("256 bytes of at most 128", &write_beats(scratchpad(0), 256));
}

#[test]
fn max_payload_size_is_what_device_control_says_up_to_what_is_supported() {
    for (setting, limit) in [(0, 128), (1, 256), (2, 512), (5, 512)] {
        let mut host = Host::new();
        host.config_write_bytes(config::DEVICE_CONTROL, setting << 5, 0b0011);
        host.send_beats(&write_beats(0, limit));
        assert_eq!(host.read(MALFORMED), 0, "{limit}");
        host.send_beats(&write_beats(0, limit + 4));
        assert_eq!(host.read(MALFORMED), 1, "{limit}");
    }
}

#[test]
fn byte_enables_against_the_rules_are_malformed() {
    for (length, first, last) in [
        (1, 0xf, 0x1),
        (2, 0x0, 0xf),
        (2, 0xf, 0x0),
        (3, 0b0111, 0xf),
        (3, 0b1010, 0xf),
        (3, 0xf, 0b1110),
        (3, 0xf, 0b0101),
        (3, 0x0, 0xf),
        (3, 0xf, 0x0),
    ] {
        assert_malformed_write(&format!("{length} DW, {first:04b} {last:04b}"), |header| {
            header[3] = length;
            header[7] = last << 4 | first;
        });
    }
    assert_malformed_write("2 DW not aligned to 8 with gaps", |header| {
        header[3] = 2;
        header[7] = 0xf5;
        header[15] |= 4;
    });
}

#[test]
fn two_aligned_dws_may_have_gaps_in_their_byte_enables() {
    let mut host = Host::new();
    let data = Payload::from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let address = BAR0 + scratchpad(0);
    let write = MemWrite {
        requester: HOST,
        tag: 0,
        address,
        first_be: 0b0101,
        last_be: 0b1010,
        data,
    };
    host.send(&Body::MemWrite(write).into());
    assert_eq!(host.read64(scratchpad(0)), 0x0800_0600_0003_0001);
}

#[test]
fn crossing_4_kib_is_malformed() {
    assert_malformed_write("a write", |header| {
        header[14] = 0x0f;
        header[15] = 0xfc;
        header[3] = 2;
        header[7] = 0xff;
    });
    let mut read = beats(&Tlp::mem_read(HOST, 0, BAR0 + 4, 8).unwrap());
    read[0].header[2] = 0;
    read[0].header[3] = 0;
    assert_malformed("a read of 1024 DWs from 4", &read);
}

#[test]
fn four_header_dws_below_4_gib_are_malformed() {
    assert_malformed_write("a write", |header| header[8..12].fill(0));
}

#[test]
fn configuration_requests_with_other_than_fixed_fields_are_malformed() {
    assert_malformed_config("traffic class", |header| header[1] |= 0x10);
    assert_malformed_config("attributes", |header| header[2] |= 0x10);
    assert_malformed_config("address type", |header| header[2] |= 0x04);
    assert_malformed_config("length", |header| header[3] = 2);
    assert_malformed_config("last byte enables", |header| header[7] |= 0x10);
}

#[test]
fn a_configuration_request_that_is_malformed_changes_nothing() {
    let mut host = Host::new();
    let write = host.config_write_tlp(config::COMMAND, 0);
    let mut beats = beats(&Body::ConfigWrite(write).into());
    beats[0].header[3] = 2;
    host.send_beats(&beats);
    assert_eq!(host.config_read(config::COMMAND) & 0xffff, 6);
}

#[test]
fn reserved_header_bits_are_ignored() {
    let mut host = Host::new();
    let mut beats = write_beats(scratchpad(0), 4);
    beats[0].header[1] |= 0x02; // LN
    beats[0].header[15] |= 0x03; // PH without TH
    host.send_beats(&beats);
    assert_eq!(host.read(scratchpad(0)), 0xeeee_eeee);
}
