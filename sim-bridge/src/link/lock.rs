//! Locks by which each side knows whether the other still lives.
//!
//! Each side locks one byte of the file through an open file description of its own. The kernel lets go of it when the
//! last descriptor is closed, however the process ends and whatever namespaces it is in.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Locks the byte of `side` until `file` is closed; false if another description has it.
pub(super) fn hold(file: &File, side: usize) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&byte(side))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether another description than `file` holds the byte of `side`.
pub(super) fn held(file: &File, side: usize) -> io::Result<bool> {
    let mut lock = byte(side);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

fn byte(side: usize) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as _,
        l_whence: libc::SEEK_SET as _,
        l_start: side as _,
        l_len: 1,
        l_pid: 0,
    }
}
