//! What holds for every TLP and every string of bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sim_bridge::RequesterId;
use sim_bridge::tlp::*;

fn rid() -> impl Strategy<Value = RequesterId> {
    any::<u16>().prop_map(RequesterId)
}

fn tag() -> impl Strategy<Value = u16> {
    0..0x400u16
}

/// A DW address and a length within one page, on either side of 4 GiB.
fn dwords(most: u16) -> impl Strategy<Value = (u64, u16)> {
    (
        select(vec![
            0,
            0xfee0_0000,
            0xffff_f000,
            0x1_0000_0000,
            0xffff_ffff_ffff_f000,
        ]),
        0..1024u64,
    )
        .prop_flat_map(move |(page, dword)| (Just(page + dword * 4), 1..=most.min(1024 - dword as u16)))
}

fn byte_enables(length: u16) -> impl Strategy<Value = (u8, u8)> {
    let first = if length == 1 {
        (0..16).collect()
    } else {
        vec![0xf, 0xe, 0xc, 0x8]
    };
    let last = if length == 1 {
        vec![0]
    } else {
        vec![0xf, 0x7, 0x3, 0x1]
    };
    (select(first), select(last))
}

fn payload(dwords: usize) -> impl Strategy<Value = Payload> {
    vec(any::<u8>(), dwords * 4).prop_map(Payload::from_vec)
}

fn memory() -> impl Strategy<Value = Body> {
    let read = (rid(), tag(), dwords(1024)).prop_flat_map(|(requester, tag, (address, length))| {
        byte_enables(length).prop_map(move |(first_be, last_be)| {
            Body::MemRead(MemRead {
                requester,
                tag,
                address,
                length,
                first_be,
                last_be,
            })
        })
    });
    let write = (rid(), tag(), dwords(40)).prop_flat_map(|(requester, tag, (address, length))| {
        (byte_enables(length), payload(length.into())).prop_map(move |((first_be, last_be), data)| {
            Body::MemWrite(MemWrite {
                requester,
                tag,
                address,
                first_be,
                last_be,
                data,
            })
        })
    });
    prop_oneof![read, write]
}

fn config() -> impl Strategy<Value = Body> {
    let config_type = select(vec![ConfigType::Type0, ConfigType::Type1]);
    (
        config_type,
        (rid(), tag(), rid()),
        0..1024u16,
        0..16u8,
        any::<Option<[u8; 4]>>(),
    )
        .prop_map(
            |(config_type, (requester, tag, target), register, first_be, data)| {
                let register = register * 4;
                match data {
                    Some(data) => Body::ConfigWrite(ConfigWrite {
                        config_type,
                        requester,
                        tag,
                        target,
                        register,
                        first_be,
                        data,
                    }),
                    None => Body::ConfigRead(ConfigRead {
                        config_type,
                        requester,
                        tag,
                        target,
                        register,
                        first_be,
                    }),
                }
            },
        )
}

fn completion() -> impl Strategy<Value = Body> {
    use CompletionStatus::*;
    let status = select(vec![UnsupportedRequest, ConfigRetry, CompleterAbort, Successful]);
    let header = (rid(), status, any::<bool>(), 1..=4096u16, rid(), tag(), 0..0x80u8);
    (header, 0..=32usize).prop_flat_map(|(header, dwords)| {
        let (completer, status, bcm, byte_count, requester, tag, lower_address) = header;
        let most = (usize::from(byte_count) + usize::from(lower_address & 3)).div_ceil(4);
        let dwords = if status == Successful { dwords.min(most) } else { 0 };
        payload(dwords).prop_map(move |data| {
            Body::Completion(Completion {
                completer,
                status,
                bcm,
                byte_count,
                requester,
                tag,
                lower_address,
                data,
            })
        })
    })
}

fn message() -> impl Strategy<Value = Body> {
    (
        rid(),
        tag(),
        0..8u8,
        any::<u8>(),
        any::<[u8; 8]>(),
        (0..16usize).prop_flat_map(payload),
    )
        .prop_map(|(requester, tag, routing, code, fields, data)| {
            Body::Message(Message {
                requester,
                tag,
                routing,
                code,
                fields,
                data,
            })
        })
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let address_type = select(vec![
        AddressType::Untranslated,
        AddressType::TranslationRequest,
        AddressType::Translated,
        AddressType::Reserved,
    ]);
    (
        0..8u8,
        any::<[bool; 6]>(),
        0..4u8,
        address_type,
        any::<Option<u32>>(),
    )
        .prop_map(|(traffic_class, flags, hint, address_type, digest)| Attributes {
            traffic_class,
            no_snoop: flags[0],
            relaxed_ordering: flags[1],
            id_based_ordering: flags[2],
            poisoned: flags[3],
            lightweight_notification: flags[4],
            processing_hints: flags[5],
            processing_hint: if flags[5] { hint } else { 0 },
            address_type,
            digest,
        })
}

