//! A device that sends what a test has written down.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use sim_bridge::SimTime;
use sim_bridge::link::{Arrival, Link, LinkError};
use sim_bridge::tlp::Tlp;

/// The device's end and the link in one.
#[derive(Default)]
pub(crate) struct ScriptedDevice {
    /// What arrives, by time.
    pub(crate) arrivals: VecDeque<Arrival>,
    /// What the host sends.
    pub(crate) sent: Rc<RefCell<Vec<Tlp>>>,
}

impl Link for ScriptedDevice {
    fn latency(&self) -> SimTime {
        SimTime::from_ns(500)
    }

    fn send(&mut self, _: SimTime, tlp: &Tlp) -> Result<(), LinkError> {
        self.sent.borrow_mut().push(tlp.clone());
        Ok(())
    }

    fn next_arrival(&self) -> Option<SimTime> {
        self.arrivals.front().map(|arrival| arrival.at)
    }

    fn receive(&mut self) -> Option<Arrival> {
        self.arrivals.pop_front()
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
