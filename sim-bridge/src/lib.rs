//! PCIe TLPs, the link that carries them between two simulators, and simulated time.
//!
//! Two simulators, such as an RTL model of a device and a model of its host, exchange whole TLPs ([`tlp`]) through a
//! [`link::Port`] each, between two processes or two threads. Every TLP arrives at a [`SimTime`], and each side knows
//! how far it may run before something earlier could still arrive ([`link::Link`]): what happens in simulated time
//! does not depend on how fast either side runs.

pub mod link;
mod requester_id;
mod time;
pub mod tlp;

pub use requester_id::{ParseRequesterIdError, RequesterId};
pub use time::SimTime;
