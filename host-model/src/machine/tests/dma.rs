//! Reads and writes of memory by the device, through page tables written as raw bits.

use sim_bridge::tlp::AddressType as At;

use super::*;
use crate::iommu::translate::{TranslationError, TranslationOutcome};

const DEVICE_TABLE: u64 = 0x10_0000;
const COMMANDS: u64 = 0x40_0000;
const TABLE: u64 = 0x50_0000;
const ROOT: u64 = 0x60_0000;
const PAGES: u64 = 0x60_1000;
/// Physical address of the device's page 1.
const FRAME: u64 = 0x70_0000;
/// Where the device has it.
const PAGE: u64 = 0x1000;
const DOMAIN: u64 = 0x5e;
const READ: u64 = 1 << 61;
const WRITE: u64 = 1 << 62;
/// I of quadword 1.
const IOTLB: u64 = 1 << 32;

fn page(frame: u64, permissions: u64) -> u64 {
    permissions | frame | 1
}

/// The IOMMU is on. [`DEVICE`] has two levels of page tables, in which page 1 can be read and written, and an interrupt
/// remapping table whose entry 0 is vector 0x40 at CPU 1. [`ALIAS`] has a DTE that lets all pass.
async fn enable(cpu: &Cpu, second_quadword: u64) {
    let interrupts = 2 << 60 | TABLE | 9 << 1 | 1;
    let dtes: [(_, [u64; 3]); 2] = [
        (
            DEVICE,
            [
                3 | READ | WRITE | 2 << 9 | ROOT,
                DOMAIN | second_quadword,
                interrupts,
            ],
        ),
        (ALIAS, [3 | READ | WRITE, 1, interrupts]),
    ];
    for (id, dte) in dtes {
        let address = DEVICE_TABLE + 32 * u64::from(id.0);
        cpu.store(address, &dte.map(u64::to_le_bytes).concat());
    }
    cpu.store(ROOT, &(READ | WRITE | PAGES | 1 << 9 | 1).to_le_bytes());
    set_page(cpu, page(FRAME, READ | WRITE));
    cpu.store(TABLE, &(0x40_u32 << 16 | 1 << 8 | 1).to_le_bytes());
    for (offset, value) in [
        (0x00, DEVICE_TABLE | 0x1ff),
        (0x08, COMMANDS | 9 << 56),
        (0x18, 1 | 1 << 12),
    ] {
        cpu.mmio_write(IOMMU_MMIO + offset, 8, value).await;
    }
}

fn set_page(cpu: &Cpu, entry: u64) {
    cpu.store(PAGES + 8, &entry.to_le_bytes());
}

fn write(requester: RequesterId, address: u64, bytes: &[u8]) -> Tlp {
    Tlp::mem_write(requester, address, bytes).expect("in a page")
}

fn read(requester: RequesterId, address: u64) -> Tlp {
    Tlp::mem_read(requester, 7, address, 4).expect("in a page")
}

fn with_at(mut tlp: Tlp, address_type: At) -> Tlp {
    tlp.attributes.address_type = address_type;
    tlp
}

async fn status_of(cpu: &Cpu, device: &ScriptedDevice, tlp: Tlp) -> CompletionStatus {
    exchange(cpu, device, tlp).await;
    last_sent(device).status
}

/// Answers of the IOMMU to memory requests.
fn outcomes(events: &[crate::trace::Event]) -> Vec<TranslationOutcome> {
    let outcomes = events.iter().filter_map(|event| match event.kind {
        Kind::Translated { outcome, .. } => Some(outcome),
        _ => None,
    });
    outcomes.collect()
}

/// Whatever the order of what is simultaneous.
fn for_seeds(main: impl AsyncFn(&Cpu, &ScriptedDevice) + Clone + 'static) {
    for seed in 0..10 {
        let device = ScriptedDevice::default().registers(BAR, &BYTES);
        let config = MachineConfig {
            seed,
            ..MachineConfig::default()
        };
        let machine = Machine::new(config, [LinkTo::new(DEVICE, device.clone())]).expect("memory");
        let main = main.clone();
        machine
            .run(|cpu| async move { main(&cpu, &device).await })
            .expect("nothing stalls");
    }
}

#[test]
fn reads_and_writes_go_where_the_page_tables_say() {
    let (memory, answer, untranslated) = run(|cpu, device| async move {
        enable(&cpu, 0).await;
        exchange(&cpu, &device, write(DEVICE, PAGE + 0x20, &[1, 2, 3, 4, 5, 6])).await;
        exchange(&cpu, &device, read(DEVICE, PAGE + 0x20)).await;
        (
            cpu.load::<6>(FRAME + 0x20),
            last_sent(&device),
            cpu.load::<6>(PAGE + 0x20),
        )
    });
    assert_eq!((memory, untranslated), ([1, 2, 3, 4, 5, 6], [0; 6]));
    assert_eq!(
        (answer.status, &answer.data[..]),
        (CompletionStatus::Successful, &[1, 2, 3, 4][..])
    );
}

