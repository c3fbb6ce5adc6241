//! Clock cycles per second of the RTL alone.

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use ntb_rtl::registers::*;
use ntb_rtl::{Ntb, NtbConfig};
use sim_bridge::tlp::{Body, ConfigType, ConfigWrite, Tlp};
use sim_bridge::{RequesterId, SimTime};

const BAR0: u64 = 0xfeb0_0000;
const CYCLES: u64 = 16_000;

struct Running {
    ntb: Ntb,
    edge: u64,
}

impl Running {
    /// MSI-X on, all vectors unmasked.
    fn new() -> Self {
        let mut running = Self {
            ntb: Ntb::new(&NtbConfig::default()).unwrap(),
            edge: 0,
        };
        let config = [
            (config::BAR0, BAR0 as u32),
            (config::COMMAND, 6),
            (config::MSIX, 0x8000_0000),
        ];
        for (register, value) in config {
            running.offer(&config_write(register, value));
        }
        for vector in 0..VECTORS {
            running.offer(&write(
                msix_entry(vector),
                &(0xfee0_0000_u64 + 0x1000 * vector as u64).to_le_bytes(),
            ));
            running.offer(&write(msix_entry(vector) + 8, &(vector as u64).to_le_bytes()));
        }
        running.until_idle();
        running
    }

    fn offer(&mut self, tlp: &Tlp) {
        self.ntb.offer(tlp).unwrap();
    }

    fn cycle(&mut self) -> bool {
        self.edge += 1;
        self.ntb.cycle(SimTime::from_ns(4 * self.edge)).unwrap().is_some()
    }

    fn until_idle(&mut self) {
        while !self.ntb.is_idle() {
            self.cycle();
        }
    }
}

fn config_write(register: u16, value: u32) -> Tlp {
    let data = value.to_le_bytes();
    let (requester, target) = (RequesterId(0), RequesterId(0x4100));
    let config_type = ConfigType::Type0;
    Body::ConfigWrite(ConfigWrite {
        config_type,
        requester,
        tag: 0,
        target,
        register,
        first_be: 0xf,
        data,
    })
    .into()
}

fn write(offset: u64, bytes: &[u8]) -> Tlp {
    Tlp::mem_write(RequesterId(0), BAR0 + offset, bytes).unwrap()
}

/// One doorbell rung and cleared every 16 cycles.
fn doorbells(running: &mut Running, stimulus: &[[Tlp; 2]]) -> u64 {
    let mut sent = 0;
    for cycle in 0..CYCLES {
        if cycle % 16 == 0 {
            for tlp in &stimulus[(cycle / 16) as usize % stimulus.len()] {
                running.offer(tlp);
            }
        }
        sent += u64::from(running.cycle());
    }
    sent
}

fn bench(c: &mut Criterion) {
    let stimulus: Vec<_> = (0..VECTORS)
        .map(|vector| {
            let bit = (1_u64 << vector).to_le_bytes();
            [write(DOORBELL_SET, &bit), write(DOORBELL_STATUS, &bit)]
        })
        .collect();
    let mut group = c.benchmark_group("rtl");
    group.throughput(Throughput::Elements(CYCLES));
    let mut running = Running::new();
    assert_eq!(doorbells(&mut running, &stimulus), CYCLES / 16);
    group.bench_function("doorbell every 16 cycles", |b| {
        b.iter(|| doorbells(&mut running, &stimulus))
    });
    group.bench_function("idle cycles", |b| {
        b.iter(|| (0..CYCLES).filter(|_| running.cycle()).count())
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("create and reset", |b| {
        b.iter_batched(
            NtbConfig::default,
            |config| Ntb::new(&config).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    bench(&mut criterion);
    criterion.final_summary();
}
