//! `run`.

use std::path::PathBuf;

use host_model::checker::Verdict;

use super::arguments::{Format, RunArgs};
use super::files::{Named, check_distinct};
use super::output::{JsonArray, complain, emit, progress};
use super::selection::{once_each, selection};
use super::values::{joined, process};
use super::{AS_EXPECTED, BAD_INPUT, NOT_AS_EXPECTED, Stop, all, cannot_write, seeds, stop};
use crate::device::{self, DeviceOptions, LinkKind};
use crate::report::json::RunJson;
use crate::report::text;
use crate::run::{Outcome, RunFailure, Spec, run};
use crate::scenario::Plan;
use crate::trace_file::TraceFile;

pub(super) fn scenarios(args: &RunArgs) -> Result<u8, Stop> {
    let selection = selection(args)?;
    if args.all || args.seeds.is_some() {
        for (flag, given) in [
            ("--trace", args.trace.is_some()),
            ("--waves", args.waves.is_some()),
        ] {
            if given {
                return Err(Stop::Input(format!(
                    "{flag} is neither for --all nor for --seeds"
                )));
            }
        }
        return match &args.seeds {
            Some(seeds) => seeds::run(args, &selection, seeds),
            None => all::matrix(args, selection),
        };
    }
    let specs = selection.specs(&once_each(&args.seed));
    let link = joined(&args.link)?
        .map_or_else(process, Ok)
        .map_err(Stop::Input)?;
    for (flag, given) in [
        ("--waves", args.waves.is_some()),
        ("--link PATH", matches!(link, LinkKind::Paths(_))),
    ] {
        if given && specs.len() != 1 {
            return Err(Stop::Input(format!(
                "{flag} is for one run, and these are {}: name one scenario, one --kernel, one --aliases, one --seed",
                specs.len()
            )));
        }
    }
    let waves = match (&args.waves, &specs[..]) {
        (Some(path), [spec]) => {
            let ntbs = 0..Plan::of(spec).host.ntbs();
            ntbs.map(|number| device::waves_of(path, number)).collect()
        }
        _ => Vec::new(),
    };
    check_files(args, &link, &waves)?;
    for waves in &waves {
        device::check_writable(waves).map_err(|error| cannot_write(waves, &error))?;
    }
    let trace = args.trace.as_deref().map(TraceFile::create).transpose()?;
    let mut results = Results {
        trace,
        ..Results::default()
    };
    let ran = results.run_each(args, &link, &specs);
    // A run that fails does not take the results of those before it.
    if ran.is_ok() || !results.verdicts.is_empty() {
        results.end(args.format)?;
    }
    ran.map(|()| results.status())
}

/// Whether what is written is what is written elsewhere, or read.
fn check_files(args: &RunArgs, link: &LinkKind, waves: &[PathBuf]) -> Result<(), Stop> {
    let links = match link {
        LinkKind::Paths(paths) => &paths[..],
        LinkKind::Process(_) | LinkKind::Thread => &[],
    };
    let links = links.iter().map(|path| Named::new("--link", Some(path)));
    let waves = waves.iter().map(|path| Named::new("--waves", Some(path)));
    let trace = [Named::new("--trace", args.trace.as_deref())];
    let written: Vec<_> = links.chain(trace).chain(waves).collect();
    let read = args
        .aliases
        .iter()
        .map(|topology| Named::new("--aliases", topology.path()));
    check_distinct(&written, &read.collect::<Vec<_>>())
}

/// Results to come, and those of the runs so far.
#[derive(Default)]
struct Results {
    json: JsonArray,
    verdicts: Vec<(Verdict, bool)>,
    /// Until it can't be written.
    trace: Option<TraceFile>,
    trace_failed: bool,
}

impl Results {
    fn run_each(&mut self, args: &RunArgs, link: &LinkKind, specs: &[Spec]) -> Result<(), Stop> {
        for (n, spec) in specs.iter().enumerate() {
            let name = spec.to_string();
            let expected = spec.expected();
            if expected.is_senseless() {
                if args.format == Format::Text {
                    emit(&text::senseless(spec, expected.because))?;
                }
                continue;
            }
            let wants = match link {
                LinkKind::Paths(paths) => paths
                    .iter()
                    .map(|path| {
                        format!(
                            ", with `ntb-cosim device --link {} --aliases {}`",
                            path.display(),
                            spec.topology
                        )
                    })
                    .collect(),
                LinkKind::Process(_) | LinkKind::Thread => String::new(),
            };
            progress(&format!("[{}/{}] {name}{wants}", n + 1, specs.len()));
            let options = DeviceOptions {
                topology: spec.topology.clone(),
                every_cycle: args.every_cycle,
                waves: args.waves.clone(),
            };
            let result = run(spec, link, &options);
            progress("");
            self.trace(&name, spec, result.as_ref());
            let outcome = result.map_err(|failure| stop(&name, &failure.error))?;
            self.verdicts.push((outcome.verdict, outcome.is_expected()));
            match args.format {
                Format::Json => self.json.push(&RunJson::new(spec, &outcome))?,
                Format::Text => emit(&text::run(spec, &outcome, text::width()))?,
            }
        }
        Ok(())
    }

    /// A trace that can't be written takes no results with it.
    fn trace(&mut self, name: &str, spec: &Spec, result: Result<&Outcome, &RunFailure>) {
        let Some(file) = &mut self.trace else { return };
        if let Err(error) = file.write(name, spec, result) {
            complain(format!("{error}; the trace ends there"));
            self.trace = None;
            self.trace_failed = true;
        }
    }

    /// What ends the output.
    fn end(&self, format: Format) -> Result<(), Stop> {
        match format {
            Format::Json => self.json.end(),
            Format::Text => emit(&text::summary(&self.verdicts)),
        }
    }

    fn status(&self) -> u8 {
        if self.trace_failed {
            BAD_INPUT
        } else if self.verdicts.iter().all(|(_, expected)| *expected) {
            AS_EXPECTED
        } else {
            NOT_AS_EXPECTED
        }
    }
}

#[cfg(test)]
mod tests {
    use host_model::checker::FindingKind;

    use super::*;

    #[test]
    fn one_unexpected_verdict_makes_the_status_1() {
        let stale = (Verdict::Bad(FindingKind::Stale), true);
        let mut results = Results {
            verdicts: vec![(Verdict::Coherent, true), stale],
            ..Results::default()
        };
        assert_eq!(results.status(), AS_EXPECTED);
        results.verdicts.push((Verdict::Coherent, false));
        assert_eq!(results.status(), NOT_AS_EXPECTED);
        assert!(text::summary(&results.verdicts).contains("1 not as expected"));
    }
}
