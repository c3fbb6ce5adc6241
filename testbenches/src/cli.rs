//! The `ntb-cosim` command.

mod all;
mod seeds;

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use host_model::checker::Verdict;
use host_model::linux::{Profile, UnknownProfile};
use serde::Serialize;

use crate::device::{self, DeviceOptions, ERROR, LinkKind};
use crate::matrix::Selection;
use crate::report::explain::long;
use crate::report::finding_id::{FindingId, ParseFindingIdError};
use crate::report::json::RunJson;
use crate::report::text;
use crate::rig::ScenarioError;
use crate::run::{IrteFormat, Outcome, SimulationError, Spec, run};
use crate::scenario::{ParameterError, Scenario, Values, check_names};
use crate::seeds::Seeds;
use crate::topology::{ParseTopologyError, Topology};
use crate::trace_file::{TraceFile, TraceFileError};

/// All verdicts are as expected.
const AS_EXPECTED: u8 = 0;
/// A verdict is not.
const NOT_AS_EXPECTED: u8 = 1;
/// Bad usage or input.
const BAD_INPUT: u8 = 2;
/// The simulation itself failed.
const SIMULATION_FAILED: u8 = 3;

/// Hardware-in-the-loop co-simulation of a PCIe NTB and an AMD IOMMU.
#[derive(Parser)]
#[command(name = "ntb-cosim", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// List scenarios, kernel profiles and alias topologies.
    List,
    /// Run scenarios and judge the interrupts.
    ///
    /// Exit status: 0 as expected, 1 what is found is not as expected, 2 bad usage or input, 3 the simulation failed.
    Run(Box<RunArgs>),
    /// Run the case of a finding again, and tell at length how it came about.
    ///
    /// Exit status: 0 it is told, 2 there is no such finding, 3 the simulation failed.
    Explain(Box<ExplainArgs>),
    /// The RTL side alone, for a host in another process.
    Device(DeviceArgs),
}

#[derive(Args)]
struct RunArgs {
    /// Scenarios to run [default: all]
    #[arg(value_parser = PossibleValuesParser::new(Scenario::ALL.map(|s| s.name)), hide_possible_values = true)]
    scenario: Vec<String>,
    /// Everything, as a matrix: scenarios, kernel profiles, alias topologies
    #[arg(long, conflicts_with = "scenario")]
    all: bool,
    /// Kernel profiles, see `list` [default: 6.12, 7.2; with --all: all]
    #[arg(long, value_name = "K", value_delimiter = ',', value_parser = kernel)]
    kernel: Vec<Profile>,
    /// Alias topologies: a name that `list` shows, or the path of a topology file (FILE.toml) [default: all that are
    /// listed, with switchtec:4]
    #[arg(long, value_name = "T", value_delimiter = ',', value_parser = topology)]
    aliases: Vec<Topology>,
    /// Fixes the order of what is simultaneous
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "0", allow_negative_numbers = true, value_parser = seed)]
    seed: Vec<u64>,
    /// All seeds from A to B, B not included: what fails is told, made short, and how to repeat it
    #[arg(long, value_name = "A..B", conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// A parameter of a scenario; `list` names them
    #[arg(long, value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// Only these steps, by number (one scenario only)
    #[arg(long, value_name = "N", value_delimiter = ',')]
    steps: Vec<usize>,
    /// Bits of a remapping entry
    #[arg(long, value_name = "BITS", default_value = "128", value_parser = PossibleValuesParser::new(["32", "128"]))]
    irte: String,
    /// Form of the results
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Write all events to FILE: lines of JSON, or for ui.perfetto.dev if its name ends in .pftrace
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write the RTL's waves to FILE, in FST (one run only)
    #[arg(long, value_name = "FILE")]
    waves: Option<PathBuf>,
    /// Where the device runs: process, thread, or a path with a /, at which you start `device` (one run only) [default:
    /// process; thread with --all and --seeds]
    #[arg(long, value_name = "LINK", value_parser = link)]
    link: Option<LinkKind>,
    /// Evaluate every clock cycle, also while the RTL is idle
    #[arg(long)]
    every_cycle: bool,
}

