//! What is written where: results to standard output, complaints and progress to standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::Stop;
use crate::device::ERROR;

pub(super) fn complain(message: impl Display) {
    // Where standard error can't be written, the exit status has to do.
    let _ = writeln!(anstream::stderr(), "{ERROR}{message}");
}

pub(super) fn json(results: &impl Serialize) -> Result<String, Stop> {
    serde_json::to_string_pretty(results)
        .map(|text| text + "\n")
        .map_err(|error| Stop::Output(error.into()))
}

pub(super) fn emit(text: &str) -> Result<(), Stop> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Stop::Output)
}

/// Overwrites the line of progress, on a terminal.
pub(super) fn progress(text: &str) {
    let mut err = io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
    }
}
