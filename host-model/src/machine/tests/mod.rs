//! The root complex, a CPU's accesses, and a run that can't go on, with a scripted device.

mod delivery;
mod dma;
mod iommu;
mod links;
mod power;

use sim_bridge::tlp::{Attributes, Body, Completion, CompletionStatus, MemWrite, Tlp};

use super::*;
use crate::checker::Freshness;
use crate::iommu::{Answer, LookupFrom, Outcome};
use crate::scripted::ScriptedDevice;
use crate::trace::{Dropped, Ending, Loss};

const DEVICE: RequesterId = RequesterId::new(0x41, 0, 0);
const ALIAS: RequesterId = RequesterId::new(0x41, 0, 1);
const BAR: u64 = 0xe000_0000;
const BYTES: [u8; 16] = [
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f,
];

fn machine(device: &ScriptedDevice) -> Machine {
    Machine::new(MachineConfig::default(), [LinkTo::new(DEVICE, device.clone())]).expect("memory")
}

fn run<T: 'static, F: Future<Output = T> + 'static>(main: impl FnOnce(Cpu, ScriptedDevice) -> F) -> T {
    let device = ScriptedDevice::default()
        .registers(BAR, &BYTES)
        .config(0, 0x87b0_10b5, 0);
    let machine = machine(&device);
    machine.run(|cpu| main(cpu, device)).expect("nothing stalls")
}

/// What the device sends reaches the host, and its answer is back.
async fn exchange(cpu: &Cpu, device: &ScriptedDevice, tlp: Tlp) {
    device.send_at(cpu.machine().now(), tlp);
    cpu.udelay(1).await;
}

fn last_sent(device: &ScriptedDevice) -> Completion {
    match device.sent().last().map(|tlp| &tlp.body) {
        Some(Body::Completion(completion)) => completion.clone(),
        other => panic!("{other:?}"),
    }
}

fn dropped(cpu: &Cpu) -> Vec<Dropped> {
    let events = cpu.machine().trace().take().into_iter();
    let dropped = events.filter_map(|event| match event.kind {
        Kind::Dropped { why, .. } => Some(why),
        _ => None,
    });
    dropped.collect()
}

#[test]
fn a_device_reads_what_it_wrote_to_memory() {
    let (memory, answer) = run(|cpu, device| async move {
        let write = Tlp::mem_write(DEVICE, 0x10_0003, &[1, 2, 3, 4, 5, 6]).expect("in a page");
        exchange(&cpu, &device, write).await;
        exchange(
            &cpu,
            &device,
            Tlp::mem_read(DEVICE, 9, 0x10_0000, 12).expect("in a page"),
        )
        .await;
        (cpu.load::<12>(0x10_0000), last_sent(&device))
    });
    assert_eq!(memory, [0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0]);
    assert_eq!((answer.status, answer.tag), (CompletionStatus::Successful, 9));
    assert_eq!(answer.data[..], memory);
}

#[test]
fn a_read_that_leaves_memory_is_unsupported() {
    let statuses = run(|cpu, device| async move {
        let mut statuses = Vec::new();
        let end = cpu.machine().memory().end();
        for address in [end, end + 4096, 0xfee0_0000, u64::MAX - 3] {
            exchange(
                &cpu,
                &device,
                Tlp::mem_read(DEVICE, 0, address, 4).expect("in a page"),
            )
            .await;
            statuses.push(last_sent(&device).status);
        }
        statuses
    });
    assert_eq!(statuses, [CompletionStatus::UnsupportedRequest; 4]);
}

#[test]
fn a_write_that_leaves_memory_is_dropped_whole() {
    let why = run(|cpu, device| async move {
        let end = cpu.machine().memory().end();
        exchange(
            &cpu,
            &device,
            Tlp::mem_write(DEVICE, end, &[1]).expect("in a page"),
        )
        .await;
        dropped(&cpu)
    });
    assert_eq!(why, [Dropped::NoMemory]);
}

