//! Finds Verilator and asks it what it is. Also compiled into this crate's own build script.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Verilator release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 5 in 5.006.
    pub major: u32,
    /// 6 in 5.006.
    pub minor: u32,
}

/// The oldest release that will do: Debian 12's.
pub const OLDEST: Version = Version { major: 5, minor: 6 };

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.major, self.minor)
    }
}

impl Version {
    /// From the answer to `verilator --version`, as `Verilator 5.006 2023-01-22 rev (Debian 5.006-3)`.
    fn parse(answer: &str) -> Option<Version> {
        let mut words = answer.split_whitespace().skip_while(|w| *w != "Verilator");
        let (major, minor) = words.nth(1)?.split_once('.')?;
        Some(Version {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

/// Why there is no usable Verilator.
#[derive(Debug, thiserror::Error)]
pub enum VerilatorError {
    /// Not where it was looked for.
    #[error(
        "Verilator not found: {looked}; install it (Debian: apt install verilator) or set VERILATOR to its path"
    )]
    NotFound {
        /// Where it was looked for.
        looked: String,
    },
    /// Did not run, or said something unexpected.
    #[error("{}: {problem}", path.display())]
    Unusable {
        /// The program.
        path: PathBuf,
        /// What went wrong.
        problem: String,
    },
    /// Older than [`OLDEST`].
    #[error("{} is Verilator {found}, but {OLDEST} or later is needed", path.display())]
    TooOld {
        /// The program.
        path: PathBuf,
        /// What it says it is.
        found: Version,
    },
}

/// A Verilator that is new enough, or does not say how old it is.
#[derive(Debug, Clone)]
pub struct Verilator {
    /// The program.
    pub path: PathBuf,
    /// None when it does not say.
    pub version: Option<Version>,
    /// `VERILATOR_ROOT`, which has `include/verilated.h`.
    pub root: PathBuf,
    /// What it answers to `--version`.
    pub answer: String,
}

impl Verilator {
    /// The one in the environment variable `VERILATOR`, otherwise the first on `PATH`.
    pub fn find() -> Result<Verilator, VerilatorError> {
        match env::var_os("VERILATOR").filter(|v| !v.is_empty()) {
            Some(named) => {
                let path = resolve(&named).ok_or_else(|| VerilatorError::NotFound {
                    looked: format!("VERILATOR={} does not exist", named.to_string_lossy()),
                })?;
                Self::at(path)
            }
            None => Self::at(
                on_path("verilator".as_ref()).ok_or_else(|| VerilatorError::NotFound {
                    looked: "no `verilator` on PATH".to_owned(),
                })?,
            ),
        }
    }

    /// The one at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Result<Verilator, VerilatorError> {
        let path = path.into();
        let answer = ask(&path, &["--version"])?;
        let version = Version::parse(&answer);
        if let Some(found) = version.filter(|v| *v < OLDEST) {
            return Err(VerilatorError::TooOld { path, found });
        }
        let root = PathBuf::from(ask(&path, &["--getenv", "VERILATOR_ROOT"])?);
        if !root.join("include/verilated.h").is_file() {
            let problem = format!(
                "no include/verilated.h in its VERILATOR_ROOT `{}`",
                root.display()
            );
            return Err(VerilatorError::Unusable { path, problem });
        }
        Ok(Verilator {
            path,
            version,
            root,
            answer,
        })
    }

    /// A warning when the version is unknown.
    pub fn warning(&self) -> Option<String> {
        self.version.is_none().then(|| {
            format!(
                "{} does not tell its version; taken for {OLDEST} or later",
                self.path.display()
            )
        })
    }

    /// Its C++ headers and run-time sources.
    pub fn include(&self) -> PathBuf {
        self.root.join("include")
    }
}

fn resolve(named: &OsStr) -> Option<PathBuf> {
    let path = Path::new(named);
    if path.components().count() > 1 {
        path.is_file().then(|| path.to_owned())
    } else {
        on_path(named)
    }
}

fn on_path(name: &OsStr) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
}

fn ask(path: &Path, args: &[&str]) -> Result<String, VerilatorError> {
    let unusable = |problem| VerilatorError::Unusable {
        path: path.to_owned(),
        problem,
    };
    let asked = args.join(" ");
    let output = Command::new(path)
        .args(args)
        .output()
        .map_err(|e| unusable(format!("`{asked}`: {e}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(unusable(format!(
            "`{asked}` failed with {}: {}",
            output.status,
            said.trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
