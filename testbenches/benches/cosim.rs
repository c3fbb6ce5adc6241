//! Simulated clock cycles per second of the whole co-simulation, and of the bare Verilated model on the same stimulus.
//!
//! The traffic is a storm: CPU 0 rings doorbells back to back, each to be sent under the next of a PLX NTB's 256 IDs,
//! without waiting for the interrupts; three register writes of 100 ns each make one, CPU 1 takes them and clears the
//! doorbell. Both sides evaluate every clock cycle, none is jumped over. The host checks and traces as `ntb-cosim run`
//! does.
//!
//! What the device received in one run, and when, is recorded. The bare model gets the same beats at the same edges,
//! with nothing between the beats and the model's ports. Bare model and co-simulation run in turns; the median of the
//! ratios of their times, whose cycles are the same, is printed below each co-simulation.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, measurement::WallTime};
use host_model::linux::Profile;
use host_model::trace::{Event, Kind};
use ntb_rtl::device::DeviceConfig;
use ntb_rtl::stream::{self, Beat};
use ntb_rtl::{Ntb, NtbError};
use sim_bridge::SimTime;
use sim_bridge::link::LinkConfig;
use sim_bridge::tlp::Tlp;
use testbenches::device::{DeviceOptions, LinkKind};
use testbenches::rig::{Rig, ScenarioError};
use testbenches::run::{Outcome, Spec, run};
use testbenches::scenario::{Expected, Scenario};
use testbenches::topology::Topology;

const VECTORS: u16 = 4;
const INTERRUPTS: usize = 10_000;

const STORM: Scenario = Scenario {
    name: "storm",
    sentence: "interrupts under every ID in turn, back to back",
    parameters: &[],
    plan: |plan| plan.step("storm", storm),
    expected: |_| Expected::coherent("nothing changes"),
};

async fn storm(rig: &Rig) -> Result<(), ScenarioError> {
    rig.request_ntb_irqs(VECTORS, 1).await?;
    for (n, id) in rig.ids().iter().cycle().take(INTERRUPTS).enumerate() {
        rig.ring(n % usize::from(VECTORS), *id).await;
    }
    rig.raised(INTERRUPTS as u64).await;
    Ok(())
}

fn plx() -> Topology {
    "plx".parse().expect("a topology")
}

fn cosimulate(link: &LinkKind) -> Outcome {
    let topology = plx();
    let spec = Spec::new(STORM, Profile::LINUX_7_2, topology.clone());
    let device = DeviceOptions {
        topology,
        every_cycle: true,
        waves: None,
    };
    let outcome = run(&spec, link, &device).expect("the simulation runs");
    assert!(outcome.is_expected(), "{}", outcome.verdict);
    assert_eq!(outcome.interrupts.delivered, INTERRUPTS as u64);
    outcome
}

/// What the device received and sent in a run.
struct Recording {
    /// Beats of one TLP, and the clock edge at which they are offered.
    stimulus: Vec<(SimTime, Vec<Beat>)>,
    /// TLPs, and the clock edge at which they were sent.
    answers: Vec<(SimTime, Tlp)>,
    period: SimTime,
    /// Up to the last answer: all that a run is sure to evaluate.
    cycles: u64,
}

impl Recording {
    fn new(events: &[Event]) -> Result<Self, NtbError> {
        let latency = LinkConfig::new("host").latency;
        let period = DeviceConfig::default().clock_period;
        let mut stimulus = Vec::new();
        let mut answers = Vec::new();
        for event in events {
            match &event.kind {
                Kind::ToDevice(tlp) => {
                    let mut beats = Vec::new();
                    stream::split(tlp, &mut beats)?;
                    stimulus.push((event.time + latency, beats));
                }
                Kind::ToHost(tlp) => answers.push((event.time - latency, tlp.clone())),
                _ => {}
            }
        }
        let end = answers.last().expect("the device answers").0;
        Ok(Self {
            stimulus,
            answers,
            period,
            cycles: end.as_ps() / period.as_ps(),
        })
    }

    /// Drives `ntb` through all clock cycles with `cycle`.
    fn replay(
        &self,
        mut ntb: Ntb,
        mut cycle: impl FnMut(&mut Ntb, SimTime) -> Result<(), NtbError>,
    ) -> Result<Duration, NtbError> {
        let mut stimulus = self.stimulus.iter().peekable();
        let mut edge = SimTime::ZERO;
        let start = Instant::now();
        for _ in 0..self.cycles {
            edge += self.period;
            while let Some((_, beats)) = stimulus.next_if(|(at, _)| *at <= edge) {
                ntb.offer_beats(beats)?;
            }
            cycle(&mut ntb, edge)?;
        }
        Ok(start.elapsed())
    }

    /// The bare model answers the recorded stimulus as the co-simulation's did.
    fn check(&self) -> Result<(), NtbError> {
        let mut answers = Vec::new();
        self.replay(ntb(), |ntb, edge| {
            answers.extend(ntb.cycle(edge)?.map(|tlp| (edge, tlp)));
            Ok(())
        })?;
        assert!(
            answers == self.answers,
            "the replay differs from what was recorded"
        );
        Ok(())
    }

    /// Time of one replay.
    fn bare(&self) -> Duration {
        let replayed = self.replay(ntb(), |ntb, edge| {
            black_box(ntb.cycle_beat(edge)?);
            Ok(())
        });
        replayed.expect("the RTL runs")
    }
}

fn ntb() -> Ntb {
    Ntb::new(&plx().rtl()).expect("the RTL starts")
}

fn against_bare(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    recording: &Recording,
    link: &LinkKind,
) {
    let mut ratios = Vec::new();
    group.bench_function(name, |b| {
        b.iter_custom(|times| {
            (0..times)
                .map(|_| {
                    let bare = recording.bare();
                    let start = Instant::now();
                    cosimulate(link);
                    let whole = start.elapsed();
                    ratios.push(bare.as_secs_f64() / whole.as_secs_f64());
                    whole
                })
                .sum()
        });
    });
    ratios.sort_by(f64::total_cmp);
    if let (Some(lowest), Some(highest)) = (ratios.first(), ratios.last()) {
        println!(
            "cosim/{name}: {:.2} of the bare model's cycles per second (median of {} runs in turns, {lowest:.2} to \
             {highest:.2})\n",
            ratios[ratios.len() / 2],
            ratios.len()
        );
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .configure_from_args();
    let recording = Recording::new(&cosimulate(&LinkKind::Thread).events).expect("TLPs have beats");
    recording.check().expect("the RTL runs");
    let mut group = criterion.benchmark_group("cosim");
    group
        .throughput(Throughput::Elements(recording.cycles))
        .sampling_mode(SamplingMode::Flat)
        .sample_size(20);
    group.bench_function("bare model", |b| {
        b.iter_custom(|times| (0..times).map(|_| recording.bare()).sum());
    });
    against_bare(&mut group, "two threads", &recording, &LinkKind::Thread);
    let program = PathBuf::from(env!("CARGO_BIN_EXE_ntb-cosim"));
    against_bare(
        &mut group,
        "two processes",
        &recording,
        &LinkKind::Process(program),
    );
    group.finish();
    criterion.final_summary();
}
