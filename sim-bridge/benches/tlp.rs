//! The TLP codec.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use sim_bridge::RequesterId;
use sim_bridge::tlp::{Tlp, decode, encode};

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("tlp");
    for (name, bytes) in [("interrupt", 4), ("64 bytes", 64), ("4 KiB", 4096)] {
        let tlp = Tlp::mem_write(RequesterId::new(0x41, 0, 0), 0xfee0_0000, &vec![0x5a; bytes]).unwrap();
        let mut wire = Vec::new();
        encode(&tlp, &mut wire).unwrap();
        group.throughput(Throughput::Bytes(wire.len() as u64));
        let mut out = Vec::with_capacity(wire.len());
        group.bench_function(format!("encode {name}"), |b| {
            b.iter(|| {
                out.clear();
                encode(black_box(&tlp), &mut out).unwrap();
            });
        });
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| decode(black_box(&wire)).unwrap())
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    codec(&mut criterion);
    criterion.final_summary();
}
