//! Cost of lookups and invalidations in the IOMMU.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion};
use host_model::iommu::spec::command::Command;
use host_model::iommu::{Config, InterruptRequest, Iommu, Outcome, Response, Step};
use sim_bridge::RequesterId;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const DEVICE_TABLE: u64 = 0x10_0000;
const COMMANDS: u64 = 0x40_0000;
const RING: u64 = 8192;
const SEMAPHORE: u64 = 0x42_0000;
const TABLE: u64 = 0x50_0000;
const ENTRIES: u64 = 16;

/// 257 requester IDs that share a table, as a PLX NTB's aliases do.
struct Bench {
    memory: Arc<GuestMemoryMmap>,
    iommu: Iommu,
}

fn aliases() -> impl Iterator<Item = RequesterId> {
    (0..257).map(|n| RequesterId(0x4100 + n))
}

impl Bench {
    fn new() -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x80_0000)]).expect("memory");
        let memory = Arc::new(memory);
        for device in aliases() {
            let dte = [3, 0x5e, 2 << 60 | TABLE | 9 << 1 | 1, 0u64];
            let address = GuestAddress(DEVICE_TABLE + u64::from(device.0) * 32);
            memory.write_obj(dte, address).expect("DTE");
        }
        for index in 0..ENTRIES {
            let irte = [5 << 8 | 1, 0x31u64];
            memory
                .write_obj(irte, GuestAddress(TABLE + index * 16))
                .expect("IRTE");
        }
        let iommu = Iommu::new(Config::default(), Arc::clone(&memory));
        iommu.write(0x00, 8, DEVICE_TABLE | 0x1ff);
        iommu.write(0x08, 8, COMMANDS | 9 << 56);
        // IommuEn, CmdBufEn, GAEn.
        iommu.write(0x18, 8, 1 | 1 << 12 | 1 << 17);
        Self { memory, iommu }
    }

    fn ask(&self, device: RequesterId, data: u32) -> Outcome {
        let request = InterruptRequest {
            requester: device,
            address: 0xfee0_0000,
            data,
        };
        let mut response = self.iommu.request(&request);
        loop {
            response = match response {
                Response::Answer(outcome) => return outcome,
                Response::Fill(token) => self.iommu.complete(token),
            }
        }
    }

    /// Writes a command and the tail register, as Linux does for each command, and lets the IOMMU execute it.
    fn execute(&self, tail: &mut u64, command: &Command) {
        self.memory
            .write_obj(command.encode(), GuestAddress(COMMANDS + *tail))
            .expect("ring");
        *tail = (*tail + 16) % RING;
        self.iommu.write(0x2008, 4, *tail);
        let step = self.iommu.step();
        let done = matches!(
            step,
            Some(Step::CommandExecuted { retired: true, .. } | Step::CompletionStored { .. })
        );
        assert!(done, "{step:?}");
    }
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("interrupt");
    let bench = Bench::new();
    let device = RequesterId(0x4100);
    group.bench_function("hit", |b| b.iter(|| bench.ask(black_box(device), black_box(3))));

    // One invalidation before each lookup that is measured.
    let mut tail = 0;
    let invalidate = Command::InvalidateInterruptTable(device);
    group.bench_function("irt_miss", |b| {
        let setup = || bench.execute(&mut tail, &invalidate);
        b.iter_batched(
            setup,
            |()| bench.ask(black_box(device), 3),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn invalidate(c: &mut Criterion) {
    let bench = Bench::new();
    for (device, index) in aliases().flat_map(|d| (0..ENTRIES as u32).map(move |i| (d, i))) {
        bench.ask(device, index);
    }
    let mut tail = 0;
    let mut group = c.benchmark_group("invalidate");
    let one = Command::InvalidateInterruptTable(RequesterId(0x4100));
    group.bench_function("one_device", |b| {
        b.iter(|| bench.execute(&mut tail, black_box(&one)))
    });

    let mut sequence = 0;
    for count in [1, 5, 257] {
        let ids: Vec<_> = aliases().take(count).collect();
        group.bench_function(format!("flush_{count}_and_wait"), |b| {
            b.iter(|| {
                for device in &ids {
                    bench.execute(&mut tail, &Command::InvalidateInterruptTable(*device));
                }
                sequence += 1;
                let wait = Command::CompletionWait {
                    store: Some(SEMAPHORE),
                    interrupt: false,
                    flush: false,
                    data: sequence,
                };
                bench.execute(&mut tail, &wait);
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    lookup(&mut criterion);
    invalidate(&mut criterion);
    criterion.final_summary();
}
