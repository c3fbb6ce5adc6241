//! Multi-MSI, I/O APIC pins and HPET timers.

use super::*;
use crate::machine::IOMMU_MMIO;

const IO_APIC: RequesterId = RequesterId::new(0, 0x14, 0);
const IO_APIC_AT: u64 = 0xfec0_0000;
const HPET: RequesterId = RequesterId::new(0, 0x14, 2);
const HPET_AT: u64 = 0xfed0_0000;
pub(super) const MSI: MsiDevice = MsiDevice {
    id: NTB,
    capability: 0x60,
    messages: 32,
    wide: true,
    maskable: true,
};

impl Rig {
    async fn platform(cpu: Cpu, driver: Rc<crate::linux::LinuxDriver>, device: ScriptedDevice) -> Self {
        let machine = cpu.machine();
        machine.add_io_apic(IO_APIC_AT, IO_APIC, 24);
        machine.add_hpet(HPET_AT, HPET, 3);
        machine.irqs_mut().add_function(IO_APIC, []);
        machine.irqs_mut().add_function(HPET, []);
        Self::probed(cpu, driver, device).await
    }

    /// A pin's interrupt, requested on CPU 1.
    async fn pin(&self, pin: u8, level: bool) -> (IoApicDevice, Irq) {
        let io_apic = IoApicDevice::new(IO_APIC, IO_APIC_AT);
        let irq = self
            .core
            .allocate_io_apic_pin(&self.cpu, &io_apic, pin, level)
            .await
            .expect("a pin");
        self.request(irq).await.expect("request");
        (io_apic, irq)
    }

    fn endings(&self) -> Vec<String> {
        let endings = self.events().into_iter().filter_map(|event| match event.kind {
            Kind::Ended { ending, .. } => Some(ending.to_string()),
            _ => None,
        });
        endings.collect()
    }
}

pub(super) fn msi_setup() -> Setup {
    let mut setup = setup(Profile::LINUX_7_2, &[0x40]);
    let capability = (0x60..0x78).step_by(4);
    setup.device = capability.fold(setup.device, |device, offset| device.config(offset, 0, u32::MAX));
    setup
}

#[test]
fn thirty_two_messages_have_entries_and_vectors_of_their_own_and_one_address() {
    let (slots, indices, config) = msi_setup().run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let irqs = rig.core.allocate_msi(&rig.cpu, &MSI, 32).await.expect("room");
        for &irq in &irqs {
            rig.request(irq).await.expect("request");
        }
        let slots: Vec<_> = irqs.iter().map(|irq| rig.slot(*irq)).collect();
        let indices: Vec<_> = {
            let state = rig.cpu.machine().irqs();
            let data = irqs.iter().map(|irq| state.message(*irq).expect("irq").data);
            data.collect()
        };
        let mut config = Vec::new();
        for offset in (0x60..0x74).step_by(4) {
            config.push(rig.cpu.config_read(NTB, offset).await);
        }
        (slots, indices, config)
    });
    let mut vectors: Vec<u8> = slots.iter().map(|(_, vector)| *vector).collect();
    vectors.dedup();
    assert_eq!(vectors.len(), 32);
    assert!(slots.iter().all(|(cpu, _)| *cpu == 1));
    assert_eq!(indices, Vec::from_iter(0..32));
    // Enabled with 32 messages; address, its high half, data; none masked.
    assert_eq!(config, [1 << 16 | 5 << 20, 0xfee0_0000, 0, 0, 0]);
}

#[test]
fn each_message_reaches_its_own_handler_and_moves_alone() {
    let endings = msi_setup().run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let irqs = rig.core.allocate_msi(&rig.cpu, &MSI, 4).await.expect("room");
        for &irq in &irqs {
            rig.request(irq).await.expect("request");
        }
        rig.core.set_affinity(&rig.cpu, irqs[2], 3).await.expect("move");
        let mut endings = Vec::new();
        for data in 0..5 {
            endings.push(rig.interrupt(NTB, data).await.to_string());
        }
        endings
    });
    let expected = [
        "delivered to CPU 1 vector 0x20",
        "delivered to CPU 1 vector 0x21",
        "delivered to CPU 3 vector 0x20",
        "delivered to CPU 1 vector 0x23",
        "blocked",
    ];
    assert_eq!(endings, expected);
}

#[test]
fn each_message_that_is_refused_is_a_finding_while_a_driver_waits_for_it() {
    let subjects = msi_setup().run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let irqs = rig.core.allocate_msi(&rig.cpu, &MSI, 4).await.expect("room");
        for &irq in &irqs[..3] {
            rig.request(irq).await.expect("request");
        }
        // IntCtl 0.
        let device_table = rig.cpu.mmio_read(IOMMU_MMIO, 8).await & !0xfff;
        let half = device_table + 32 * u64::from(NTB.0) + 16;
        rig.cpu.store(half, &1_u64.to_le_bytes());
        for data in 0..4 {
            rig.interrupt(NTB, data).await;
        }
        let findings = rig.cpu.machine().with_checker(|checker| checker.findings());
        let findings = findings.unwrap_or_default().into_iter();
        findings
            .map(|finding| finding.subject.to_string())
            .collect::<Vec<_>>()
    });
    assert_eq!(subjects, ["02:00.0:0", "02:00.0:1", "02:00.0:2"]);
}

