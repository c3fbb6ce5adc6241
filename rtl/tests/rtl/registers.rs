//! BAR0: identification, scratchpads, doorbell registers, byte enables, sizes.

use ntb_rtl::NtbConfig;
use ntb_rtl::registers::*;
use sim_bridge::tlp::{Body, CompletionStatus, MemRead, Tlp};

use crate::harness::{BAR0, DEVICE, HOST, Host, write_tlp};

#[test]
fn identification_reads_ntb1_version_1() {
    let mut host = Host::new();
    assert_eq!(host.read(IDENTIFICATION).to_be_bytes(), *b"NTB1");
    assert_eq!(host.read(VERSION), 1);
}

#[test]
fn capacity_reads_vectors_and_table_size() {
    let mut host = Host::with(&NtbConfig {
        table_size: 300,
        ..Default::default()
    });
    assert_eq!(host.read(CAPACITY), 300 << 16 | 32 << 8 | 64);
}

#[test]
fn read_only_registers_ignore_writes() {
    let mut host = Host::new();
    for offset in [
        IDENTIFICATION,
        VERSION,
        CAPACITY,
        MALFORMED,
        REFUSED,
        SENT,
        POISONED,
        MSIX_PENDING,
    ] {
        let before = host.read(offset);
        host.write(offset, !before);
        assert_eq!(host.read(offset), before, "{offset:#x}");
    }
}

#[test]
fn an_idle_device_reads_as_idle() {
    assert_eq!(Host::new().read(IDLE), 1);
}

#[test]
fn a_device_with_a_request_behind_the_read_reads_as_not_idle() {
    let mut host = Host::new();
    let read = host.read_tlp(IDLE, 4);
    host.ntb.offer(&read).unwrap();
    let completions = host.send(&write_tlp(scratchpad(0), &[1]));
    assert_eq!(completions[0].1.data[..], [0, 0, 0, 0]);
}

#[test]
fn a_device_with_an_interrupt_to_send_reads_as_not_idle() {
    let mut host = Host::with_msix(&NtbConfig::default());
    host.ntb.offer(&write_tlp(DOORBELL_SET, &[0xff])).unwrap();
    let read = host.read_tlp(IDLE, 4);
    let completions = host.send(&read);
    assert_eq!(completions[0].1.data[..], [0, 0, 0, 0]);
}

#[test]
fn scratchpads_keep_what_is_written() {
    let mut host = Host::new();
    for n in 0..SCRATCHPADS {
        assert_eq!(host.read(scratchpad(n)), 0);
        host.write(scratchpad(n), 0xa5a5_0000 | n as u32);
    }
    for n in 0..SCRATCHPADS {
        assert_eq!(host.read(scratchpad(n)), 0xa5a5_0000 | n as u32);
    }
}

#[test]
fn only_enabled_bytes_are_written() {
    let mut host = Host::new();
    host.write(scratchpad(3), 0x4433_2211);
    for (offset, bytes, expected) in [
        (0, &[0xaa][..], 0x4433_22aa_u32),
        (3, &[0xbb], 0xbb33_22aa),
        (1, &[0xcc, 0xdd], 0xbbdd_ccaa),
        (0, &[], 0xbbdd_ccaa),
    ] {
        host.write_bytes(scratchpad(3) + offset, bytes);
        assert_eq!(host.read(scratchpad(3)), expected);
    }
}

#[test]
fn bytes_need_not_be_contiguous_in_one_dw() {
    let mut host = Host::new();
    let Body::MemWrite(mut write) = write_tlp(scratchpad(0), &[1, 2, 3, 4]).body else {
        unreachable!()
    };
    write.first_be = 0b1001;
    host.send(&Body::MemWrite(write).into());
    assert_eq!(host.read(scratchpad(0)), 0x0400_0001);
}

#[test]
fn eight_bytes_are_two_registers() {
    let mut host = Host::new();
    host.write64(scratchpad(4), 0x8877_6655_4433_2211);
    assert_eq!(host.read(scratchpad(4)), 0x4433_2211);
    assert_eq!(host.read(scratchpad(5)), 0x8877_6655);
    assert_eq!(host.read64(scratchpad(4)), 0x8877_6655_4433_2211);
}

#[test]
fn an_unaligned_pair_writes_the_enabled_bytes_of_both_registers() {
    let mut host = Host::new();
    host.write_bytes(scratchpad(4) + 3, &[0xaa, 0xbb]);
    assert_eq!(host.read(scratchpad(4)), 0xaa00_0000);
    assert_eq!(host.read(scratchpad(5)), 0x0000_00bb);
}

#[test]
fn byte_count_and_lower_address_follow_the_byte_enables() {
    // First and last enable, then byte count and lower address of table 2-38 and 2.2.9.
    let one_dw = [
        (0b0000, 1, 0),
        (0b0001, 1, 0),
        (0b0010, 1, 1),
        (0b0100, 1, 2),
        (0b1000, 1, 3),
        (0b0011, 2, 0),
        (0b0110, 2, 1),
        (0b1100, 2, 2),
        (0b0101, 3, 0),
        (0b0111, 3, 0),
        (0b1010, 3, 1),
        (0b1110, 3, 1),
        (0b1001, 4, 0),
        (0b1011, 4, 0),
        (0b1101, 4, 0),
        (0b1111, 4, 0),
    ];
    let two_dw = [
        (0b1111, 0b1111, 8, 0),
        (0b1000, 0b0001, 2, 3),
        (0b1100, 0b0011, 4, 2),
        (0b0101, 0b1010, 8, 0),
    ];
    let cases = one_dw
        .map(|(first, count, low)| (1, first, 0, count, low))
        .into_iter();
    let cases = cases.chain(two_dw.map(|(first, last, count, low)| (2, first, last, count, low)));
    let mut host = Host::new();
    for (length, first_be, last_be, byte_count, low) in cases {
        let address = BAR0 + scratchpad(8);
        let read = MemRead {
            requester: HOST,
            tag: 9,
            address,
            length,
            first_be,
            last_be,
        };
        let completion = host.request(&Body::MemRead(read).into());
        assert_eq!(completion.byte_count, byte_count, "{first_be:04b} {last_be:04b}");
        assert_eq!(
            u64::from(completion.lower_address),
            (address & 0x7f) + low,
            "{first_be:04b} {last_be:04b}"
        );
        assert_eq!(completion.data.len(), usize::from(length) * 4);
    }
}

