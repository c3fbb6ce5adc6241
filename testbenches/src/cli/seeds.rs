//! `run --seeds`.

use super::arguments::{Format, RunArgs};
use super::output::{JsonArray, emit, progress};
use super::selection::many;
use super::{AS_EXPECTED, NOT_AS_EXPECTED, SIMULATION_FAILED, Stop};
use crate::matrix::Selection;
use crate::report::seeds::{self as report, FailureJson};
use crate::report::text;
use crate::seeds::{Failure, Fault, Seeds, search, shortest};

pub(super) fn run(args: &RunArgs, selection: &Selection, seeds: &Seeds) -> Result<u8, Stop> {
    let run = many(args)?;
    let mut specs = selection.specs(&[0]);
    specs.retain(|spec| !spec.expected().is_senseless());
    let all = specs.len().saturating_mul(seeds.count());
    let mut json = JsonArray::default();
    // Of one combination that fails in one way, the first.
    let mut firsts: Vec<Failure> = Vec::new();
    let (mut failures, mut simulation_failed) = (0, false);
    search(
        &specs,
        seeds,
        &run,
        |ended, last, failed| progress(&format!("[{ended}/{all}] {failed} failed: {last}")),
        |failure| {
            progress("");
            if let Fault::Steps(why) = &failure.fault {
                return Err(Stop::Input(format!("{}: {why}", failure.spec)));
            }
            failures += 1;
            simulation_failed |= matches!(failure.fault, Fault::Simulation { .. });
            if args.format == Format::Text {
                emit(&report::failure(&failure, text::width()))?;
            }
            let known = firsts.iter().any(|other| other.is_like(&failure));
            let short = if known {
                None
            } else {
                progress(&format!("shortening {}", failure.spec));
                firsts.push(failure.clone());
                shortest(&failure, &run)
            };
            progress("");
            match (args.format, &short) {
                (Format::Text, Some(short)) => emit(&report::short(short)),
                (Format::Text, None) => Ok(()),
                (Format::Json, short) => json.push(&FailureJson::new(&failure, short.as_ref())),
            }
        },
    )?;
    progress("");
    match args.format {
        Format::Text => emit(&report::summary(failures, &specs, seeds))?,
        Format::Json => json.end()?,
    }
    Ok(match failures {
        0 => AS_EXPECTED,
        _ if simulation_failed => SIMULATION_FAILED,
        _ => NOT_AS_EXPECTED,
    })
}
