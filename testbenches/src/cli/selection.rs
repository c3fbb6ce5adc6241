//! What `run` is asked to run, and how.

use host_model::linux::Profile;

use super::Stop;
use super::arguments::RunArgs;
use super::values::joined;
use crate::device::{DeviceOptions, LinkKind};
use crate::matrix::Selection;
use crate::run::{IrteFormat, Outcome, SimulationError, Spec, run};
use crate::scenario::{ParameterError, Scenario, Values, check_names};
use crate::topology::Topology;

/// In the order of their lists; a name given twice counts once.
pub(super) fn selection(args: &RunArgs) -> Result<Selection, Stop> {
    let chosen = |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
    let mut scenarios = Scenario::ALL.to_vec();
    scenarios.retain(|scenario| chosen(&args.scenario, scenario.name));
    let input = |error: ParameterError| Stop::Input(error.to_string());
    check_names(&scenarios, &args.param).map_err(input)?;
    if !args.steps.is_empty() && scenarios.len() != 1 {
        let count = scenarios.len();
        return Err(Stop::Input(format!(
            "--steps is for one scenario, and these are {count}"
        )));
    }
    Ok(Selection {
        scenarios: scenarios
            .into_iter()
            .map(|scenario| Ok((scenario, Values::parse(&scenario, &args.param)?)))
            .collect::<Result<_, _>>()
            .map_err(input)?,
        profiles: match args.kernel.as_slice() {
            [] if args.all => Profile::ALL.into(),
            [] => Profile::DEFAULT.into(),
            named => once_each(named),
        },
        topologies: match args.aliases.as_slice() {
            [] => Topology::built_in().to_vec(),
            named => once_each(named),
        },
        irte: if args.irte == "32" {
            IrteFormat::Bits32
        } else {
            IrteFormat::Bits128
        },
        steps: (!args.steps.is_empty()).then(|| args.steps.iter().copied().collect()),
        lock_limit: args.lock_limit,
    })
}

/// How each of many runs is run.
pub(super) fn many(
    args: &RunArgs,
) -> Result<impl Fn(&Spec) -> Result<Outcome, SimulationError> + Sync, Stop> {
    let link = joined(&args.link)?;
    if let Some(LinkKind::Paths(_)) = link {
        return Err(Stop::Input("--link PATH is for one run".to_owned()));
    }
    let link = link.unwrap_or(LinkKind::Thread);
    let every_cycle = args.every_cycle;
    Ok(move |spec: &Spec| {
        let options = DeviceOptions {
            topology: spec.topology.clone(),
            every_cycle,
            waves: None,
        };
        run(spec, &link, &options).map_err(|failure| failure.error)
    })
}

/// In the order of their first mention.
pub(super) fn once_each<T: Clone + PartialEq>(named: &[T]) -> Vec<T> {
    let mut once = Vec::new();
    for value in named {
        if !once.contains(value) {
            once.push(value.clone());
        }
    }
    once
}
