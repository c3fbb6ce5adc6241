//! One run: a scenario under a kernel profile and an alias topology.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use host_model::checker::{Finding, FindingKind, Freshness, Verdict};
use host_model::driver::DriverError;
use host_model::iommu::Config;
use host_model::iommu::spec::features::{Efr, Efr2, FeatureError, Features};
use host_model::linux::{Ivhd, Ivrs, LinuxDriver, Options, Owner, Profile};
use host_model::machine::{LinkTo, Machine, MachineConfig, MemoryError, RunError, Timing};
use host_model::pci::Function;
use host_model::trace::{Ending, Event, Kind};
use ntb_rtl::device::Summary;
use serde::Serialize;
use sim_bridge::link::{Link, LinkError, Port};
use sim_bridge::{RequesterId, SimTime};

use crate::device::{DeviceOptions, DeviceRunError, Devices, LinkKind};
use crate::lock_limit::LockLimit;
use crate::rig::{CommandCounts, Finished, Rig, ScenarioError, count_commands, mmio_window};
use crate::scenario::{Chosen, Difference, Expected, Plan, Scenario, Steps, StepsError, Values};
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

    fn ivhd(self, efr: Efr, efr2: Efr2) -> Ivhd {
        match self {
            Self::Bits32 => Ivhd::Type10,
            Self::Bits128 => Ivhd::Type11(efr, efr2),
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
    /// The scenario's parameters.
    pub values: Values,
    /// Which of its steps; `None` is all.
    pub steps: Option<Chosen>,
    /// For how long a lock may be held with interrupts off.
    pub lock_limit: LockLimit,
}

impl Spec {
    /// All steps of a scenario, with everything else as it is by default.
    pub fn new(scenario: Scenario, profile: Profile, topology: Topology) -> Self {
        Self {
            scenario,
            profile,
            topology,
            irte: IrteFormat::default(),
            seed: 0,
            values: Values::default(),
            steps: None,
            lock_limit: LockLimit::default(),
        }
    }

    /// What the scenario should find.
    pub fn expected(&self) -> Expected {
        let expected = (self.scenario.expected)(self);
        if self.lock_limit == LockLimit::default() {
            return expected;
        }
        expected.or_not(FindingKind::Held)
    }

    /// What runs exactly this.
    pub fn command(&self) -> String {
        let mut command = format!(
            "ntb-cosim run {} --kernel {} --aliases {} --seed {}",
            self.scenario.name,
            self.profile,
            word(&self.topology.to_string()),
            self.seed
        );
        if self.irte != IrteFormat::default() {
            command += &format!(" --irte {}", self.irte.bits());
        }
        if self.lock_limit != LockLimit::default() {
            command += &format!(" --lock-limit {}", self.lock_limit);
        }
        for argument in self.values.arguments() {
            command += &format!(" --param {argument}");
        }
        if let Some(steps) = &self.steps {
            let steps: Vec<String> = steps.iter().map(usize::to_string).collect();
            command += &format!(" --steps {}", steps.join(","));
        }
        command
    }
}

/// As a shell takes it for one word.
pub(crate) fn word(text: &str) -> Cow<'_, str> {
    // Only a NUL can't be quoted, and no argument has one.
    shlex::try_quote(text).unwrap_or(Cow::Borrowed(text))
}

/// Scenario, profile, topology, and the seed unless it is the default.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.scenario.name, self.profile, self.topology)?;
        match self.seed {
            0 => Ok(()),
            seed => write!(f, " seed {seed}"),
        }
    }
}

/// What a scenario runs on: the hardware, and the kernel's parameters.
#[derive(Debug, Clone)]
pub struct Host {
    /// The IOMMU, but for its features.
    pub iommu: Config,
    /// The IOMMU's features, of which the IVHD tells as far as it can.
    pub efr: Efr,
    /// Likewise.
    pub efr2: Efr2,
    /// Kernel parameters.
    pub options: Options,
    /// CPUs.
    pub cpus: u32,
    /// How long things take.
    pub timing: Timing,
    /// From a device ID to the one that the IVRS table says it sends under.
    pub ivrs_aliases: BTreeMap<RequesterId, RequesterId>,
    /// Which IDs the IVRS table does not list for this IOMMU, and for which if any.
    pub ivrs_not_ours: BTreeMap<RequesterId, Option<Owner>>,
    /// Functions beside those of the topology.
    pub functions: Vec<Function>,
    /// The NTB is plugged in after start-up.
    pub hot_plug: bool,
    /// Another NTB behind the same IOMMU, with what belongs to it on buses of its own: [`Topology::second`].
    pub second: Option<Topology>,
}

