/// Where the text of `$display`, `$warning` and the like goes. (`$fwrite` to standard output is not caught.)
#[derive(Default)]
pub enum Output {
    /// Kept until [`Model::take_output`](crate::Model::take_output).
    #[default]
    Keep,
    /// To standard error.
    Stderr,
    /// To a function, after the call in which it was displayed.
    Call(Box<dyn FnMut(&str) + Send>),
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Output::Keep => "Keep",
            Output::Stderr => "Stderr",
            Output::Call(_) => "Call",
        })
    }
}

/// How a model is created.
#[derive(Debug)]
pub struct Options {
    pub(crate) plusargs: Vec<String>,
    pub(crate) period_ps: u64,
    pub(crate) output: Output,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            plusargs: Vec::new(),
            period_ps: 1000,
            output: Output::Keep,
        }
    }
}

impl Options {
    /// No plusargs, a period of 1 ns, output kept.
    pub fn new() -> Self {
        Self::default()
    }

    /// A plusarg with its plus sign, as `+depth=4`; Verilator's own (`+verilator+seed+7`) are obeyed.
    pub fn plusarg(mut self, arg: impl Into<String>) -> Self {
        self.plusargs.push(arg.into());
        self
    }

    /// Several plusargs.
    pub fn plusargs(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.plusargs.extend(args.into_iter().map(Into::into));
        self
    }

    /// Clock period in picoseconds, at least 2 (less counts as 2).
    pub fn period_ps(mut self, period: u64) -> Self {
        self.period_ps = period.max(2);
        self
    }

    /// Where displayed text goes.
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }
}
