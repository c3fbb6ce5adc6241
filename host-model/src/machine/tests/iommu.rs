//! The IOMMU's own work, in simulated time.

use super::*;
use crate::checker::{FindingKind, Verdict};
use crate::driver::MsiMessage;
use crate::iommu::spec::event::Event;
use crate::iommu::spec::features::{Efr, Efr2, Features};
use crate::iommu::{InterruptSource, Step};

const EVENTS: u64 = 0x48_0000;
const COMMANDS: u64 = 0x40_0000;
const STORE: u64 = 0x80_0000;

/// INVALIDATE_IOTLB_PAGES for the device, and a wait that stores, under an InvTimeout: when the wait completed, and the
/// events. `None` after 2 s.
fn invalidate_iotlb(timeout: u64) -> (Option<SimTime>, Vec<Event>) {
    let device = ScriptedDevice::default();
    let mut config = MachineConfig::default();
    config.iommu.features = Features::new(Efr::new(), Efr2::new())
        .expect("hardware can have it")
        .with_iotlb_sup(true);
    let machine = Machine::new(config, [LinkTo::new(DEVICE, device)]).expect("memory");
    let run = machine.run(|cpu| async move {
        let invalidate = [4 << 60 | u64::from(DEVICE.0), 0x1000];
        let wait = [1 << 60 | STORE | 1, 1];
        cpu.store(
            COMMANDS,
            &[invalidate, wait]
                .concat()
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect::<Vec<_>>(),
        );
        cpu.mmio_write(IOMMU_MMIO + 0x08, 8, COMMANDS | 9 << 56).await;
        cpu.mmio_write(IOMMU_MMIO + 0x18, 8, 1 | 1 << 12 | timeout << 5)
            .await;
        let start = cpu.machine().now();
        cpu.writel(IOMMU_MMIO + 0x2008, 32).await;
        cpu.delay(SimTime::from_us(2_000_000)).await;
        let events = cpu.machine().trace().take();
        let stored = events
            .iter()
            .find(|event| matches!(event.kind, Kind::Stepped(Step::CompletionStored { .. })));
        let reported = events.iter().filter_map(|event| match event.kind {
            Kind::Stepped(Step::EventWritten { event, .. } | Step::EventDropped { event, .. }) => Some(event),
            _ => None,
        });
        (stored.map(|event| event.time - start), reported.collect())
    });
    run.expect("nothing stalls")
}

#[test]
fn a_device_without_an_iotlb_is_given_up_after_the_timeout() {
    for (field, us) in [(1, 1_000), (4, 1_000_000)] {
        let (stored, events) = invalidate_iotlb(field);
        let late = stored.expect("the wait completes") - SimTime::from_us(us);
        assert!(late < SimTime::from_us(1), "{late} after {us} us");
        let timeout = Event::IotlbInvTimeout {
            device: DEVICE,
            address: COMMANDS,
        };
        assert_eq!(events, [timeout]);
    }
}

#[test]
fn without_a_timeout_a_device_is_waited_for_for_ever() {
    assert_eq!(invalidate_iotlb(0), (None, vec![]));
}

/// CPUs that an interrupt of the IOMMU's own reached.
type Reached = Result<Vec<u32>, Loss>;

/// What became of the IOMMU's own interrupts for one event, which CPUs took one and whether with a handler, and the
/// checker's verdict.
fn own_interrupt(prepare: impl AsyncFn(&Cpu) + 'static) -> (Vec<Reached>, Vec<(u32, bool)>, Verdict) {
    let device = ScriptedDevice::default();
    let efr = Efr::new().with_ga_sup(true).with_xt_sup(true);
    let mut config = MachineConfig::default();
    config.iommu.features = Features::new(efr, Efr2::new()).expect("hardware can have it");
    let machine = Machine::new(config, [LinkTo::new(DEVICE, device.clone())]).expect("memory");
    let run = machine.run(|cpu| async move {
        // The event log and its interrupt; every device is blocked: its DTE has IV and nothing else.
        cpu.store(0x10_0000 + 32 * u64::from(DEVICE.0) + 16, &[1]);
        cpu.mmio_write(IOMMU_MMIO, 8, 0x10_0000 | 0x1ff).await;
        cpu.mmio_write(IOMMU_MMIO + 0x10, 8, EVENTS | 9 << 56).await;
        cpu.mmio_write(IOMMU_MMIO + 0x18, 8, 1 | 1 << 2 | 1 << 3).await;
        prepare(&cpu).await;
        // A read of interrupt addresses is an INVALID_DEVICE_REQUEST.
        let read = Tlp::mem_read(DEVICE, 0, 0xfee0_0000, 4).expect("in a page");
        exchange(&cpu, &device, read).await;
        cpu.udelay(2).await;
        let events = cpu.machine().trace().take();
        let own = events.iter().filter_map(|event| match &event.kind {
            Kind::OwnInterrupt { about, reached } => {
                assert_eq!(*about, InterruptSource::Event);
                Some(reached.clone())
            }
            _ => None,
        });
        let taken = events
            .iter()
            .filter_map(|event| match (event.source, &event.kind) {
                (Source::Cpu(cpu), Kind::Taken { vector, handled }) => {
                    assert_eq!(*vector, 0x31);
                    Some((cpu, *handled))
                }
                _ => None,
            });
        let findings = cpu.machine().with_checker(|checker| checker.findings());
        let verdict = Verdict::of(&findings.expect("it is checked"));
        (own.collect(), taken.collect(), verdict)
    });
    run.expect("nothing stalls")
}

