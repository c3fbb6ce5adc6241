//! Opening a link: the ways in which two sides meet.
//!
//! One side creates the link and says how it is; the other opens it. Between two processes, either they share a path
//! ([`Port::create`], [`Port::open`]), or the creator hands the memory over a socket ([`Port::offer`], [`Port::accept`]).

mod handshake;
mod named;
mod pair;
mod stream;

use std::time::Duration;

pub(super) use named::NamedFile;

use super::LinkError;
use super::memory::{MAX_SLOTS, MIN_SLOTS, is_name};
use crate::SimTime;
#[cfg(doc)]
use crate::link::Port;

/// How one side opens a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// What the other side calls this one in its messages: 1 to 64 bytes without control characters.
    pub name: String,
    /// Simulated time from sending to arrival, not zero. That of the creator counts.
    pub latency: SimTime,
    /// Slots of 64 bytes of each ring: a power of two, 256 to 1048576. That of the creator counts.
    pub slots: u64,
    /// How long to wait for the other side.
    pub timeout: Duration,
}

impl LinkConfig {
    /// 500 ns, 1024 slots, 10 seconds.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            latency: SimTime::from_ns(500),
            slots: 1024,
            timeout: Duration::from_secs(10),
        }
    }

    fn check(&self) -> Result<(), LinkError> {
        let refuse = |setting, value: String, must_be| {
            Err(LinkError::Setting {
                setting,
                value,
                must_be,
            })
        };
        if !is_name(&self.name) {
            return refuse(
                "name",
                format!("{:?}", self.name),
                "1 to 64 bytes without control characters",
            );
        }
        if self.latency == SimTime::ZERO || self.latency == SimTime::NEVER {
            return refuse("latency", self.latency.to_string(), "more than zero and finite");
        }
        if !are_slots(self.slots) {
            return refuse(
                "slots",
                self.slots.to_string(),
                "a power of two from 256 to 1048576",
            );
        }
        Ok(())
    }
}

fn are_slots(slots: u64) -> bool {
    slots.is_power_of_two() && (MIN_SLOTS..=MAX_SLOTS).contains(&slots)
}