#[test]
fn a_poisoned_write_changes_nothing() {
    let (why, memory) = run(|cpu, device| async move {
        for address in [0x10_0000, 0xfee0_0000] {
            let mut write = Tlp::mem_write(DEVICE, address, &[1, 2, 3, 4]).expect("in a page");
            write.attributes = Attributes {
                poisoned: true,
                ..Attributes::default()
            };
            exchange(&cpu, &device, write).await;
        }
        assert_eq!(cpu.machine().interrupts_ended(), 0);
        (dropped(&cpu), cpu.load::<4>(0x10_0000))
    });
    assert_eq!((why, memory), (vec![Dropped::Poisoned; 2], [0; 4]));
}

#[test]
fn what_is_not_one_whole_dw_is_no_interrupt() {
    let (why, ended) = run(|cpu, device| async move {
        // Two DWs, half a DW, no byte at all, and one DW, which is one.
        for bytes in [&[1; 8][..], &[1; 2], &[], &[1; 4]] {
            let write = Tlp::mem_write(DEVICE, 0xfee0_0000, bytes).expect("in a page");
            exchange(&cpu, &device, write).await;
        }
        (dropped(&cpu), cpu.machine().interrupts_ended())
    });
    assert_eq!((why, ended), (vec![Dropped::NoInterruptMessage; 3], 1));
}

#[test]
fn with_the_iommu_off_an_interrupt_goes_where_its_message_says() {
    let deliveries = run(|cpu, device| async move {
        let write = Tlp::mem_write(DEVICE, 0xfee0_2000, &[0x31, 0, 0, 0]).expect("one DW");
        exchange(&cpu, &device, write).await;
        cpu.machine().apic(2).expect("CPU 2").deliveries()
    });
    let vectors: Vec<u8> = deliveries.iter().map(|delivery| delivery.vector).collect();
    assert_eq!(vectors, [0x31]);
}

#[test]
fn an_interrupt_for_an_apic_that_is_not_there_is_lost() {
    let ending = run(|cpu, device| async move {
        let write = Tlp::mem_write(DEVICE, 0xfee0_9000, &[0x31, 0, 0, 0]).expect("one DW");
        exchange(&cpu, &device, write).await;
        let events = cpu.machine().trace().take().into_iter();
        events
            .filter_map(|event| match event.kind {
                Kind::Ended { ending, .. } => Some(ending),
                _ => None,
            })
            .next()
    });
    assert_eq!(ending, Some(Ending::Lost(Loss::NoApic(9))));
}

#[test]
fn configuration_requests_of_a_device_are_unsupported() {
    let status = run(|cpu, device| async move {
        let read = sim_bridge::tlp::ConfigRead {
            config_type: sim_bridge::tlp::ConfigType::Type0,
            requester: DEVICE,
            tag: 0,
            target: ROOT_COMPLEX,
            register: 0,
            first_be: 0xf,
        };
        exchange(&cpu, &device, Body::ConfigRead(read).into()).await;
        last_sent(&device).status
    });
    assert_eq!(status, CompletionStatus::UnsupportedRequest);
}

#[test]
fn a_completion_that_nobody_waits_for_is_logged() {
    let logged = run(|cpu, device| async move {
        let request = Tlp::mem_read(ROOT_COMPLEX, 77, BAR, 4).expect("in a page");
        let stray = request.completion(DEVICE, CompletionStatus::Successful, &[0; 4]);
        exchange(&cpu, &device, stray.expect("non-posted")).await;
        cpu.machine()
            .trace()
            .take()
            .iter()
            .any(|event| matches!(&event.kind, Kind::KernelLog(line) if line.contains("tag 77")))
    });
    assert!(logged);
}

#[test]
fn registers_are_read_at_any_width_and_offset() {
    let cases = [
        (0, 1, 0x10),
        (3, 1, 0x13),
        (5, 1, 0x15),
        (2, 2, 0x1312),
        (4, 4, 0x1716_1514),
        (0, 8, 0x1716_1514_1312_1110),
        (4, 8, 0x1b1a_1918_1716_1514),
        // Not aligned, over two and three DWs.
        (3, 2, 0x1413),
        (2, 4, 0x1514_1312),
        (1, 8, 0x1817_1615_1413_1211),
    ];
    for (offset, size, expected) in cases {
        let value = run(|cpu, _| async move { cpu.mmio_read(BAR + offset, size).await });
        assert_eq!(value, expected, "{size} bytes at {offset}");
    }
}