#[test]
fn a_device_whose_dte_lets_it_pass_uses_physical_addresses() {
    let (memory, outcomes) = run(|cpu, device| async move {
        enable(&cpu, 0).await;
        exchange(&cpu, &device, write(ALIAS, FRAME, &[1, 2, 3, 4])).await;
        (cpu.load::<4>(FRAME), outcomes(&cpu.machine().trace().take()))
    });
    assert_eq!(memory, [1, 2, 3, 4]);
    assert_eq!(outcomes, [TranslationOutcome::Forwarded]);
}

#[test]
fn a_refused_read_is_aborted_and_a_refused_write_is_dropped() {
    let (status, why, outcomes) = run(|cpu, device| async move {
        enable(&cpu, 0).await;
        cpu.machine().trace().take();
        let status = status_of(&cpu, &device, read(DEVICE, 0x2000)).await;
        exchange(&cpu, &device, write(DEVICE, 0x2000, &[1])).await;
        let events = cpu.machine().trace().take();
        let why: Vec<_> = events
            .iter()
            .filter_map(|event| match event.kind {
                Kind::Dropped {
                    requester,
                    address,
                    why,
                } => Some((requester, address, why)),
                _ => None,
            })
            .collect();
        (status, why, outcomes(&events))
    });
    assert_eq!(status, CompletionStatus::CompleterAbort);
    assert_eq!(why, [(DEVICE, 0x2000, Dropped::Refused)]);
    let not_mapped = |outcome: &TranslationOutcome| {
        matches!(
            outcome,
            TranslationOutcome::Refused {
                reason: TranslationError::NotMapped(_),
                event: Some(_)
            }
        )
    };
    assert!(
        outcomes.len() == 2 && outcomes.iter().all(not_mapped),
        "{outcomes:?}"
    );
}

#[test]
fn a_write_to_a_page_that_can_only_be_read_changes_nothing() {
    let (status, memory) = run(|cpu, device| async move {
        enable(&cpu, 0).await;
        set_page(&cpu, page(FRAME, READ));
        exchange(&cpu, &device, write(DEVICE, PAGE, &[1, 2, 3, 4])).await;
        let status = status_of(&cpu, &device, read(DEVICE, PAGE)).await;
        (status, cpu.load::<4>(FRAME))
    });
    assert_eq!((status, memory), (CompletionStatus::Successful, [0; 4]));
}

#[test]
fn a_translated_address_outside_of_memory_is_unsupported() {
    let (status, why) = run(|cpu, device| async move {
        enable(&cpu, 0).await;
        set_page(&cpu, page(cpu.machine().memory().end(), READ | WRITE));
        let status = status_of(&cpu, &device, read(DEVICE, PAGE)).await;
        exchange(&cpu, &device, write(DEVICE, PAGE, &[1])).await;
        (status, dropped(&cpu))
    });
    assert_eq!(status, CompletionStatus::UnsupportedRequest);
    assert_eq!(why, [Dropped::NoMemory]);
}

#[test]
fn reads_of_interrupt_addresses_are_aborted() {
    let status = run(|cpu, device| async move {
        enable(&cpu, 0).await;
        status_of(&cpu, &device, read(ALIAS, 0xfee0_0000)).await
    });
    assert_eq!(status, CompletionStatus::CompleterAbort);
}

#[test]
fn an_interrupt_never_passes_an_earlier_write() {
    for_seeds(async |cpu, device| {
        enable(cpu, 0).await;
        // The interrupt's entries are cached, the write's are not.
        device.interrupt_at(cpu.machine().now(), DEVICE, 0);
        cpu.udelay(2).await;
        let now = cpu.machine().now();
        device.send_at(now, write(DEVICE, PAGE, &[1, 2, 3, 4]));
        device.interrupt_at(now, DEVICE, 0);
        assert!(cpu.machine().wait_for_endings(2, SimTime::from_us(10)).await);
        assert_eq!(cpu.load::<4>(FRAME), [1, 2, 3, 4]);
    });
}

#[test]
fn writes_stay_in_order_though_the_first_misses() {
    for_seeds(async |cpu, device| {
        enable(cpu, 0).await;
        let now = cpu.machine().now();
        for n in 0..4 {
            device.send_at(now, write(DEVICE, PAGE, &[n; 4]));
        }
        cpu.udelay(2).await;
        assert_eq!(cpu.load::<4>(FRAME), [3; 4]);
    });
}

#[test]
fn a_read_sees_the_writes_before_it() {
    for_seeds(async |cpu, device| {
        enable(cpu, 0).await;
        let now = cpu.machine().now();
        device.send_at(now, write(DEVICE, PAGE, &[9; 4]));
        device.send_at(now, read(DEVICE, PAGE));
        cpu.udelay(2).await;
        assert_eq!(last_sent(device).data[..], [9; 4]);
    });
}

#[test]
fn an_interrupt_passes_a_read_that_waits_for_page_tables() {
    for_seeds(async |cpu, device| {
        enable(cpu, 0).await;
        device.interrupt_at(cpu.machine().now(), DEVICE, 0);
        cpu.udelay(2).await;
        let now = cpu.machine().now();
        device.send_at(now, read(DEVICE, PAGE));
        device.interrupt_at(now, DEVICE, 0);
        assert!(cpu.machine().wait_for_endings(2, SimTime::from_us(10)).await);
        assert!(device.sent().is_empty());
        cpu.udelay(1).await;
        assert_eq!(last_sent(device).status, CompletionStatus::Successful);
    });
}

