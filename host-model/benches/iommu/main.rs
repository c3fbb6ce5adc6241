//! What the IOMMU costs, against baselines that are measured in the same run. The ratios are printed at the end.

mod own_cpu;
mod ratios;
#[allow(dead_code, reason = "shared with other benches and tests")]
#[path = "../workload/mod.rs"]
mod workload;

use std::hint::{black_box, spin_loop};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Bencher, Criterion, Throughput};
use host_model::iommu::{CacheShape, Config, InterruptRequest};
use sim_bridge::RequesterId;
use vm_memory::GuestAddress;

use own_cpu::OwnCpu;
use ratios::{Measured, Ratio, Target, Times};
use workload::Workload;
use workload::bare::BareArray;

const GROUP: &str = "iommu";

/// Of the invalidating thread: 100,000 a second.
const BETWEEN_INVALIDATIONS: Duration = Duration::from_micros(10);

const RATIOS: [Ratio; 8] = [
    Ratio {
        title: "cached remap / bare lookup",
        of: &["remap"],
        to: &["bare_lookup"],
        target: Target::AtMost(1.5),
    },
    Ratio {
        title: "cached remap, 100,000 other IDs a second invalidated / none",
        of: &["remap_others_invalidated"],
        to: &["remap"],
        target: Target::AtMost(1.25),
    },
    Ratio {
        title: "cached remap, 100,000 of its IDs a second invalidated / none",
        of: &["remap_same_invalidated"],
        to: &["remap"],
        target: Target::AtMost(1.25),
    },
    Ratio {
        title: "gain by a second thread, cached remap / bare lookup",
        of: &["remap", "bare_lookup_two_threads"],
        to: &["remap_two_threads", "bare_lookup"],
        target: Target::AtLeast(0.9),
    },
    Ratio {
        title: "invalidate, cache of 4096 full / of 64",
        of: &["invalidate_4096"],
        to: &["invalidate_64"],
        target: Target::AtMost(1.2),
    },
    Ratio {
        title: "a command of 258 / read of 16 bytes",
        of: &["command_of_258"],
        to: &["read_16"],
        target: Target::AtMost(2.0),
    },
    Ratio {
        title: "uncached remap / read of 32 and of 16 bytes",
        of: &["remap_uncached"],
        to: &["read_32_and_16"],
        target: Target::AtMost(1.5),
    },
    Ratio {
        title: "IOTLB hit / cached remap",
        of: &["translate"],
        to: &["remap"],
        target: Target::AtMost(1.5),
    },
];

struct Benches {
    criterion: Criterion,
    measured: Vec<Measured>,
}

impl Benches {
    fn measure(&mut self, name: &'static str, operations: usize, bench: impl FnMut(&mut Bencher)) {
        let operations = operations as u64;
        let mut group = self.criterion.benchmark_group(GROUP);
        group.throughput(Throughput::Elements(operations));
        group.bench_function(name, bench);
        group.finish();
        self.measured.push(Measured { name, operations });
    }

    fn bare(&mut self, requests: &[InterruptRequest]) {
        let array = BareArray::holding(requests);
        let pass = |requests: &[InterruptRequest]| {
            for request in requests {
                black_box(array.find(black_box(request)));
            }
        };
        self.measure("bare_lookup", requests.len(), |b| b.iter(|| pass(requests)));
        self.measure("bare_lookup_two_threads", 2 * requests.len(), |b| {
            b.iter_custom(|passes| two_threads(passes, requests, pass))
        });
    }

    fn cached(&mut self, requests: &[InterruptRequest]) {
        let workload = Workload::new(workload::roomy());
        workload.warm(requests);
        let misses = workload.iommu.statistics().irt_cache.misses;
        let pass = |requests: &[InterruptRequest]| {
            for request in requests {
                black_box(Workload::destination(workload.ask(black_box(request))));
            }
        };
        self.measure("remap", requests.len(), |b| b.iter(|| pass(requests)));
        self.measure("remap_two_threads", 2 * requests.len(), |b| {
            b.iter_custom(|passes| two_threads(passes, requests, pass))
        });
        let missed = workload.iommu.statistics().irt_cache.misses - misses;
        assert_eq!(missed, 0, "not all of it is cached");

        let translations = workload::translations();
        workload.warm_translations(&translations);
        let misses = workload.iommu.statistics().iotlb.misses;
        self.measure("translate", translations.len(), |b| {
            b.iter(|| {
                for request in &translations {
                    black_box(Workload::physical(workload.translate(black_box(request))));
                }
            })
        });
        let missed = workload.iommu.statistics().iotlb.misses - misses;
        assert_eq!(missed, 0, "not all of it is cached");

        let others = (0x6000..0x6000 + workload::REQUESTERS).map(RequesterId).collect();
        let same = workload::requesters().collect();
        let victims: [(_, Vec<_>); 2] = [
            ("remap_others_invalidated", others),
            ("remap_same_invalidated", same),
        ];
        for (name, victims) in victims {
            self.measure(name, requests.len(), |b| {
                b.iter_custom(|passes| {
                    while_invalidating(&workload, &victims, || {
                        for _ in 0..passes {
                            pass(requests);
                        }
                    })
                })
            });
        }
    }

