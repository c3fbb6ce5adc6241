//! One end of a link in shared memory.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;

use super::bell::{Bell, Event};
use super::connect::NamedFile;
use super::memory::{Memory, State};
use super::promises::{Promise, Promises, Violation};
use super::ring::{Corrupt, Kind, Message, Reader, Writer};
use super::{Arrival, Link, LinkError, lock};
use crate::SimTime;
use crate::tlp::{self, Tlp};

/// How often a side that sleeps, or runs on without waiting, looks whether the other still lives.
pub(super) const LIVENESS_PERIOD: Duration = Duration::from_millis(100);
/// How long a waiting side spins and yields before it sleeps: about what being woken takes.
const AWAKE_FOR: Duration = Duration::from_micros(20);

/// One side's end of a link, between two processes or two threads.
///
/// A port that is dropped without [`end`](Link::end) breaks the link: the other side gets [`LinkError::PeerDied`], after
/// what was sent before. After an error other than one about the caller's own arguments the link is of no more use.
pub struct Port {
    memory: Memory,
    /// 0 the creator, 1 the opener.
    side: usize,
    peer_name: String,
    /// Carries the locks; `None` within one process.
    locks: Option<File>,
    /// Removes the file that has a name.
    _named: Option<NamedFile>,
    /// Whether another CPU can do something while this one spins.
    spin: bool,
    writer: Writer,
    reader: Reader,
    promises: Promises,
    inbox: VecDeque<Arrival>,
    /// When the other side's end arrives, if it has come.
    peer_ended: Option<SimTime>,
    /// This side has ended.
    ended: bool,
    /// When this side last looked whether the other lives.
    looked: Instant,
    encoded: Vec<u8>,
}

/// What a port is made of when both sides have met.
pub(super) struct Parts {
    pub memory: Memory,
    pub side: usize,
    pub peer_name: String,
    pub latency: SimTime,
    pub locks: Option<File>,
    pub named: Option<NamedFile>,
}

