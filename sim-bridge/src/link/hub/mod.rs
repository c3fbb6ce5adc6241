//! Several links of one side.

#[cfg(test)]
mod tests;

use super::{Arrival, Link, LinkError};
use crate::SimTime;
use crate::tlp::Tlp;

/// The links of a side that may have several, by number from 0. What arrives on them comes in the order of time, and what
/// is simultaneous in the order of the links, so that what the side sees is again a matter of arrival times alone.
///
/// Used as a [`Link`] is: [`next`](Self::next) says what to do. No way over other sides may lead from one of its links to
/// another. `promises.rs` has the proof.
#[derive(Default)]
pub struct Hub {
    links: Vec<Box<dyn Link>>,
}

/// What comes next on the links of a [`Hub`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Nothing arrives before; what is local may be done up to it.
    pub at: SimTime,
    /// The link on which something may arrive then: of several, the first.
    pub link: usize,
    /// It does, and can be [received](Hub::receive).
    pub is_known: bool,
}

impl Hub {
    /// Of these links.
    pub fn new(links: Vec<Box<dyn Link>>) -> Self {
        Self { links }
    }

    /// What comes next; without links, nothing ever.
    pub fn next(&self) -> Next {
        let mut next = Next {
            at: SimTime::NEVER,
            link: 0,
            is_known: false,
        };
        for link in 0..self.links.len() {
            let (at, is_known) = self.bound(link);
            if link == 0 || at < next.at {
                next = Next { at, link, is_known };
            }
        }
        next
    }

    /// When something may arrive on a link, and whether it does.
    fn bound(&self, link: usize) -> (SimTime, bool) {
        let link = &self.links[link];
        match link.next_arrival() {
            Some(at) => (at, true),
            None => (link.horizon(), false),
        }
    }

    /// Takes what has come first on a link. To be done when [`next`](Self::next) says so.
    pub fn receive(&mut self, link: usize) -> Option<Arrival> {
        self.links.get_mut(link)?.receive()
    }

    /// Waits until [`next`](Self::next) says something new. Nothing else can be done: the next local thing is at `local`,
    /// which is not below what `next` says.
    ///
    /// # Errors
    /// That of any link.
    pub fn wait(&mut self, local: SimTime) -> Result<(), LinkError> {
        let first = self.next();
        let mut others = local;
        for link in 0..self.links.len() {
            let (at, _) = self.bound(link);
            if link == first.link {
                continue;
            }
            others = others.min(at);
            // So that it gets on meanwhile. Who has nothing to do is not woken, but still looked after.
            let promise = match at {
                SimTime::NEVER => SimTime::ZERO,
                _ => first.at.min(local),
            };
            self.links[link].promise(promise)?;
        }
        match self.links.get_mut(first.link) {
            Some(link) => link.wait(others),
            None => Ok(()),
        }
    }

    /// Sends on a link.
    ///
    /// # Errors
    /// See [`Link::send`].
    ///
    /// # Panics
    /// There is no such link.
    pub fn send(&mut self, link: usize, now: SimTime, tlp: &Tlp) -> Result<(), LinkError> {
        self.links[link].send(now, tlp)
    }

    /// From one end of a link to the other; zero if there is no such link.
    pub fn latency(&self, link: usize) -> SimTime {
        self.links.get(link).map_or(SimTime::ZERO, |link| link.latency())
    }

    /// The first link whose other side has ended in order, and everything that it sent has been taken.
    pub fn ended(&self) -> Option<usize> {
        self.links.iter().position(|link| link.ended())
    }

    /// Ends all links in order at `now`; after a failure, as soon as what was promised allows.
    ///
    /// # Errors
    /// That of the first which can't be ended; all others are.
    pub fn end(&mut self, now: SimTime) -> Result<(), LinkError> {
        let ended = self.links.iter_mut().map(|link| match link.end(now) {
            Err(LinkError::OwnPromise { promised, .. }) => link.end(promised),
            ended => ended,
        });
        ended.fold(Ok(()), Result::and)
    }
}
