//! `run --seeds`.

use super::arguments::{Format, RunArgs};
use super::output::{emit, json, progress};
use super::selection::many;
use super::{AS_EXPECTED, NOT_AS_EXPECTED, SIMULATION_FAILED, Stop};
use crate::matrix::Selection;
use crate::report::{seeds as report, text};
use crate::seeds::{Failure, Fault, Seeds, Short, search, shortest};

pub(super) fn run(args: &RunArgs, selection: &Selection, seeds: &Seeds) -> Result<u8, Stop> {
    let run = many(args)?;
    let mut specs = selection.specs(&[0]);
    specs.retain(|spec| !spec.expected().is_senseless());
    let all = specs.len().saturating_mul(seeds.count());
    let failures = search(&specs, seeds, &run, |ended, last, failed| {
        progress(&format!("[{ended}/{all}] {failed} failed: {last}"));
    });
    let mut told: Vec<(&Failure, Option<Short>)> = Vec::new();
    for failure in &failures {
        progress(&format!("shortening {}", failure.spec));
        // Of one combination that fails in one way, the first is enough.
        let known = told.iter().any(|(other, _)| other.is_like(failure));
        told.push((failure, (!known).then(|| shortest(failure, &run)).flatten()));
    }
    progress("");
    emit(&match args.format {
        Format::Text => report::text(&told, &specs, seeds, text::width()),
        Format::Json => json(&report::json(&told))?,
    })?;
    let simulation = |failure: &Failure| matches!(failure.fault, Fault::Simulation { .. });
    Ok(match failures.is_empty() {
        true => AS_EXPECTED,
        false if failures.iter().any(simulation) => SIMULATION_FAILED,
        false => NOT_AS_EXPECTED,
    })
}