impl Host {
    /// Four CPUs, the spec's topology, and an IOMMU that has what the format of remapping entries needs and no more.
    pub fn new(spec: &Spec) -> Self {
        Self {
            iommu: Config::default(),
            efr: spec.irte.efr(),
            efr2: Efr2::new(),
            options: Options::default(),
            cpus: 4,
            timing: Timing::default(),
            ivrs_aliases: spec.topology.ivrs().aliases.clone(),
            ivrs_not_ours: BTreeMap::new(),
            functions: Vec::new(),
            hot_plug: false,
            second: None,
        }
    }

    /// How many NTBs there are.
    pub fn ntbs(&self) -> usize {
        1 + usize::from(self.second.is_some())
    }
}

/// What became of it.
pub struct Outcome {
    /// The worst kind of finding.
    pub verdict: Verdict,
    /// What the scenario should find.
    pub expected: Expected,
    /// What it found otherwise.
    pub difference: Difference,
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
    /// What the devices in this process have done.
    pub devices: Vec<Summary>,
}

/// What a run's times depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardware {
    /// CPUs, numbered from 0.
    pub cpus: u32,
    /// The NTBs, by the number of the link that leads there.
    pub ntbs: Vec<RequesterId>,
    /// From one end of a link to the other.
    pub link_latency: SimTime,
    /// How long things take in the host.
    pub timing: Timing,
}

impl Outcome {
    /// The findings are those that the scenario should have.
    pub fn is_expected(&self) -> bool {
        self.difference.is_none()
    }
}

/// Counts of interrupt messages, in results by these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
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
    /// What the scenario does.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Which of its steps.
    #[error(transparent)]
    Steps(#[from] StepsError),
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
    /// The steps that were chosen are not there, or need others.
    pub fn is_about_steps(&self) -> bool {
        matches!(
            self,
            Self::Steps(_) | Self::Scenario(ScenarioError::NotApplicable(_))
        )
    }

    /// What was asked for can't be run.
    pub fn is_about_input(&self) -> bool {
        self.is_about_steps() || matches!(self, Self::Device(DeviceRunError::Paths { .. }))
    }

    /// The device went without ending the link.
    fn is_device_lost(&self) -> bool {
        matches!(
            self,
            Self::Run(RunError::Link(LinkError::PeerDied { .. })) | Self::Link(LinkError::PeerDied { .. })
        )
    }
}

/// A run that failed.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct RunFailure {
    /// Why.
    pub error: SimulationError,
    /// What there is to see of it; `None` if it never began.
    pub recorded: Option<Box<Recorded>>,
}

impl<E> From<E> for RunFailure
where
    SimulationError: From<E>,
{
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            recorded: None,
        }
    }
}

/// What there is to see of a run, as far as it came.
#[derive(Debug)]
pub struct Recorded {
    /// Everything observable.
    pub events: Vec<Event>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What it ran on.
    pub hardware: Hardware,
}

