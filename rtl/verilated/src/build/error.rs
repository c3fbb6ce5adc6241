use std::fmt;
use std::io;
use std::path::PathBuf;

use super::messages::Message;
use super::ports::PortError;
use super::verilator::VerilatorError;

/// Why a model can't be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable Verilator.
    #[error(transparent)]
    Verilator(#[from] VerilatorError),
    /// Verilator refuses the design.
    #[error("{}", Lines(.0))]
    Design(Vec<Message>),
    /// The C++ compiler is missing or refuses the generated code.
    #[error("{0}")]
    Cxx(String),
    /// A port that has no Rust type.
    #[error("design `{design}`: {source}")]
    Port {
        /// Name of the top module.
        design: String,
        /// Which port, and why.
        source: PortError,
    },
    /// No such clock.
    #[error("design `{design}` has no 1-bit input `{clock}` for its clock; it has {inputs}")]
    Clock {
        /// Name of the top module.
        design: String,
        /// Asked for.
        clock: String,
        /// Its 1-bit inputs.
        inputs: String,
    },
    /// The design needs a part of the run-time library that models driven by clock cycles do not have.
    #[error(
        "design `{design}` needs Verilator's {parts}, which this crate does not drive (delays, DPI, coverage, ...)"
    )]
    Runtime {
        /// Name of the top module.
        design: String,
        /// Files of the run-time library.
        parts: String,
    },
    /// A trace without the feature `fst` in `[dependencies]`.
    #[error("`{0}` has a trace, for which [dependencies] must have `verilated` with the feature \"fst\"")]
    NoFst(String),
    /// The run-time library of this program is another Verilator's.
    #[error("the run-time library was built with {library}, this model would be with {model}")]
    OtherVerilator {
        /// Program.
        library: String,
        /// Program.
        model: String,
    },
    /// [`Model::ports_of`](super::Model::ports_of) names a model that is not built, or has other ports.
    #[error("`{model}` can't share the ports of `{other}`: {problem}")]
    PortsOf {
        /// This one.
        model: String,
        /// That one.
        other: String,
        /// Why not.
        problem: String,
    },
    /// A name that can't be one in Rust and C++.
    #[error("model name `{0}` is not an identifier of lower-case letters, digits and `_`")]
    Name(String),
    /// Cargo sets these for build scripts.
    #[error("environment variable {0} is not set; call this from build.rs")]
    Environment(&'static str),
    /// Files.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

struct Lines<'a>(&'a [Message]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for message in self.0 {
            write!(f, "{separator}{message}")?;
            separator = "\n";
        }
        Ok(())
    }
}

impl Error {
    /// Tells Cargo, which shows each line as an error of this package, and ends the build script.
    pub fn exit(&self) -> ! {
        for line in self.to_string().lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(0)
    }
}
