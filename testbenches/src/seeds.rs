//! Scenarios under many orders of what is simultaneous, and what fails made short.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use host_model::checker::FindingKind;

use crate::pool;
use crate::run::{Outcome, SimulationError, Spec};
use crate::scenario::{Chosen, Plan};
use crate::shorten::shorten;

/// Seeds: `A..B` without B, or `A..=B`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds(Range<u64>);

/// It is no range of seeds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no range of seeds: A..B with A less than B, such as 0..1000")]
pub struct ParseSeedsError(String);

impl FromStr for Seeds {
    type Err = ParseSeedsError;

    fn from_str(text: &str) -> Result<Self, ParseSeedsError> {
        let parse = || {
            let (first, end) = text.split_once("..")?;
            let end = match end.strip_prefix('=') {
                Some(last) => last.parse::<u64>().ok()?.checked_add(1)?,
                None => end.parse().ok()?,
            };
            Some(first.parse().ok()?..end).filter(|seeds| !seeds.is_empty())
        };
        parse().map(Self).ok_or_else(|| ParseSeedsError(text.to_owned()))
    }
}

impl Seeds {
    /// How many.
    pub fn count(&self) -> usize {
        usize::try_from(self.0.end - self.0.start).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.0.start, self.0.end)
    }
}

/// A run that is not as expected.
#[derive(Clone)]
pub struct Failure {
    /// What was run.
    pub spec: Spec,
    /// How it failed.
    pub fault: Fault,
}

impl Failure {
    /// Whether only the seed differs.
    pub fn is_like(&self, other: &Self) -> bool {
        let (a, b) = (&self.spec, &other.spec);
        a.scenario.name == b.scenario.name
            && a.profile == b.profile
            && a.topology == b.topology
            && self.fault == other.fault
    }
}

/// How a run is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// These kinds were found, and should not have been.
    Found(BTreeSet<FindingKind>),
    /// These should have been found.
    Missing(BTreeSet<FindingKind>),
    /// The steps that are to run make no run, and this is why.
    Steps(String),
    /// The simulation failed.
    Simulation {
        /// Why.
        why: String,
        /// It was what the scenario does.
        in_scenario: bool,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |kinds: &BTreeSet<FindingKind>| {
            let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
            names.join(", ")
        };
        match self {
            Self::Found(kinds) => write!(f, "not expected: {}", names(kinds)),
            Self::Missing(kinds) => write!(f, "missing: {}", names(kinds)),
            Self::Steps(why) => f.write_str(why),
            Self::Simulation { why, .. } => write!(f, "the simulation failed: {why}"),
        }
    }
}

impl Fault {
    /// `None` if all is as expected.
    pub fn of(result: Result<Outcome, SimulationError>) -> Option<Self> {
        match result {
            Ok(outcome) if outcome.is_expected() => None,
            Ok(outcome) if outcome.difference.unexpected.is_empty() => {
                Some(Self::Missing(outcome.difference.missing))
            }
            Ok(outcome) => Some(Self::Found(outcome.difference.unexpected)),
            Err(error) if error.is_about_steps() => Some(Self::Steps(error.to_string())),
            Err(error) => Some(Self::Simulation {
                why: error.to_string(),
                in_scenario: matches!(error, SimulationError::Scenario(_)),
            }),
        }
    }

    /// Whether a run with fewer steps fails in the same way. What is missing says nothing then.
    fn is_met_by(&self, result: Result<Outcome, SimulationError>) -> bool {
        match (self, Self::of(result)) {
            (Self::Found(all), Some(Self::Found(some))) => all.intersection(&some).next().is_some(),
            (
                Self::Simulation { in_scenario, .. },
                Some(Self::Simulation {
                    in_scenario: again, ..
                }),
            ) => *in_scenario == again,
            _ => false,
        }
    }
}