#[test]
fn freed_messages_leave_msi_off_and_entries_cleared() {
    let (writes, config, after) = msi_setup().run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let irqs = rig.core.allocate_msi(&rig.cpu, &MSI, 2).await.expect("room");
        rig.request(irqs[1]).await.expect("request");
        rig.core.free_irq(&rig.cpu, irqs[1]).await.expect("free_irq");
        rig.events();
        rig.core
            .free_vectors(&rig.cpu, &irqs)
            .await
            .expect("free_vectors");
        let writes = entry_writes(&rig.events());
        let config = rig.cpu.config_read(NTB, 0x60).await;
        (writes, config & 1 << 16, rig.interrupt(NTB, 0).await)
    });
    assert_eq!(writes, "cleared R200 R240 W cleared R200 R240 W");
    assert_eq!((config, after), (0, Ending::Blocked));
}

#[test]
fn more_messages_than_the_function_has_are_refused() {
    let results = msi_setup().run(|cpu, driver, device| async move {
        let rig = Rig::probed(cpu, driver, device).await;
        let few = MsiDevice { messages: 2, ..MSI };
        let too_many = rig.core.allocate_msi(&rig.cpu, &few, 4).await;
        let none = rig.core.allocate_msi(&rig.cpu, &MSI, 0).await;
        (too_many, none)
    });
    let too_many = IrqError::TooManyVectors {
        device: NTB,
        want: 4,
        have: 2,
    };
    assert_eq!(results, (Err(too_many), Ok(vec![])));
}

#[test]
fn an_edge_at_a_pin_is_remapped_under_the_io_apics_id() {
    let (endings, handled) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::platform(cpu, driver, device).await;
        let (_, irq) = rig.pin(9, false).await;
        rig.events();
        for to in [1, 2] {
            rig.core.set_affinity(&rig.cpu, irq, to).await.expect("move");
            for asserted in [true, false] {
                rig.cpu.machine().set_pin(IO_APIC_AT, 9, asserted);
                rig.cpu.udelay(50).await;
            }
        }
        (rig.endings(), rig.handled.get())
    });
    let expected = ["delivered to CPU 1 vector 0x20", "delivered to CPU 2 vector 0x20"];
    assert_eq!((&endings[..], handled), (&expected.map(str::to_owned)[..], 2));
}

#[test]
fn a_level_comes_again_after_its_end_until_the_pin_is_low() {
    let (handled, after) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::platform(cpu, driver, device).await;
        rig.pin(9, true).await;
        rig.cpu.machine().set_pin(IO_APIC_AT, 9, true);
        // The handler takes 10 us.
        rig.cpu.udelay(35).await;
        rig.cpu.machine().set_pin(IO_APIC_AT, 9, false);
        rig.cpu.udelay(50).await;
        let handled = rig.handled.get();
        rig.cpu.udelay(50).await;
        assert!(rig.endings().iter().all(|ending| ending.starts_with("delivered")));
        (handled, rig.handled.get())
    });
    assert!(handled > 1, "{handled}");
    assert_eq!(handled, after);
}

#[test]
fn moving_a_pins_interrupt_does_not_touch_the_io_apic() {
    let (before, after) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::platform(cpu, driver, device).await;
        let (_, irq) = rig.pin(9, true).await;
        let locked = async || {
            let events = rig.events();
            let of_io_apic = |event: &&Event| {
                matches!(
                    event.kind,
                    Kind::Lock {
                        lock: crate::trace::Lock::IoApic,
                        ..
                    }
                )
            };
            events.iter().filter(of_io_apic).count()
        };
        let before = locked().await;
        rig.core.set_affinity(&rig.cpu, irq, 3).await.expect("move");
        (before, locked().await)
    });
    assert!(before > 0);
    assert_eq!(after, 0);
}

#[test]
fn a_freed_pin_is_masked_and_can_be_had_again() {
    let (taken, silent, again) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::platform(cpu, driver, device).await;
        let (io_apic, irq) = rig.pin(9, true).await;
        let allocate = async || rig.core.allocate_io_apic_pin(&rig.cpu, &io_apic, 9, true).await;
        let taken = allocate().await;
        rig.core.free_irq(&rig.cpu, irq).await.expect("free_irq");
        rig.core.free_vectors(&rig.cpu, &[irq]).await.expect("free");
        rig.events();
        rig.cpu.machine().set_pin(IO_APIC_AT, 9, true);
        rig.cpu.udelay(50).await;
        ((taken, irq), rig.endings(), allocate().await.is_ok())
    });
    assert_eq!(taken.0, Err(IrqError::Taken(taken.1)));
    assert_eq!((silent, again), (vec![], true));
}

#[test]
fn a_timers_message_is_remapped_under_the_hpets_id() {
    let (endings, handled) = setup(Profile::LINUX_7_2, &[]).run(|cpu, driver, device| async move {
        let rig = Rig::platform(cpu, driver, device).await;
        let hpet = HpetDevice {
            id: HPET,
            address: HPET_AT,
        };
        let irq = rig
            .core
            .allocate_hpet_timer(&rig.cpu, &hpet, 2)
            .await
            .expect("room");
        rig.request(irq).await.expect("request");
        rig.events();
        rig.cpu.machine().fire_timer(HPET_AT, 2);
        rig.cpu.udelay(50).await;
        rig.core.free_irq(&rig.cpu, irq).await.expect("free_irq");
        rig.cpu.machine().fire_timer(HPET_AT, 2);
        rig.cpu.udelay(50).await;
        (rig.endings(), rig.handled.get())
    });
    assert_eq!(endings, ["delivered to CPU 1 vector 0x20"]);
    assert_eq!(handled, 1);
}
