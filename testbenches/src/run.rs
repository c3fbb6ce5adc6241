//! One run: a scenario under a kernel profile and an alias topology.

use std::cell::RefCell;
use std::rc::Rc;

use host_model::checker::{Finding, Freshness, Verdict};
use host_model::driver::DriverError;
use host_model::iommu::Config;
use host_model::iommu::spec::features::{Efr, Efr2, FeatureError, Features};
use host_model::linux::{Ivhd, Ivrs, LinuxDriver, Options, Profile};
use host_model::machine::{Machine, MachineConfig, MemoryError, RunError, Timing};
use host_model::trace::{Ending, Event, Kind};
use ntb_rtl::device::Summary;
use sim_bridge::SimTime;
use sim_bridge::link::{Link, LinkError};

use crate::device::{Device, DeviceOptions, DeviceRunError, LinkKind};
use crate::rig::{CommandCounts, Finished, Rig, ScenarioError, count_commands};
use crate::scenario::Scenario;
use crate::topology::{Topology, kernel_version};

/// The format of remapping entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IrteFormat {
    /// An IOMMU without GASup, told of by an IVHD of type 0x10.
    Bits32,
    /// One with GASup, told of by an IVHD of type 0x11.
    #[default]
    Bits128,
}

impl IrteFormat {
    /// 32 or 128.
    pub fn bits(self) -> u32 {
        match self {
            Self::Bits32 => 32,
            Self::Bits128 => 128,
        }
    }

    fn efr(self) -> Efr {
        Efr::new().with_ia_sup(true).with_ga_sup(self == Self::Bits128)
    }

    fn ivhd(self) -> Ivhd {
        match self {
            Self::Bits32 => Ivhd::Type10,
            Self::Bits128 => Ivhd::Type11(self.efr(), Efr2::new()),
        }
    }
}

/// What to run.
#[derive(Clone)]
pub struct Spec {
    /// The scenario.
    pub scenario: Scenario,
    /// The kernel.
    pub profile: Profile,
    /// Where the aliases come from.
    pub topology: Topology,
    /// The format of remapping entries.
    pub irte: IrteFormat,
    /// Fixes the order of what is simultaneous.
    pub seed: u64,
}

/// What became of it.
pub struct Outcome {
    /// The worst kind of finding.
    pub verdict: Verdict,
    /// What the scenario should have for this profile and topology.
    pub expected: Verdict,
    /// Where the interrupts went.
    pub interrupts: Interrupts,
    /// Executed over the whole run.
    pub commands: CommandCounts,
    /// Executed for one affinity move; `None` without a move.
    pub commands_per_move: Option<CommandCounts>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Everything observable.
    pub events: Vec<Event>,
    /// What it ran on.
    pub hardware: Hardware,
    /// What a device in this process has done.
    pub device: Option<Summary>,
}

/// What a run's times depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardware {
    /// CPUs, numbered from 0.
    pub cpus: u32,
    /// From one end of the link to the other.
    pub link_latency: SimTime,
    /// How long things take in the host.
    pub timing: Timing,
}

impl Outcome {
    /// The verdict is the one that the scenario should have.
    pub fn is_expected(&self) -> bool {
        self.verdict == self.expected
    }
}

/// Counts of interrupt messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interrupts {
    /// By the device.
    pub raised: u64,
    /// To the device's own handler.
    pub delivered: u64,
    /// To another's.
    pub misrouted: u64,
    /// To a vector without a handler.
    pub spurious: u64,
    /// Refused by the IOMMU.
    pub blocked: u64,
    /// Arrived nowhere.
    pub lost: u64,
    /// Remapped by a stale entry.
    pub stale: u64,
    /// Remapped by an entry whose change was under way.
    pub in_flight: u64,
}

