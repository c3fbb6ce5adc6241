//! Loss of power.

use super::*;

/// How long it takes, and what the device's first register and memory hold then.
fn lost(answers: bool) -> (SimTime, u64, [u8; 4]) {
    run(move |cpu, device| async move {
        cpu.store(0x10_0000, &[1, 2, 3, 4]);
        cpu.writel(BAR, 0).await;
        assert_eq!(cpu.mmio_read(BAR, 4).await, 0);
        if !answers {
            device.fall_silent();
        }
        let start = cpu.machine().now();
        cpu.machine().power_cycle().await;
        let took = cpu.machine().now() - start;
        let events = cpu.machine().trace().take();
        assert!(events.iter().any(|event| event.kind == Kind::PowerCycled));
        let register = if answers { cpu.mmio_read(BAR, 4).await } else { 0 };
        (took, register, cpu.load(0x10_0000))
    })
}

#[test]
fn power_goes_when_the_device_is_ready_and_memory_keeps_what_it_holds() {
    assert_eq!(lost(true), (SimTime::from_us(1), 0x1312_1110, [1, 2, 3, 4]));
}

#[test]
fn a_device_that_does_not_say_that_it_is_ready_loses_its_power_after_10_ms() {
    assert_eq!(lost(false).0, SimTime::from_us(10_000));
}