#[test]
fn registers_are_written_at_any_width_and_offset() {
    let value = run(|cpu, _| async move {
        cpu.mmio_write(BAR + 1, 1, 0xa1).await;
        cpu.mmio_write(BAR + 6, 2, 0xb2b1).await;
        cpu.mmio_write(BAR + 8, 8, 0xc8c7_c6c5_c4c3_c2c1).await;
        [cpu.mmio_read(BAR, 8).await, cpu.mmio_read(BAR + 8, 8).await]
    });
    assert_eq!(value, [0xb2b1_1514_1312_a110, 0xc8c7_c6c5_c4c3_c2c1]);
}

#[test]
fn what_the_device_does_not_have_reads_all_ones() {
    let values = run(|cpu, _| async move {
        [
            cpu.mmio_read(BAR + 0x1000, 1).await,
            cpu.mmio_read(BAR + 0x1000, 4).await,
            cpu.mmio_read(BAR + 0x1000, 8).await,
            cpu.config_read(DEVICE, 0x10).await.into(),
            cpu.config_read(ALIAS, 0).await.into(),
        ]
    });
    assert_eq!(values, [0xff, 0xffff_ffff, u64::MAX, 0xffff_ffff, 0xffff_ffff]);
}

#[test]
fn an_absent_function_is_not_asked() {
    let asked = run(|cpu, device| async move {
        cpu.config_read(ALIAS, 0).await;
        cpu.config_write(ALIAS, 4, 6).await;
        device.sent().len()
    });
    assert_eq!(asked, 0);
}

#[test]
fn outstanding_reads_have_tags_of_their_own_and_get_their_own_answers() {
    let (values, tags) = run(|cpu, device| async move {
        let values = Rc::new(RefCell::new([0; 16]));
        for n in 0..16 {
            let (reader, values) = (cpu.clone(), values.clone());
            cpu.machine().executor().spawn("reader", async move {
                let value = reader.mmio_read(BAR + n, 1).await;
                values.borrow_mut()[n as usize] = value as u8;
            });
        }
        cpu.udelay(5).await;
        let mut tags: Vec<u16> = device.sent().iter().map(Tlp::tag).collect();
        tags.sort_unstable();
        tags.dedup();
        (*values.borrow(), tags.len())
    });
    assert_eq!((values, tags), (BYTES, 16));
}

/// The IOMMU is on; the DTEs of device and alias point to a table whose entry `n` is vector 0x40 + `n`.
async fn enable_remapping(cpu: &Cpu) {
    const TABLE: u64 = 0x50_0000;
    for id in [DEVICE, ALIAS] {
        let dte: u64 = 2 << 60 | TABLE | 9 << 1 | 1;
        cpu.store(0x10_0000 + 32 * u64::from(id.0) + 16, &dte.to_le_bytes());
    }
    for n in 0..8u32 {
        cpu.store(
            TABLE + 4 * u64::from(n),
            &((0x40 + n) << 16 | 1 << 8 | 1).to_le_bytes(),
        );
    }
    cpu.mmio_write(IOMMU_MMIO, 8, 0x10_0000 | 0x1ff).await;
    cpu.mmio_write(IOMMU_MMIO + 0x18, 8, 1).await;
}

fn from(answer: &Answer) -> Option<LookupFrom> {
    Some(answer.irte?.from)
}

