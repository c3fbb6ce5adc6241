//! The time protocol: who may still send what.

use std::collections::VecDeque;

use super::LinkError;
use crate::SimTime;

/// What both sides have promised each other, as one side sees it.
///
/// A promise `{next, consumed}` says: "having taken `consumed` of your TLPs, I send nothing before `next`, except in
/// answer to those that I have not taken". It is never withdrawn. With the latency `L > 0`, and `a(n)` the time at
/// which our TLP number `n` arrives there, the *horizon* is the latest time before which nothing can arrive here:
///
/// - by its last promise, `min(next, a(consumed)) + L`; without a TLP number `consumed`, `next + L`;
/// - by its last TLP or end, that one's own arrival, as the times of sending never decrease.
///
/// Proof that nothing arrives below: what the other side sends is spontaneous, so not before `next`, or follows from
/// one of our TLPs that it had not taken, the first of which it can't know before `a(consumed)`; both travel `L`.
///
/// Sending at `now` lowers the horizon to `now + 2L` at most, which is ahead of us; nothing else lowers it. Progress: let
/// both sides wait, having done all below their horizons and taken all that came, and let the earliest thing still to do
/// on either side be at `t`. Both have promised `t` or later, so that both horizons are `t + L` or later, and the side that
/// has it runs. Two idle sides have promised [`SimTime::NEVER`], and either runs freely until it sends.
///
/// # A side with several links
///
/// What such a side H, a [`Hub`](super::Hub), takes from one link may make it send on another. The *bound* of a link is the
/// arrival of the first TLP that came and was not taken, otherwise the horizon. H takes and does things in the order of
/// time, below all bounds; before waiting it promises each link the least of `local`, its own next thing, and the bounds of
/// all *other* links.
///
/// Proof that H keeps such a promise `p` to A: let H take nothing from A, else the promise excepts what follows. What H then
/// does next is local or comes from another link, so not before `p`, provided that its bound holds. A bound is lowered only
/// by H's own sending, at a time when H does something, to that time and two latencies. By induction over what H does, all
/// of it is at `p` or later, and so is what H sends. That H may promise again later, and then more: whatever happens in
/// between is done in the order of time, so that `local` and the bounds of others are never below what was promised of them.
///
/// Progress: let H wait for the link B with the least bound `b`, `local` not being below, and B wait too. H promised B at
/// least `b`, as no other bound is less. B has nothing to do below its own horizon, which is thus `b + L` or later, and
/// promised as much; so `b` is `b + 2L` or later, which can be of `NEVER` only. Hence it is enough to wait for B alone, and
/// each time that H is woken the least bound has moved. Who is at a link whose bound is `NEVER` has nothing to do
/// until H sends to it, and is not woken by promises: idle sides cost next to nothing, and with all others idle H's promise
/// to one is `local`, as if that were the only link.
#[derive(Debug)]
pub(super) struct Promises {
    latency: SimTime,
    /// This side sends nothing before.
    not_before: SimTime,
    /// The last that this side sent.
    last_sent: SimTime,
    /// TLPs that this side took.
    taken: u64,
    /// What the other side knows of this side's promises.
    said: Promise,
    /// TLPs that this side sent.
    sent: u64,
    /// Of these, the last ones that the other side had not taken at its last promise: arrival times.
    outstanding: VecDeque<SimTime>,
    /// By the last TLP, nothing arrives before.
    floor: SimTime,
    /// By the last promise, nothing arrives before unless an outstanding TLP is answered.
    spontaneous: SimTime,
}

/// See [`Promises`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Promise {
    pub next: SimTime,
    pub consumed: u64,
}

/// What a promise forbids.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// Arrives at a time that had been excluded.
    TooEarly { at: SimTime, promised: SimTime },
    /// More TLPs taken than sent, or fewer than before.
    Consumed,
}

impl Promises {
    pub fn new(latency: SimTime) -> Self {
        Self {
            latency,
            not_before: SimTime::ZERO,
            last_sent: SimTime::ZERO,
            taken: 0,
            said: Promise {
                next: SimTime::ZERO,
                consumed: 0,
            },
            sent: 0,
            outstanding: VecDeque::new(),
            floor: latency,
            spontaneous: SimTime::ZERO,
        }
    }

    pub fn latency(&self) -> SimTime {
        self.latency
    }

    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Arrival time of what is sent at `now`.
    pub fn may_send(&self, now: SimTime) -> Result<SimTime, LinkError> {
        self.arrival(now, self.not_before)
    }

    /// Arrival time of the end at `now`. To a side that has ended nothing is owed.
    pub fn may_end(&self, now: SimTime, peer_ended: bool) -> Result<SimTime, LinkError> {
        self.arrival(
            now,
            if peer_ended {
                self.last_sent
            } else {
                self.not_before
            },
        )
    }

    fn arrival(&self, now: SimTime, promised: SimTime) -> Result<SimTime, LinkError> {
        if now < promised {
            return Err(LinkError::OwnPromise { now, promised });
        }
        let arrival = now + self.latency;
        if arrival == SimTime::NEVER {
            Err(LinkError::EndOfTime(now))
        } else {
            Ok(arrival)
        }
    }

    /// A TLP was sent at `now`, which was allowed.
    pub fn sent(&mut self, now: SimTime) {
        self.last_sent = now;
        self.not_before = now;
        self.sent += 1;
        self.outstanding.push_back(now + self.latency);
    }

    /// A TLP that arrived `at` was taken: from now on it can be answered.
    pub fn took(&mut self, at: SimTime) {
        self.taken += 1;
        self.not_before = self.not_before.min(at.max(self.last_sent));
    }

