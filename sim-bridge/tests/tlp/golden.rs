//! The codec against byte strings that were written down by hand from the layouts in PCIe Base spec 4.0 2.2, or that others
//! published: (a) "Down to the TLP" (billauer.co.il and xillybus.com), (b) the LTR message in Linux commit discussion
//! linux-pci 2018 "TLP Header: 34000000 70000010 ...", (c) the Header Log in the README of mmpg-x86/tlp-tool.

use sim_bridge::RequesterId;
use sim_bridge::tlp::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "{text}");
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn rid(text: &str) -> RequesterId {
    text.parse().unwrap()
}

fn read(requester: &str, tag: u16, address: u64, length: u16, first_be: u8, last_be: u8) -> Tlp {
    Body::MemRead(MemRead {
        requester: rid(requester),
        tag,
        address,
        length,
        first_be,
        last_be,
    })
    .into()
}

fn write(requester: &str, tag: u16, address: u64, first_be: u8, last_be: u8, data: &[u8]) -> Tlp {
    let data = Payload::from_slice(data);
    Body::MemWrite(MemWrite {
        requester: rid(requester),
        tag,
        address,
        first_be,
        last_be,
        data,
    })
    .into()
}

fn completion(
    completer: &str,
    status: CompletionStatus,
    byte_count: u16,
    to: (&str, u16, u8),
    data: &[u8],
) -> Tlp {
    let (requester, tag, lower_address) = to;
    Body::Completion(Completion {
        completer: rid(completer),
        status,
        bcm: false,
        byte_count,
        requester: rid(requester),
        tag,
        lower_address,
        data: Payload::from_slice(data),
    })
    .into()
}

fn with(mut tlp: Tlp, change: impl FnOnce(&mut Attributes)) -> Tlp {
    change(&mut tlp.attributes);
    tlp
}