#[test]
fn completions_carry_the_ids_and_attributes_of_the_request() {
    let mut host = Host::new();
    for tag in [0, 0xff, 0x100, 0x2aa, 0x3ff] {
        let mut read = Tlp::mem_read(HOST, tag, BAR0, 4).unwrap();
        read.attributes.traffic_class = 5;
        read.attributes.no_snoop = true;
        read.attributes.id_based_ordering = true;
        let completions = host.send(&read);
        let (tlp, completion) = &completions[0];
        assert_eq!(completion.tag, tag);
        assert_eq!(completion.requester, HOST);
        assert_eq!(completion.completer, DEVICE);
        assert_eq!(tlp.attributes, read.attributes);
    }
}

#[test]
fn offsets_without_a_register_read_zero_and_ignore_writes() {
    let mut host = Host::new();
    for offset in [
        0x24, 0xfc, 0x118, 0x240, 0x314, 0x500, 0x1000, 0x7ffc, 0x8400, 0x9008, 0xa000, 0x1_0008, 0x1_fffc,
    ] {
        host.write(offset, !0);
        assert_eq!(host.read(offset), 0, "{offset:#x}");
    }
    assert_eq!(host.read(MALFORMED) + host.read(REFUSED), 0);
}

#[test]
fn a_digest_is_accepted_and_ignored() {
    let mut host = Host::new();
    let mut write = write_tlp(scratchpad(0), &[1, 2, 3, 4]);
    write.attributes.digest = Some(0xdead_beef);
    host.send(&write);
    let mut read = host.read_tlp(scratchpad(0), 4);
    read.attributes.digest = Some(0);
    let completion = host.request(&read);
    assert_eq!(completion.data[..], [1, 2, 3, 4]);
    assert_eq!(host.read(MALFORMED), 0);
}

#[test]
fn a_read_with_a_processing_hint_reads_all_bytes() {
    let mut host = Host::new();
    let Body::MemRead(read) = host.read_tlp(scratchpad(0), 4).body else {
        unreachable!()
    };
    // The byte enables hold a steering tag that would break their rules.
    let mut hinted = Tlp::from(Body::MemRead(MemRead {
        first_be: 0b0101,
        last_be: 0b1010,
        ..read
    }));
    hinted.attributes.processing_hints = true;
    let completion = host.request(&hinted);
    assert_eq!(
        (completion.status, completion.byte_count),
        (CompletionStatus::Successful, 4)
    );
}

#[test]
fn doorbell_set_and_clear_touch_only_written_ones() {
    let mut host = Host::new();
    host.write64(DOORBELL_SET, 0xf000_0000_0000_000f);
    host.write64(DOORBELL_SET, 0x0000_0001_0000_0010);
    assert_eq!(host.read64(DOORBELL_STATUS), 0xf000_0001_0000_001f);
    assert_eq!(host.read64(DOORBELL_SET), 0xf000_0001_0000_001f);
    host.write64(DOORBELL_STATUS, 0x1000_0001_0000_0001);
    assert_eq!(host.read64(DOORBELL_STATUS), 0xe000_0000_0000_001e);
}

#[test]
fn doorbell_writes_honour_byte_enables() {
    let mut host = Host::new();
    host.write_bytes(DOORBELL_SET + 5, &[0x81]);
    assert_eq!(host.read64(DOORBELL_STATUS), 0x8100 << 32);
    host.write_bytes(DOORBELL_STATUS + 4, &[0xff]);
    assert_eq!(host.read64(DOORBELL_STATUS), 0x8100 << 32);
    host.write_bytes(DOORBELL_MASK + 2, &[0x11]);
    assert_eq!(host.read64(DOORBELL_MASK), 0x11_0000);
}

#[test]
fn msix_table_keeps_entries_and_masks_all_at_reset() {
    let mut host = Host::new();
    for vector in 0..VECTORS {
        assert_eq!(host.read(msix_entry(vector) + 12), 1, "vector {vector}");
    }
    for vector in 0..VECTORS {
        host.set_vector(vector);
    }
    for vector in 0..VECTORS {
        let (address, data) = crate::harness::msix_message(vector);
        assert_eq!(host.read64(msix_entry(vector)), address);
        assert_eq!(host.read64(msix_entry(vector) + 8), u64::from(data));
    }
}

#[test]
fn msix_address_has_no_low_bits_and_control_only_the_mask() {
    let mut host = Host::new();
    host.write(msix_entry(7), 0xffff_ffff);
    host.write(msix_entry(7) + 12, 0xffff_fffe);
    assert_eq!(host.read(msix_entry(7)), 0xffff_fffc);
    assert_eq!(host.read(msix_entry(7) + 12), 0);
}

#[test]
fn msix_table_writes_honour_byte_enables() {
    let mut host = Host::new();
    host.write64(msix_entry(9), 0x1111_2222_3333_4444);
    host.write_bytes(msix_entry(9) + 3, &[0xaa, 0xbb]);
    assert_eq!(host.read64(msix_entry(9)), 0x1111_22bb_aa33_4444);
}
