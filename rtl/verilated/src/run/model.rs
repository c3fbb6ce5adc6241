use std::ffi::{CString, c_char, c_int};
use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::{self, NonNull};

use super::ffi::{self, Sim, Vtable};
use super::{Ended, Error, Options, Output};

/// A design's ports as Rust types; generated.
///
/// # Safety
///
/// Both types are laid out as the C++ structs of the same build.
pub unsafe trait Ports: 'static {
    /// All inputs but the clock.
    type Inputs: Copy + Default;
    /// All outputs.
    type Outputs: Copy + Default;
}

/// A design that was linked into this program; generated.
pub struct Design<P> {
    name: &'static str,
    vtable: &'static Vtable,
    ports: PhantomData<fn() -> P>,
}

impl<P: Ports> Design<P> {
    /// For generated code.
    ///
    /// # Safety
    ///
    /// `vtable` belongs to a design with ports `P`.
    #[doc(hidden)]
    pub const unsafe fn new(name: &'static str, vtable: &'static Vtable) -> Self {
        Design {
            name,
            vtable,
            ports: PhantomData,
        }
    }

    /// Name given in `build.rs`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it was built with `.trace(true)`.
    pub fn has_trace(&self) -> bool {
        self.vtable.trace_open.is_some()
    }
}

impl<P> fmt::Debug for Design<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Design")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A Verilated model with a simulation context of its own. It may move between threads.
///
/// Once it has ended (`$finish`, a failed assertion, ...) each call returns the same [`Ended`].
pub struct Model<P: Ports> {
    sim: NonNull<Sim>,
    vtable: &'static Vtable,
    name: &'static str,
    now: u64,
    period: u64,
    ended: Option<Ended>,
    finished: bool,
    tracing: bool,
    output: Output,
    kept: String,
    ports: PhantomData<fn() -> P>,
}

// SAFETY: a simulation is reached through `&mut self` only, has its own VerilatedContext, and each call makes that the
// thread's context first. The models have one thread (`--threads 1`), and what Verilator shares between contexts (lists
// of callbacks) is behind its own mutexes.
unsafe impl<P: Ports> Send for Model<P> {}

impl<P: Ports> Model<P> {
    /// Creates a model at time 0. Its `initial` blocks run in the first evaluation.
    pub fn new(design: &Design<P>, options: Options) -> Result<Self, Error> {
        let args = c_args(&options.plusargs)?;
        let argv: Vec<*const c_char> = args.iter().map(|a| a.as_ptr()).collect();
        let vtable = design.vtable;
        assert!(
            vtable.inputs_size == size_of::<P::Inputs>() && vtable.outputs_size == size_of::<P::Outputs>(),
            "generated Rust and C++ disagree about the ports of `{}`",
            design.name
        );
        // SAFETY: `argv` holds that many NUL-terminated strings, which C++ copies.
        let sim = unsafe { (vtable.create)(argv.len() as c_int, argv.as_ptr()) };
        let mut model = Model {
            sim: NonNull::new(sim).expect("C++ allocation failures do not return"),
            vtable,
            name: design.name,
            now: 0,
            period: options.period_ps,
            ended: None,
            finished: false,
            tracing: false,
            output: options.output,
            kept: String::new(),
            ports: PhantomData,
        };
        // SAFETY: `sim` is live.
        let flags = unsafe { ffi::verilated_rs_flags(sim) };
        model.after(flags)?;
        Ok(model)
    }

    /// Simulated time in picoseconds: that of the last rising edge, 0 before the first.
    pub fn now_ps(&self) -> u64 {
        self.now
    }

    /// One clock cycle, its rising edge one period after the last one. See [`Model::cycle_at`].
    pub fn cycle(&mut self, inputs: &P::Inputs, outputs: &mut P::Outputs) -> Result<(), Error> {
        self.cycle_at(self.now.saturating_add(self.period), inputs, outputs)
    }