fn golden() -> Vec<(&'static str, &'static str, Tlp)> {
    use CompletionStatus::*;
    let config_write = |config_type, target, register, first_be, data| {
        let (requester, tag, target) = (rid("00:00.0"), 1, rid(target));
        Body::ConfigWrite(ConfigWrite {
            config_type,
            requester,
            tag,
            target,
            register,
            first_be,
            data,
        })
        .into()
    };
    let message = |requester, routing, code, fields, data: &[u8]| {
        let data = Payload::from_slice(data);
        Body::Message(Message {
            requester: rid(requester),
            tag: 0,
            routing,
            code,
            fields,
            data,
        })
        .into()
    };
    vec![
        (
            "MWr 3 DW, published (a)",
            "40000001 0000000f fdaff040 12345678",
            write("00:00.0", 0, 0xfdaf_f040, 0xf, 0, &[0x12, 0x34, 0x56, 0x78]),
        ),
        (
            "MRd 3 DW, published (a)",
            "00000001 00000c0f fdaff040",
            read("00:00.0", 0x0c, 0xfdaf_f040, 1, 0xf, 0),
        ),
        (
            "CplD, published (a)",
            "4a000001 01000004 00000c40 12345678",
            completion(
                "01:00.0",
                Successful,
                4,
                ("00:00.0", 0x0c, 0x40),
                &[0x12, 0x34, 0x56, 0x78],
            ),
        ),
        (
            "Msg LTR, published (b)",
            "34000000 70000010 00000000 88468846",
            message("70:00.0", 4, 0x10, [0, 0, 0, 0, 0x88, 0x46, 0x88, 0x46], &[]),
        ),
        (
            "CfgRd0, published (c)",
            "04000001 0000220f 01070000",
            Body::ConfigRead(ConfigRead {
                config_type: ConfigType::Type0,
                requester: rid("00:00.0"),
                tag: 0x22,
                target: rid("01:00.7"),
                register: 0,
                first_be: 0xf,
            })
            .into(),
        ),
        (
            "MWr of an MSI, requester 41:00.1, little-endian data",
            "40000001 4101000f fee01004 22400000",
            write("41:00.1", 0, 0xfee0_1004, 0xf, 0, &[0x22, 0x40, 0, 0]),
        ),
        (
            "MWr 4 DW header, 2 DW with byte enables 1000 and 0001",
            "60000002 03200518 00000001 23456788 000000aa bb000000",
            write(
                "03:04.0",
                5,
                0x1_2345_6788,
                0x8,
                0x1,
                &[0, 0, 0, 0xaa, 0xbb, 0, 0, 0],
            ),
        ),
        (
            "MRd 4 DW header, 1024 DW (Length 0), 10-bit tag 0x3ff: T9 and T8",
            "20880000 ffffffff ffffffff fffff000",
            read("ff:1f.7", 0x3ff, 0xffff_ffff_ffff_f000, 1024, 0xf, 0xf),
        ),
        (
            "MRd with tag 0x100: T8 alone",
            "00080001 0000000f 00001000",
            read("00:00.0", 0x100, 0x1000, 1, 0xf, 0),
        ),
        (
            "MRd with tag 0x200: T9 alone",
            "00800001 0000000f 00001000",
            read("00:00.0", 0x200, 0x1000, 1, 0xf, 0),
        ),
        (
            "MRd of no bytes (flush)",
            "00000001 00000000 00001000",
            read("00:00.0", 0, 0x1000, 1, 0, 0),
        ),
        (
            "MWr with TC 5, IDO, relaxed ordering, no snoop, EP, AT translated, LN",
            "40567801 0000000f 00002000 deadbeef",
            with(
                write("00:00.0", 0, 0x2000, 0xf, 0, &[0xde, 0xad, 0xbe, 0xef]),
                |a| {
                    a.traffic_class = 5;
                    a.id_based_ordering = true;
                    a.lightweight_notification = true;
                    a.poisoned = true;
                    a.relaxed_ordering = true;
                    a.no_snoop = true;
                    a.address_type = AddressType::Translated;
                },
            ),
        ),
        (
            "MRd with TH, PH 10b, steering tag 0xa5 in the byte enables, ATS translation request",
            "00010402 000000a5 00003002",
            with(read("00:00.0", 0, 0x3000, 2, 0x5, 0xa), |a| {
                a.processing_hints = true;
                a.processing_hint = 2;
                a.address_type = AddressType::TranslationRequest;
            }),
        ),
        (
            "MWr with a digest",
            "40008001 0000000f 00002000 01020304 cafef00d",
            with(write("00:00.0", 0, 0x2000, 0xf, 0, &[1, 2, 3, 4]), |a| {
                a.digest = Some(0xcafe_f00d)
            }),
        ),
        (
            "CfgWr0 of 2 bytes, register 0x04",
            "44000001 00000103 41000004 06040000",
            config_write(ConfigType::Type0, "41:00.0", 0x04, 0x3, [6, 4, 0, 0]),
        ),
        (
            "CfgWr1, extended register 0xabc",
            "45000001 0000010f 42080abc 01020304",
            config_write(ConfigType::Type1, "42:01.0", 0xabc, 0xf, [1, 2, 3, 4]),
        ),
        (
            "CfgRd1, register 0xffc",
            "05000001 00080201 7f0a0ffc",
            Body::ConfigRead(ConfigRead {
                config_type: ConfigType::Type1,
                requester: rid("00:01.0"),
                tag: 2,
                target: rid("7f:01.2"),
                register: 0xffc,
                first_be: 1,
            })
            .into(),
        ),
        (
            "Cpl UR, byte count 4096 (0)",
            "0a000000 41002000 00081200",
            completion("41:00.0", UnsupportedRequest, 4096, ("00:01.0", 0x12, 0), &[]),
        ),
        (
            "Cpl CRS",
            "0a000000 41004004 00081300",
            completion("41:00.0", ConfigRetry, 4, ("00:01.0", 0x13, 0), &[]),
        ),
        (
            "Cpl CA with TC 7 and BCM",
            "0a700000 41009004 00081400",
            with(
                match completion("41:00.0", CompleterAbort, 4, ("00:01.0", 0x14, 0), &[]) {
                    Tlp {
                        body: Body::Completion(c),
                        attributes,
                    } => Tlp {
                        body: Body::Completion(Completion { bcm: true, ..c }),
                        attributes,
                    },
                    other => other,
                },
                |a| a.traffic_class = 7,
            ),
        ),
        (
            "CplD of 1 byte at 0x7f",
            "4a000001 41000001 0008157f 000000ee",
            completion(
                "41:00.0",
                Successful,
                1,
                ("00:01.0", 0x15, 0x7f),
                &[0, 0, 0, 0xee],
            ),
        ),
        (
            "MsgD vendor-defined type 1 by ID, 2 DW",
            "72000002 4100007f 00081022 01020304 11121314 15161718",
            message(
                "41:00.0",
                2,
                0x7f,
                [0, 8, 0x10, 0x22, 1, 2, 3, 4],
                &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18],
            ),
        ),
        (
            "Msg Assert_INTA, routing local",
            "34000000 41000020 00000000 00000000",
            message("41:00.0", 4, 0x20, [0; 8], &[]),
        ),
    ]
}