#[test]
fn a_register_read_returns_after_the_writes_that_the_device_sent_before() {
    for_seeds(async |cpu, device| {
        enable(cpu, 0).await;
        device.fall_silent();
        let (sender, machine) = (device.clone(), cpu.machine().clone());
        cpu.machine().executor().spawn("device", async move {
            machine.executor().sleep(SimTime::from_ns(100)).await;
            let asked = sender.sent().last().cloned().expect("the CPU's read");
            let answer = asked.completion(DEVICE, CompletionStatus::Successful, &[5; 4]);
            sender.send_at(machine.now(), write(DEVICE, PAGE, &[1, 2, 3, 4]));
            sender.send_at(machine.now(), answer.expect("non-posted"));
        });
        assert_eq!(cpu.readl(BAR).await, 0x0505_0505);
        assert_eq!(cpu.load::<4>(FRAME), [1, 2, 3, 4]);
    });
}

#[test]
fn a_write_of_another_id_does_not_wait_for_page_tables() {
    for_seeds(async |cpu, device| {
        enable(cpu, 0).await;
        exchange(cpu, device, write(ALIAS, FRAME, &[1; 4])).await;
        let now = cpu.machine().now();
        device.send_at(now, write(DEVICE, PAGE, &[2; 4]));
        device.send_at(now, write(ALIAS, FRAME, &[3; 4]));
        cpu.udelay(2).await;
        assert_eq!(cpu.load::<4>(FRAME), [2; 4]);
    });
}

#[test]
fn a_wait_completes_after_a_write_that_used_the_old_page() {
    for_seeds(async |cpu, device| {
        enable(cpu, 0).await;
        let now = cpu.machine().now();
        device.send_at(now, write(DEVICE, PAGE, &[1, 2, 3, 4]));
        // It is under way from 500 to 870 ns: all tables are read.
        cpu.machine()
            .executor()
            .sleep_until(now + SimTime::from_ns(800))
            .await;
        set_page(cpu, 0);
        let commands = [3 << 60 | DOMAIN << 32, PAGE, 1 << 60 | 0x80_0000 | 1, 1];
        cpu.store(COMMANDS, &commands.map(u64::to_le_bytes).concat());
        cpu.writel(IOMMU_MMIO + 0x2008, 32).await;
        while cpu.load::<1>(0x80_0000) == [0] {
            cpu.delay(SimTime::from_ns(10)).await;
        }
        assert_eq!(cpu.load::<4>(FRAME), [1, 2, 3, 4]);
        assert_eq!(
            status_of(cpu, device, read(DEVICE, PAGE)).await,
            CompletionStatus::CompleterAbort
        );
    });
}

#[test]
fn a_write_that_asks_for_a_translation_is_dropped() {
    let why = run(|cpu, device| async move {
        let write = with_at(write(DEVICE, FRAME, &[1; 4]), At::TranslationRequest);
        exchange(&cpu, &device, write).await;
        assert_eq!(cpu.load::<4>(FRAME), [0; 4]);
        dropped(&cpu)
    });
    assert_eq!(why, [Dropped::TranslationRequest]);
}

#[test]
fn a_translated_write_is_no_interrupt_wherever_it_goes() {
    let (why, ended) = run(|cpu, device| async move {
        enable(&cpu, IOTLB).await;
        let write = with_at(write(DEVICE, 0xfee0_1000, &[0x31, 0, 0, 0]), At::Translated);
        exchange(&cpu, &device, write).await;
        (dropped(&cpu), cpu.machine().interrupts_ended())
    });
    assert_eq!((why, ended), (vec![Dropped::NoMemory], 0));
}

#[test]
fn a_translation_request_is_answered_with_the_translation_or_nothing() {
    let answers = run(|cpu, device| async move {
        enable(&cpu, IOTLB).await;
        let mut answers = Vec::new();
        // Mapped, not mapped, more than one translation, and a device without an IOTLB.
        for (id, address, bytes) in [
            (DEVICE, PAGE, 8),
            (DEVICE, 0x2000, 8),
            (DEVICE, PAGE, 16),
            (ALIAS, PAGE, 8),
        ] {
            let request = Tlp::mem_read(id, 1, address, bytes).expect("in a page");
            exchange(&cpu, &device, with_at(request, At::TranslationRequest)).await;
            let answer = last_sent(&device);
            answers.push((answer.status, answer.data.to_vec()));
        }
        answers
    });
    // Translated address 63:12, W 1, R 0, the highest byte first.
    let translation = vec![0, 0, 0, 0, 0, 0x70, 0, 3];
    assert_eq!(
        answers,
        [
            (CompletionStatus::Successful, translation),
            (CompletionStatus::Successful, vec![0; 8]),
            (CompletionStatus::UnsupportedRequest, vec![]),
            (CompletionStatus::CompleterAbort, vec![]),
        ]
    );
}