    /// One clock cycle, its rising edge at `rise_ps`, which must be after the last one but may be long after it.
    ///
    /// The clock falls, `inputs` are applied and combinational logic settles; `outputs` is what a register outside would
    /// sample at the edge; then the clock rises. When the simulation ends in this cycle, `outputs` are still written.
    /// The falling edge is half a period before the rising one, or half way after the last one if that is later.
    pub fn cycle_at(
        &mut self,
        rise_ps: u64,
        inputs: &P::Inputs,
        outputs: &mut P::Outputs,
    ) -> Result<(), Error> {
        self.check_running()?;
        if rise_ps <= self.now {
            return Err(Error::TimeBackwards {
                now: self.now,
                asked: rise_ps,
            });
        }
        let fall = rise_ps - (self.period / 2).min((rise_ps - self.now) / 2).max(1);
        // SAFETY: `sim` is live and `P` says that the types are laid out as C++ has them.
        let flags = unsafe {
            (self.vtable.cycle)(
                self.sim.as_ptr(),
                fall,
                rise_ps,
                ptr::from_ref(inputs).cast(),
                ptr::from_mut(outputs).cast(),
            )
        };
        self.now = rise_ps;
        self.after(flags)
    }

    /// Applies `inputs` and settles combinational logic, without an edge of the clock and without time passing. Edges on
    /// other inputs (an asynchronous reset, a second clock) have their effect.
    pub fn eval(&mut self, inputs: &P::Inputs, outputs: &mut P::Outputs) -> Result<(), Error> {
        self.eval_at(self.now, inputs, outputs)
    }

    /// [`Model::eval`] at a time not before the present, which it becomes: for designs without a clock of their own.
    pub fn eval_at(
        &mut self,
        time_ps: u64,
        inputs: &P::Inputs,
        outputs: &mut P::Outputs,
    ) -> Result<(), Error> {
        self.check_running()?;
        if time_ps < self.now {
            return Err(Error::TimeBackwards {
                now: self.now,
                asked: time_ps,
            });
        }
        // SAFETY: as in `cycle_at`.
        let flags = unsafe {
            (self.vtable.eval)(
                self.sim.as_ptr(),
                time_ps,
                ptr::from_ref(inputs).cast(),
                ptr::from_mut(outputs).cast(),
            )
        };
        self.now = time_ps;
        self.after(flags)
    }

    /// What was displayed since the last time, with [`Output::Keep`].
    pub fn take_output(&mut self) -> String {
        std::mem::take(&mut self.kept)
    }

    /// Runs the `final` blocks (dropping the model does it otherwise) and closes the trace. A model that had ended by
    /// `$finish` or the like finishes too; errors are those of the `final` blocks.
    pub fn finish(&mut self) -> Result<(), Error> {
        if self.finished {
            return Ok(());
        }
        self.finished = true;
        let fatal = matches!(self.ended, Some(Ended::Fatal { .. }));
        let before = self.ended.take();
        let result = if fatal {
            Ok(())
        } else {
            // SAFETY: `sim` is live and no exception has left it half evaluated.
            let flags = unsafe { (self.vtable.finish)(self.sim.as_ptr()) };
            self.after(if before.is_some() {
                flags & !ffi::ENDED
            } else {
                flags
            })
        };
        if self.tracing {
            self.close_trace()?;
        }
        self.ended = before.or(self.ended.take()).or(Some(Ended::Finished));
        result
    }