fn tlp() -> impl Strategy<Value = Tlp> {
    (
        attributes(),
        prop_oneof![memory(), config(), completion(), message()],
    )
        .prop_map(|(all, body)| {
            let (poisoned, digest) = (all.poisoned, all.digest);
            let attributes = match &body {
                Body::MemRead(_) | Body::MemWrite(_) => all,
                Body::ConfigRead(_) | Body::ConfigWrite(_) => Attributes {
                    poisoned,
                    digest,
                    ..Attributes::default()
                },
                Body::Completion(_) | Body::Message(_) => Attributes {
                    lightweight_notification: all.lightweight_notification
                        && matches!(body, Body::Completion(_)),
                    processing_hints: false,
                    processing_hint: 0,
                    address_type: AddressType::Untranslated,
                    ..all
                },
            };
            Tlp { attributes, body }
        })
}

fn encoded(tlp: &Tlp) -> Vec<u8> {
    let mut out = Vec::new();
    encode(tlp, &mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_tlp_survives_the_wire(tlp in tlp()) {
        let bytes = encoded(&tlp);
        let digest = if tlp.attributes.digest.is_some() { 4 } else { 0 };
        prop_assert_eq!(bytes.len(), tlp.header_len() + tlp.data().len() + digest);
        prop_assert_eq!(decode(&bytes), Ok(tlp));
    }

    #[test]
    fn bytes_that_decode_encode_to_something_that_means_the_same(
        tlp in tlp(), at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let mut bytes = encoded(&tlp);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = decode(&bytes) {
            prop_assert_eq!(decode(&encoded(&changed)), Ok(changed));
        }
    }

    #[test]
    fn any_bytes_decode_without_a_panic(bytes in vec(any::<u8>(), 0..64)) {
        if let Ok(tlp) = decode(&bytes) {
            prop_assert_eq!(encoded(&tlp).len(), bytes.len());
        }
    }

    #[test]
    fn a_write_enables_the_bytes_given_and_no_others(
        page in select(vec![0, 0xffff_f000, 0x1_0000_0000u64]), start in 0..4096u64, bytes in vec(any::<u8>(), 1..64),
    ) {
        let address = page + start;
        let rid = RequesterId::new(0x41, 0, 0);
        let written = Tlp::mem_write(rid, address, &bytes);
        if start as usize + bytes.len() > 4096 {
            prop_assert_eq!(written, Err(AccessError::CrossesPage { address, bytes: bytes.len() }));
            return Ok(());
        }
        let written = written.unwrap();
        prop_assert_eq!(decode(&encoded(&written)), Ok(written.clone()));
        let Body::MemWrite(write) = &written.body else { panic!("{written}") };
        let expected: Vec<_> = (address..).zip(bytes.iter().copied()).collect();
        prop_assert_eq!(write.bytes().collect::<Vec<_>>(), expected);
        prop_assert_eq!(write.runs().collect::<Vec<_>>(), vec![(address, &bytes[..])]);
    }

    #[test]
    fn a_read_and_its_completion_speak_of_the_range_given(start in 0..4096u64, len in 1..=4096usize) {
        prop_assume!(start as usize + len <= 4096);
        let (host, device) = (RequesterId(0), RequesterId::new(0x41, 0, 0));
        let request = Tlp::mem_read(host, 0x2a5, 0xfe00_0000 + start, len).unwrap();
        prop_assert_eq!(decode(&encoded(&request)), Ok(request.clone()));
        let Body::MemRead(read) = &request.body else { panic!("{request}") };
        prop_assert_eq!(read.byte_range(), (0xfe00_0000 + start, len as u16));
        let data = vec![0x5a; usize::from(read.length) * 4];
        let answer = request.completion(device, CompletionStatus::Successful, &data).unwrap();
        prop_assert_eq!(decode(&encoded(&answer)), Ok(answer.clone()));
        let Body::Completion(c) = answer.body else { panic!("{answer}") };
        prop_assert_eq!((c.requester, c.completer, c.tag), (host, device, 0x2a5));
        prop_assert_eq!((u64::from(c.lower_address), usize::from(c.byte_count)), (start & 0x7f, len));
    }
}
