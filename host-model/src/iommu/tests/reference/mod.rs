//! The hardware's tables row by row: the rows that have no case beside the part that they are about.

use super::registers::{CMD_BUF_RUN, CONTROL, EVENT_LOG_RUN, EVERYTHING, STATUS, with_efr};
use super::*;

mod bad_input;
mod commands;
mod divergence;
mod dte;
mod events;
mod irte;
mod overlaps;
mod recovery;
mod registers;

const COM_WAIT_INT: u64 = 1 << 2;

fn with_policies(change: impl FnOnce(&mut Policies)) -> Config {
    let mut config = Config::default();
    change(&mut config.policies);
    config
}

/// Every request reads its entries from memory.
fn uncached() -> Config {
    Config::default().with_caches(CacheShape::DISABLED)
}

/// What becomes of a fixed message: `forwarded`, destination and vector, or the reason.
fn send(rig: &Rig, device: RequesterId, data: u32) -> String {
    match rig.ask(&Rig::message(device, data)).outcome {
        Outcome::Forwarded { .. } => "forwarded".to_owned(),
        Outcome::Remapped(to) => format!("{:x}:{:02x}", to.destination(), to.vector()),
        Outcome::Posted(_) => "posted".to_owned(),
        Outcome::Blocked { reason, .. } => reason.to_string(),
    }
}

/// Lets the IOMMU work, and empties the event log.
fn new_events(rig: &Rig) -> Vec<String> {
    rig.run();
    let lines = rig.event_lines();
    rig.iommu.write(0x2010, 4, rig.iommu.read(0x2018, 4));
    lines
}

fn status(rig: &Rig, bits: u64) -> u64 {
    rig.iommu.read(STATUS, 8) & bits
}
