//! Files that arguments name.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Stop;

/// A file, by the flag that names it.
pub(super) struct Named<'a> {
    flag: &'static str,
    path: &'a Path,
}

impl<'a> Named<'a> {
    pub(super) fn new(flag: &'static str, path: Option<&'a Path>) -> Option<Self> {
        path.map(|path| Self { flag, path })
    }
}

/// Whether each of `written` is a file of its own, which is none of `read` and not where standard output goes.
pub(super) fn check_distinct(written: &[Option<Named<'_>>], read: &[Option<Named<'_>>]) -> Result<(), Stop> {
    let written: Vec<_> = written.iter().flatten().collect();
    let results = stdout().map(|stdout| ("standard output", Identity::there(&stdout)));
    for (n, one) in written.iter().enumerate() {
        let identity = Identity::of(one.path);
        let others = written[..n].iter().copied().chain(read.iter().flatten());
        let mut others = others
            .map(|other| (other.flag, Identity::of(other.path)))
            .chain(results.clone());
        if let Some((other, _)) = others.find(|(_, other)| *other == identity) {
            return Err(Stop::Input(format!(
                "{other} and {} are the same file: {}",
                one.flag,
                one.path.display()
            )));
        }
    }
    Ok(())
}

#[derive(Clone, PartialEq, Eq)]
enum Identity {
    /// Device and inode.
    There(u64, u64),
    /// Nothing is there yet.
    Path(PathBuf),
}

impl Identity {
    fn of(path: &Path) -> Self {
        if let Ok(metadata) = fs::metadata(path) {
            return Self::there(&metadata);
        }
        let directory = match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        // Without a directory nothing can be written there, which is told when it is tried.
        let directory = directory.canonicalize().unwrap_or_else(|_| directory.into());
        Self::Path(match path.file_name() {
            Some(name) => directory.join(name),
            None => directory,
        })
    }

    fn there(metadata: &Metadata) -> Self {
        Self::There(metadata.dev(), metadata.ino())
    }
}

/// Where results go, if that is a regular file.
fn stdout() -> Option<Metadata> {
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned().ok()?);
    stdout.metadata().ok().filter(Metadata::is_file)
}