#[test]
fn golden_bytes_decode_to_the_golden_values() {
    for (name, bytes, tlp) in golden() {
        assert_eq!(decode(&hex(bytes)), Ok(tlp), "{name}");
    }
}

#[test]
fn golden_values_encode_to_the_golden_bytes() {
    for (name, bytes, tlp) in golden() {
        let mut out = Vec::new();
        assert_eq!(encode(&tlp, &mut out), Ok(()), "{name}");
        assert_eq!(out, hex(bytes), "{name}");
    }
}

#[test]
fn reserved_bits_are_ignored() {
    let plain = decode(&hex("04000001 0000220f 01070000"));
    // Attr[2], LN, TH and AT of a configuration request; the bits around its register number.
    assert_eq!(decode(&hex("04070c01 0000220f 0107f003")), plain);
    let plain = decode(&hex("0a000000 41002000 00081200"));
    // Length of Cpl, bit 7 of its lower address, a reserved status.
    assert_eq!(decode(&hex("0a000005 4100e000 00081280")), plain);
    let plain = decode(&hex("00000001 00000c0f fdaff040"));
    // The low address bits without TH.
    assert_eq!(decode(&hex("00000001 00000c0f fdaff043")), plain);
}

#[test]
fn what_is_no_tlp_is_refused_by_name() {
    use DecodeError::{
        ConfigLastByteEnables, ConfigLength, FourDwBelow4Gib, LengthMismatch, Truncated, UnknownType,
        Unsupported,
    };
    let unsupported = |kind, fmt_type| Unsupported { kind, fmt_type };
    for (bytes, error) in [
        ("", Truncated { have: 0, need: 12 }),
        ("400000", Truncated { have: 3, need: 12 }),
        (
            "40000001 0000000f 00002000",
            LengthMismatch { have: 12, need: 16 },
        ),
        ("60000001 0000000f 00000001", Truncated { have: 12, need: 16 }),
        (
            "00000001 0000000f 00002000 00000000",
            LengthMismatch { have: 16, need: 12 },
        ),
        (
            "00008001 0000000f 00002000",
            LengthMismatch { have: 12, need: 16 },
        ),
        ("80000001 0000000f 00002000", unsupported("prefixed", 0x80)),
        (
            "01000001 0000000f 00002000",
            unsupported("locked memory read", 0x01),
        ),
        ("02000001 0000000f 00002000", unsupported("I/O", 0x02)),
        ("42000001 0000000f 00002000 00000000", unsupported("I/O", 0x42)),
        (
            "4c000001 0000000f 00002000 00000000",
            unsupported("AtomicOp", 0x4c),
        ),
        (
            "6e000002 0000000f 00002000 00000000",
            unsupported("AtomicOp", 0x6e),
        ),
        (
            "4b000001 01000004 00000c40 12345678",
            unsupported("locked completion", 0x4b),
        ),
        ("1f000001 0000000f 00002000", UnknownType(0x1f)),
        ("e0000001 0000000f 00002000", UnknownType(0xe0)),
        ("24000001 0000000f 00000000 00002000", UnknownType(0x24)),
        ("14000000 70000010 00000000 88468846", UnknownType(0x14)),
        (
            "20000001 0000000f 00000000 fffff000",
            FourDwBelow4Gib(0xffff_f000),
        ),
        ("04000002 0000220f 01070000", ConfigLength(2)),
        ("04000001 0000221f 01070000", ConfigLastByteEnables(1)),
        (
            "04100001 0000220f 01070000",
            Malformed::ConfigTrafficClass(1).into(),
        ),
        (
            "04002001 0000220f 01070000",
            Malformed::ConfigAttributes(2).into(),
        ),
        ("00000001 000000ff 00002000", byte_enables(0xf, 0xf, 1, 0x2000)),
        ("00000002 0000000f 00002000", byte_enables(0xf, 0, 2, 0x2000)),
        ("00000002 000000f0 00002000", byte_enables(0, 0xf, 2, 0x2000)),
        ("00000002 000000f5 00002004", byte_enables(5, 0xf, 2, 0x2004)),
        ("00000003 000000f5 00002000", byte_enables(5, 0xf, 3, 0x2000)),
        ("00000003 000000af 00002000", byte_enables(0xf, 0xa, 3, 0x2000)),
        (
            "00000002 000000ff 00002ffc",
            Malformed::CrossesPage {
                address: 0x2ffc,
                dwords: 2,
            }
            .into(),
        ),
        (
            "4a000001 01002004 00000c40 12345678",
            Malformed::DataWithoutSuccess.into(),
        ),
        (
            "4a000002 01000004 00000c40 12345678 12345678",
            Malformed::ByteCount {
                dwords: 2,
                byte_count: 4,
                lower_address: 0x40,
            }
            .into(),
        ),
    ] {
        assert_eq!(decode(&hex(bytes)), Err(error), "{bytes}");
    }
}

