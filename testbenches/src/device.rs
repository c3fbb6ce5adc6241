//! The device's side of a run: a process, a thread, or somebody else's process.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use ntb_rtl::device::{DeviceConfig, DeviceError, Summary};
use ntb_rtl::{Ntb, NtbError};
use sim_bridge::link::{LinkConfig, LinkError, Port};

use crate::topology::Topology;

/// How host and device are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// The device is a process of its own, started for the run: this program as `ntb-cosim device`.
    Process(PathBuf),
    /// The device is a thread of this process.
    Thread,
    /// A device that somebody else starts opens the link at this path.
    Path(PathBuf),
}

/// The device of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Which NTB.
    pub topology: Topology,
    /// Evaluate every clock cycle, also while the RTL is idle.
    pub every_cycle: bool,
    /// Write an FST trace here.
    pub waves: Option<PathBuf>,
}

/// The device's side could not run.
#[derive(Debug, thiserror::Error)]
pub enum DeviceRunError {
    /// No process.
    #[error("can't start the device process: {0}")]
    Start(io::Error),
    /// The process was killed, or said nothing of why it failed.
    #[error("the device process died: {0}")]
    Died(ExitStatus),
    /// The process failed, and this is what it said.
    #[error("the device process failed: {0}")]
    Failed(String),
    /// Nobody opened the link in time.
    #[error("{source}; start the device with `ntb-cosim device --link {} --aliases {topology}`", path.display())]
    NotStarted {
        /// The link.
        path: PathBuf,
        /// Which NTB.
        topology: Topology,
        /// How long it took.
        source: LinkError,
    },
    /// The thread panicked.
    #[error("the device thread panicked")]
    Panic,
    /// The link did not come to be.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The RTL could not be started.
    #[error(transparent)]
    Rtl(#[from] NtbError),
    /// It failed while it ran.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// What the command's own complaints begin with.
pub(crate) const ERROR: &str = "error: ";

/// `--link` of the device process: the link is handed over on standard input.
pub const LINK_ON_STDIN: &str = "-";

/// A device that runs.
pub enum Device {
    /// See [`LinkKind::Process`].
    Process(DeviceProcess),
    /// See [`LinkKind::Thread`].
    Thread(JoinHandle<Result<Summary, DeviceRunError>>),
    /// See [`LinkKind::Path`].
    Elsewhere,
}

/// A process that does not outlive this value.
pub struct DeviceProcess {
    child: Child,
    /// Reads what it writes to standard error, so that a failure is told once, by the host.
    said: Option<JoinHandle<String>>,
}

impl DeviceProcess {
    fn start(program: &Path, options: &DeviceOptions, stdin: OwnedFd) -> io::Result<Self> {
        let mut child = spawn(program, options, stdin)?;
        let said = child.stderr.take().map(|err| thread::spawn(|| read(err)));
        Ok(Self { child, said })
    }

    fn wait(&mut self) -> Result<(), DeviceRunError> {
        let status = self.child.wait().map_err(DeviceRunError::Start)?;
        let said = self.said.take().and_then(|reader| reader.join().ok());
        let said = said.unwrap_or_default();
        if status.success() {
            // Where standard error can't be written, nobody reads it.
            let _ = io::stderr().write_all(said.as_bytes());
            return Ok(());
        }
        let said = said.trim();
        match said.strip_prefix(ERROR).unwrap_or(said) {
            "" => Err(DeviceRunError::Died(status)),
            said if status.code().is_none() => Err(DeviceRunError::Failed(format!("{said} ({status})"))),
            said => Err(DeviceRunError::Failed(said.to_owned())),
        }
    }
}

impl Drop for DeviceProcess {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut err: ChildStderr) -> String {
    let mut said = Vec::new();
    // What came before the failure is all that there is.
    let _ = err.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

impl Device {
    /// Starts a device and returns the host's end of the link to it.
    ///
    /// # Errors
    /// It can't be started or reached.
    pub fn start(kind: &LinkKind, options: &DeviceOptions) -> Result<(Self, Port), DeviceRunError> {
        let host = LinkConfig::new("host");
        match kind {
            LinkKind::Process(program) => {
                let (ours, theirs) = UnixStream::pair().map_err(DeviceRunError::Start)?;
                let mut process =
                    DeviceProcess::start(program, options, theirs.into()).map_err(DeviceRunError::Start)?;
                let port = Port::offer(&ours, &host).or_else(|error| {
                    if matches!(error, LinkError::PeerDied { .. }) {
                        // Its own words say why.
                        process.wait()?;
                    }
                    Err(DeviceRunError::Link(error))
                })?;
                Ok((Self::Process(process), port))
            }
            LinkKind::Thread => {
                let (port, far) = Port::pair(&host, &LinkConfig::new("device"))?;
                let options = options.clone();
                Ok((Self::Thread(thread::spawn(move || run(far, &options))), port))
            }
            LinkKind::Path(path) => {
                let port = Port::create(path, &host).map_err(|error| match error {
                    LinkError::TimedOut { .. } => DeviceRunError::NotStarted {
                        path: path.clone(),
                        topology: options.topology.clone(),
                        source: error,
                    },
                    error => error.into(),
                })?;
                Ok((Self::Elsewhere, port))
            }
        }
    }

    /// Waits until it has ended by itself; the link must have ended or broken.
    ///
    /// # Errors
    /// It ended otherwise than in order.
    pub fn join(self) -> Result<Option<Summary>, DeviceRunError> {
        match self {
            Self::Process(mut process) => process.wait().map(|()| None),
            Self::Thread(thread) => thread.join().map_err(|_| DeviceRunError::Panic)?.map(Some),
            Self::Elsewhere => Ok(None),
        }
    }
}

fn spawn(program: &Path, options: &DeviceOptions, stdin: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(program);
    command
        .args(["device", "--link", LINK_ON_STDIN, "--aliases"])
        .arg(options.topology.to_string());
    if options.every_cycle {
        command.arg("--every-cycle");
    }
    if let Some(waves) = &options.waves {
        command.arg("--waves").arg(waves);
    }
    command
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

/// Opens the device's end of the link at `path`, or on standard input.
///
/// # Errors
/// See [`LinkError`].
pub fn open(path: &Path) -> Result<Port, DeviceRunError> {
    let config = LinkConfig::new("device");
    if path.as_os_str() != LINK_ON_STDIN {
        return Ok(Port::open(path, &config)?);
    }
    let stdin = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(DeviceRunError::Start)?;
    Ok(Port::accept(&UnixStream::from(stdin), &config)?)
}

/// Runs the RTL on its end of a link until that has ended.
///
/// # Errors
/// See [`DeviceRunError`].
pub fn run(mut link: Port, options: &DeviceOptions) -> Result<Summary, DeviceRunError> {
    let config = options.topology.rtl();
    let mut ntb = match &options.waves {
        Some(path) => Ntb::with_waves(&config, path)?,
        None => Ntb::new(&config)?,
    };
    let clock = DeviceConfig {
        jump_when_idle: !options.every_cycle,
        ..DeviceConfig::default()
    };
    let summary = ntb_rtl::device::run(&mut ntb, &mut link, &clock)?;
    if options.waves.is_some() {
        ntb.flush_waves()?;
    }
    Ok(summary)
}

/// Whether waves can be written at `path`, before a run is spent on them.
///
/// # Errors
/// Why not. What is there and no regular file is refused: the writer would replace it by one.
pub fn check_writable(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return Err(io::Error::other("it is there and no regular file"));
    }
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map(drop)
}