#[test]
fn interrupts_of_one_id_stay_in_order_though_the_first_misses() {
    for seed in 0..20 {
        let device = ScriptedDevice::default();
        let config = MachineConfig {
            seed,
            ..MachineConfig::default()
        };
        let machine = Machine::new(config, [LinkTo::new(DEVICE, device.clone())]).expect("memory");
        let (lookups, vectors) = machine
            .run(|cpu| async move {
                enable_remapping(&cpu).await;
                device.interrupt_at(cpu.machine().now(), DEVICE, 1);
                cpu.udelay(2).await;
                cpu.machine().trace().take();
                // A miss, then hits, in one instant; a miss again.
                for data in [2, 1, 1, 2, 3, 1] {
                    device.interrupt_at(cpu.machine().now(), DEVICE, data);
                }
                assert!(cpu.machine().wait_for_endings(7, SimTime::from_us(10)).await);
                let events = cpu.machine().trace().take();
                let lookups: Vec<_> = events
                    .iter()
                    .filter_map(|event| match &event.kind {
                        Kind::Answered { answer, freshness } => {
                            assert_eq!(*freshness, Some(Freshness::Fresh));
                            from(answer)
                        }
                        _ => None,
                    })
                    .collect();
                let deliveries = cpu.machine().apic(1).expect("CPU 1").deliveries();
                let vectors: Vec<u8> = deliveries.iter().skip(1).map(|d| d.vector).collect();
                (lookups, vectors)
            })
            .expect("nothing stalls");
        use LookupFrom::{Fill, Hit};
        assert_eq!(lookups, [Fill, Hit, Hit, Hit, Fill, Hit]);
        assert_eq!(vectors, [0x42, 0x41, 0x41, 0x42, 0x43, 0x41], "seed {seed}");
    }
}

#[test]
fn an_interrupt_of_another_id_does_not_wait_for_a_miss() {
    let order = run(|cpu, device| async move {
        enable_remapping(&cpu).await;
        device.interrupt_at(cpu.machine().now(), ALIAS, 1);
        cpu.udelay(2).await;
        device.interrupt_at(cpu.machine().now(), DEVICE, 2);
        device.interrupt_at(cpu.machine().now(), ALIAS, 1);
        assert!(cpu.machine().wait_for_endings(3, SimTime::from_us(10)).await);
        let events = cpu.machine().trace().take();
        let answers = events.iter().filter_map(|event| match &event.kind {
            Kind::Answered { answer, .. } if matches!(answer.outcome, Outcome::Remapped(_)) => {
                Some(answer.request.requester)
            }
            _ => None,
        });
        answers.skip(1).collect::<Vec<_>>()
    });
    assert_eq!(order, [ALIAS, DEVICE]);
}

#[test]
fn a_read_that_is_never_answered_stalls_and_names_who_waits() {
    let device = ScriptedDevice::default().registers(BAR, &BYTES);
    device.fall_silent();
    let run = machine(&device).run(|cpu| async move {
        let reader = cpu.clone();
        cpu.machine().executor().spawn("CPU 3's probe", async move {
            reader.readl(BAR).await;
        });
        cpu.readl(BAR).await
    });
    match run {
        Err(RunError::Stalled { at, waiting }) => {
            assert_eq!(at, SimTime::ZERO);
            assert_eq!(waiting, ["the scenario", "CPU 3's probe"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wait_for_interrupts_that_never_come_ends_at_its_limit() {
    let (came, now) = run(|cpu, _| async move {
        let came = cpu.machine().wait_for_endings(1, SimTime::from_us(7)).await;
        (came, cpu.machine().now())
    });
    assert_eq!((came, now), (false, SimTime::from_us(7)));
}

#[test]
fn an_interrupt_is_taken_once_interrupts_are_on_again() {
    let (before, after) = run(|cpu, device| async move {
        let interrupts_off = cpu.disable_interrupts();
        let write = MemWrite {
            requester: DEVICE,
            tag: 0,
            address: 0xfee0_0000,
            first_be: 0xf,
            last_be: 0,
            data: [0x31, 0, 0, 0][..].into(),
        };
        exchange(&cpu, &device, Body::MemWrite(write).into()).await;
        let taken = |cpu: &Cpu| {
            let events = cpu.machine().trace().take();
            events
                .iter()
                .filter(|event| matches!(event.kind, Kind::Taken { vector: 0x31, .. }))
                .count()
        };
        let before = taken(&cpu);
        drop(interrupts_off);
        cpu.udelay(1).await;
        (before, taken(&cpu))
    });
    assert_eq!((before, after), (0, 1));
}
