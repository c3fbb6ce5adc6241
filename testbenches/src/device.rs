//! The device's side of a run: a process, a thread, or somebody else's process.

use std::env;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use ntb_rtl::device::{DeviceConfig, DeviceError, Summary};
use ntb_rtl::{Ntb, NtbError};
use sim_bridge::link::{LinkConfig, LinkError, Port};

use crate::topology::Topology;

/// How host and device are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// The device is a process of its own, started for the run.
    Process,
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
    Start(std::io::Error),
    /// The process ended otherwise than in order.
    #[error("the device process ended with {0}")]
    Exit(ExitStatus),
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
pub struct DeviceProcess(Child);

impl DeviceProcess {
    fn wait(&mut self) -> Result<(), DeviceRunError> {
        match self.0.wait().map_err(DeviceRunError::Start)? {
            status if status.success() => Ok(()),
            status => Err(DeviceRunError::Exit(status)),
        }
    }
}

impl Drop for DeviceProcess {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Device {
    /// Starts a device and returns the host's end of the link to it.
    ///
    /// # Errors
    /// It can't be started or reached.
    pub fn start(kind: &LinkKind, options: &DeviceOptions) -> Result<(Self, Port), DeviceRunError> {
        let host = LinkConfig::new("host");
        match kind {
            LinkKind::Process => {
                let (ours, theirs) = UnixStream::pair().map_err(DeviceRunError::Start)?;
                let process = DeviceProcess(spawn(options, theirs.into()).map_err(DeviceRunError::Start)?);
                let port = Port::offer(&ours, &host)?;
                Ok((Self::Process(process), port))
            }
            LinkKind::Thread => {
                let (port, far) = Port::pair(&host, &LinkConfig::new("device"))?;
                let options = options.clone();
                Ok((Self::Thread(thread::spawn(move || run(far, &options))), port))
            }
            LinkKind::Path(path) => Ok((Self::Elsewhere, Port::create(path, &host)?)),
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

fn spawn(options: &DeviceOptions, stdin: OwnedFd) -> std::io::Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    command
        .args(["device", "--link", LINK_ON_STDIN, "--aliases"])
        .arg(options.topology.to_string());
    if options.every_cycle {
        command.arg("--every-cycle");
    }
    if let Some(waves) = &options.waves {
        command.arg("--waves").arg(waves);
    }
    command.stdin(Stdio::from(stdin)).stdout(Stdio::null()).spawn()
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
    let stdin = std::io::stdin()
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

/// Whether a file can be written at `path`, before a run is spent on it.
///
/// # Errors
/// Why not.
pub fn check_writable(path: &Path) -> std::io::Result<()> {
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map(drop)
}