fn byte_enables(first: u8, last: u8, dwords: usize, address: u64) -> DecodeError {
    Malformed::ByteEnables {
        first,
        last,
        dwords,
        address,
    }
    .into()
}

#[test]
fn two_dwords_on_an_8_byte_boundary_take_any_byte_enables() {
    assert!(decode(&hex("00000002 000000a5 00002008")).is_ok());
}

#[test]
fn values_that_no_header_can_hold_are_refused_by_name() {
    let base = || write("41:00.0", 0, 0x2000, 0xf, 0, &[0; 4]);
    let field = |tlp: &Tlp| match encode(tlp, &mut Vec::new()) {
        Err(EncodeError::Field { field, .. }) => field,
        other => panic!("{tlp}: {other:?}"),
    };
    assert_eq!(field(&with(base(), |a| a.traffic_class = 8)), "traffic_class");
    assert_eq!(field(&with(base(), |a| a.processing_hint = 1)), "processing_hint");
    assert_eq!(field(&write("41:00.0", 0x400, 0x2000, 0xf, 0, &[0; 4])), "tag");
    assert_eq!(field(&write("41:00.0", 0, 0x2002, 0xf, 0, &[0; 4])), "address");
    assert_eq!(field(&write("41:00.0", 0, 0x2000, 0x10, 0, &[0; 4])), "first_be");
    assert_eq!(field(&read("41:00.0", 0, 0x2000, 0, 0xf, 0)), "length");
    assert_eq!(field(&read("41:00.0", 0, 0x2000, 1025, 0xf, 0xf)), "length");
    let cpl = |byte_count, lower| {
        completion(
            "41:00.0",
            CompletionStatus::UnsupportedRequest,
            byte_count,
            ("00:00.0", 0, lower),
            &[],
        )
    };
    assert_eq!(field(&cpl(0, 0)), "byte_count");
    assert_eq!(field(&cpl(4097, 0)), "byte_count");
    assert_eq!(field(&cpl(4, 0x80)), "lower_address");
    assert_eq!(
        field(&with(cpl(4, 0), |a| a.address_type = AddressType::Translated)),
        "address_type"
    );
    assert_eq!(
        field(&with(cpl(4, 0), |a| a.processing_hints = true)),
        "processing_hints"
    );
    let config = |register| {
        let (config_type, requester, target) = (ConfigType::Type0, rid("00:00.0"), rid("41:00.0"));
        Body::ConfigRead(ConfigRead {
            config_type,
            requester,
            tag: 0,
            target,
            register,
            first_be: 0xf,
        })
        .into()
    };
    assert_eq!(field(&config(0x1000)), "register");
    assert_eq!(field(&config(0x2)), "register");
    assert_eq!(
        field(&with(config(0), |a| a.id_based_ordering = true)),
        "id_based_ordering"
    );
    assert_eq!(
        field(&with(config(0), |a| a.lightweight_notification = true)),
        "lightweight_notification"
    );
}

