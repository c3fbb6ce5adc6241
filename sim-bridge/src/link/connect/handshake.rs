//! What is common to all ways: laying out the memory, checking what is there, finding each other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Instant;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{LinkConfig, LinkError, are_slots};
use crate::SimTime;
use crate::link::bell::{Bell, Event};
use crate::link::lock;
use crate::link::memory::{self, BYTE_ORDER, MAGIC, Memory, State, VERSION};
use crate::link::port::{LIVENESS_PERIOD, Parts};

/// Sides of a link.
pub(super) const CREATOR: usize = 0;
pub(super) const OPENER: usize = 1;

/// Bytes of the header's first words that tell what the file is.
const PREFIX: usize = 32;

/// Turns an error of the operating system into one about `place`.
pub(super) fn io_error(place: &str, action: &'static str) -> impl FnOnce(io::Error) -> LinkError {
    move |source| LinkError::Io {
        place: place.to_owned(),
        action,
        source,
    }
}

/// Lays a link out in an empty file, its creator present and its lock held.
pub(super) fn lay_out(file: &File, config: &LinkConfig, place: &str) -> Result<Memory, LinkError> {
    if !lock::hold(file, CREATOR).map_err(io_error(place, "lock it"))? {
        return Err(LinkError::InUse {
            place: place.to_owned(),
        });
    }
    let memory = allocate(file, config, place)?;
    memory.header().magic.store(u64::from_ne_bytes(MAGIC), Release);
    Ok(memory)
}

/// Lays a link out, without locks.
pub(super) fn allocate(file: &File, config: &LinkConfig, place: &str) -> Result<Memory, LinkError> {
    let len = memory::len(config.slots);
    // Reserved now, so that a full disk is an error here and not a signal later.
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP) => file.set_len(len).map_err(io_error(place, "set its size"))?,
        Err(e) => return Err(io_error(place, "reserve its memory")(e.into())),
    }
    let memory = Memory::map(file, config.slots).map_err(io_error(place, "map it"))?;
    let header = memory.header();
    header.version.store(VERSION, Relaxed);
    header.byte_order.store(BYTE_ORDER, Relaxed);
    header.len.store(len, Relaxed);
    header.slots.store(config.slots, Relaxed);
    header.latency.store(config.latency.as_ps(), Relaxed);
    let side = memory.side(CREATOR);
    side.set_name(&config.name);
    side.state.store(State::Present as u64, Release);
    Ok(memory)
}

/// What the first words of a file say.
pub(super) enum Identity {
    Ours,
    OtherVersion(u64),
}

/// Whether `file` is a link at all.
pub(super) fn identify(file: &File, place: &str) -> Result<Identity, LinkError> {
    let not_a_link = |why: &str| LinkError::NotALink {
        place: place.to_owned(),
        why: why.to_owned(),
    };
    let metadata = file.metadata().map_err(io_error(place, "look at it"))?;
    if !metadata.is_file() {
        return Err(not_a_link("it is not a regular file"));
    }
    let mut prefix = [0; PREFIX];
    let have = read_start(file, &mut prefix).map_err(io_error(place, "read it"))?;
    let word = |n: usize| -> [u8; 8] { std::array::from_fn(|i| prefix[n * 8 + i]) };
    if have < 8 || word(0) != MAGIC {
        return Err(not_a_link("it does not start as one"));
    }
    if have < PREFIX {
        return Err(LinkError::Truncated {
            place: place.to_owned(),
            have: have as u64,
            need: PREFIX as u64,
        });
    }
    if u64::from_ne_bytes(word(3)) != BYTE_ORDER {
        return Err(not_a_link("it was written by a machine with another byte order"));
    }
    let version = u64::from_ne_bytes(word(1));
    Ok(if version == VERSION {
        Identity::Ours
    } else {
        Identity::OtherVersion(version)
    })
}

