//! PCIe TLPs, the link that carries them between two simulators, and simulated time.

mod requester_id;
mod time;

pub use requester_id::{ParseRequesterIdError, RequesterId};
pub use time::SimTime;