#[test]
fn payloads_that_are_not_whole_dwords_are_refused() {
    for len in [0, 3, 4100] {
        let tlp = write("41:00.0", 0, 0x2000, 0xf, 0xf, &vec![0; len]);
        assert_eq!(
            encode(&tlp, &mut Vec::new()),
            Err(EncodeError::PayloadLength(len))
        );
    }
}

#[test]
fn a_tlp_that_is_refused_leaves_the_buffer_alone() {
    let mut out = vec![1, 2, 3];
    encode(&write("41:00.0", 0, 0x2ffc, 0xf, 0xf, &[0; 8]), &mut out).unwrap_err();
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn each_kind_is_shown_in_a_short_line() {
    let shown: Vec<String> = golden().into_iter().map(|(_, _, tlp)| tlp.to_string()).collect();
    for line in [
        "MWr 00:00.0 0xfdaff040 [12345678]",
        "MRd 00:00.0 tag 0xc 0xfdaff040 1 DW",
        "CplD 01:00.0 to 00:00.0 tag 0xc SC [12345678]",
        "Msg 70:00.0 code 0x10 routing 4",
        "CfgRd0 00:00.0 tag 0x22 01:00.7 0x000",
        "MWr 03:04.0 0x123456788 [000000aabb000000] be 1000..0001",
        "CfgWr0 00:00.0 tag 0x1 41:00.0 0x004 [06040000] be 0011",
        "Cpl 41:00.0 to 00:01.0 tag 0x12 UR",
    ] {
        assert!(shown.iter().any(|s| s == line), "{line} not in {shown:#?}");
    }
    let long = write("41:00.0", 0, 0x2000, 0xf, 0xf, &[7; 64]).to_string();
    assert_eq!(
        long,
        "MWr 41:00.0 0x00002000 [07070707070707070707070707070707.. 64 bytes]"
    );
}

#[test]
fn posted_requests_have_no_completion_and_data_must_fit() {
    let completer = rid("41:00.0");
    let done = |tlp: &Tlp, status, data: &[u8]| tlp.completion(completer, status, data);
    use CompletionStatus::*;
    assert_eq!(
        done(&write("00:00.0", 0, 0x2000, 0xf, 0, &[0; 4]), Successful, &[]),
        Err(AccessError::Posted)
    );
    let request = read("00:00.0", 9, 0x2000, 2, 0xf, 0xf);
    let short = done(&request, Successful, &[0; 4]);
    assert_eq!(short, Err(AccessError::CompletionLength { have: 4, need: 8 }));
    let refused = done(&request, UnsupportedRequest, &[]).unwrap();
    assert_eq!(refused.to_string(), "Cpl 41:00.0 to 00:00.0 tag 0x9 UR");
}

#[test]
fn writes_with_holes_are_given_as_runs() {
    let Body::MemWrite(write) = write("41:00.0", 0, 0x2000, 0x5, 0xa, &[1, 2, 3, 4, 5, 6, 7, 8]).body else {
        unreachable!()
    };
    let runs: Vec<(u64, &[u8])> = write.runs().collect();
    assert_eq!(
        runs,
        [(0x2000, &[1][..]), (0x2002, &[3]), (0x2005, &[6]), (0x2007, &[8])]
    );
}