impl Interrupts {
    fn count(raised: u64, events: &[Event]) -> Self {
        let mut counts = Self {
            raised,
            ..Self::default()
        };
        for event in events {
            match event.kind {
                Kind::Ended { ending, .. } => match ending {
                    Ending::Delivered { .. } => counts.delivered += 1,
                    Ending::Misrouted { .. } => counts.misrouted += 1,
                    Ending::Spurious { .. } | Ending::Special { .. } => counts.spurious += 1,
                    Ending::Blocked => counts.blocked += 1,
                    Ending::Lost(_) => {}
                },
                Kind::Answered {
                    freshness: Some(Freshness::Stale),
                    ..
                } => counts.stale += 1,
                Kind::Answered {
                    freshness: Some(Freshness::InFlight),
                    ..
                } => counts.in_flight += 1,
                _ => {}
            }
        }
        counts.lost =
            raised.saturating_sub(counts.delivered + counts.misrouted + counts.spurious + counts.blocked);
        counts
    }
}

/// The simulation itself failed.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The device's side.
    #[error(transparent)]
    Device(#[from] DeviceRunError),
    /// The host's side.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The scenario's steps.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The link's end.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Guest memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The driver's tables.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The IOMMU's features.
    #[error(transparent)]
    Features(#[from] FeatureError),
}

impl SimulationError {
    /// The device went without ending the link.
    fn is_device_lost(&self) -> bool {
        matches!(
            self,
            Self::Run(RunError::Link(LinkError::PeerDied { .. })) | Self::Link(LinkError::PeerDied { .. })
        )
    }
}

/// Runs a scenario.
///
/// # Errors
/// The simulation fails. A bad verdict is no error.
pub fn run(spec: &Spec, link: &LinkKind, device: &DeviceOptions) -> Result<Outcome, SimulationError> {
    let (device, port) = Device::start(link, device)?;
    let host = host(spec, Box::new(port));
    let summary = match (device.join(), &host) {
        (Ok(summary), _) => summary,
        // The host knows why it failed, unless it lost the device: then the device's own words say why.
        (Err(_), Err(error)) if !error.is_device_lost() => None,
        (Err(error), _) => return Err(error.into()),
    };
    let (
        Finished {
            raised,
            findings,
            commands_per_move,
            events,
        },
        hardware,
    ) = host?;
    Ok(Outcome {
        verdict: Verdict::of(&findings),
        expected: spec.scenario.expected(spec.profile, &spec.topology),
        interrupts: Interrupts::count(raised, &events),
        commands: count_commands(&events),
        commands_per_move,
        findings,
        events,
        hardware,
        device: summary,
    })
}

fn host(spec: &Spec, link: Box<dyn Link>) -> Result<(Finished, Hardware), SimulationError> {
    let topology = spec.topology.clone();
    let kernel = kernel_version(&spec.profile);
    let iommu = Config {
        features: Features::new(spec.irte.efr(), Efr2::new())?,
        ..Config::default()
    };
    let config = MachineConfig {
        iommu,
        seed: spec.seed,
        ..MachineConfig::new(topology.ntb())
    };
    let hardware = Hardware {
        cpus: config.cpus,
        link_latency: link.latency(),
        timing: config.timing.clone(),
    };
    let machine = Machine::new(config, link)?;
    let tree = Rc::new(RefCell::new(topology.tree(kernel)));
    let ivrs = Ivrs {
        ivhd: spec.irte.ivhd(),
        last_bdf: topology.last_bdf(),
        aliases: topology.ivrs().aliases.clone(),
    };
    let driver = Rc::new(LinuxDriver::new(
        spec.profile,
        Options::default(),
        ivrs,
        tree.clone(),
        machine.memory(),
    )?);
    let steps = spec.scenario.run;
    let finished = machine.run(|cpu| async move {
        let rig = Rig::start(cpu, topology, kernel, driver, tree).await?;
        steps(&rig).await?;
        Ok::<_, ScenarioError>(rig.finish().await)
    });
    // Also after a failure: the device then ends in order too.
    let ended = machine.end();
    let finished = finished??;
    ended?;
    Ok((finished, hardware))
}
