//! The `ntb-cosim` command.

mod all;
mod arguments;
mod device;
mod explain;
mod files;
mod list;
mod output;
mod run;
mod seeds;
mod selection;
mod values;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::arguments::{DeviceArgs, ExplainArgs, ListArgs, RunArgs};
use self::output::complain;
use crate::run::SimulationError;
use crate::trace_file::TraceFileError;

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
    /// List scenarios, kernel profiles and alias topologies; or the steps of a scenario.
    List(ListArgs),
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

/// Why the command ends early.
enum Stop {
    Input(String),
    Simulation(String),
    Output(io::Error),
}

/// Runs the command.
pub fn main() -> ExitCode {
    let status = match Cli::parse().command {
        Subcommands::List(args) => list::list(&args),
        Subcommands::Run(args) => run::scenarios(&args),
        Subcommands::Explain(args) => explain::explain(&args),
        Subcommands::Device(args) => device::device(args),
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

/// Why a run has no outcome.
fn stop(name: &str, error: &SimulationError) -> Stop {
    let message = format!("{name}: {error}");
    match error.is_about_input() {
        true => Stop::Input(message),
        false => Stop::Simulation(message),
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Stop {
    Stop::Input(format!("can't write {}: {error}", path.display()))
}
