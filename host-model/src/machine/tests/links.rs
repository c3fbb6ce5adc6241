//! A machine with two links.

use sim_bridge::link::{Link, LinkConfig, Port};

use super::*;

const OTHER: RequesterId = RequesterId::new(0x61, 0, 0);
const OTHER_BAR: u64 = 0xe100_0000;
const BAR_BYTES: u64 = 0x100;

/// Both have registers in their windows, and an ID of their own.
fn run_two<T: 'static, F: Future<Output = T> + 'static>(
    main: impl FnOnce(Cpu, [ScriptedDevice; 2]) -> F,
) -> T {
    let device = |bar, first: u8, id| {
        let bytes: Vec<u8> = (first..first + 16).collect();
        ScriptedDevice::default().registers(bar, &bytes).config(0, id, 0)
    };
    let devices = [
        device(BAR, 0x10, 0x87b0_10b5),
        device(OTHER_BAR, 0x80, 0x8531_11f8),
    ];
    let links = [(DEVICE, BAR, &devices[0]), (OTHER, OTHER_BAR, &devices[1])]
        .map(|(id, bar, device)| LinkTo::new(id, device.clone()).with_window(bar..=bar + BAR_BYTES - 1));
    let machine = Machine::new(MachineConfig::default(), links).expect("memory");
    machine.run(|cpu| main(cpu, devices)).expect("nothing stalls")
}

#[test]
fn requests_of_a_cpu_go_to_the_function_or_the_window_that_they_name() {
    let (registers, ids, sent) = run_two(|cpu, devices| async move {
        cpu.mmio_write(OTHER_BAR, 1, 0xee).await;
        let registers = [cpu.readl(BAR).await, cpu.readl(OTHER_BAR).await];
        let ids = [cpu.config_read(DEVICE, 0).await, cpu.config_read(OTHER, 0).await];
        (registers, ids, devices.map(|device| device.sent().len()))
    });
    assert_eq!(registers, [0x1312_1110, 0x8382_81ee]);
    assert_eq!(ids, [0x87b0_10b5, 0x8531_11f8]);
    assert_eq!(sent, [2, 3]);
}

#[test]
fn what_is_in_no_window_reads_all_ones_after_a_time_and_goes_nowhere() {
    let (value, took, sent) = run_two(|cpu, devices| async move {
        cpu.mmio_write(BAR + BAR_BYTES, 4, 1).await;
        let before = cpu.machine().now();
        let value = cpu.mmio_read(OTHER_BAR + BAR_BYTES, 8).await;
        let took = cpu.machine().now() - before;
        (value, took, devices.map(|device| device.sent().len()))
    });
    assert_eq!((value, took), (u64::MAX, Timing::default().mmio_read));
    assert_eq!(sent, [0, 0]);
}

#[test]
fn reads_over_two_links_have_the_same_tags_and_get_their_own_answers() {
    let (values, tags) = run_two(|cpu, devices| async move {
        let values = Rc::new(RefCell::new([0; 2]));
        for (n, address) in [BAR + 1, OTHER_BAR + 1].into_iter().enumerate() {
            let (reader, values) = (cpu.clone(), values.clone());
            cpu.machine().executor().spawn("reader", async move {
                let value = reader.mmio_read(address, 1).await;
                values.borrow_mut()[n] = value;
            });
        }
        cpu.udelay(5).await;
        (*values.borrow(), devices.map(|device| device.sent()[0].tag()))
    });
    assert_eq!((values, tags), ([0x11, 0x81], [0, 0]));
}

#[test]
fn a_completion_goes_back_over_the_link_of_its_request() {
    let (first, second) = run_two(|cpu, devices| async move {
        // Under an ID of the other's bus, as behind a bridge.
        let read = Tlp::mem_read(DEVICE, 9, 0x10_0000, 4).expect("in a page");
        exchange(&cpu, &devices[1], read).await;
        let first = devices[0].sent().len();
        (first, last_sent(&devices[1]).tag)
    });
    assert_eq!((first, second), (0, 9));
}

#[test]
fn what_arrives_at_the_same_time_comes_in_the_order_of_the_links_and_is_told_by_link() {
    let (sources, ended) = run_two(|cpu, devices| async move {
        let now = cpu.machine().now();
        devices[1].interrupt_at(now, OTHER, 0x31);
        devices[1].interrupt_at(now, OTHER, 0x32);
        devices[0].interrupt_at(now, DEVICE, 0x33);
        cpu.udelay(1).await;
        let events = cpu.machine().trace().take().into_iter();
        let sources = events.filter_map(|event| match event.kind {
            Kind::InterruptSent(request) => Some((event.source, request.data)),
            _ => None,
        });
        let ended = [0, 1, 2].map(|link| cpu.machine().interrupts_ended_from(link));
        (sources.collect::<Vec<_>>(), ended)
    });
    let (first, second) = (Source::Rtl(0), Source::Rtl(1));
    assert_eq!(sources, [(first, 0x33), (second, 0x31), (second, 0x32)]);
    assert_eq!(ended, [1, 2, 0]);
}

/// A machine whose second device is at the other end of a real link.
fn beside_a_port() -> (Machine, Port) {
    let (near, far) = Port::pair(&LinkConfig::new("host"), &LinkConfig::new("second")).expect("a link");
    let links = [
        LinkTo::new(DEVICE, ScriptedDevice::default()),
        LinkTo::new(OTHER, near),
    ];
    let machine = Machine::new(MachineConfig::default(), links).expect("memory");
    (machine, far)
}

#[test]
fn the_device_that_ends_first_is_named() {
    let (machine, mut far) = beside_a_port();
    far.end(SimTime::ZERO).expect("its own end");
    let result = machine.run(|cpu| async move { cpu.config_read(OTHER, 0).await });
    assert_eq!(
        result.expect_err("nobody answers").to_string(),
        "the device at 61:00.0 ended the link at 0.000 ns, before the host had finished"
    );
}

#[test]
fn the_device_that_dies_is_named() {
    let (machine, far) = beside_a_port();
    drop(far);
    let result = machine.run(|cpu| async move { cpu.config_read(OTHER, 0).await });
    assert_eq!(
        result.expect_err("nobody answers").to_string(),
        "second died: the link broke without being ended"
    );
}

#[test]
fn a_machine_without_links_runs_by_itself() {
    let machine = Machine::new(MachineConfig::default(), []).expect("memory");
    let values = machine.run(|cpu| async move {
        cpu.udelay(10).await;
        (cpu.readl(BAR).await, cpu.config_read(DEVICE, 0).await)
    });
    assert_eq!(values.expect("nothing stalls"), (u32::MAX, u32::MAX));
    machine.end().expect("nothing to end");
}
