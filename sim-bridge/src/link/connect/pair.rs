//! Two ends in one process.

use super::handshake::{CREATOR, OPENER, allocate};
use super::stream::anonymous_file;
use super::{LinkConfig, LinkError};
use crate::link::Port;
use crate::link::memory::{Memory, State};
use crate::link::port::Parts;

const PLACE: &str = "link between threads";

impl Port {
    /// Both ends of a link, for two threads. The first side's latency and slots count.
    ///
    /// # Errors
    ///
    /// A setting is impossible, or there is no memory.
    pub fn pair(first: &LinkConfig, second: &LinkConfig) -> Result<(Self, Self), LinkError> {
        first.check()?;
        second.check()?;
        let file = anonymous_file(PLACE)?;
        let memory = allocate(&file, first, PLACE)?;
        let opener = memory.side(OPENER);
        opener.set_name(&second.name);
        opener
            .state
            .store(State::Present as u64, std::sync::atomic::Ordering::Release);
        let again = Memory::map(&file, first.slots).map_err(super::handshake::io_error(PLACE, "map it"))?;
        let port = |memory, side, peer: &LinkConfig| {
            let (peer_name, latency) = (peer.name.clone(), first.latency);
            Self::new(Parts {
                memory,
                side,
                peer_name,
                latency,
                locks: None,
                named: None,
            })
        };
        Ok((port(memory, CREATOR, second), port(again, OPENER, first)))
    }
}