    /// Writes an FST trace from now on, with timestamps in picoseconds. An existing file is overwritten.
    pub fn open_trace(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let open = self
            .vtable
            .trace_open
            .ok_or(Error::NoTrace { design: self.name })?;
        self.check_running()?;
        if self.tracing {
            return Err(Error::TraceState("a trace is already open"));
        }
        let file_error = |source| Error::TraceFile {
            path: path.to_owned(),
            source,
        };
        // The run time's own attempt would say only that it failed.
        File::create(path).map_err(file_error)?;
        let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|e| file_error(e.into()))?;
        // SAFETY: `sim` is live and the path is NUL-terminated.
        if !unsafe { open(self.sim.as_ptr(), c_path.as_ptr()) } {
            // SAFETY: `sim` is live.
            self.after(unsafe { ffi::verilated_rs_flags(self.sim.as_ptr()) })?;
            return Err(file_error(io::Error::other("the FST writer can't open it")));
        }
        self.tracing = true;
        Ok(())
    }

    /// Brings the trace file up to date.
    pub fn flush_trace(&mut self) -> Result<(), Error> {
        self.trace_call(self.vtable.trace_flush)
    }

    /// Completes the trace file. Dropping the model does it too.
    pub fn close_trace(&mut self) -> Result<(), Error> {
        self.trace_call(self.vtable.trace_close)?;
        self.tracing = false;
        Ok(())
    }

    fn trace_call(&mut self, call: Option<unsafe extern "C" fn(*mut Sim) -> u32>) -> Result<(), Error> {
        let call = call.ok_or(Error::NoTrace { design: self.name })?;
        if !self.tracing {
            return Err(Error::TraceState("no trace is open"));
        }
        // SAFETY: `sim` is live and its trace is open.
        let flags = unsafe { call(self.sim.as_ptr()) };
        // An end that the caller has been told of is no failure of the trace.
        self.after(if self.ended.is_some() {
            flags & !ffi::ENDED
        } else {
            flags
        })
    }

    #[inline]
    fn check_running(&self) -> Result<(), Error> {
        match &self.ended {
            None => Ok(()),
            Some(ended) => Err(ended.clone().into()),
        }
    }

    #[inline]
    fn after(&mut self, flags: u32) -> Result<(), Error> {
        if flags == 0 {
            Ok(())
        } else {
            self.after_event(flags)
        }
    }

    #[cold]
    fn after_event(&mut self, flags: u32) -> Result<(), Error> {
        if flags & ffi::TEXT != 0 {
            let text = self.drain_text();
            match &mut self.output {
                Output::Keep => self.kept.push_str(&text),
                Output::Stderr => {
                    // Nobody is left to tell when standard error is closed.
                    let _ = io::stderr().write_all(text.as_bytes());
                }
                Output::Call(call) => call(&text),
            }
        }
        if flags & ffi::ENDED != 0 {
            let ended = self.read_end();
            self.ended = Some(ended.clone());
            return Err(ended.into());
        }
        Ok(())
    }

    fn drain_text(&mut self) -> String {
        let mut text = ffi::Text {
            data: ptr::null(),
            len: 0,
        };
        // SAFETY: `sim` is live; the text is not touched before it is copied.
        unsafe {
            ffi::verilated_rs_text(self.sim.as_ptr(), &mut text);
            let owned = lossy(text.data, text.len);
            ffi::verilated_rs_clear_text(self.sim.as_ptr());
            owned
        }
    }

    fn read_end(&self) -> Ended {
        let mut end = ffi::End {
            kind: 0,
            line: 0,
            file: ptr::null(),
            file_len: 0,
            message: ptr::null(),
            message_len: 0,
        };
        // SAFETY: `sim` is live; the strings are not touched before they are copied.
        let (file, message) = unsafe {
            ffi::verilated_rs_end(self.sim.as_ptr(), &mut end);
            (lossy(end.file, end.file_len), lossy(end.message, end.message_len))
        };
        let line = end.line;
        match end.kind {
            ffi::kind::FINISH => Ended::Finish { file, line },
            ffi::kind::STOP => Ended::Stop { file, line },
            ffi::kind::ASSERTION => Ended::Assertion { file, line, message },
            _ => Ended::Fatal { file, line, message },
        }
    }
}

impl<P: Ports> fmt::Debug for Model<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Model");
        debug
            .field("name", &self.name)
            .field("now_ps", &self.now)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<P: Ports> Drop for Model<P> {
    fn drop(&mut self) {
        // Whoever wants to know calls `finish` first.
        let _ = self.finish();
        // SAFETY: `sim` is live and not used after this.
        unsafe { (self.vtable.destroy)(self.sim.as_ptr()) }
    }
}

/// # Safety
///
/// `data` points to `len` bytes, or `len` is 0.
unsafe fn lossy(data: *const c_char, len: usize) -> String {
    if len == 0 {
        return String::new();
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) };
    String::from_utf8_lossy(bytes).into_owned()
}

fn c_args(plusargs: &[String]) -> Result<Vec<CString>, Error> {
    let mut args = vec![c"verilated".to_owned()];
    for arg in plusargs {
        let error = |problem| Error::Plusarg {
            arg: arg.clone(),
            problem,
        };
        if !arg.starts_with('+') {
            return Err(error("does not start with '+'"));
        }
        args.push(CString::new(arg.as_str()).map_err(|_| error("has a NUL byte"))?);
    }
    Ok(args)
}