fn read_start(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match file.read_at(&mut buffer[have..], have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}

/// The opener's half: checks the link in `file` and takes its place in it.
pub(super) fn join(file: File, config: &LinkConfig, place: &str) -> Result<Parts, LinkError> {
    let have = file.metadata().map_err(io_error(place, "look at it"))?.len();
    let identity = identify(&file, place)?;
    let smallest = memory::len(0);
    if have < smallest {
        return Err(LinkError::Truncated {
            place: place.to_owned(),
            have,
            need: smallest,
        });
    }
    let header_only = Memory::map(&file, 0).map_err(io_error(place, "map it"))?;
    if !lock::hold(&file, OPENER).map_err(io_error(place, "lock it"))? {
        return Err(LinkError::InUse {
            place: place.to_owned(),
        });
    }
    let absent = |memory: &Memory, state| {
        let word = &memory.side(OPENER).state;
        word.compare_exchange(State::Absent as u64, state as u64, Release, Relaxed)
            .is_ok()
    };
    let creator_bell = |memory: &Memory| Bell(&memory.side(CREATOR).bell).ring(Event::Message);
    if let Identity::OtherVersion(theirs) = identity {
        header_only.header().opener_version.store(VERSION, Relaxed);
        absent(&header_only, State::Refused);
        creator_bell(&header_only);
        return Err(LinkError::Version {
            place: place.to_owned(),
            theirs,
            ours: VERSION,
        });
    }
    let header = header_only.header();
    let slots = header.slots.load(Relaxed);
    let latency = SimTime::from_ps(header.latency.load(Relaxed));
    if !are_slots(slots) || header.len.load(Relaxed) != memory::len(slots) {
        return Err(foreign(place, "its sizes are impossible"));
    }
    if latency == SimTime::ZERO || latency == SimTime::NEVER {
        return Err(foreign(place, "its latency is impossible"));
    }
    if have != memory::len(slots) {
        return Err(LinkError::Truncated {
            place: place.to_owned(),
            have,
            need: memory::len(slots),
        });
    }
    let memory = Memory::map(&file, slots).map_err(io_error(place, "map it"))?;
    let Some(peer_name) = memory.side(CREATOR).name() else {
        return Err(foreign(place, "its creator has no name"));
    };
    memory.side(OPENER).set_name(&config.name);
    if !absent(&memory, State::Present) {
        // Somebody was here before: a link is used once.
        return Err(LinkError::InUse {
            place: place.to_owned(),
        });
    }
    creator_bell(&memory);
    Ok(Parts {
        memory,
        side: OPENER,
        peer_name,
        latency,
        locks: Some(file),
        named: None,
    })
}

fn foreign(place: &str, why: &str) -> LinkError {
    LinkError::NotALink {
        place: place.to_owned(),
        why: why.to_owned(),
    }
}

/// The creator's half: waits until the other side is there, and returns its name. `check` is called from time to
/// time, to give up early.
pub(super) fn await_opener(
    memory: &Memory,
    config: &LinkConfig,
    place: &str,
    mut check: impl FnMut() -> Result<(), LinkError>,
) -> Result<String, LinkError> {
    let start = Instant::now();
    let bell = Bell(&memory.side(CREATOR).bell);
    let opener = memory.side(OPENER);
    let state = loop {
        bell.arm(Event::Message);
        match State::from_raw(opener.state.load(Acquire)) {
            Some(State::Absent) => {}
            state => break state,
        }
        let left = config.timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            let (place, waited) = (place.to_owned(), config.timeout);
            return Err(LinkError::TimedOut {
                place,
                waited,
                detail: "",
            });
        }
        check()?;
        bell.sleep(left.min(LIVENESS_PERIOD));
    };
    bell.disarm();
    let corrupt = |what| LinkError::Corrupt {
        peer: place.to_owned(),
        what,
        slot: None,
    };
    match state {
        // An opener that ended or aborted already was there: its port says so.
        Some(State::Present | State::Ended | State::Aborted) => {
            opener.name().ok_or_else(|| corrupt("the opener has no name"))
        }
        Some(State::Refused) => {
            let theirs = memory.header().opener_version.load(Relaxed);
            Err(LinkError::Version {
                place: place.to_owned(),
                theirs,
                ours: VERSION,
            })
        }
        Some(State::Absent) | None => Err(corrupt("the state of a side is impossible")),
    }
}
