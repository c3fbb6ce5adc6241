use std::fmt;
use std::ops::Range;

use host_model::pci::TreeError;
use sim_bridge::RequesterId;

/// What was given is no alias topology.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTopologyError {
    /// No topology has this name.
    #[error("there is no alias topology `{0}`")]
    Unknown(String),
    /// `switchtec` without a number that it can have.
    #[error("`{0}`: a Switchtec table has 1 to 256 entries, such as switchtec:4")]
    Entries(String),
    /// The file can't be read.
    #[error("can't read {path}: {why}")]
    Read {
        /// As it was given.
        path: String,
        /// Why not.
        why: String,
    },
    /// The file has a mistake.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A mistake in a topology file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {key}{problem}", key = KeyColon(key))]
pub struct FileError {
    /// As it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// Such as `function[2].secondary`; empty for the whole file.
    pub key: String,
    /// What is wrong.
    pub problem: Problem,
}

struct KeyColon<'a>(&'a str);

impl fmt::Display for KeyColon<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            key => write!(f, "`{key}`: "),
        }
    }
}

/// What is wrong with a topology file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No TOML, an unknown key, or a value of the wrong type or form.
    #[error("{0}")]
    Form(String),
    /// A function or bus can't be there.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// No function has a role that one must have.
    #[error("no function has role = \"{0}\"")]
    NoRole(&'static str),
    /// More than one NTB.
    #[error("a second NTB: {0} is one already")]
    SecondNtb(RequesterId),
    /// A key that makes no sense beside the others.
    #[error("{0} has none")]
    NotOf(&'static str),
    /// A key that the others ask for.
    #[error("{0} needs one")]
    NeededBy(&'static str),
    /// A bridge with a role.
    #[error("a bridge has no role")]
    BridgeRole,
    /// A number too large.
    #[error("{value} ({value:#x}) is more than {max} ({max:#x})")]
    TooLarge {
        /// As given.
        value: u32,
        /// The largest possible.
        max: u32,
    },
    /// A vendor ID that a function can't have.
    #[error("vendor ffff stands for no function")]
    NoVendor,
    /// The ID of the CPUs' own requests.
    #[error("00:00.0 is the root complex")]
    RootComplex,
    /// The RTL has no other function than 0.
    #[error("{0}: the RTL is function 0 of its device")]
    NtbFunction(RequesterId),
    /// The same twice.
    #[error("{0} is there twice")]
    Twice(String),
    /// A range that ends before it begins.
    #[error("{last} comes before {first}")]
    Range {
        /// Its first ID.
        first: RequesterId,
        /// Its last ID.
        last: RequesterId,
    },
}

/// A [`FileError`] that is yet to get file and line.
#[derive(Debug)]
pub(super) struct Mistake {
    /// Bytes of the text.
    pub(super) span: Range<usize>,
    pub(super) key: String,
    pub(super) problem: Problem,
}

impl Mistake {
    pub(super) fn at(self, file: &str, text: &str) -> FileError {
        let before = text.bytes().take(self.span.start);
        FileError {
            file: file.to_owned(),
            line: 1 + before.filter(|byte| *byte == b'\n').count(),
            key: self.key,
            problem: self.problem,
        }
    }
}
