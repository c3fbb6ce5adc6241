//! The memory handed over a socket: nothing with a name, nothing left behind.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::handshake::{CREATOR, await_opener, io_error, join, lay_out};
use super::{LinkConfig, LinkError};
use crate::link::Port;
use crate::link::memory::MAGIC;
use crate::link::port::Parts;

const PLACE: &str = "link over a socket";
/// The other side, before it has told its name.
const NAMELESS: &str = "the other side";

/// Its size can't be changed by the other side: a mapping of what is cut off would kill this process.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

impl Port {
    /// Creates a link and hands it to the process at the other end of `stream`; waits until that has opened it. The
    /// stream is not used afterwards.
    ///
    /// # Errors
    ///
    /// A setting is impossible, there is no memory, or the other side does not come, dies, or has another version.
    pub fn offer(stream: &UnixStream, config: &LinkConfig) -> Result<Self, LinkError> {
        config.check()?;
        let file = anonymous_file(PLACE)?;
        let memory = lay_out(&file, config, PLACE)?;
        fcntl_add_seals(&file, SEALS).map_err(|e| io_error(PLACE, "fix its size")(e.into()))?;
        send_file(stream, &file)?;
        let peer_name = await_opener(&memory, config, PLACE, || hung_up(stream))?;
        let (latency, locks) = (config.latency, Some(file));
        Ok(Self::new(Parts {
            memory,
            side: CREATOR,
            peer_name,
            latency,
            locks,
            named: None,
        }))
    }

    /// Opens the link that the process at the other end of `stream` [offers](Self::offer). The stream is not used
    /// afterwards.
    ///
    /// # Errors
    ///
    /// A setting is impossible, or the other side offers nothing, dies, has another version, or offers what is no
    /// link.
    pub fn accept(stream: &UnixStream, config: &LinkConfig) -> Result<Self, LinkError> {
        config.check()?;
        let received = receive_file(stream, config.timeout)?;
        let seals = fcntl_get_seals(&received).map_err(|e| io_error(PLACE, "look at it")(e.into()))?;
        if !seals.contains(SealFlags::SHRINK) {
            let why = "its size is not fixed".to_owned();
            return Err(LinkError::NotALink {
                place: PLACE.to_owned(),
                why,
            });
        }
        // The descriptor that came shares the creator's locks; a description of one's own has its own.
        let path = format!("/proc/self/fd/{}", received.as_raw_fd());
        let file = File::options().read(true).write(true).open(path);
        let file = file.map_err(io_error(PLACE, "open it through /proc"))?;
        drop(received);
        let parts = join(file, config, PLACE)?;
        Ok(Self::new(parts))
    }
}

/// Memory that is gone when nobody has it any more.
pub(super) fn anonymous_file(place: &str) -> Result<File, LinkError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = memfd_create("ntb-link", flags).map_err(|e| io_error(place, "get shared memory")(e.into()))?;
    Ok(fd.into())
}

fn send_file(stream: &UnixStream, file: &File) -> Result<(), LinkError> {
    let fds = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    loop {
        return match sendmsg(
            stream,
            &[IoSlice::new(&MAGIC)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => Ok(()),
            Err(Errno::INTR) => continue,
            Err(Errno::PIPE | Errno::CONNRESET) => Err(died()),
            Err(e) => Err(io_error(PLACE, "hand it over")(e.into())),
        };
    }
}

fn receive_file(stream: &UnixStream, timeout: Duration) -> Result<OwnedFd, LinkError> {
    await_readable(stream, timeout)?;
    let mut text = [0; MAGIC.len()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(
            stream,
            &mut [IoSliceMut::new(&mut text)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Err(died()),
            Err(e) => return Err(io_error(PLACE, "receive it")(e.into())),
        }
    };
    if received.bytes == 0 {
        return Err(died());
    }
    let fd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fd.filter(|_| text[..received.bytes] == MAGIC)
        .ok_or_else(|| LinkError::NotALink {
            place: PLACE.to_owned(),
            why: "the other side sent something else".to_owned(),
        })
}

fn await_readable(stream: &UnixStream, timeout: Duration) -> Result<(), LinkError> {
    let start = Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        match poll_for(stream, PollFlags::IN, left)? {
            flags if !flags.is_empty() => return Ok(()),
            _ if start.elapsed() >= timeout => {
                let place = PLACE.to_owned();
                return Err(LinkError::TimedOut {
                    place,
                    waited: timeout,
                    detail: "",
                });
            }
            _ => {}
        }
    }
}

/// Whether the other end of the stream is closed.
fn hung_up(stream: &UnixStream) -> Result<(), LinkError> {
    let flags = poll_for(stream, PollFlags::RDHUP, Duration::ZERO)?;
    if flags.intersects(PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR) {
        Err(died())
    } else {
        Ok(())
    }
}

/// What is the case; nothing after the time or a signal.
fn poll_for(stream: &UnixStream, flags: PollFlags, limit: Duration) -> Result<PollFlags, LinkError> {
    let limit = Timespec {
        tv_sec: limit.as_secs() as _,
        tv_nsec: limit.subsec_nanos() as _,
    };
    let mut fds = [PollFd::new(stream, flags)];
    match poll(&mut fds, Some(&limit)) {
        Ok(_) => Ok(fds[0].revents()),
        Err(Errno::INTR) => Ok(PollFlags::empty()),
        Err(e) => Err(io_error(PLACE, "wait for the other side")(e.into())),
    }
}

fn died() -> LinkError {
    LinkError::PeerDied {
        peer: NAMELESS.to_owned(),
    }
}