/// Runs a scenario.
///
/// # Errors
/// The simulation fails. A bad verdict is no error.
pub fn run(spec: &Spec, link: &LinkKind, device: &DeviceOptions) -> Result<Outcome, RunFailure> {
    let (host_options, steps) = Plan::of(spec).into_work()?;
    let topologies: Vec<Topology> = [&spec.topology]
        .into_iter()
        .chain(&host_options.second)
        .cloned()
        .collect();
    let (devices, ports) = Devices::start(link, device, &topologies)?;
    let host = host(spec, host_options, steps, topologies, ports);
    let (devices, finished, recorded) = match (devices.join(), host) {
        (Ok(summaries), Ok((finished, recorded))) => (summaries, finished, recorded),
        // The host knows why it failed, unless it lost a device: then the device's own words say why.
        (Err(error), Err(host)) if host.error.is_device_lost() => {
            let error = error.into();
            return Err(RunFailure { error, ..host });
        }
        (_, Err(host)) => return Err(host),
        (Err(error), Ok((_, recorded))) => {
            return Err(RunFailure {
                error: error.into(),
                recorded: Some(Box::new(recorded)),
            });
        }
    };
    let Finished {
        raised,
        commands_per_move,
    } = finished;
    let Recorded {
        events,
        findings,
        hardware,
    } = recorded;
    let expected = spec.expected();
    Ok(Outcome {
        verdict: Verdict::of(&findings),
        difference: expected.compare(&findings),
        expected,
        interrupts: Interrupts::count(raised, &events),
        commands: count_commands(&events),
        commands_per_move,
        findings,
        events,
        hardware,
        devices,
    })
}

fn host(
    spec: &Spec,
    host: Host,
    steps: Steps,
    topologies: Vec<Topology>,
    ports: Vec<Port>,
) -> Result<(Finished, Recorded), RunFailure> {
    let kernel = kernel_version(&spec.profile);
    let config = MachineConfig {
        cpus: host.cpus,
        iommu: Config {
            features: Features::new(host.efr, host.efr2)?,
            ..host.iommu.clone()
        },
        timing: host.timing.clone(),
        seed: spec.seed,
        ..MachineConfig::default()
    };
    let hardware = Hardware {
        cpus: config.cpus,
        ntbs: topologies.iter().map(Topology::ntb).collect(),
        link_latency: ports.first().map_or(SimTime::ZERO, Port::latency),
        timing: config.timing.clone(),
    };
    let links = topologies.iter().zip(ports).enumerate();
    let links = links
        .map(|(number, (topology, port))| LinkTo::new(topology.ntb(), port).with_window(mmio_window(number)));
    let machine = Machine::new(config, links)?;
    let mut tree = spec.topology.tree(kernel);
    let mut ivrs = Ivrs {
        ivhd: spec.irte.ivhd(host.efr, host.efr2),
        last_bdf: spec.topology.last_bdf(),
        not_ours: host.ivrs_not_ours.clone(),
        aliases: host.ivrs_aliases.clone(),
    };
    if let Some(second) = &host.second {
        tree.join(second.tree(kernel)).map_err(ScenarioError::from)?;
        ivrs.last_bdf = ivrs.last_bdf.max(second.last_bdf());
        ivrs.aliases.extend(&second.ivrs().aliases);
    }
    let tree = Rc::new(RefCell::new(tree));
    let driver = Rc::new(LinuxDriver::new(
        spec.profile,
        host.options,
        ivrs,
        tree.clone(),
        machine.memory(),
    )?);
    machine.with_checker(|checker| {
        checker.set_driver(driver.clone());
        checker.limit_lock_holds(spec.lock_limit.0);
    });
    let finished = machine.run(|cpu| async move {
        let rig = Rig::start(cpu, topologies, kernel, &host, driver, tree).await?;
        steps.run(&rig).await?;
        Ok::<_, ScenarioError>(rig.finish().await)
    });
    // Also after a failure: the devices then end in order too.
    let ended = machine.end();
    let recorded = Recorded {
        findings: machine
            .with_checker(|checker| checker.findings())
            .unwrap_or_default(),
        events: machine.trace().take(),
        hardware,
    };
    let finished = || -> Result<Finished, SimulationError> {
        let finished = finished??;
        ended?;
        Ok(finished)
    };
    match finished() {
        Ok(finished) => Ok((finished, recorded)),
        Err(error) => Err(RunFailure {
            error,
            recorded: Some(Box::new(recorded)),
        }),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs it with the device in a thread.
    pub(crate) fn in_thread(spec: &Spec) -> Result<Outcome, SimulationError> {
        let device = DeviceOptions {
            topology: spec.topology.clone(),
            every_cycle: false,
            waves: None,
        };
        run(spec, &LinkKind::Thread, &device).map_err(|failure| failure.error)
    }
}
