//! The devices' side of a run: processes, threads, or somebody else's processes.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use ntb_rtl::device::{DeviceConfig, DeviceError, Summary};
use ntb_rtl::{Ntb, NtbError};
use sim_bridge::RequesterId;
use sim_bridge::link::{LinkConfig, LinkError, Port};

use crate::topology::Topology;

/// How host and devices are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// Each device is a process of its own, started for the run: this program as `ntb-cosim device`.
    Process(PathBuf),
    /// Each device is a thread of this process.
    Thread,
    /// Devices that somebody else starts open the links at these paths, one for each NTB.
    Paths(Vec<PathBuf>),
}

/// The device of an NTB.
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
    /// One of several NTBs.
    #[error("NTB {ntb}: {source}")]
    Of {
        /// Which.
        ntb: RequesterId,
        /// What about it.
        source: Box<Self>,
    },
    /// A path for each NTB is needed.
    #[error("needs {ntbs} --link PATH, one for each NTB; given: {paths}")]
    Paths {
        /// How many NTBs there are.
        ntbs: usize,
        /// How many paths.
        paths: usize,
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
enum Device {
    /// See [`LinkKind::Process`].
    Process(DeviceProcess),
    /// See [`LinkKind::Thread`].
    Thread(JoinHandle<Result<Summary, DeviceRunError>>),
    /// See [`LinkKind::Paths`].
    Elsewhere,
}

/// A process that does not outlive this value.
struct DeviceProcess {
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
    /// Starts the device of an NTB, numbered from 0, and returns the host's end of the link to it.
    ///
    /// # Errors
    /// It can't be started or reached.
    fn start(
        kind: &LinkKind,
        number: usize,
        options: &DeviceOptions,
    ) -> Result<(Self, Port), DeviceRunError> {
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
            LinkKind::Paths(paths) => {
                let path = paths.get(number).ok_or(DeviceRunError::Paths {
                    ntbs: number + 1,
                    paths: paths.len(),
                })?;
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
    fn join(self) -> Result<Option<Summary>, DeviceRunError> {
        match self {
            Self::Process(mut process) => process.wait().map(|()| None),
            Self::Thread(thread) => thread.join().map_err(|_| DeviceRunError::Panic)?.map(Some),
            Self::Elsewhere => Ok(None),
        }
    }
}

/// The devices of a run, one for each NTB.
pub struct Devices(Vec<(RequesterId, Device)>);

impl Devices {
    /// Starts a device for each NTB, and returns the host's ends of the links to them.
    ///
    /// # Errors
    /// One can't be started or reached.
    pub fn start(
        kind: &LinkKind,
        options: &DeviceOptions,
        ntbs: &[Topology],
    ) -> Result<(Self, Vec<Port>), DeviceRunError> {
        if let LinkKind::Paths(paths) = kind
            && paths.len() != ntbs.len()
        {
            return Err(DeviceRunError::Paths {
                ntbs: ntbs.len(),
                paths: paths.len(),
            });
        }
        let (mut devices, mut ports) = (Vec::new(), Vec::new());
        for (number, topology) in ntbs.iter().enumerate() {
            let ntb = topology.ntb();
            let options = DeviceOptions {
                topology: topology.clone(),
                every_cycle: options.every_cycle,
                waves: options.waves.as_deref().map(|path| waves_of(path, number)),
            };
            let started = Device::start(kind, number, &options);
            let (device, mut port) = started.map_err(|error| named(ntbs.len(), ntb, error))?;
            if ntbs.len() > 1 {
                port.set_peer_name(format!("device {ntb}"));
            }
            devices.push((ntb, device));
            ports.push(port);
        }
        Ok((Self(devices), ports))
    }

    /// Waits until all have ended by themselves; the links must have ended or broken. What those in this process have
    /// done.
    ///
    /// # Errors
    /// The first that ended otherwise than in order.
    pub fn join(self) -> Result<Vec<Summary>, DeviceRunError> {
        let of = self.0.len();
        let joined = self.0.into_iter().map(|(ntb, device)| {
            let joined = device.join();
            joined.map_err(|error| named(of, ntb, error))
        });
        // Also the others are waited for.
        let joined: Vec<_> = joined.collect();
        joined.into_iter().filter_map(Result::transpose).collect()
    }
}

/// With the NTB that it is about, if there are several.
fn named(of: usize, ntb: RequesterId, error: DeviceRunError) -> DeviceRunError {
    match of {
        1 => error,
        _ => DeviceRunError::Of {
            ntb,
            source: Box::new(error),
        },
    }
}

/// Where the waves of an NTB go, numbered from 0: those of the second of `waves.fst` to `waves-2.fst`.
pub fn waves_of(path: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{}", number + 1));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
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
