//! `list`.

use std::io::{self, Write};

use host_model::linux::Profile;

use super::arguments::ListArgs;
use super::{AS_EXPECTED, Stop};
use crate::report::text;
use crate::run::Spec;
use crate::scenario::{Plan, Scenario};
use crate::topology::Topology;

/// Names, and what they mean.
type Rows = Vec<(String, String)>;

pub(super) fn list(args: &ListArgs) -> Result<u8, Stop> {
    let named = |scenario: &Scenario| args.scenario.iter().any(|name| name == scenario.name);
    let written = if args.scenario.is_empty() {
        everything()
    } else {
        let mut scenarios = Scenario::ALL.into_iter().filter(named);
        scenarios.try_for_each(|scenario| {
            section("Scenario", row(&scenario).chain(parameters(&scenario)).collect())?;
            steps(&scenario)
        })
    };
    written.map_err(Stop::Output)?;
    Ok(AS_EXPECTED)
}

fn everything() -> io::Result<()> {
    let scenarios = Scenario::ALL;
    let scenarios = scenarios
        .iter()
        .flat_map(|scenario| row(scenario).chain(parameters(scenario)));
    let kernels = Profile::ALL.map(|p| match p.irt_flush.all_above {
        Some(_) => (format!("{}:N", p.name), p.sentence()),
        None => (p.name.to_owned(), p.sentence()),
    });
    let mut topologies: Rows = Topology::built_in()
        .iter()
        .map(|t| (t.pattern(), t.sentence().to_owned()))
        .collect();
    topologies.push((
        "FILE.toml".to_owned(),
        "one of your own: the README tells how to write it".to_owned(),
    ));
    section("Scenarios", scenarios.collect())?;
    section("\nKernel profiles (--kernel)", kernels.into())?;
    section("\nAlias topologies (--aliases)", topologies)
}

fn row(scenario: &Scenario) -> impl Iterator<Item = (String, String)> + use<> {
    std::iter::once((scenario.name.to_owned(), scenario.sentence.to_owned()))
}

fn parameters(scenario: &Scenario) -> impl Iterator<Item = (String, String)> + use<> {
    scenario.parameters.iter().map(|parameter| {
        let (name, range) = (parameter.name, &parameter.range);
        let sentence = parameter.sentence;
        let (min, max, default) = (range.start(), range.end(), parameter.default);
        (
            format!("  --param {name}"),
            format!("{sentence}: {min} to {max} [{default}]"),
        )
    })
}

/// As they are where the scenario makes sense first.
fn steps(scenario: &Scenario) -> io::Result<()> {
    let cases = Profile::DEFAULT.into_iter().rev().flat_map(|profile| {
        let topologies = Topology::built_in().iter();
        topologies.map(move |topology| Spec::new(*scenario, profile, topology.clone()))
    });
    let mut cases = cases.filter(|spec| spec.topology.ids().len() > 1 && !spec.expected().is_senseless());
    let Some(spec) = cases.next() else {
        return Ok(());
    };
    let plan = Plan::of(&spec);
    let steps = (1..)
        .zip(plan.steps())
        .map(|(number, step): (usize, _)| (number.to_string(), step.to_owned()));
    section(
        &format!("Steps (--steps), with {} and {}", spec.profile, spec.topology),
        steps.collect(),
    )
}

fn section(title: &str, rows: Rows) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{title}")?;
    let longest = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let column = if longest > 2 { longest.max(16) } else { 2 };
    let indent = " ".repeat(column + 4);
    for (name, sentence) in rows {
        let row = format!("  {name:column$}  ");
        writeln!(out, "{}", text::wrapped(&sentence, text::width(), &row, &indent))?;
    }
    Ok(())
}