    fn uncached(&mut self, requests: &[InterruptRequest]) {
        let workload = Workload::new(Config::default().with_caches(CacheShape::DISABLED));
        workload.warm(requests);
        let entries: Vec<_> = requests.iter().map(workload::entries_of).collect();
        let read_16 = |irte: GuestAddress| black_box(workload.read_16(black_box(irte)));
        let read_32 = |dte: GuestAddress| black_box(workload.read_32(black_box(dte)));
        self.measure("read_16", requests.len(), |b| {
            b.iter(|| {
                for [_, irte] in &entries {
                    read_16(*irte);
                }
            })
        });
        self.measure("read_32_and_16", requests.len(), |b| {
            b.iter(|| {
                for [dte, irte] in &entries {
                    read_32(*dte);
                    read_16(*irte);
                }
            })
        });
        self.measure("remap_uncached", requests.len(), |b| {
            b.iter(|| {
                for request in requests {
                    black_box(Workload::destination(workload.ask(black_box(request))));
                }
            })
        });
        self.measure("remap_uncached_by_tokens", requests.len(), |b| {
            b.iter(|| {
                for request in requests {
                    black_box(Workload::destination(workload.ask_by_tokens(black_box(request))));
                }
            })
        });
    }

    fn invalidations(&mut self) {
        const BATCH: usize = 256;
        for (name, requesters, sets) in [("invalidate_64", 4, 16), ("invalidate_4096", 256, 1024)] {
            let shape = CacheShape::new(sets, 4).expect("a possible shape");
            let workload = Workload::new(Config {
                irt_cache: shape,
                ..Config::default()
            });
            let requesters: Vec<_> = workload::requesters().take(requesters).collect();
            let mut requests = workload::requests();
            requests.retain(|request| requesters.contains(&request.requester));
            let batch = requesters.iter().cycle().take(BATCH);
            let batch: Vec<_> = batch.map(|requester| workload::invalidate(*requester)).collect();
            self.measure(name, BATCH, |b| {
                b.iter_custom(|batches| {
                    let each = (0..batches).map(|_| {
                        workload.warm(&requests);
                        executed(&workload, &batch)
                    });
                    each.sum()
                })
            });
        }
    }

    fn commands(&mut self, requests: &[InterruptRequest]) {
        let workload = Workload::new(workload::roomy());
        workload.warm(requests);
        let flush = workload::flush();
        self.measure("command_of_258", flush.len(), |b| {
            b.iter_custom(|flushes| (0..flushes).map(|_| executed(&workload, &flush)).sum())
        });
    }
}

/// From the first command's tail write to the effect of the last.
fn executed(workload: &Workload, commands: &[[u64; 2]]) -> Duration {
    workload.write_commands(commands);
    let start = Instant::now();
    workload.execute(commands.len());
    start.elapsed()
}

/// How long two threads take, each with all the passes, one of them half a round ahead.
fn two_threads(
    passes: u64,
    requests: &[InterruptRequest],
    pass: impl Fn(&[InterruptRequest]) + Sync,
) -> Duration {
    let begin = Barrier::new(2);
    let run = |ahead: usize| {
        let (second, first) = requests.split_at(ahead);
        let _own = OwnCpu::nth(usize::from(ahead > 0));
        begin.wait();
        let start = Instant::now();
        for _ in 0..passes {
            pass(first);
            pass(second);
        }
        start.elapsed()
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| run(requests.len() / 2));
        let one = run(0);
        one.max(other.join().expect("the other thread"))
    })
}

/// How long `work` takes while another thread invalidates the victims in turn.
fn while_invalidating(workload: &Workload, victims: &[RequesterId], work: impl FnOnce()) -> Duration {
    let (begin, done) = (Barrier::new(2), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let _own = OwnCpu::nth(1);
            begin.wait();
            let mut due = Instant::now();
            for victim in victims.iter().cycle() {
                if done.load(Acquire) {
                    break;
                }
                workload.write_commands(&[workload::invalidate(*victim)]);
                workload.execute(1);
                due += BETWEEN_INVALIDATIONS;
                while Instant::now() < due {
                    spin_loop();
                }
            }
        });
        let _own = OwnCpu::nth(0);
        begin.wait();
        let start = Instant::now();
        work();
        let elapsed = start.elapsed();
        done.store(true, Release);
        elapsed
    })
}

fn main() {
    let since = SystemTime::now();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion");
    let criterion = Criterion::default()
        .output_directory(&target)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(40)
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    let mut benches = Benches {
        criterion,
        measured: vec![],
    };
    let requests = workload::requests();
    benches.bare(&requests);
    benches.cached(&requests);
    benches.uncached(&requests);
    benches.invalidations();
    benches.commands(&requests);
    benches.criterion.final_summary();
    let directory: PathBuf = target.join(GROUP);
    Times::read(&directory, &benches.measured, since).print(&RATIOS);
}
