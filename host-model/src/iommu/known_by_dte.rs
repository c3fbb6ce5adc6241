//! What is known by a device table entry, and goes with it.

use sim_bridge::RequesterId;

use super::cache::{Gone, Listener, Stamps};
use super::translate::KnownDomains;

/// Of each requester ID.
#[derive(Debug)]
pub(super) struct KnownByDte {
    /// Of the IRT cache's known hits. Invalidations of the requester ID's IRTEs move them too.
    pub(super) interrupts: Stamps,
    pub(super) domains: KnownDomains,
}

impl KnownByDte {
    pub(super) fn new() -> Self {
        Self {
            interrupts: Stamps::new(),
            domains: KnownDomains::new(),
        }
    }
}

/// Of the device table's cache, by requester ID.
impl Listener for KnownByDte {
    fn gone(&self, entry: Gone) {
        let device = RequesterId(entry.key as u16);
        self.interrupts.of(device).move_on();
        self.domains.of(device).forget();
    }
}