fn set_msi(cpu: &Cpu, address: u64) {
    let message = MsiMessage { address, data: 0x31 };
    cpu.machine().iommu().set_msi(Some(message));
}

#[test]
fn an_event_interrupts_the_cpu_of_the_msi_and_is_no_finding() {
    let (own, taken, verdict) = own_interrupt(async |cpu| set_msi(cpu, 0xfee0_2000));
    assert_eq!(own, [Ok(vec![2])]);
    // Nobody has a handler there.
    assert_eq!(taken, [(2, false)]);
    assert_eq!(verdict, Verdict::Coherent);
}

#[test]
fn an_event_interrupts_the_cpu_of_the_xt_register() {
    let (own, taken, _) = own_interrupt(async |cpu| {
        // Destination 3, vector 0x31; IntCapXTEn beside XTEn and GAEn.
        cpu.mmio_write(IOMMU_MMIO + 0x170, 8, 0x31 << 32 | 3 << 8).await;
        let control = 1 | 1 << 2 | 1 << 3 | 1 << 17 | 1 << 50 | 1 << 51;
        cpu.mmio_write(IOMMU_MMIO + 0x18, 8, control).await;
    });
    assert_eq!((own, taken), (vec![Ok(vec![3])], vec![(3, false)]));
}

#[test]
fn an_msi_to_an_apic_that_is_not_there_is_lost() {
    let (own, taken, verdict) = own_interrupt(async |cpu| set_msi(cpu, 0xfee0_9000));
    assert_eq!((own, taken), (vec![Err(Loss::NoApic(9))], vec![]));
    assert_eq!(verdict, Verdict::Coherent);
}

#[test]
fn an_msi_to_memory_is_a_write_there() {
    let (own, _, _) = own_interrupt(async |cpu| {
        set_msi(cpu, STORE);
        let watcher = cpu.clone();
        cpu.machine().executor().spawn("watcher", async move {
            watcher.udelay(2).await;
            assert_eq!(watcher.load::<4>(STORE), [0x31, 0, 0, 0]);
        });
    });
    assert_eq!(own, [Err(Loss::NoInterruptMessage(STORE))]);
}

#[test]
fn without_an_msi_an_event_interrupts_nobody() {
    let (own, taken, _) = own_interrupt(async |_| ());
    assert_eq!((own, taken), (vec![], vec![]));
}

#[test]
fn a_stale_entry_of_a_device_in_another_segment_is_found() {
    const SEGMENT: u64 = 0x30_0000;
    const TABLE: u64 = 0x50_0000;
    let device = ScriptedDevice::default();
    let mut config = MachineConfig::default();
    config.iommu.features =
        Features::new(Efr::new().with_dev_tbl_seg_sup(2), Efr2::new()).expect("hardware can have it");
    let machine = Machine::new(config, [LinkTo::new(DEVICE, device.clone())]).expect("memory");
    let run = machine.run(|cpu| async move {
        // 4 segments: 41:00.0 is number 0x100 of segment 1.
        cpu.mmio_write(IOMMU_MMIO + 0x100, 8, SEGMENT | 0xf).await;
        cpu.mmio_write(IOMMU_MMIO + 0x18, 8, 1 | 2 << 34).await;
        let dte: u64 = 2 << 60 | TABLE | 9 << 1 | 1;
        cpu.store(SEGMENT + 0x100 * 32 + 16, &dte.to_le_bytes());
        for vector in [0x31, 0x41] {
            cpu.store(TABLE, &(vector << 16 | 1 << 8 | 1_u32).to_le_bytes());
            device.interrupt_at(cpu.machine().now(), DEVICE, 0);
            cpu.udelay(2).await;
        }
        cpu.machine().with_checker(|checker| checker.findings())
    });
    let findings = run.expect("nothing stalls").expect("it is checked");
    let stale = findings.iter().find(|finding| finding.kind == FindingKind::Stale);
    let stale = stale.expect("a finding");
    assert_eq!(stale.got.map(|place| place.vector), Some(0x31));
    assert_eq!(stale.expected.map(|place| place.vector), Some(0x41));
}
