#![doc = include_str!("../../traces.md")]

mod json_lines;
mod perfetto;
mod record;
#[cfg(test)]
mod tests;
mod text;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use host_model::checker::{Explanation, Finding};
use host_model::trace::{Event, Kind};
use sim_bridge::SimTime;

use crate::run::{Outcome, Spec};

/// A trace file can't be written.
#[derive(Debug, thiserror::Error)]
#[error("can't write {}: {source}", path.display())]
pub struct TraceFileError {
    path: PathBuf,
    source: io::Error,
}

/// A trace file while it is written, a run after the other. Perfetto's format if the name ends in `.pftrace`,
/// otherwise JSON lines.
pub struct TraceFile {
    path: PathBuf,
    out: BufWriter<File>,
    perfetto: bool,
    runs: u32,
}

/// What is written of a run.
struct Run<'a> {
    name: &'a str,
    spec: &'a Spec,
    outcome: &'a Outcome,
}

impl TraceFile {
    /// Replaces what is there.
    ///
    /// # Errors
    /// It can't be created.
    pub fn create(path: &Path) -> Result<Self, TraceFileError> {
        let path = path.to_owned();
        match File::create(&path) {
            Ok(file) => Ok(Self {
                perfetto: path
                    .extension()
                    .is_some_and(|it| it.eq_ignore_ascii_case("pftrace")),
                out: BufWriter::new(file),
                path,
                runs: 0,
            }),
            Err(source) => Err(TraceFileError { path, source }),
        }
    }

    /// Writes a run, all of it: what can't be written is an error here and not later.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&mut self, name: &str, spec: &Spec, outcome: &Outcome) -> Result<(), TraceFileError> {
        let run = Run { name, spec, outcome };
        self.runs += 1;
        let written = if self.perfetto {
            perfetto::write(&mut self.out, self.runs, &run)
        } else {
            json_lines::write(&mut self.out, &run)
        };
        written
            .and_then(|()| self.out.flush())
            .map_err(|source| TraceFileError {
                path: self.path.clone(),
                source,
            })
    }
}

impl Run<'_> {
    /// The time of the last event.
    fn end(&self) -> SimTime {
        let times = self.outcome.events.iter().map(|event| event.time);
        times.max().unwrap_or_default()
    }
}

/// When a finding's history ends; of one without, when its interrupt ended. The last event's time if it never did.
fn finding_time(finding: &Finding, outcome: &Outcome) -> SimTime {
    let told = Explanation::alone(finding);
    if let Some((time, _)) = told.history().last() {
        return *time;
    }
    let is_it = |event: &&Event| match event.kind {
        Kind::Ended { request, ending } => {
            finding.subject.requester() == Some(request.requester) && finding.endings.first() == Some(&ending)
        }
        _ => false,
    };
    let ended = outcome.events.iter().find(is_it);
    ended
        .or(outcome.events.last())
        .map_or(SimTime::ZERO, |event| event.time)
}
