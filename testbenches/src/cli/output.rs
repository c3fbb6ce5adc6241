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
    Ok(pretty(results)? + "\n")
}

fn pretty(results: &impl Serialize) -> Result<String, Stop> {
    serde_json::to_string_pretty(results).map_err(|error| Stop::Output(error.into()))
}

pub(super) fn emit(text: &str) -> Result<(), Stop> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Stop::Output)
}

/// An array, written as its elements come.
#[derive(Default)]
pub(super) struct JsonArray {
    has_some: bool,
}

impl JsonArray {
    pub(super) fn push(&mut self, element: &impl Serialize) -> Result<(), Stop> {
        let before = if self.has_some { ",\n  " } else { "[\n  " };
        self.has_some = true;
        emit(&format!("{before}{}", pretty(element)?.replace('\n', "\n  ")))
    }

    pub(super) fn end(&self) -> Result<(), Stop> {
        emit(if self.has_some { "\n]\n" } else { "[]\n" })
    }
}

/// Overwrites the line of progress, on a terminal.
pub(super) fn progress(text: &str) {
    let mut err = io::stderr();
    if err.is_terminal() {
        // A line that is broken is not overwritten as a whole.
        let text: String = text
            .chars()
            .take(textwrap::termwidth().saturating_sub(1))
            .collect();
        let _ = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
    }
}
