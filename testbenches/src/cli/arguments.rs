//! What the command's arguments are.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use host_model::linux::Profile;

use super::values::{finding, kernel, link, own_link, scenarios, seed, step, topology};
use crate::device::LinkKind;
use crate::lock_limit::LockLimit;
use crate::report::finding_id::FindingId;
use crate::seeds::Seeds;
use crate::topology::Topology;

#[derive(Args)]
pub(super) struct ListArgs {
    /// Scenarios whose parameters and steps to list
    #[arg(value_parser = scenarios(), hide_possible_values = true)]
    pub(super) scenario: Vec<String>,
}

#[derive(Args)]
pub(super) struct RunArgs {
    /// Scenarios to run [default: all]
    #[arg(value_parser = scenarios(), hide_possible_values = true)]
    pub(super) scenario: Vec<String>,
    /// Everything, as a matrix: scenarios, kernel profiles, alias topologies
    #[arg(long, conflicts_with = "scenario")]
    pub(super) all: bool,
    /// Kernel profiles, see `list` [default: 6.12, 7.2; with --all: all]
    #[arg(long, value_name = "K", value_delimiter = ',', value_parser = kernel)]
    pub(super) kernel: Vec<Profile>,
    /// Alias topologies: a name that `list` shows, or the path of a topology file (FILE.toml) [default: all that are
    /// listed, with switchtec:4]
    #[arg(long, value_name = "T", value_delimiter = ',', value_parser = topology)]
    pub(super) aliases: Vec<Topology>,
    /// Fixes the order of what is simultaneous
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "0", allow_negative_numbers = true, value_parser = seed)]
    pub(super) seed: Vec<u64>,
    /// All seeds from A to B, B not included: what fails is told, made short, and how to repeat it
    #[arg(long, value_name = "A..B", conflicts_with = "seed")]
    pub(super) seeds: Option<Seeds>,
    /// A parameter of a scenario, which may be repeated; `list` names them
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) param: Vec<String>,
    /// Only these steps, by number (one scenario only); `list SCENARIO` numbers them
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = step)]
    pub(super) steps: Vec<usize>,
    /// Bits of a remapping entry
    #[arg(long, value_name = "BITS", default_value = "128", value_parser = PossibleValuesParser::new(["32", "128"]))]
    pub(super) irte: String,
    /// A lock that is held longer than this with interrupts off is a finding, such as 200us: of kind `held`
    #[arg(long, value_name = "TIME", default_value_t)]
    pub(super) lock_limit: LockLimit,
    /// Form of the results
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
    /// Write all events to FILE: lines of JSON, or for ui.perfetto.dev if its name ends in .pftrace
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Write the RTL's waves to FILE, in FST (one run only); of a second NTB with -2 in the name
    #[arg(long, value_name = "FILE")]
    pub(super) waves: Option<PathBuf>,
    /// Where the device runs: process, thread, or a path with a /, at which you start `device` (one run only; with two
    /// NTBs, given twice) [default: process; thread with --all and --seeds]
    #[arg(long, value_name = "LINK", value_parser = link)]
    pub(super) link: Vec<LinkKind>,
    /// Evaluate every clock cycle, also while the RTL is idle
    #[arg(long)]
    pub(super) every_cycle: bool,
}

#[derive(Args)]
pub(super) struct ExplainArgs {
    /// As `run` names it: affinity-move@6.12-func1:stale:41:00.1:0
    #[arg(value_parser = finding)]
    pub(super) finding: FindingId,
    /// Where the device runs: process or thread
    #[arg(long, value_name = "LINK", default_value = "process", value_parser = own_link)]
    pub(super) link: LinkKind,
}

#[derive(Args)]
pub(super) struct DeviceArgs {
    /// The link: a path, or - for a socket on standard input
    #[arg(long, value_name = "PATH")]
    pub(super) link: PathBuf,
    /// Which NTB: that of an alias topology, a name that `list` shows or a path (FILE.toml)
    #[arg(long, value_name = "T", default_value = "none", value_parser = topology)]
    pub(super) aliases: Topology,
    /// Write the RTL's waves to FILE, in FST
    #[arg(long, value_name = "FILE")]
    pub(super) waves: Option<PathBuf>,
    /// Evaluate every clock cycle, also while the RTL is idle
    #[arg(long)]
    pub(super) every_cycle: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}