    /// This side sends nothing before `next`: what to tell the other side, if it is new to it.
    pub fn promise(&mut self, next: SimTime) -> Option<Promise> {
        self.not_before = self.not_before.max(next);
        let promise = Promise {
            next: self.not_before,
            consumed: self.taken,
        };
        (promise != self.said).then_some(promise)
    }

    /// The other side has been told.
    pub fn said(&mut self, promise: Promise) {
        self.said = promise;
    }

    /// Nothing new arrives before this time.
    pub fn horizon(&self) -> SimTime {
        let answer = self
            .outstanding
            .front()
            .map_or(SimTime::NEVER, |&at| at + self.latency);
        self.floor.max(self.spontaneous.min(answer))
    }

    /// A TLP that arrives `at` and was sent when the other side had taken `consumed`.
    pub fn came(&mut self, at: SimTime, consumed: u64) -> Result<(), Violation> {
        self.not_too_early(at)?;
        self.consumed(consumed)?;
        // Whatever was promised before, `at` is later.
        self.floor = at;
        self.spontaneous = at;
        Ok(())
    }

    /// The other side promised.
    pub fn promised(&mut self, promise: Promise) -> Result<(), Violation> {
        let before = self.horizon();
        self.consumed(promise.consumed)?;
        self.spontaneous = promise.next + self.latency;
        let after = self.horizon();
        if after < before {
            return Err(Violation::TooEarly {
                at: after,
                promised: before,
            });
        }
        Ok(())
    }

    /// The end that arrives `at`. `free` if the other side can have known that this side has ended.
    pub fn ended(&mut self, at: SimTime, consumed: u64, free: bool) -> Result<(), Violation> {
        if !free {
            self.not_too_early(at)?;
        }
        self.consumed(consumed)?;
        self.floor = SimTime::NEVER;
        Ok(())
    }

    fn not_too_early(&self, at: SimTime) -> Result<(), Violation> {
        let promised = self.horizon();
        if at < promised {
            Err(Violation::TooEarly { at, promised })
        } else {
            Ok(())
        }
    }

    fn consumed(&mut self, consumed: u64) -> Result<(), Violation> {
        let before = self.sent - self.outstanding.len() as u64;
        if consumed < before || consumed > self.sent {
            return Err(Violation::Consumed);
        }
        self.outstanding.drain(..(consumed - before) as usize);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: SimTime = SimTime::from_ps(500);

    fn at(ps: u64) -> SimTime {
        SimTime::from_ps(ps)
    }

    fn promise(next: u64, consumed: u64) -> Promise {
        Promise {
            next: at(next),
            consumed,
        }
    }

    fn too_early(at_ps: u64, promised: u64) -> Result<(), Violation> {
        Err(Violation::TooEarly {
            at: at(at_ps),
            promised: at(promised),
        })
    }

    #[test]
    fn nothing_arrives_before_the_latency() {
        let mut promises = Promises::new(LATENCY);
        assert_eq!(promises.horizon(), LATENCY);
        assert_eq!(promises.came(at(499), 0), too_early(499, 500));
    }

    #[test]
    fn an_arrival_before_the_promise_is_a_violation() {
        let mut promises = Promises::new(LATENCY);
        promises.promised(promise(9000, 0)).unwrap();
        assert_eq!(promises.came(at(9499), 0), too_early(9499, 9500));
        assert_eq!(promises.ended(at(9499), 0, false), too_early(9499, 9500));
        assert_eq!(promises.came(at(9500), 0), Ok(()));
    }

    #[test]
    fn an_answer_may_come_before_the_promise_but_not_before_it_can_be_known() {
        let mut promises = Promises::new(LATENCY);
        promises.promised(promise(9000, 0)).unwrap();
        promises.sent(at(1000));
        assert_eq!(promises.came(at(1999), 0), too_early(1999, 2000));
        assert_eq!(promises.came(at(2000), 1), Ok(()));
    }

    #[test]
    fn arrivals_in_the_wrong_order_are_a_violation() {
        let mut promises = Promises::new(LATENCY);
        promises.came(at(700), 0).unwrap();
        assert_eq!(promises.came(at(699), 0), too_early(699, 700));
    }

    #[test]
    fn a_promise_can_not_be_taken_back() {
        let mut promises = Promises::new(LATENCY);
        promises.promised(promise(9000, 0)).unwrap();
        assert_eq!(promises.promised(promise(8000, 0)), too_early(8500, 9500));
    }

    #[test]
    fn tlps_that_were_never_sent_or_taken_before_can_not_be_taken() {
        let mut promises = Promises::new(LATENCY);
        promises.sent(at(0));
        assert_eq!(promises.promised(promise(0, 2)), Err(Violation::Consumed));
        promises.promised(promise(0, 1)).unwrap();
        assert_eq!(promises.promised(promise(0, 0)), Err(Violation::Consumed));
    }

    #[test]
    fn a_promise_that_says_nothing_new_is_not_sent() {
        let mut promises = Promises::new(LATENCY);
        let first = promises.promise(at(1000)).unwrap();
        promises.said(first);
        assert_eq!(promises.promise(at(900)), None);
        promises.took(at(1200));
        assert_eq!(promises.promise(at(1000)), Some(promise(1000, 1)));
    }

    #[test]
    fn an_end_that_answers_an_end_may_come_at_any_time() {
        let mut promises = Promises::new(LATENCY);
        promises.promised(promise(9000, 0)).unwrap();
        assert_eq!(promises.ended(at(600), 0, true), Ok(()));
        assert_eq!(promises.horizon(), SimTime::NEVER);
    }
}
