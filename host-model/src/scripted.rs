//! A device that sends what a test says, and answers what it is asked.

use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use sim_bridge::link::{Arrival, Link, LinkError};
use sim_bridge::tlp::{Body, CompletionStatus, Message, Tlp};
use sim_bridge::{RequesterId, SimTime};

/// The device's end and the link in one; clones share it.
#[derive(Clone, Default)]
pub(crate) struct ScriptedDevice(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    arrivals: VecDeque<Arrival>,
    sent: Vec<Tlp>,
    /// By address.
    registers: BTreeMap<u64, u8>,
    /// Value and writable bits, by offset.
    config: BTreeMap<u16, (u32, u32)>,
    /// The two as after reset.
    at_reset: (BTreeMap<u64, u8>, BTreeMap<u16, (u32, u32)>),
    silent: bool,
}

const LATENCY: SimTime = SimTime::from_ns(500);

impl ScriptedDevice {
    /// Has registers here, which read what was written. What it does not have is an unsupported request.
    pub(crate) fn registers(self, address: u64, bytes: &[u8]) -> Self {
        let mut inner = self.0.borrow_mut();
        let bytes = (address..).zip(bytes.iter().copied());
        inner.registers.extend(bytes.clone());
        inner.at_reset.0.extend(bytes);
        drop(inner);
        self
    }

    /// Has a DW of configuration space.
    pub(crate) fn config(self, offset: u16, value: u32, writable: u32) -> Self {
        let mut inner = self.0.borrow_mut();
        inner.config.insert(offset, (value, writable));
        inner.at_reset.1.insert(offset, (value, writable));
        drop(inner);
        self
    }

    /// Answers nothing from now on.
    pub(crate) fn fall_silent(&self) {
        self.0.borrow_mut().silent = true;
    }

    /// Sends at `now`.
    pub(crate) fn send_at(&self, now: SimTime, tlp: Tlp) {
        self.0.borrow_mut().send_at(now, tlp);
    }

    /// Sends an interrupt message at `now`.
    pub(crate) fn interrupt_at(&self, now: SimTime, requester: RequesterId, data: u32) {
        let tlp = Tlp::mem_write(requester, 0xfee0_0000, &data.to_le_bytes()).expect("one DW");
        self.send_at(now, tlp);
    }

    /// What the host has sent.
    pub(crate) fn sent(&self) -> Ref<'_, [Tlp]> {
        Ref::map(self.0.borrow(), |inner| &inner.sent[..])
    }
}

impl Inner {
    fn send_at(&mut self, now: SimTime, tlp: Tlp) {
        let at = now + LATENCY;
        let place = self.arrivals.partition_point(|arrival| arrival.at <= at);
        self.arrivals.insert(place, Arrival { at, tlp });
    }

    fn answer(&mut self, tlp: &Tlp) -> Option<Tlp> {
        let answer = match &tlp.body {
            Body::MemWrite(write) => {
                for (address, byte) in write.bytes() {
                    self.registers
                        .entry(address)
                        .and_modify(|register| *register = byte);
                }
                return None;
            }
            Body::MemRead(read) => (read.address..read.address + 4 * u64::from(read.length))
                .map(|address| self.registers.get(&address).copied())
                .collect(),
            Body::ConfigRead(read) => {
                let register = self.config.get(&read.register);
                register.map(|(value, _)| value.to_le_bytes().to_vec())
            }
            Body::ConfigWrite(write) => self.config.get_mut(&write.register).map(|(value, writable)| {
                *value = *value & !*writable | u32::from_le_bytes(write.data) & *writable;
                Vec::new()
            }),
            // PME_Turn_Off, which PME_TO_Ack answers.
            Body::Message(message) if message.code == 0x19 => {
                (self.registers, self.config) = self.at_reset.clone();
                return Some(Tlp::from(Body::Message(Message {
                    routing: 0b101,
                    code: 0x1b,
                    ..message.clone()
                })));
            }
            Body::Completion(_) | Body::Message(_) => return None,
        };
        let (status, data) = match answer {
            Some(data) => (CompletionStatus::Successful, data),
            None => (CompletionStatus::UnsupportedRequest, Vec::new()),
        };
        Some(
            tlp.completion(tlp.requester(), status, &data)
                .expect("non-posted"),
        )
    }
}

impl Link for ScriptedDevice {
    fn latency(&self) -> SimTime {
        LATENCY
    }

    fn send(&mut self, now: SimTime, tlp: &Tlp) -> Result<(), LinkError> {
        let mut inner = self.0.borrow_mut();
        inner.sent.push(tlp.clone());
        if !inner.silent
            && let Some(answer) = inner.answer(tlp)
        {
            inner.send_at(now + LATENCY, answer);
        }
        Ok(())
    }

    fn next_arrival(&self) -> Option<SimTime> {
        self.0.borrow().arrivals.front().map(|arrival| arrival.at)
    }

    fn receive(&mut self) -> Option<Arrival> {
        self.0.borrow_mut().arrivals.pop_front()
    }

    fn horizon(&self) -> SimTime {
        SimTime::NEVER
    }

    fn promise(&mut self, _: SimTime) -> Result<(), LinkError> {
        Ok(())
    }

    fn wait(&mut self, _: SimTime) -> Result<(), LinkError> {
        Ok(())
    }

    fn ended(&self) -> bool {
        false
    }

    fn end(&mut self, _: SimTime) -> Result<(), LinkError> {
        Ok(())
    }
}