/// Runs each spec under each seed by `run`, on all CPUs. `done` is told how many runs have ended, which was the last, and
/// how many have failed; `failed` gets what fails, spec by spec and seed by seed, as soon as all before it have ended.
///
/// # Errors
/// The first of `failed`, which ends the search.
pub fn search<E>(
    specs: &[Spec],
    seeds: &Seeds,
    run: impl Fn(&Spec) -> Result<Outcome, SimulationError> + Sync,
    mut done: impl FnMut(usize, &Spec, usize),
    mut failed: impl FnMut(Failure) -> Result<(), E>,
) -> Result<(), E> {
    let each = seeds.count();
    let spec = |number: usize| Spec {
        seed: seeds.0.start + (number % each) as u64,
        ..specs[number / each].clone()
    };
    let job = |number| Fault::of(run(&spec(number)));
    pool::run(specs.len().saturating_mul(each), job, |results| {
        let (mut told, mut failures) = (0, 0);
        // Ended before one with a lower number.
        let mut early = BTreeMap::new();
        for (ended, (number, fault)) in (1..).zip(results) {
            failures += usize::from(fault.is_some());
            done(ended, &specs[number / each], failures);
            early.insert(number, fault);
            while let Some(fault) = early.remove(&told) {
                if let Some(fault) = fault {
                    let spec = spec(told);
                    failed(Failure { spec, fault })?;
                }
                told += 1;
            }
        }
        Ok(())
    })
}

/// A failure with as few steps as fail.
#[derive(Clone)]
pub struct Short {
    /// What to run; its seed may be another.
    pub spec: Spec,
    /// The steps that are left, with their numbers.
    pub steps: Vec<(usize, String)>,
    /// How many steps there were.
    pub of: usize,
}

/// Seeds to try for each selection of steps: without a step the same seed gives another order.
const TRIES: u64 = 4;

