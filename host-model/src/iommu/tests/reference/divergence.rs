//! Where public models disagree: what this one does.

use super::super::translate::read;
use super::*;
use crate::iommu::translate::MemoryRequest;

/// `count` requester IDs from [`RID`] on with one table, whose entries 0 to `entries` are valid.
fn sharing(rig: &Rig, count: u16, entries: u64) -> impl Iterator<Item = RequesterId> + Clone + use<> {
    let devices = (RID.0..RID.0 + count).map(RequesterId);
    devices
        .clone()
        .for_each(|device| rig.set_dte(device, dte_remap(TABLE, 9)));
    (0..entries).for_each(|index| rig.set_irte32(index, irte32(5, 0x31)));
    devices
}

fn from(rig: &Rig, device: RequesterId, index: u32) -> (LookupFrom, LookupFrom) {
    let answer = rig.ask(&Rig::message(device, index));
    (answer.dte.unwrap().from, irte_from(&answer))
}

const FILLED: (LookupFrom, LookupFrom) = (LookupFrom::Fill, LookupFrom::Fill);
const HIT: (LookupFrom, LookupFrom) = (LookupFrom::Hit, LookupFrom::Hit);

/// VirtualBox caches 32 interrupt remapping table entries and 16 device table entries, and evicts none.
#[test]
fn more_entries_than_virtualbox_has_room_for_are_cached() {
    let rig = Rig::new();
    let devices = sharing(&rig, 20, 4);
    for device in devices.clone() {
        assert_eq!(from(&rig, device, 0), FILLED);
        (1..4).for_each(|index| {
            assert_eq!(
                irte_from(&rig.ask(&Rig::message(device, index))),
                LookupFrom::Fill
            )
        });
    }
    for device in devices {
        (0..4).for_each(|index| assert_eq!(from(&rig, device, index), HIT, "{device} {index}"));
    }
}

/// To VirtualBox, requester ID 0 is an empty slot.
#[test]
fn requester_id_0_is_cached_and_invalidated_like_any_other() {
    let rig = Rig::new();
    let device = RequesterId(0);
    rig.set_irte32(3, irte32(5, 0x31));
    rig.set_dte(device, dte_remap(TABLE, 9));
    let ask = |command: Option<[u64; 2]>| {
        rig.queue_all(command.as_slice());
        rig.run();
        from(&rig, device, 3)
    };
    assert_eq!([ask(None), ask(None)], [FILLED, HIT]);
    assert_eq!(
        ask(Some(invalidate_irt(device))),
        (LookupFrom::Hit, LookupFrom::Fill)
    );
    assert_eq!(
        ask(Some(invalidate_dte(device))),
        (LookupFrom::Fill, LookupFrom::Hit)
    );
    assert_eq!([ask(Some(INVALIDATE_ALL)), ask(None)], [FILLED, HIT]);
}

/// In VirtualBox the slot of an invalidated ID is neither valid nor free.
#[test]
fn a_dte_is_cached_again_after_each_invalidation() {
    let rig = Rig::new();
    rig.set_irte32(3, irte32(5, 0x31));
    for _ in 0..3 {
        let dte = [(); 2].map(|()| from(&rig, RID, 3).0);
        assert_eq!(dte, [LookupFrom::Fill, LookupFrom::Hit]);
        rig.queue(invalidate_dte(RID));
        rig.run();
    }
}

/// VirtualBox leaves interrupt remapping table entries.
#[test]
fn invalidate_iommu_all_drops_everything_of_everybody() {
    let rig = Rig::new();
    let devices = sharing(&rig, 8, 1);
    devices
        .clone()
        .for_each(|device| assert_eq!(from(&rig, device, 0), FILLED));
    rig.queue(INVALIDATE_ALL);
    rig.run();
    devices.for_each(|device| assert_eq!(from(&rig, device, 0), FILLED, "{device}"));
}

/// In QEMU an invalidation is everybody's.
#[test]
fn invalidate_interrupt_table_leaves_the_256_other_aliases_of_a_table_alone() {
    let rig = Rig::new();
    let devices = sharing(&rig, 257, 1);
    devices
        .clone()
        .for_each(|device| assert_eq!(from(&rig, device, 0), FILLED));
    let one = RequesterId(RID.0 + 100);
    rig.queue(invalidate_irt(one));
    rig.run();
    for device in devices {
        let expected = if device == one {
            LookupFrom::Fill
        } else {
            LookupFrom::Hit
        };
        assert_eq!(from(&rig, device, 0), (LookupFrom::Hit, expected), "{device}");
    }
}

