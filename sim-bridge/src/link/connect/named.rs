//! A link in a file with a name.

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::handshake::{CREATOR, OPENER, await_opener, identify, io_error, join, lay_out};
use super::{LinkConfig, LinkError};
use crate::link::port::Parts;
use crate::link::{Port, lock};

/// Its lock is behind those of the sides.
const REMOVER: usize = OPENER + 1;

/// How often another process may take the path while this one clears it.
const ATTEMPTS: usize = 16;

impl Port {
    /// Creates a link at `path`, readable by its owner only, and waits until the other side has opened it. The file is
    /// removed when the port is dropped; one that a killed process left is replaced, any other file is left alone.
    /// Nobody may cut the file off while it is in use: that kills both sides (SIGBUS).
    ///
    /// # Errors
    ///
    /// A setting is impossible, the file can't be created or is somebody else's, or the other side does not come or has
    /// another version.
    pub fn create(path: &Path, config: &LinkConfig) -> Result<Self, LinkError> {
        config.check()?;
        let place = path.display().to_string();
        let path = std::path::absolute(path).map_err(io_error(&place, "find it"))?;
        let directory = path.parent().unwrap_or(&path);
        // It gets its name when it is complete, so that no opener sees a part of it.
        let mut temporary = tempfile::Builder::new()
            .prefix(".ntb-link-")
            .tempfile_in(directory)
            .map_err(io_error(&place, "create it"))?;
        let memory = lay_out(temporary.as_file(), config, &place)?;
        let mut attempts = 0..ATTEMPTS;
        let file = loop {
            match temporary.persist_noclobber(&path) {
                Ok(file) => break file,
                Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists && attempts.next().is_some() => {
                    temporary = e.file;
                    clear(&path, &place)?;
                }
                Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(LinkError::InUse { place });
                }
                Err(e) => return Err(io_error(&place, "create it")(e.error)),
            }
        };
        let named = NamedFile::new(path, &file, true, &place)?;
        let peer_name = await_opener(&memory, config, &place, || Ok(()))?;
        let (latency, locks, named) = (config.latency, Some(file), Some(named));
        Ok(Self::new(Parts {
            memory,
            side: CREATOR,
            peer_name,
            latency,
            locks,
            named,
        }))
    }

    /// Opens the link at `path`; waits until it is there.
    ///
    /// # Errors
    ///
    /// A setting is impossible, or what is at `path` is no link, cut off, in use, of another version, or not there in
    /// time.
    pub fn open(path: &Path, config: &LinkConfig) -> Result<Self, LinkError> {
        config.check()?;
        let place = path.display().to_string();
        let path = std::path::absolute(path).map_err(io_error(&place, "find it"))?;
        let start = Instant::now();
        let mut watch = None;
        loop {
            let found = find(&path, &place)?;
            if let Found::Live(file) = found {
                let mut parts = join(file, config, &place)?;
                if let Some(file) = &parts.locks {
                    parts.named = Some(NamedFile::new(path, file, false, &place)?);
                }
                return Ok(Self::new(parts));
            }
            let Some(watch) = &watch else {
                // What comes from here on is noticed; what came before, by looking again.
                watch = Some(watch_directory(&path).map_err(io_error(&place, "watch for it"))?);
                continue;
            };
            let left = config.timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                let detail = match found {
                    Found::Stale => "; there is a link, but its creator is dead",
                    _ => "",
                };
                return Err(LinkError::TimedOut {
                    place,
                    waited: config.timeout,
                    detail,
                });
            }
            await_change(watch, left).map_err(io_error(&place, "watch for it"))?;
        }
    }
}

enum Found {
    Nothing,
    /// Its creator is dead.
    Stale,
    Live(File),
}

fn find(path: &Path, place: &str) -> Result<Found, LinkError> {
    let file = match open_file(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) if e.kind() == io::ErrorKind::IsADirectory => {
            let why = "it is a directory".to_owned();
            return Err(LinkError::NotALink {
                place: place.to_owned(),
                why,
            });
        }
        Err(e) => return Err(io_error(place, "open it")(e)),
    };
    identify(&file, place)?;
    let live = lock::held(&file, CREATOR).map_err(io_error(place, "look at its lock"))?;
    Ok(if live { Found::Live(file) } else { Found::Stale })
}

