//! `run --all`.

use super::arguments::{Format, RunArgs};
use super::output::{emit, json, progress};
use super::selection::many;
use super::{AS_EXPECTED, NOT_AS_EXPECTED, SIMULATION_FAILED, Stop};
use crate::matrix::{Matrix, Selection};
use crate::report::{matrix, text};

pub(super) fn matrix(args: &RunArgs, selection: Selection) -> Result<u8, Stop> {
    let [seed] = args.seed[..] else {
        return Err(Stop::Input(format!(
            "--all is for one --seed, and these are {}: --seeds A..B runs everything under several",
            args.seed.len()
        )));
    };
    let run = many(args)?;
    let matrix = Matrix::run(selection, seed, run, |ended, of, last| {
        progress(&format!("[{ended}/{of}] {last}"));
    });
    progress("");
    emit(&match args.format {
        Format::Text => matrix::text(&matrix, text::width()),
        Format::Json => json(&matrix::json(&matrix))?,
    })?;
    Ok(match matrix.first_column_that_differs() {
        _ if matrix.has_failed() => SIMULATION_FAILED,
        Some(_) => NOT_AS_EXPECTED,
        None => AS_EXPECTED,
    })
}
