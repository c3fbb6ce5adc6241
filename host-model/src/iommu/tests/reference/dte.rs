//! Device table entries: the fields of the interrupt half, and that the other half is none of an interrupt's business.

use super::*;
use crate::iommu::spec::dte::DteRevision;

const SE: u64 = 1 << 33;
const SA: u64 = 1 << 34;

const NOT_PRESENT: &str = "IRTE: RemapEn is 0";

fn illegal(index: u64) -> String {
    let address = 0xffff_fffd_f800_0000 | index << 16;
    format!("ILLEGAL_DEV_TABLE_ENTRY device=41:00.0 address={address:#x} flags=0x0088")
}

#[test]
fn no_bit_of_the_memory_half_changes_an_interrupt() {
    let rig = Rig::with(uncached(), RUN);
    rig.set_irte32(3, irte32(5, 0x31));
    for bit in 0..128 {
        let mut dte = dte_remap(TABLE, 9);
        dte[bit / 64] ^= 1 << (bit % 64);
        rig.set_dte(RID, dte);
        assert_eq!(send(&rig, RID, 3), "5:31", "bit {bit}");
    }
    assert_eq!(new_events(&rig), [""; 0]);
}

#[test]
fn se_and_sa_suppress_no_event_of_an_interrupt() {
    for suppress in [SE, SA, SE | SA] {
        let rig = Rig::new();
        let [q0, q1, q2, q3] = dte_remap(TABLE, 9);
        rig.set_dte(RID, [q0, q1 | suppress, q2, q3]);
        for _ in 0..3 {
            assert_eq!(send(&rig, RID, 3), NOT_PRESENT);
        }
        assert_eq!(new_events(&rig).len(), 3, "{suppress:#x}");
    }
}

#[test]
fn the_domain_is_16_bits_of_the_event() {
    for domain in [0, 1, 0x5e, 0x8000, 0xffff] {
        let rig = Rig::new();
        let [q0, _, q2, q3] = dte_remap(TABLE, 9);
        // What lies above is the guest table's.
        rig.set_dte(RID, [q0, domain | 0xffff << 16, q2, q3]);
        send(&rig, RID, 3);
        let line = format!(
            "IO_PAGE_FAULT device=41:00.0 domain={domain:#06x} address=0xfffffffdf8030000 flags=0x0008"
        );
        assert_eq!(new_events(&rig), [line]);
    }
}

#[test]
fn the_table_is_where_bits_51_to_6_say() {
    let rig = Rig::with(uncached(), RUN);
    for bit in 6..52 {
        rig.set_dte(RID, dte_remap(1 << bit, 9));
        let token = rig.ask_until_irte_fill(&Rig::message(RID, 3));
        assert_eq!(token.address(), (1 << bit) + 12, "bit {bit}");
    }
}

#[test]
fn guest_paging_mode_and_hpt_mode_are_legal_since_revision_3_11() {
    for bit in [54, 55, 59] {
        for (revision, legal) in [(DteRevision::Rev305, false), (DteRevision::Rev311, true)] {
            let rig = Rig::with(with_policies(|p| p.dte_revision = revision), RUN);
            let [q0, q1, q2, q3] = dte_remap(TABLE, 9);
            rig.set_dte(RID, [q0, q1, q2 | 1 << bit, q3]);
            rig.set_irte32(3, irte32(5, 0x31));
            let remapped = send(&rig, RID, 3) == "5:31";
            let events = new_events(&rig);
            let expected = if legal { vec![] } else { vec![illegal(3)] };
            assert_eq!((remapped, events), (legal, expected), "bit {bit}, {revision:?}");
        }
    }
}

#[test]
fn lint_pass_bits_are_for_pins_and_pass_no_message() {
    let rig = Rig::with(uncached(), RUN);
    rig.set_irte32(3, irte32(5, 0x31));
    let [q0, q1, q2, q3] = dte_remap(TABLE, 9);
    rig.set_dte(RID, [q0, q1, q2 | 3 << 62, q3]);
    for (data, expected) in [
        (0x003, "5:31"),
        (0x400, "Nmi is not passed"),
        (0x500, "Init is not passed"),
        (0x700, "ExtInt is not passed"),
    ] {
        assert_eq!(send(&rig, RID, data), expected);
    }
}

#[test]
fn attributes_in_bits_255_to_246_are_legal_and_all_below_them_is_reserved() {
    let rig = Rig::with(uncached(), RUN);
    rig.set_irte32(3, irte32(5, 0x31));
    for bit in 0..64 {
        let [q0, q1, q2, _] = dte_remap(TABLE, 9);
        rig.set_dte(RID, [q0, q1, q2, 1 << bit]);
        let remapped = send(&rig, RID, 3) == "5:31";
        let expected = if bit < 54 { vec![illegal(3)] } else { vec![] };
        assert_eq!((remapped, new_events(&rig)), (bit >= 54, expected), "bit {bit}");
    }
}

#[test]
fn a_device_table_has_128_entries_for_each_4_kib_of_its_size() {
    for size in [0, 1, 2, 0x7f, 0xff, 0x1fe, 0x1ff_u64] {
        let rig = Rig::with(uncached(), RUN);
        rig.iommu.write(0x00, 8, DEVICE_TABLE | size);
        rig.set_irte32(3, irte32(5, 0x31));
        let entries = (size + 1) * 128;
        let last = RequesterId((entries - 1) as u16);
        rig.set_dte(last, dte_remap(TABLE, 9));
        assert_eq!(send(&rig, last, 3), "5:31", "size {size:#x}");
        if let Ok(beyond) = u16::try_from(entries) {
            rig.set_dte(RequesterId(beyond), dte_remap(TABLE, 9));
            let expected = "the requester ID is beyond the device table";
            assert_eq!(send(&rig, RequesterId(beyond), 3), expected, "size {size:#x}");
        }
    }
}

/// That entry came with an ILLEGAL_DEV_TABLE_ENTRY, for which no source has a rule: its table is what is wrong here.
#[test]
fn the_entry_that_a_real_machine_called_illegal_breaks_no_known_rule() {
    for revision in [DteRevision::Rev305, DteRevision::Rev311] {
        let rig = Rig::with(with_policies(|p| p.dte_revision = revision), RUN);
        let device = RequesterId(0xc001);
        rig.set_dte(device, [3, 0, 0x2008_0001_0025_8013, 0]);
        send(&rig, device, 0x14);
        let line =
            "PAGE_TAB_HARDWARE_ERROR device=c0:00.1 domain=0x0000 address=0x8000100258050 flags=0x0208";
        assert_eq!(new_events(&rig), [line]);
    }
}