#[derive(Args)]
struct ExplainArgs {
    /// As `run` names it: affinity-move@6.12-func1:stale:41:00.1:0
    #[arg(value_parser = finding)]
    finding: FindingId,
    /// Where the device runs: process or thread
    #[arg(long, value_name = "LINK", default_value = "process", value_parser = own_link)]
    link: LinkKind,
}

#[derive(Args)]
struct DeviceArgs {
    /// The link: a path, or - for a socket on standard input
    #[arg(long, value_name = "PATH")]
    link: PathBuf,
    /// Which NTB: that of an alias topology, a name that `list` shows or a path (FILE.toml)
    #[arg(long, value_name = "T", default_value = "none", value_parser = topology)]
    aliases: Topology,
    /// Write the RTL's waves to FILE, in FST
    #[arg(long, value_name = "FILE")]
    waves: Option<PathBuf>,
    /// Evaluate every clock cycle, also while the RTL is idle
    #[arg(long)]
    every_cycle: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Why the command ends early.
enum Stop {
    Input(String),
    Simulation(String),
    Output(io::Error),
}

/// Runs the command.
pub fn main() -> ExitCode {
    let status = match Cli::parse().command {
        Subcommands::List => list(),
        Subcommands::Run(args) => run_all(&args),
        Subcommands::Explain(args) => explain(&args),
        Subcommands::Device(args) => run_device(args),
    };
    ExitCode::from(status.unwrap_or_else(|stop| match stop {
        Stop::Input(message) => {
            complain(message);
            BAD_INPUT
        }
        Stop::Simulation(message) => {
            complain(message);
            SIMULATION_FAILED
        }
        // The reader has what it wanted.
        Stop::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => AS_EXPECTED,
        Stop::Output(error) => {
            complain(format!("can't write the results: {error}"));
            SIMULATION_FAILED
        }
    }))
}

impl From<TraceFileError> for Stop {
    fn from(error: TraceFileError) -> Self {
        Self::Input(error.to_string())
    }
}

fn complain(message: impl Display) {
    // Where standard error can't be written, the exit status has to do.
    let _ = writeln!(anstream::stderr(), "{ERROR}{message}");
}

fn list() -> Result<u8, Stop> {
    let mut out = anstream::stdout().lock();
    let mut section = |title: &str, rows: Vec<(String, String)>| -> io::Result<()> {
        writeln!(out, "{title}")?;
        let column = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(16);
        let indent = " ".repeat(column + 4);
        for (name, sentence) in rows {
            let wrap = textwrap::Options::new(text::width()).subsequent_indent(&indent);
            writeln!(
                out,
                "{}",
                textwrap::fill(&format!("  {name:column$}  {sentence}"), wrap)
            )?;
        }
        Ok(())
    };
    let scenarios = Scenario::ALL.into_iter().flat_map(|scenario| {
        let parameters = scenario.parameters.iter().map(|parameter| {
            let (name, range) = (parameter.name, &parameter.range);
            let sentence = parameter.sentence;
            let (min, max, default) = (range.start(), range.end(), parameter.default);
            (
                format!("  --param {name}"),
                format!("{sentence}: {min} to {max} [{default}]"),
            )
        });
        std::iter::once((scenario.name.to_owned(), scenario.sentence.to_owned())).chain(parameters)
    });
    let kernels = Profile::ALL.map(|p| match p.irt_flush.all_above {
        Some(_) => (format!("{}:N", p.name), p.sentence()),
        None => (p.name.to_owned(), p.sentence()),
    });
    let mut topologies: Vec<_> = Topology::built_in()
        .iter()
        .map(|t| (t.pattern(), t.sentence().to_owned()))
        .collect();
    topologies.push((
        "FILE.toml".to_owned(),
        "one of your own: the README tells how to write it".to_owned(),
    ));
    section("Scenarios", scenarios.collect())
        .and_then(|()| section("\nKernel profiles (--kernel)", kernels.into()))
        .and_then(|()| section("\nAlias topologies (--aliases)", topologies))
        .map_err(Stop::Output)?;
    Ok(AS_EXPECTED)
}

fn run_all(args: &RunArgs) -> Result<u8, Stop> {
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
    let link = args.link.clone().map_or_else(process, Ok).map_err(Stop::Input)?;
    for (flag, given) in [
        ("--waves", args.waves.is_some()),
        ("--link PATH", matches!(link, LinkKind::Path(_))),
    ] {
        if given && specs.len() != 1 {
            return Err(Stop::Input(format!(
                "{flag} is for one run, and these are {}: name one scenario, one --kernel, one --aliases, one --seed",
                specs.len()
            )));
        }
    }
    if let Some(waves) = &args.waves {
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
        emit(&results.text(args.format)?)?;
    }
    ran.map(|()| results.status())
}

/// Results to come, and those of the runs so far.
#[derive(Default)]
struct Results {
    json: Vec<RunJson>,
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
                LinkKind::Path(path) => {
                    format!(
                        ", with `ntb-cosim device --link {} --aliases {}`",
                        path.display(),
                        spec.topology
                    )
                }
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
            let outcome = result.map_err(|error| stop(&name, &error))?;
            self.trace(&name, spec, &outcome);
            self.verdicts.push((outcome.verdict, outcome.is_expected()));
            match args.format {
                Format::Json => self.json.push(RunJson::new(spec, &outcome)),
                Format::Text => emit(&text::run(spec, &outcome, text::width()))?,
            }
        }
        Ok(())
    }

    /// A trace that can't be written takes no results with it.
    fn trace(&mut self, name: &str, spec: &Spec, outcome: &Outcome) {
        let Some(file) = &mut self.trace else { return };
        if let Err(error) = file.write(name, spec, outcome) {
            complain(format!("{error}; the trace ends there"));
            self.trace = None;
            self.trace_failed = true;
        }
    }

    /// What ends the output.
    fn text(&self, format: Format) -> Result<String, Stop> {
        match format {
            Format::Json => json(&self.json),
            Format::Text => Ok(text::summary(&self.verdicts)),
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

/// In the order of their lists; a name given twice counts once.
fn selection(args: &RunArgs) -> Result<Selection, Stop> {
    let chosen = |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
    let mut scenarios = Scenario::ALL.to_vec();
    scenarios.retain(|scenario| chosen(&args.scenario, scenario.name));
    let input = |error: ParameterError| Stop::Input(error.to_string());
    check_names(&scenarios, &args.param).map_err(input)?;
    if !args.steps.is_empty() && scenarios.len() != 1 {
        let count = scenarios.len();
        return Err(Stop::Input(format!(
            "--steps is for one scenario, and these are {count}"
        )));
    }
    Ok(Selection {
        scenarios: scenarios
            .into_iter()
            .map(|scenario| Ok((scenario, Values::parse(&scenario, &args.param)?)))
            .collect::<Result<_, _>>()
            .map_err(input)?,
        profiles: match args.kernel.as_slice() {
            [] if args.all => Profile::ALL.into(),
            [] => Profile::DEFAULT.into(),
            named => once_each(named),
        },
        topologies: match args.aliases.as_slice() {
            [] => Topology::built_in().to_vec(),
            named => once_each(named),
        },
        irte: if args.irte == "32" {
            IrteFormat::Bits32
        } else {
            IrteFormat::Bits128
        },
        steps: (!args.steps.is_empty()).then(|| args.steps.iter().copied().collect()),
    })
}

/// How each of many runs is run.
fn many(args: &RunArgs) -> Result<impl Fn(&Spec) -> Result<Outcome, SimulationError> + Sync, Stop> {
    if let Some(LinkKind::Path(_)) = args.link {
        return Err(Stop::Input("--link PATH is for one run".to_owned()));
    }
    let link = args.link.clone().unwrap_or(LinkKind::Thread);
    let every_cycle = args.every_cycle;
    Ok(move |spec: &Spec| {
        let options = DeviceOptions {
            topology: spec.topology.clone(),
            every_cycle,
            waves: None,
        };
        run(spec, &link, &options)
    })
}

fn json(results: &impl Serialize) -> Result<String, Stop> {
    serde_json::to_string_pretty(results)
        .map(|text| text + "\n")
        .map_err(|error| Stop::Output(error.into()))
}

/// In the order of their first mention.
fn once_each<T: Clone + PartialEq>(named: &[T]) -> Vec<T> {
    let mut once = Vec::new();
    for value in named {
        if !once.contains(value) {
            once.push(value.clone());
        }
    }
    once
}

fn explain(ExplainArgs { finding, link }: &ExplainArgs) -> Result<u8, Stop> {
    let spec = &finding.spec;
    let device = DeviceOptions {
        topology: spec.topology.clone(),
        every_cycle: false,
        waves: None,
    };
    progress(&spec.to_string());
    let outcome = run(spec, link, &device);
    progress("");
    let outcome = outcome.map_err(|error| stop(&spec.to_string(), &error))?;
    let text = long(finding, &outcome, text::width()).map_err(|error| Stop::Input(error.to_string()))?;
    emit(&text)?;
    Ok(AS_EXPECTED)
}

/// Why a run has no outcome.
fn stop(name: &str, error: &SimulationError) -> Stop {
    let message = format!("{name}: {error}");
    match error {
        SimulationError::Steps(_) | SimulationError::Scenario(ScenarioError::NotApplicable(_)) => {
            Stop::Input(message)
        }
        _ => Stop::Simulation(message),
    }
}

fn run_device(args: DeviceArgs) -> Result<u8, Stop> {
    let DeviceArgs {
        link,
        aliases,
        waves,
        every_cycle,
    } = args;
    if let Some(waves) = &waves {
        device::check_writable(waves).map_err(|error| cannot_write(waves, &error))?;
    }
    progress(&format!("{aliases}, for a host at {}", link.display()));
    let options = DeviceOptions {
        topology: aliases,
        every_cycle,
        waves,
    };
    let result = device::open(&link).and_then(|port| device::run(port, &options));
    progress("");
    result.map_err(|error| Stop::Simulation(error.to_string()))?;
    Ok(AS_EXPECTED)
}

fn cannot_write(path: &Path, error: &io::Error) -> Stop {
    Stop::Input(format!("can't write {}: {error}", path.display()))
}

fn emit(text: &str) -> Result<(), Stop> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Stop::Output)
}

