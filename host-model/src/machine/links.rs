//! The links to devices: which of them a CPU's request takes, and its way there and back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use futures_channel::oneshot;
use sim_bridge::RequesterId;
use sim_bridge::link::{Hub, Link};
use sim_bridge::tlp::{Completion, Tlp};

use super::{Machine, RunError};
use crate::trace::{Kind, Source};

/// A link, and what is at its other end.
pub struct LinkTo {
    function: RequesterId,
    window: RangeInclusive<u64>,
    link: Box<dyn Link>,
}

impl LinkTo {
    /// To this function. Requests to memory that is nobody else's go there.
    pub fn new(function: RequesterId, link: impl Link + 'static) -> Self {
        Self {
            function,
            window: 0..=u64::MAX,
            link: Box::new(link),
        }
    }

    /// Only requests to these addresses go there: the memory window of the root port. Of two links with one address the
    /// first counts.
    pub fn with_window(self, window: RangeInclusive<u64>) -> Self {
        Self { window, ..self }
    }
}

/// The links of a machine, by number.
pub(super) struct Links {
    pub(super) hub: RefCell<Hub>,
    ends: Vec<LinkEnd>,
}

/// What the root complex knows of a link.
struct LinkEnd {
    function: RequesterId,
    window: RangeInclusive<u64>,
    /// By tag.
    outstanding: RefCell<BTreeMap<u16, oneshot::Sender<Completion>>>,
    next_tag: Cell<u16>,
    /// Interrupt messages from there that have ended somewhere.
    interrupts_ended: Cell<u64>,
    /// Likewise, writes to memory.
    writes_ended: Cell<u64>,
}

impl Links {
    pub(super) fn new(links: impl IntoIterator<Item = LinkTo>) -> Self {
        let ends = links.into_iter().map(
            |LinkTo {
                 function,
                 window,
                 link,
             }| {
                let end = LinkEnd {
                    function,
                    window,
                    outstanding: RefCell::default(),
                    next_tag: Cell::new(0),
                    interrupts_ended: Cell::new(0),
                    writes_ended: Cell::new(0),
                };
                (end, link)
            },
        );
        let (ends, links) = ends.unzip();
        Self {
            hub: RefCell::new(Hub::new(links)),
            ends,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The one with this function at its other end.
    pub(super) fn to_function(&self, id: RequesterId) -> Option<usize> {
        self.ends.iter().position(|end| end.function == id)
    }

    /// The one that requests to this address take.
    pub(super) fn to_address(&self, address: u64) -> Option<usize> {
        self.ends.iter().position(|end| end.window.contains(&address))
    }

    /// The function at the other end.
    pub(super) fn function(&self, link: usize) -> RequesterId {
        self.ends[link].function
    }

    pub(super) fn interrupt_ended(&self, link: usize) {
        let ended = &self.ends[link].interrupts_ended;
        ended.set(ended.get() + 1);
    }

    pub(super) fn interrupts_ended(&self, link: usize) -> u64 {
        self.ends.get(link).map_or(0, |end| end.interrupts_ended.get())
    }

    pub(super) fn write_ended(&self, link: usize) {
        let ended = &self.ends[link].writes_ended;
        ended.set(ended.get() + 1);
    }

    pub(super) fn writes_ended(&self, link: usize) -> u64 {
        self.ends.get(link).map_or(0, |end| end.writes_ended.get())
    }
}

impl Machine {
    /// Sends a TLP to a device.
    pub(super) fn send(&self, link: usize, tlp: &Tlp) {
        self.record(Source::Link(link), Kind::ToDevice(tlp.clone()));
        let sent = self.0.links.hub.borrow_mut().send(link, self.now(), tlp);
        if let Err(error) = sent {
            self.fail(error);
        }
    }

    /// Sends a request that is completed, and waits for that. `None`: the simulation is failing.
    pub(super) async fn non_posted(&self, link: usize, tag: u16, tlp: &Tlp) -> Option<Completion> {
        let (sender, receiver) = oneshot::channel();
        let outstanding = &self.0.links.ends[link].outstanding;
        outstanding.borrow_mut().insert(tag, sender);
        self.send(link, tlp);
        receiver.await.ok()
    }

    /// A tag (10 bits) that no outstanding request of this link has.
    pub(super) fn new_tag(&self, link: usize) -> u16 {
        let LinkEnd {
            outstanding,
            next_tag,
            ..
        } = &self.0.links.ends[link];
        let outstanding = outstanding.borrow();
        let first = next_tag.get();
        let tag = (0..1024)
            .map(|n| (first + n) % 1024)
            .find(|tag| !outstanding.contains_key(tag))
            .unwrap_or(first);
        next_tag.set((tag + 1) % 1024);
        tag
    }

    /// A completion for a request of this machine has come, and its turn.
    pub(super) fn completed(&self, link: usize, completion: &Completion) {
        let outstanding = &self.0.links.ends[link].outstanding;
        let waiter = outstanding.borrow_mut().remove(&completion.tag);
        match waiter {
            Some(waiter) => {
                // A waiter that is gone needs no answer.
                let _ = waiter.send(completion.clone());
            }
            None => self.record(
                Source::Scenario,
                Kind::KernelLog(format!("unexpected completion: tag {}", completion.tag)),
            ),
        }
    }

    /// Ends the run with this, unless it has failed already.
    pub(crate) fn fail(&self, error: impl Into<RunError>) {
        self.0.failure.borrow_mut().get_or_insert(error.into());
    }
}