/// In openvmm the store comes first, and invalidations at the end of the batch.
#[test]
fn each_invalidation_has_taken_effect_before_the_next_command() {
    let rig = Rig::new();
    let devices = sharing(&rig, 3, 1);
    devices
        .clone()
        .for_each(|device| assert_eq!(send(&rig, device, 0), "5:31"));
    rig.set_irte32(0, irte32(6, 0x32));
    devices
        .clone()
        .for_each(|device| rig.queue(invalidate_irt(device)));
    rig.queue(completion_wait(1));
    let mut sent = vec![];
    while rig.iommu.step().is_some() {
        let fresh = devices
            .clone()
            .filter(|device| send(&rig, *device, 0) == "6:32")
            .count();
        sent.push((fresh, rig.semaphore()));
    }
    assert_eq!(sent, [(1, 0), (2, 0), (3, 0), (3, 1)]);
}

/// In QEMU the interrupt that is forwarded is then overwritten by another of vector 0.
#[test]
fn int_ctl_1_forwards_every_message_as_it_is() {
    let rig = Rig::new();
    rig.set_dte(RID, [3, 0x5e, 1 | 1 << 60, 0]);
    for address in [0xfee0_0000, 0xfee0_5004, 0xfeef_fffc] {
        for data in [0, 0x31, 0x1ff, 0xffff_f831] {
            let request = InterruptRequest {
                requester: RID,
                address,
                data,
            };
            assert_eq!(rig.ask(&request).outcome, Outcome::Forwarded { address, data });
        }
    }
}

/// QEMU reports device and function without the bus; openvmm has the ID elsewhere.
#[test]
fn page_faults_carry_the_whole_requester_id() {
    for device in [0x0000, 0x00ff, 0x4100, 0xc810, 0xff00, 0xffff].map(RequesterId) {
        let rig = Rig::new();
        let [q0, _, q2, q3] = dte_remap(TABLE, 9);
        rig.set_dte(device, [q0, 1, q2, q3]);
        send(&rig, device, 5);
        rig.translate(&MemoryRequest {
            requester: device,
            ..read(0x5000)
        });
        let lines = [
            format!("IO_PAGE_FAULT device={device} domain=0x0001 address=0xfffffffdf8050000 flags=0x0008"),
            format!("IO_PAGE_FAULT device={device} domain=0x0001 address=0x5000 flags=0x0050"),
        ];
        assert_eq!(new_events(&rig), lines);
    }
}

/// QEMU puts the opcode into the event and goes on, and takes it from the other quadword.
#[test]
fn an_illegal_command_is_told_by_its_first_quadword_and_stops_what_follows() {
    let rig = Rig::new();
    rig.set_irte32(3, irte32(5, 0x31));
    send(&rig, RID, 3);
    rig.queue_all(&[[0, 5 << 60 | 0x4100], invalidate_irt(RID), completion_wait(1)]);
    assert_eq!(new_events(&rig), ["ILLEGAL_COMMAND_ERROR address=0x400000"]);
    assert_eq!(from(&rig, RID, 3), HIT);
    assert_eq!((rig.semaphore(), rig.iommu.read(0x2000, 4)), (0, 0));
}

/// VirtualBox has no XT; openvmm's destination covers the message's prefix.
#[test]
fn a_destination_of_32_bits_leaves_the_iommu_in_a_message() {
    let rig = Rig::with(with_efr(EVERYTHING), RUN | GA_EN | 1 << 50);
    rig.set_irte128(3, [0x00cd_ef05 << 8 | 1, 0xab << 56 | 0x31]);
    let request = Rig::message(RID, 3);
    let Outcome::Remapped(interrupt) = rig.ask(&request).outcome else {
        panic!("it is remapped")
    };
    let message = interrupt.message(&request);
    assert_eq!(interrupt.destination(), 0xabcd_ef05);
    assert_eq!((message.address, message.data), (0xabcd_ef00_fee0_5000, 0x31));
}
