use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use super::compile;
use super::messages::Message;
use super::ports::Port;
use super::{Error, Verilator};

/// A parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Integer(i128),
    /// A string.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Verilog's plain numbers have 32 bits.
            Value::Integer(n) if i32::try_from(*n).is_ok() => write!(f, "{n}"),
            Value::Integer(n) if u32::try_from(*n).is_ok() => write!(f, "32'd{n}"),
            Value::Integer(n) => write!(f, "64'h{:x}", *n as u64),
            Value::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

macro_rules! value_from {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Value {
            fn from(n: $integer) -> Self {
                Value::Integer(n.into())
            }
        }
    )*};
}
value_from!(bool, u8, u16, u32, u64, i8, i16, i32, i64);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

/// A design to be built; paths are relative to the package.
///
/// The result is a static library that Cargo links and a Rust module for
/// [`include_model!`](https://docs.rs/verilated). Nothing is done when nothing has changed.
#[derive(Debug, Clone)]
pub struct Model {
    pub(super) top: String,
    pub(super) name: String,
    pub(super) sources: Vec<PathBuf>,
    pub(super) include_dirs: Vec<PathBuf>,
    pub(super) parameters: Vec<(String, Value)>,
    pub(super) defines: Vec<(String, Option<String>)>,
    pub(super) clock: Option<String>,
    pub(super) ports_of: Option<String>,
    pub(super) trace: bool,
    pub(super) assertions: bool,
    pub(super) all_warnings: bool,
    pub(super) deny_warnings: bool,
    pub(super) position_independent: bool,
    pub(super) opt_level: u32,
    pub(super) verilator_args: Vec<String>,
    pub(super) verilator: Option<PathBuf>,
    pub(super) compiler: Option<PathBuf>,
    pub(super) out_dir: Option<PathBuf>,
}

/// A model that was built, or found to be current.
#[derive(Debug)]
pub struct Built {
    /// All of them, the clock included.
    pub ports: Vec<Port>,
    /// Verilator's.
    pub warnings: Vec<Message>,
    /// False when it was current.
    pub rebuilt: bool,
    /// The Rust module.
    pub rust_file: PathBuf,
}

impl Model {
    /// Of top module `top`, with clock `clk` and assertions.
    pub fn new(top: impl Into<String>) -> Model {
        let top = top.into();
        Model {
            name: top.clone(),
            top,
            sources: Vec::new(),
            include_dirs: Vec::new(),
            parameters: Vec::new(),
            defines: Vec::new(),
            clock: Some("clk".to_owned()),
            ports_of: None,
            trace: false,
            assertions: true,
            all_warnings: false,
            deny_warnings: false,
            position_independent: false,
            opt_level: 3,
            verilator_args: Vec::new(),
            verilator: None,
            compiler: None,
            out_dir: None,
        }
    }

    /// Name in `include_model!`, where it is not the top module's: several builds of a design have different ones.
    pub fn module_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// A source file; packages come before their users.
    pub fn source(mut self, file: impl Into<PathBuf>) -> Self {
        self.sources.push(file.into());
        self
    }

    /// Several source files.
    pub fn sources(mut self, files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.sources.extend(files.into_iter().map(Into::into));
        self
    }