/// Leaves out steps as long as it still fails. `None` if what fails is that something was not found, which any step left
/// out would do.
pub fn shortest(failure: &Failure, run: impl Fn(&Spec) -> Result<Outcome, SimulationError>) -> Option<Short> {
    let Failure { spec, fault } = failure;
    if let Fault::Missing(_) = fault {
        return None;
    }
    let names: Vec<String> = Plan::of(spec).steps().map(str::to_owned).collect();
    let all: Vec<usize> = match &spec.steps {
        Some(chosen) => chosen.iter().copied().collect(),
        None => (1..=names.len()).collect(),
    };
    let mut seed = spec.seed;
    let with = |steps: &[usize], seed| Spec {
        seed,
        steps: Some(Chosen::from_iter(steps.iter().copied())),
        ..spec.clone()
    };
    let left = shorten(&all, |some| {
        let tries = (0..TRIES).map(|n| spec.seed.wrapping_add(n));
        let found = tries
            .into_iter()
            .find(|&seed| fault.is_met_by(run(&with(some, seed))));
        if let Some(found) = found {
            seed = found;
        }
        found.is_some()
    });
    let seed = if left == all { spec.seed } else { seed };
    Some(Short {
        spec: with(&left, seed),
        steps: left
            .iter()
            .filter_map(|&number| Some((number, names.get(number - 1)?.clone())))
            .collect(),
        of: all.len(),
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use host_model::linux::Profile;

    use super::*;
    use crate::report;
    use crate::rig::Rig;
    use crate::run::tests::in_thread;
    use crate::scenario::{Expected, Scenario};

    /// Linux 6.12 leaves the alias stale, and the scenario says otherwise.
    const WRONG: Scenario = Scenario {
        name: "wrong",
        sentence: "expects what can't be",
        parameters: &[],
        plan: |plan| {
            plan.step("request the interrupt", async |rig: &Rig| {
                rig.request_ntb_irqs(1, 1).await
            });
            plan.step("another gets one", async |rig: &Rig| {
                rig.request_neighbour_irq(3).await
            });
            plan.step("interrupt", async |rig: &Rig| rig.ring_under_every_id(0).await);
            plan.step("wait", async |rig: &Rig| {
                rig.wait_jiffies(1).await;
                Ok(())
            });
            plan.step("move", async |rig: &Rig| rig.move_irq(0, 2).await);
            plan.step("interrupt again", async |rig: &Rig| {
                rig.ring_under_every_id(0).await
            });
            plan.step("free", async |rig: &Rig| rig.free_ntb_irqs().await);
        },
        expected: |_| Expected::coherent("somebody hoped so"),
    };

    fn specs() -> [Spec; 2] {
        ["none", "func1"]
            .map(|topology| Spec::new(WRONG, Profile::LINUX_6_12, topology.parse().expect("a topology")))
    }

    fn seeds(text: &str) -> Seeds {
        text.parse().expect("seeds")
    }

    /// What fails, and how many runs had ended at each call.
    fn failures(seeds: &Seeds) -> (Vec<Failure>, Vec<usize>) {
        let (mut failures, mut ended) = (Vec::new(), Vec::new());
        let all: Result<(), Infallible> = search(
            &specs(),
            seeds,
            in_thread,
            |n, _, _| ended.push(n),
            |failure| {
                failures.push(failure);
                Ok(())
            },
        );
        let Ok(()) = all;
        (failures, ended)
    }

    #[test]
    fn every_seed_of_every_spec_runs_and_those_that_fail_are_told_in_order() {
        let (failures, ended) = failures(&seeds("5..8"));
        let failed: Vec<_> = failures
            .iter()
            .map(|f| (f.spec.topology.to_string(), f.spec.seed))
            .collect();
        assert_eq!(failed, [5, 6, 7].map(|seed| ("func1".to_owned(), seed)));
        assert_eq!(ended, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_search_ends_where_nobody_wants_more() {
        let mut told = 0;
        let ended = search(
            &specs()[1..],
            &seeds("0..=18446744073709551614"),
            in_thread,
            |_, _, _| {},
            |failure| {
                told += 1;
                Err(failure.spec.seed)
            },
        );
        assert_eq!((ended, told), (Err(0), 1));
    }

    #[test]
    fn a_failure_is_told_with_the_fewest_steps_and_what_repeats_them() {
        let seeds = seeds("7..=8");
        let (failures, _) = failures(&seeds);
        let short = shortest(&failures[0], in_thread).expect("steps can be left out");
        assert!(Fault::of(in_thread(&short.spec)).is_some(), "it is what it says");
        let told = [
            report::seeds::failure(&failures[0], 100),
            report::seeds::short(&short),
            report::seeds::failure(&failures[1], 100),
            report::seeds::summary(failures.len(), &specs(), &seeds),
        ];
        insta::assert_snapshot!(told.concat(), @r"
        wrong 6.12 func1 seed 7: not expected: stale
            repeat: ntb-cosim run wrong --kernel 6.12 --aliases func1 --seed 7
            4 of 7 steps do:
               1 request the interrupt
               3 interrupt
               5 move
               6 interrupt again
            repeat: ntb-cosim run wrong --kernel 6.12 --aliases func1 --seed 7 --steps 1,3,5,6
        wrong 6.12 func1 seed 8: not expected: stale
            repeat: ntb-cosim run wrong --kernel 6.12 --aliases func1 --seed 8
        seeds 7..9, 2 combinations: 4 runs; 2 not as expected
        ");
    }

    #[test]
    fn what_is_missing_is_not_made_shorter() {
        let spec = Spec::new(WRONG, Profile::LINUX_7_2, "func1".parse().expect("a topology"));
        let fault = Fault::Missing([FindingKind::Stale].into());
        assert!(shortest(&Failure { spec, fault }, in_thread).is_none());
    }

    #[test]
    fn ranges_of_seeds_have_a_beginning_and_an_end() {
        assert_eq!(seeds("0..1000").count(), 1000);
        assert_eq!(seeds("3..=3").to_string(), "3..4");
        for wrong in [
            "",
            "5",
            "..",
            "1..",
            "..4",
            "4..4",
            "5..4",
            "5..=4",
            "a..b",
            "0..=18446744073709551615",
        ] {
            assert_eq!(wrong.parse::<Seeds>(), Err(ParseSeedsError(wrong.to_owned())));
        }
    }
}