fn open_file(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// Removes a link that a dead process left at `path`; refuses if it is in use or something else.
fn clear(path: &Path, place: &str) -> Result<(), LinkError> {
    let not_a_link = |why: &str| LinkError::NotALink {
        place: place.to_owned(),
        why: why.to_owned(),
    };
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(not_a_link("it is not a regular file")),
        Ok(_) => {}
        Err(e) if gone(&e) => return Ok(()),
        Err(e) => return Err(io_error(place, "look at it")(e)),
    }
    let file = match open_file(path) {
        Ok(file) => file,
        Err(e) if gone(&e) => return Ok(()),
        Err(e) => return Err(io_error(place, "open it")(e)),
    };
    match identify(&file, place) {
        Ok(_) | Err(LinkError::Truncated { .. }) => {}
        Err(e) => return Err(e),
    }
    // Held until it is removed.
    claim(&file, place)?;
    NamedFile::new(path.to_owned(), &file, true, place).map(drop)
}

/// Makes sure that a file's creator is dead, and that nobody else removes it. The creator's lock is left alone: an opener
/// would take the file for live.
fn claim(file: &File, place: &str) -> Result<(), LinkError> {
    let live = lock::held(file, CREATOR).map_err(io_error(place, "look at its lock"))?;
    if live || !lock::hold(file, REMOVER).map_err(io_error(place, "lock it"))? {
        return Err(LinkError::InUse {
            place: place.to_owned(),
        });
    }
    Ok(())
}

fn watch_directory(path: &Path) -> io::Result<OwnedFd> {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let directory = path.parent().unwrap_or(path);
    inotify::add_watch(&watch, directory, WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
    Ok(watch)
}

fn await_change(watch: &OwnedFd, limit: Duration) -> io::Result<()> {
    let limit = Timespec {
        tv_sec: limit.as_secs() as _,
        tv_nsec: limit.subsec_nanos() as _,
    };
    match poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&limit)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    loop {
        match events.next() {
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}

/// A link's file, to be removed: by its creator, or by the opener if the creator died.
#[derive(Debug)]
pub(in crate::link) struct NamedFile {
    path: PathBuf,
    file: File,
    creator: bool,
}

impl NamedFile {
    fn new(path: PathBuf, file: &File, creator: bool, place: &str) -> Result<Self, LinkError> {
        let file = file.try_clone().map_err(io_error(place, "keep it open"))?;
        Ok(Self { path, file, creator })
    }

    /// Whether the path still leads to this file.
    fn is_there(&self) -> io::Result<bool> {
        let (there, own) = (fs::symlink_metadata(&self.path)?, self.file.metadata()?);
        Ok((there.dev(), there.ino()) == (own.dev(), own.ino()))
    }
}

impl Drop for NamedFile {
    fn drop(&mut self) {
        let orphan = || lock::held(&self.file, CREATOR).is_ok_and(|held| !held);
        if (self.creator || orphan()) && self.is_there().unwrap_or(false) {
            // Nobody is left to tell if it fails.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_to_be_removed_is_not_taken_for_live() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("link");
        File::create_new(&path).expect("a new file");
        let open = || open_file(&path).expect("it is there");
        lay_out(&open(), &LinkConfig::new("host"), "link").expect("laid out");
        let remover = open();
        claim(&remover, "link").expect("its creator is gone");
        assert!(matches!(find(&path, "link"), Ok(Found::Stale)));
        let other = claim(&open(), "link");
        assert!(matches!(other, Err(LinkError::InUse { .. })), "{other:?}");
    }

    #[test]
    fn what_a_creator_holds_is_not_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("link");
        File::create_new(&path).expect("a new file");
        let open = || open_file(&path).expect("it is there");
        let creator = open();
        lay_out(&creator, &LinkConfig::new("host"), "link").expect("laid out");
        assert!(matches!(find(&path, "link"), Ok(Found::Live(_))));
        let claimed = claim(&open(), "link");
        assert!(matches!(claimed, Err(LinkError::InUse { .. })), "{claimed:?}");
    }
}
