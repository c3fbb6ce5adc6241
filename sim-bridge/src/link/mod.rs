//! The link between two simulators: whole TLPs, each with the simulated time at which it arrives.
//!
//! [`Link`] is what a simulator's loop is written against, [`Port`] is one end of a link in shared memory, [`Hub`] the
//! links of a side that has several. How the two ends meet is in `connect/`, the time protocol in `promises.rs`, the memory
//! in `memory.rs` and `ring.rs`.
//!
//! A loop that takes what comes and does what is local, in the order of simulated time:
//!
//! ```
//! # use std::collections::BTreeMap;
//! use sim_bridge::link::{Link, LinkConfig, LinkError, Port};
//! use sim_bridge::{RequesterId, SimTime, tlp::Tlp};
//!
//! /// Sends each TLP at its time; times at which something arrived.
//! fn simulate(link: &mut impl Link, mut local: BTreeMap<SimTime, Tlp>) -> Result<Vec<SimTime>, LinkError> {
//!     let mut arrivals = Vec::new();
//!     while !link.ended() {
//!         let next = local.keys().next().copied().unwrap_or(SimTime::NEVER);
//!         if link.next_arrival().is_some_and(|at| at <= next) {
//!             arrivals.extend(link.receive().map(|arrival| arrival.at));
//!         } else if next < link.horizon() {
//!             link.send(next, &local.remove(&next).unwrap())?;
//!         } else {
//!             link.wait(next)?;
//!         }
//!     }
//!     Ok(arrivals)
//! }
//!
//! let (mut host, mut device) = Port::pair(&LinkConfig::new("host"), &LinkConfig::new("device"))?;
//! let device = std::thread::spawn(move || simulate(&mut device, BTreeMap::new()));
//! host.send(SimTime::from_us(3), &Tlp::mem_read(RequesterId::new(0, 0, 0), 1, 0xfe00_0000, 4)?)?;
//! host.end(SimTime::from_us(5))?;
//! assert_eq!(device.join().unwrap()?, [SimTime::from_us(3) + host.latency()]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bell;
mod connect;
mod error;
mod hub;
mod lock;
mod memory;
mod port;
mod promises;
mod ring;

pub use connect::LinkConfig;
pub use error::LinkError;
pub use hub::{Hub, Next};
pub use port::Port;

use crate::SimTime;
use crate::tlp::Tlp;

/// A TLP that has come over the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrives: the time of sending plus the latency.
    pub at: SimTime,
    /// What arrives.
    pub tlp: Tlp,
}

/// One side's end of a link.
///
/// A side may do what happens at a time `t` once everything that arrives at `t` or before has been taken and `t` is
/// below the [horizon](Self::horizon). When there is no more of that to do, it [waits](Self::wait). What a side sees is
/// then a matter of arrival times alone, never of how fast either side runs.
pub trait Link {
    /// Simulated time from sending to arrival; never zero.
    fn latency(&self) -> SimTime;

    /// Sends at `now`; it arrives at `now + latency`. Times must not decrease.
    fn send(&mut self, now: SimTime, tlp: &Tlp) -> Result<(), LinkError>;

    /// Arrival time of the next TLP received and not yet taken.
    fn next_arrival(&self) -> Option<SimTime>;

    /// Takes it.
    fn receive(&mut self) -> Option<Arrival>;

    /// Nothing that has not been received yet arrives before this time.
    fn horizon(&self) -> SimTime;

    /// Promises that this side sends nothing before `next` except in answer to what it has not taken yet. Does not
    /// wait.
    fn promise(&mut self, next: SimTime) -> Result<(), LinkError>;

    /// Promises, then waits until something arrives, the horizon moves, or the other side ends.
    fn wait(&mut self, next: SimTime) -> Result<(), LinkError>;

    /// True once the other side has ended in order and everything that it sent has been taken.
    fn ended(&self) -> bool;

    /// Ends in order at `now`: nothing follows.
    fn end(&mut self, now: SimTime) -> Result<(), LinkError>;
}