/// Overwrites the line of progress, on a terminal.
fn progress(text: &str) {
    let mut err = io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
    }
}

fn link(text: &str) -> Result<LinkKind, String> {
    match text {
        "process" => process(),
        "thread" => Ok(LinkKind::Thread),
        path if path.contains('/') => Ok(LinkKind::Path(path.into())),
        other => Err(format!(
            "`{other}` is none of process, thread, or a path with a /"
        )),
    }
}

fn process() -> Result<LinkKind, String> {
    env::current_exe()
        .map(LinkKind::Process)
        .map_err(|error| format!("can't find this program for the device process: {error}"))
}

/// One that needs nobody else.
fn own_link(text: &str) -> Result<LinkKind, String> {
    match link(text)? {
        LinkKind::Path(_) => Err("`explain` starts the device itself: process or thread".to_owned()),
        own => Ok(own),
    }
}

fn finding(text: &str) -> Result<FindingId, String> {
    text.parse()
        .map_err(|error: ParseFindingIdError| error.to_string())
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("a seed is a number from 0 to {}", u64::MAX))
}

fn topology(text: &str) -> Result<Topology, String> {
    text.parse().map_err(|error: ParseTopologyError| {
        if !matches!(error, ParseTopologyError::Unknown(_)) {
            return error.to_string();
        }
        let names: Vec<_> = Topology::built_in().iter().map(Topology::to_string).collect();
        with_names(&error, text, &names)
    })
}

fn kernel(text: &str) -> Result<Profile, String> {
    text.parse().map_err(|error| match error {
        UnknownProfile::Parameter { .. } => error.to_string(),
        UnknownProfile::Name(_) => with_names(&error, text, &Profile::ALL.map(|profile| profile.to_string())),
    })
}

/// An error about a name, with the nearest that there is, or all.
fn with_names(error: &impl std::fmt::Display, text: &str, names: &[String]) -> String {
    let likeness = |name: &str| strsim::jaro(text, name);
    let nearest = names
        .iter()
        .filter(|name| likeness(name) > 0.7)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(name) => format!("{error}; did you mean `{name}`?"),
        None => format!("{error}; possible are {}", names.join(", ")),
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
        assert!(
            results
                .text(Format::Text)
                .is_ok_and(|text| text.contains("1 not as expected"))
        );
    }
}
