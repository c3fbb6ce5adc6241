//! From the IOMMU to the local APICs.

use super::*;
use crate::iommu::DeliveryMode;

/// What became of an interrupt message with the IOMMU off, and the vectors that each CPU then has.
fn send(address: u64, data: u32) -> (Ending, Vec<Vec<u8>>) {
    run(move |cpu, device| async move {
        let write = Tlp::mem_write(DEVICE, address, &data.to_le_bytes()).expect("one DW");
        exchange(&cpu, &device, write).await;
        (last_ending(&cpu), vectors(&cpu))
    })
}

fn last_ending(cpu: &Cpu) -> Ending {
    let events = cpu.machine().trace().take().into_iter();
    let mut endings = events.filter_map(|event| match event.kind {
        Kind::Ended { ending, .. } => Some(ending),
        _ => None,
    });
    endings.next_back().expect("it has ended")
}

fn vectors(cpu: &Cpu) -> Vec<Vec<u8>> {
    let apics = (0..cpu.machine().cpus()).filter_map(|id| cpu.machine().apic(id));
    apics
        .map(|apic| apic.deliveries().iter().map(|delivery| delivery.vector).collect())
        .collect()
}

fn to(cpus: &[usize]) -> Vec<Vec<u8>> {
    let taken = |cpu: usize| cpus.contains(&cpu).then_some(0x31);
    (0..4).map(|cpu| Vec::from_iter(taken(cpu))).collect()
}

#[test]
fn a_message_reaches_every_cpu_that_it_names() {
    for (address, data, expected) in [
        (0xfee0_2000, 0x31, &[2][..]),
        (0xfeef_f000, 0x31, &[0, 1, 2, 3]),
        (0xfee0_a004, 0x31, &[1, 3]),
        // Lowest priority, by delivery mode and by redirection hint.
        (0xfee0_a004, 0x131, &[1]),
        (0xfee0_a00c, 0x31, &[1]),
    ] {
        let (ending, vectors) = send(address, data);
        assert_eq!(vectors, to(expected), "{address:#x} {data:#x}");
        let cpu = expected[0] as u32;
        assert!(
            matches!(ending, Ending::Spurious { vector: 0x31, .. }),
            "{ending:?} instead of CPU {cpu}"
        );
    }
}

#[test]
fn a_message_that_no_local_apic_takes_is_lost() {
    for (address, data, loss) in [
        (0xfee0_9000, 0x31, Loss::NoApic(9)),
        (0xfee1_0004, 0x31, Loss::NoApic(0x10)),
        (0xfee0_0000, 0x0f, Loss::IllegalVector(0x0f)),
        (0xfee0_0000, 0x331, Loss::ReservedDeliveryMode(3)),
    ] {
        assert_eq!(send(address, data), (Ending::Lost(loss), to(&[])));
    }
}

#[test]
fn what_has_no_vector_reaches_the_cpu_as_that() {
    for (data, mode) in [
        (0x200, DeliveryMode::Smi),
        (0x400, DeliveryMode::Nmi),
        (0x500, DeliveryMode::Init),
        (0x731, DeliveryMode::ExtInt),
    ] {
        let special = Ending::Special { cpu: 2, mode };
        assert_eq!(send(0xfee0_2000, data), (special, to(&[])));
    }
}

#[test]
fn remapped_destinations_are_physical_or_logical_by_their_entry() {
    // RemapEn, DM, destination and vector.
    let entry = |dm: u32, destination: u32| 0x31 << 16 | destination << 8 | dm << 6 | 1;
    for (entry, expected) in [
        (entry(0, 2), &[2][..]),
        (entry(1, 0b1010), &[1, 3]),
        // Arbitrated.
        (entry(1, 0b1010) | 1 << 2, &[1]),
    ] {
        let vectors = run(move |cpu, device| async move {
            enable_remapping(&cpu).await;
            cpu.store(0x50_0000, &entry.to_le_bytes());
            device.interrupt_at(cpu.machine().now(), DEVICE, 0);
            cpu.udelay(2).await;
            vectors(&cpu)
        });
        assert_eq!(vectors, to(expected), "{entry:#x}");
    }
}

#[test]
fn with_xt_destinations_have_32_bits() {
    use crate::iommu::spec::features::{Efr, Efr2, Features};

    // Destination 0xff is everybody in 8 bits, and an APIC that is not there in 32.
    for (xt_en, expected) in [(false, &[0, 1, 2, 3][..]), (true, &[])] {
        let device = ScriptedDevice::default();
        let efr = Efr::new().with_ia_sup(true).with_ga_sup(true).with_xt_sup(true);
        let mut config = MachineConfig::default();
        config.iommu.features = Features::new(efr, Efr2::new()).expect("hardware can have it");
        let machine = Machine::new(config, [LinkTo::new(DEVICE, device.clone())]).expect("memory");
        let vectors = machine.run(|cpu| async move {
            enable_remapping(&cpu).await;
            let entry: u128 = 0x31 << 64 | 0xff << 8 | 1;
            cpu.store(0x50_0000, &entry.to_le_bytes());
            let control = 1 | 1 << 17 | u64::from(xt_en) << 50;
            cpu.mmio_write(IOMMU_MMIO + 0x18, 8, control).await;
            device.interrupt_at(cpu.machine().now(), DEVICE, 0);
            cpu.udelay(2).await;
            vectors(&cpu)
        });
        assert_eq!(vectors.expect("nothing stalls"), to(expected), "XTEn {xt_en}");
    }
}

#[test]
fn a_cpu_takes_the_next_interrupt_when_it_is_done_with_the_last() {
    let seen = run(|cpu, device| async move {
        for vector in [0x31, 0x41] {
            let write = Tlp::mem_write(DEVICE, 0xfee0_2000, &[vector, 0, 0, 0]).expect("one DW");
            device.send_at(cpu.machine().now(), write);
        }
        cpu.udelay(2).await;
        let events = cpu.machine().trace().take().into_iter();
        let seen = events.filter_map(|event| match event.kind {
            Kind::Taken { vector, .. } => Some((event.source, "taken", vector)),
            Kind::EndOfInterrupt { vector } => Some((event.source, "done", vector)),
            _ => None,
        });
        seen.collect::<Vec<_>>()
    });
    // Both came while the CPU was on its way to the first.
    let expected = [("taken", 0x31), ("done", 0x31), ("taken", 0x41), ("done", 0x41)];
    assert_eq!(
        seen,
        expected.map(|(what, vector)| (Source::Cpu(2), what, vector))
    );
}
