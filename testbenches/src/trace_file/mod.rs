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

use crate::run::{Hardware, Outcome, RunFailure, SimulationError, Spec};

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
    hardware: &'a Hardware,
    events: &'a [Event],
    findings: &'a [Finding],
    result: Result<&'a Outcome, &'a SimulationError>,
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

    /// Writes a run, all of it: what can't be written is an error here and not later. Of one that failed, what there was
    /// until then; of one that never began, nothing.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(
        &mut self,
        name: &str,
        spec: &Spec,
        result: Result<&Outcome, &RunFailure>,
    ) -> Result<(), TraceFileError> {
        let Some(run) = Run::of(name, spec, result) else {
            return Ok(());
        };
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

impl<'a> Run<'a> {
    /// `None` if it never began.
    fn of(name: &'a str, spec: &'a Spec, result: Result<&'a Outcome, &'a RunFailure>) -> Option<Self> {
        Some(match result {
            Ok(outcome) => Self {
                name,
                spec,
                hardware: &outcome.hardware,
                events: &outcome.events,
                findings: &outcome.findings,
                result: Ok(outcome),
            },
            Err(RunFailure { error, recorded }) => {
                let recorded = recorded.as_ref()?;
                Self {
                    name,
                    spec,
                    hardware: &recorded.hardware,
                    events: &recorded.events,
                    findings: &recorded.findings,
                    result: Err(error),
                }
            }
        })
    }

    /// The time of the last event.
    fn end(&self) -> SimTime {
        let times = self.events.iter().map(|event| event.time);
        times.max().unwrap_or_default()
    }
}

/// When a finding's history ends; of one without, when its interrupt ended. The last event's time if it never did.
fn finding_time(finding: &Finding, events: &[Event]) -> SimTime {
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
    let ended = events.iter().find(is_it);
    ended.or(events.last()).map_or(SimTime::ZERO, |event| event.time)
}
