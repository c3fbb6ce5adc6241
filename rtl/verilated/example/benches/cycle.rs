//! Clock cycles per second through the binding.

// criterion's macros write functions without.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use verilated::{Design, Model, Options};
use verilated_example::{widths, widths_traced};

const CYCLES: u64 = 10_000;

fn run(model: &mut Model<widths::Ports>) {
    let mut inputs = widths::Inputs {
        rst_ni: true,
        ..Default::default()
    };
    let mut outputs = widths::Outputs::default();
    for n in 0..CYCLES {
        inputs.thirty_two_i = n as u32;
        inputs.wide_i[0] = n as u32;
        model.cycle(&inputs, &mut outputs).unwrap();
    }
}

fn model(design: &Design<widths::Ports>) -> Model<widths::Ports> {
    Model::new(design, Options::new()).unwrap()
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("cycle");
    group.throughput(Throughput::Elements(CYCLES));
    let mut speed = model(&widths::DESIGN);
    group.bench_function("speed build", |b| b.iter(|| run(&mut speed)));
    let mut closed = model(&widths_traced::DESIGN);
    group.bench_function("trace build, closed", |b| b.iter(|| run(&mut closed)));
    let dir = tempfile::tempdir().unwrap();
    let mut open = model(&widths_traced::DESIGN);
    open.open_trace(dir.path().join("t.fst")).unwrap();
    group.sample_size(10);
    group.bench_function("trace build, open", |b| b.iter(|| run(&mut open)));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
