//! Starting the command, and watching what becomes of it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// As long as no event takes on any machine: a test that waits longer fails.
pub const LONG: Duration = Duration::from_secs(30);

/// The command with these arguments, without input and colours.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ntb-cosim"));
    command
        .args(args)
        .stdin(Stdio::null())
        .env_remove("CLICOLOR_FORCE");
    command
}

/// Runs it to its end.
pub fn finish(args: &[&str]) -> Ended {
    Ended::from(command(args).output().expect("the command starts"))
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// `None` if it was killed.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            status: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Ended {
    /// Its standard output, after a run without trouble.
    pub fn results(self) -> String {
        assert_eq!((self.status, self.stderr.as_str()), (Some(0), ""));
        self.stdout
    }

    /// Its one complaint, after it printed nothing else.
    pub fn complaint(self, status: i32) -> String {
        assert_eq!(
            (self.status, self.stdout.as_str()),
            (Some(status), ""),
            "{}",
            self.stderr
        );
        let complaint = self.stderr.strip_prefix("error: ").expect(&self.stderr);
        assert!(!complaint.contains("error:"), "{complaint}");
        complaint.trim_end().to_owned()
    }
}

/// A process that does not outlive its test.
pub struct Running(Option<Child>);

impl Running {
    /// Starts it, with what it prints kept.
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().expect("the command starts")))
    }

    pub fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("not ended yet")
    }

    pub fn id(&mut self) -> u32 {
        self.child().id()
    }

    /// Waits until it has ended; fails if that takes longer than `limit`.
    pub fn ends_within(mut self, limit: Duration) -> Ended {
        let child = self.child();
        until(limit, "the process ends", || {
            child.try_wait().expect("can be waited for")
        });
        let child = self.0.take().expect("not ended yet");
        Ended::from(child.wait_with_output().expect("can be read"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What `event` returns when it has happened; fails if that takes longer than `limit`.
pub fn until<T>(limit: Duration, what: &str, mut event: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = event() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::yield_now();
    }
}

/// The processes that `parent` has started, the first one first.
pub fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc is there");
    let mut children: Vec<u32> = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&process| status_of(process).is_some_and(|(_, its_parent)| its_parent == parent))
        .collect();
    children.sort_unstable();
    children
}

/// Whether a process is there and more than a zombie.
pub fn is_running(process: u32) -> bool {
    status_of(process).is_some_and(|(state, _)| state != "Z" && state != "X")
}

/// State and parent.
fn status_of(process: u32) -> Option<(String, u32)> {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may contain anything.
    let mut fields = status.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// Whether a process has the link's memory, which is in the file `name`, mapped.
pub fn has_mapped(process: u32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/maps")).is_ok_and(|maps| maps.contains(name))
}

/// Whether a process has taken its place in the link at `path`. Until then it has the header mapped, alone or besides.
pub fn has_joined(process: u32, path: &Path) -> bool {
    let (Some(name), Ok(file)) = (path.to_str(), fs::metadata(path)) else {
        return false;
    };
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    let mut mappings = maps.lines().filter(|line| line.ends_with(name));
    let (Some(mapping), None) = (mappings.next(), mappings.next()) else {
        return false;
    };
    let mut addresses = mapping.split([' ', '-']);
    let mut address = || u64::from_str_radix(addresses.next().unwrap_or_default(), 16).expect("an address");
    let start = address();
    address() - start >= file.len()
}

/// Names of what is in a directory.
pub fn names_in(directory: &Path) -> Vec<String> {
    let names: io::Result<Vec<String>> = fs::read_dir(directory).and_then(|entries| {
        entries
            .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
            .collect()
    });
    names.expect("a directory")
}