impl Port {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            memory,
            side,
            peer_name,
            latency,
            locks,
            named,
        } = parts;
        Self {
            memory,
            side,
            peer_name,
            locks,
            _named: named,
            spin: std::thread::available_parallelism().is_ok_and(|n| n.get() > 1),
            writer: Writer::default(),
            reader: Reader::default(),
            promises: Promises::new(latency),
            inbox: VecDeque::new(),
            peer_ended: None,
            ended: false,
            looked: Instant::now(),
            encoded: Vec::with_capacity(tlp::MAX_ENCODED),
        }
    }

    /// Name of the other side.
    pub fn peer_name(&self) -> &str {
        &self.peer_name
    }

    /// Gives the other side another name than its own, where several have the same.
    pub fn set_peer_name(&mut self, name: impl Into<String>) {
        self.peer_name = name.into();
    }

    /// When the other side's end arrives, once it is known: nothing that it sends arrives later.
    pub fn end_arrival(&self) -> Option<SimTime> {
        self.peer_ended
    }

    fn peer(&self) -> usize {
        1 - self.side
    }

    /// Reads what has come, one ring full at most. True if there was something.
    fn drain(&mut self) -> Result<bool, LinkError> {
        let start = self.reader.position();
        let limit = start + self.memory.ring(self.peer()).len() as u64;
        let mut result = Ok(());
        while result.is_ok() && self.reader.position() < limit {
            let slot = self.reader.position();
            match self.reader.read(self.memory.ring(self.peer()), &mut self.encoded) {
                Ok(Some(message)) => result = self.arrived(message, slot),
                Ok(None) => break,
                Err(corrupt) => result = Err(self.corrupt(corrupt)),
            }
        }
        let read = self.reader.position() != start;
        if read {
            self.reader.release(&self.memory.side(self.side).consumed);
            self.bell(self.peer()).ring(Event::Room);
        }
        result.map(|()| read)
    }

    fn arrived(&mut self, message: Message, slot: u64) -> Result<(), LinkError> {
        if self.peer_ended.is_some() {
            return Err(self.corrupt(("a message follows the end", slot)));
        }
        let at = SimTime::from_ps(message.time);
        if message.kind == Kind::Tlp && at == SimTime::NEVER {
            return Err(self.corrupt(("the time of arrival is impossible", slot)));
        }
        let told = match message.kind {
            Kind::Promise => self.promises.promised(Promise {
                next: at,
                consumed: message.consumed,
            }),
            Kind::Tlp => self.promises.came(at, message.consumed),
            Kind::End => self.promises.ended(at, message.consumed, self.ended),
        };
        told.map_err(|violation| match violation {
            Violation::TooEarly { at, promised } => LinkError::PeerBrokePromise {
                peer: self.peer_name.clone(),
                at,
                promised,
            },
            Violation::Consumed => self.corrupt(("the count of TLPs taken is impossible", slot)),
        })?;
        match message.kind {
            Kind::Promise => {}
            Kind::Tlp => {
                let tlp = tlp::decode(&self.encoded).map_err(|source| LinkError::Decode {
                    peer: self.peer_name.clone(),
                    source,
                })?;
                self.inbox.push_back(Arrival { at, tlp });
            }
            Kind::End => self.peer_ended = Some(at),
        }
        Ok(())
    }

    /// Writes a message without waiting; false if the ring is full.
    fn try_write(&mut self, message: Message, bytes: &[u8]) -> Result<bool, LinkError> {
        let consumed = &self.memory.side(self.peer()).consumed;
        let written = self
            .writer
            .write(self.memory.ring(self.side), consumed, message, bytes);
        let written = written.map_err(|corrupt| self.corrupt(corrupt))?;
        if written {
            self.bell(self.peer()).ring(Event::Message);
        }
        Ok(written)
    }

    /// Writes a message, waiting for room. What is sent to a side that reads no more is lost.
    fn write(&mut self, message: Message, bytes: &[u8]) -> Result<(), LinkError> {
        if self.try_write(message, bytes)? {
            return Ok(());
        }
        self.wait_until(Event::Room, |port| {
            // The other side may wait for room too.
            port.drain()?;
            Ok(port.try_write(message, bytes)? || port.peer_ended.is_some())
        })
    }

    fn try_promise(&mut self, next: SimTime) -> Result<bool, LinkError> {
        let Some(promise) = self.promises.promise(next) else {
            return Ok(true);
        };
        let message = Message {
            kind: Kind::Promise,
            time: promise.next.as_ps(),
            consumed: promise.consumed,
        };
        let written = self.try_write(message, &[])?;
        if written {
            self.promises.said(promise);
        }
        Ok(written)
    }

    /// Spins, yields, sleeps until `ready`, or fails if the other side is gone.
    fn wait_until(
        &mut self,
        event: Event,
        mut ready: impl FnMut(&mut Self) -> Result<bool, LinkError>,
    ) -> Result<(), LinkError> {
        if ready(self)? {
            return Ok(());
        }
        let waits = Instant::now();
        let backoff = Backoff::new();
        while self.spin && waits.elapsed() < AWAKE_FOR {
            if ready(self)? {
                return Ok(());
            }
            backoff.snooze();
        }
        loop {
            self.bell(self.side).arm(event);
            let found = ready(self);
            if !matches!(found, Ok(false)) {
                self.bell(self.side).disarm();
                return found.map(drop);
            }
            // Heals what somebody else wrote there.
            self.reader.release(&self.memory.side(self.side).consumed);
            let mut gone = self.is_gone()?;
            if !gone {
                self.bell(self.side).sleep(LIVENESS_PERIOD);
                gone = self.is_gone()?;
            }
            if gone {
                self.bell(self.side).disarm();
                // What it did before it went counts.
                return if ready(self)? { Ok(()) } else { Err(self.died()) };
            }
        }
    }

    fn state(&self, side: usize) -> Result<State, LinkError> {
        let raw = self.memory.side(side).state.load(Acquire);
        State::from_raw(raw).ok_or_else(|| self.corrupt_header("the state of a side is impossible"))
    }

    /// Whether the other side has left or, as far as was last looked, its process is gone.
    fn is_gone(&mut self) -> Result<bool, LinkError> {
        if self.state(self.peer())? != State::Present {
            return Ok(true);
        }
        if self.looked.elapsed() < LIVENESS_PERIOD {
            return Ok(false);
        }
        self.looked = Instant::now();
        self.unlocked()
    }

    /// Whether the other side's process is gone.
    fn unlocked(&self) -> Result<bool, LinkError> {
        let Some(file) = &self.locks else { return Ok(false) };
        let held = lock::held(file, self.peer()).map_err(|source| LinkError::Io {
            place: format!("link to {}", self.peer_name),
            action: "look at its lock",
            source,
        })?;
        Ok(!held)
    }

    fn bell(&self, side: usize) -> Bell<'_> {
        Bell(&self.memory.side(side).bell)
    }

    fn died(&self) -> LinkError {
        LinkError::PeerDied {
            peer: self.peer_name.clone(),
        }
    }

    fn corrupt(&self, (what, slot): Corrupt) -> LinkError {
        LinkError::Corrupt {
            peer: self.peer_name.clone(),
            what,
            slot: Some(slot),
        }
    }

    fn corrupt_header(&self, what: &'static str) -> LinkError {
        LinkError::Corrupt {
            peer: self.peer_name.clone(),
            what,
            slot: None,
        }
    }
}

