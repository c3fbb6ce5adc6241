use sim_bridge::tlp::Body;

use super::*;

#[test]
fn an_entry_is_flushed_five_times_until_its_vector_is_unmasked() {
    for (profile, flush) in [
        (Profile::LINUX_6_12, "R200 W"),
        (Profile::LINUX_7_2, "R200 R240 W"),
    ] {
        let (writes, after_unmask) = setup(profile, &[0x40]).run(|cpu, driver, device| async move {
            let (rig, _) = Rig::bound(cpu, driver, device, 1).await;
            let events = rig.events();
            let unmask = events.iter().position(|event| {
                matches!(&event.kind, Kind::ToDevice(tlp) if tlp.data() == [0; 4]
                    && matches!(&tlp.body, Body::MemWrite(write) if write.address == TABLE + 12))
            });
            let (before, after) = events.split_at(unmask.expect("it is unmasked"));
            (entry_writes(before), entry_writes(after))
        });
        let (_probe, writes) = writes.split_once("marker").expect("an entry is allocated");
        // Managed-shutdown vector three times, the third by the driver's old copy; then where it is to arrive.
        let steps = ["ef@0", "ef@0", "ef@0", "20@1", "20@1"].map(|entry| format!("{entry} {flush}"));
        assert_eq!(writes.trim(), steps.join(" "), "{profile}");
        assert_eq!(after_unmask, "");
    }
}

#[test]
fn commands_until_unmask_are_as_many_as_kernels_need() {
    // Distinct mask aliases, commands of 6.12 and of 7.2: 6N+14 and 11N+16; numbers waited for: 2N+7 and 2N+8.
    for (n, of_6_12, of_7_2) in [
        (1, (20, 9), (27, 10)),
        (2, (26, 11), (38, 12)),
        (5, (44, 17), (71, 18)),
    ] {
        let aliases: Vec<u8> = (0x40..0x40 + n).collect();
        for (profile, expected) in [(Profile::LINUX_6_12, of_6_12), (Profile::LINUX_7_2, of_7_2)] {
            let sent = setup(profile, &aliases).run(|cpu, driver, device| async move {
                let (rig, _) = Rig::bound(cpu, driver, device, 1).await;
                notation(&rig.events())
            });
            let waits = sent.split(' ').filter(|command| *command == "W").count();
            assert_eq!((sent.split(' ').count(), waits), expected, "{profile} {n}");
        }
    }
}

#[test]
fn the_device_is_accessed_in_linuxs_order_over_a_vectors_life() {
    let accesses = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        rig.core.set_affinity(&rig.cpu, irqs[0], 2).await.expect("move");
        rig.core.free_irq(&rig.cpu, irqs[0]).await.expect("free_irq");
        rig.core
            .free_vectors(&rig.cpu, &irqs)
            .await
            .expect("free_vectors");
        accesses(&rig.device, 0)
    });
    let expected = [
        "read MSI-X control",
        "MSI-X enable 1 mask all 1",
        "read control0",
        // Early activation.
        "address0 = fee00000",
        "high0 = 0",
        "data0 = 0",
        "read data0",
        // msix_mask_all
        "control0 = 1",
        "control1 = 1",
        "read MSI-X control",
        "MSI-X enable 1 mask all 0",
        // request_irq
        "address0 = fee00000",
        "high0 = 0",
        "data0 = 0",
        "read data0",
        "control0 = 0",
        // The move: none. free_irq:
        "control0 = 1",
        "read control0",
        "address0 = 0",
        "high0 = 0",
        "data0 = 0",
        "read data0",
        // pci_free_irq_vectors
        "control0 = 1",
        "read control0",
        "read MSI-X control",
        "MSI-X enable 0 mask all 0",
    ];
    assert_eq!(accesses, expected);
}

#[test]
fn a_vector_that_is_unmasked_at_reset_is_masked_around_its_message() {
    let mut setup = setup(Profile::LINUX_7_2, &[]);
    setup.device = setup.device.registers(TABLE, &[0; 16]);
    let accesses = setup.run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        rig.core.allocate_vectors(&rig.cpu, &MSIX, 1).await.expect("room");
        accesses(&rig.device, 0)
    });
    let message = ["address0 = fee00000", "high0 = 0", "data0 = 0", "read data0"];
    let around = [&["control0 = 1"], &message[..], &["control0 = 0"]].concat();
    assert_eq!(accesses[3..9], around);
}

#[test]
fn freeing_makes_the_entry_invalid_then_clears_it() {
    let (freed, given_back) = setup(Profile::LINUX_7_2, &[0x40]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        let slot = rig.slot(irqs[0]);
        rig.events();
        rig.core.free_irq(&rig.cpu, irqs[0]).await.expect("free_irq");
        let freed = (entry_writes(&rig.events()), rig.is_used(slot));
        rig.core
            .free_vectors(&rig.cpu, &irqs)
            .await
            .expect("free_vectors");
        (freed, entry_writes(&rig.events()))
    });
    // The vector is free as soon as free_irq returns.
    assert_eq!(freed, ("off R200 R240 W".to_owned(), false));
    assert_eq!(given_back, "cleared R200 R240 W");
}

#[test]
fn a_second_request_after_free_irq_revives_the_previous_target_first() {
    let writes = setup(Profile::LINUX_6_12, &[]).run(|cpu, driver, device| async move {
        let (rig, irqs) = Rig::bound(cpu, driver, device, 1).await;
        rig.core.set_affinity(&rig.cpu, irqs[0], 3).await.expect("move");
        rig.core.free_irq(&rig.cpu, irqs[0]).await.expect("free_irq");
        rig.events();
        rig.request(irqs[0]).await.expect("request");
        entry_writes(&rig.events())
    });
    assert_eq!(writes, "20@3 R200 W 20@1 R200 W 20@1 R200 W");
}
