use std::io;
use std::path::PathBuf;

/// Why a model will not run any further. File names are as `build.rs` gave them to Verilator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// `$finish`.
    #[error("{file}:{line}: $finish")]
    Finish {
        /// Where.
        file: String,
        /// Where.
        line: u32,
    },
    /// `$stop`.
    #[error("{file}:{line}: $stop")]
    Stop {
        /// Where.
        file: String,
        /// Where.
        line: u32,
    },
    /// A failed assertion or `$error`; with Verilator 5.006 also `$fatal`, which it does not tell from `$error`.
    #[error("{file}:{line}: {message}")]
    Assertion {
        /// Where.
        file: String,
        /// Where.
        line: u32,
        /// Verilator's text, as `Assertion failed in fifo.no_overflow: written while full`.
        message: String,
    },
    /// `$fatal`, or what the Verilator run time can't go on after, as combinational logic that does not settle.
    #[error("{file}:{line}: fatal: {message}")]
    Fatal {
        /// Where; the run time's own source for some errors.
        file: String,
        /// Where.
        line: u32,
        /// What.
        message: String,
    },
    /// [`Model::finish`](crate::Model::finish) was called.
    #[error("the model has run its final blocks")]
    Finished,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The simulation has ended, in this call or an earlier one.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// A rising edge that is not after the one before.
    #[error("rising clock edge at {asked} ps asked for, but simulated time is already {now} ps")]
    TimeBackwards {
        /// Picoseconds.
        now: u64,
        /// Picoseconds.
        asked: u64,
    },
    /// A plusarg that can't be passed.
    #[error("plusarg {arg:?} {problem}")]
    Plusarg {
        /// As given.
        arg: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The design was built without `.trace(true)`.
    #[error("design `{design}` was built without trace")]
    NoTrace {
        /// Its name.
        design: &'static str,
    },
    /// No trace is open, or one is already.
    #[error("{0}")]
    TraceState(&'static str),
    /// The trace file can't be written.
    #[error("can't write the trace {}: {source}", path.display())]
    TraceFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