impl Link for Port {
    fn latency(&self) -> SimTime {
        self.promises.latency()
    }

    fn send(&mut self, now: SimTime, tlp: &Tlp) -> Result<(), LinkError> {
        if self.ended {
            return Err(LinkError::Ended);
        }
        let arrival = self.promises.may_send(now)?;
        let mut bytes = std::mem::take(&mut self.encoded);
        bytes.clear();
        let message = Message {
            kind: Kind::Tlp,
            time: arrival.as_ps(),
            consumed: self.promises.taken(),
        };
        let sent = match tlp::encode(tlp, &mut bytes) {
            Ok(()) => self.write(message, &bytes),
            Err(e) => Err(e.into()),
        };
        self.encoded = bytes;
        sent?;
        self.promises.sent(now);
        Ok(())
    }

    fn next_arrival(&self) -> Option<SimTime> {
        self.inbox.front().map(|arrival| arrival.at)
    }

    fn receive(&mut self) -> Option<Arrival> {
        let arrival = self.inbox.pop_front()?;
        self.promises.took(arrival.at);
        Some(arrival)
    }

    fn horizon(&self) -> SimTime {
        self.promises.horizon()
    }

    /// What has come in the meantime is received.
    fn promise(&mut self, next: SimTime) -> Result<(), LinkError> {
        if self.ended {
            return Err(LinkError::Ended);
        }
        // In a full ring there is no room for it; `wait` makes up for that.
        self.try_promise(next)?;
        self.drain()?;
        if self.peer_ended.is_none() && self.is_gone()? {
            // What it did before it went counts.
            self.drain()?;
            if self.peer_ended.is_none() {
                return Err(self.died());
            }
        }
        Ok(())
    }

    /// Returns at once while there is something to take, and after the other side has ended.
    fn wait(&mut self, next: SimTime) -> Result<(), LinkError> {
        let horizon = self.horizon();
        let mut told = self.ended || self.try_promise(next)?;
        let event = if told { Event::Message } else { Event::Room };
        self.wait_until(event, |port| {
            port.drain()?;
            told = told || port.try_promise(next)?;
            Ok(port.peer_ended.is_some() || !port.inbox.is_empty() || port.horizon() != horizon)
        })
    }

    fn ended(&self) -> bool {
        self.peer_ended.is_some() && self.inbox.is_empty()
    }

    /// Its own promises bind a side no more once the other has ended.
    fn end(&mut self, now: SimTime) -> Result<(), LinkError> {
        if self.ended {
            return Err(LinkError::Ended);
        }
        let arrival = self.promises.may_end(now, self.peer_ended.is_some())?;
        let message = Message {
            kind: Kind::End,
            time: arrival.as_ps(),
            consumed: self.promises.taken(),
        };
        self.write(message, &[])?;
        self.ended = true;
        self.memory
            .side(self.side)
            .state
            .store(State::Ended as u64, Release);
        self.bell(self.peer()).ring(Event::Message);
        Ok(())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if !self.ended {
            self.memory
                .side(self.side)
                .state
                .store(State::Aborted as u64, Release);
            self.bell(self.peer()).ring(Event::Message);
        }
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("peer_name", &self.peer_name)
            .field("promises", &self.promises)
            .field("inbox", &self.inbox.len())
            .field("peer_ended", &self.peer_ended)
            .field("ended", &self.ended)
            .field("peer_state", &self.memory.side(self.peer()).state.load(Relaxed))
            .finish_non_exhaustive()
    }
}