    /// Where `` `include `` files and modules not in [`Model::source`] are looked for.
    pub fn include_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.include_dirs.push(dir.into());
        self
    }

    /// A parameter of the top module.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// A preprocessor macro.
    pub fn define(mut self, name: impl Into<String>, value: Option<&str>) -> Self {
        self.defines.push((name.into(), value.map(str::to_owned)));
        self
    }

    /// Name of the clock input.
    pub fn clock(mut self, name: impl Into<String>) -> Self {
        self.clock = Some(name.into());
        self
    }

    /// No clock of its own (combinational, or several clocks): drive it with `eval_at`; clocks are inputs like others.
    pub fn no_clock(mut self) -> Self {
        self.clock = None;
        self
    }

    /// Takes `Inputs` and `Outputs` from a model built before in the same `build.rs`, so that one program can choose
    /// between two builds (speed, trace) of a design as it runs.
    pub fn ports_of(mut self, module_name: impl Into<String>) -> Self {
        self.ports_of = Some(module_name.into());
        self
    }

    /// FST traces: a seventh slower even with none open. Needs feature `fst` of the run half.
    pub fn trace(mut self, on: bool) -> Self {
        self.trace = on;
        self
    }

    /// `assert` in the Verilog (`$error` works without).
    pub fn assertions(mut self, on: bool) -> Self {
        self.assertions = on;
        self
    }

    /// `-Wall`.
    pub fn all_warnings(mut self, on: bool) -> Self {
        self.all_warnings = on;
        self
    }

    /// Warnings end the build.
    pub fn deny_warnings(mut self, on: bool) -> Self {
        self.deny_warnings = on;
        self
    }

    /// The compiler's, 0 to 3, otherwise 3: with less, a model is built sooner and runs several times slower.
    pub fn opt_level(mut self, level: u32) -> Self {
        self.opt_level = level;
        self
    }

    /// For a model in a shared library (`cdylib`), which small models pay with a fifth of their speed.
    pub fn position_independent(mut self, on: bool) -> Self {
        self.position_independent = on;
        self
    }

    /// Anything else for Verilator's command line.
    pub fn verilator_arg(mut self, arg: impl Into<String>) -> Self {
        self.verilator_args.push(arg.into());
        self
    }

    /// A Verilator other than that in the environment variable `VERILATOR` or on `PATH`.
    pub fn verilator(mut self, path: impl Into<PathBuf>) -> Self {
        self.verilator = Some(path.into());
        self
    }

    /// A C++ compiler other than that in the environment variable `CXX`, or the system's.
    pub fn compiler(mut self, path: impl Into<PathBuf>) -> Self {
        self.compiler = Some(path.into());
        self
    }

    /// A folder other than `OUT_DIR`.
    pub fn out_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(dir.into());
        self
    }

    /// Builds the model and tells Cargo what to link, what to watch and what Verilator warned of.
    pub fn build(&self) -> Result<Built, Error> {
        compile::build(self)
    }

    /// [`Model::build`] for the whole of a `build.rs`: on an error, shows it and ends the build.
    pub fn build_or_exit(&self) -> Built {
        self.build().unwrap_or_else(|error| error.exit())
    }

    /// Verilator's arguments but for where the output goes.
    pub(super) fn arguments(&self, class: &str) -> Vec<String> {
        let mut args: Vec<String> = [
            "--cc",
            "--no-timing",
            "-MMD",
            "-O3",
            "--threads",
            "1",
            "--prefix",
            class,
        ]
        .map(str::to_owned)
        .to_vec();
        args.extend(["--top-module".to_owned(), self.top.clone()]);
        // One unit of simulated time is a picosecond, whatever the sources' `timescale.
        args.extend(["--timescale-override".to_owned(), "/1ps".to_owned()]);
        args.push(
            if self.assertions {
                "--assert"
            } else {
                "--no-assert"
            }
            .to_owned(),
        );
        if self.trace {
            args.extend(["--trace-fst".to_owned(), "--trace-structs".to_owned()]);
        }
        if self.all_warnings {
            args.push("-Wall".to_owned());
        }
        if !self.deny_warnings {
            // $error and $fatal at elaboration are warnings to Verilator, but not to whoever wrote them.
            args.extend(["-Wno-fatal", "-Werror-USERERROR", "-Werror-USERFATAL"].map(str::to_owned));
        }
        args.extend(self.include_dirs.iter().map(|dir| format!("-I{}", dir.display())));
        args.extend(
            self.parameters
                .iter()
                .map(|(name, value)| format!("-G{name}={value}")),
        );
        args.extend(self.defines.iter().map(|(name, value)| match value {
            Some(value) => format!("-D{name}={value}"),
            None => format!("-D{name}"),
        }));
        args.extend(self.verilator_args.iter().cloned());
        args.extend(self.sources.iter().map(|file| file.display().to_string()));
        args
    }

    pub(super) fn find_verilator(&self) -> Result<Verilator, Error> {
        // What the run-time library in the same program was built with.
        let library = env::var("DEP_VERILATED_VERILATOR").ok();
        let verilator = match (&self.verilator, &library) {
            (Some(path), _) => Verilator::at(path)?,
            (None, Some(path)) => Verilator::at(path)?,
            (None, None) => Verilator::find()?,
        };
        match library {
            Some(library) if Path::new(&library) != verilator.path => Err(Error::OtherVerilator {
                library,
                model: verilator.path.display().to_string(),
            }),
            _ => Ok(verilator),
        }
    }
}
