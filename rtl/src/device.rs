//! The device's side of a link: clocks the RTL in simulated time.

use sim_bridge::SimTime;
use sim_bridge::link::{Link, LinkError};
use sim_bridge::tlp::{Body, Message, Tlp};

use crate::{Ntb, NtbError};

/// How the device's clock runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Rising edges are at its multiples, from one period on.
    pub clock_period: SimTime,
    /// An idle RTL's clock jumps to the next arrival. What is sent is the same without, the work more.
    pub jump_when_idle: bool,
}

/// 250 MHz, with the jump.
impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            clock_period: SimTime::from_ns(4),
            jump_when_idle: true,
        }
    }
}

/// What a device has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Clock cycles evaluated.
    pub cycles: u64,
    /// TLPs taken from the link.
    pub received: u64,
    /// TLPs sent.
    pub sent: u64,
}

/// Edges between two looks at the link: a tenth of a second with waves.
const BATCH: u64 = 1 << 16;

/// Why a device stopped other than by the end of its link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No time would pass.
    #[error("clock period is {0}: at least 2 ps are needed")]
    ClockPeriod(SimTime),
    /// The RTL failed.
    #[error("at {at}: {source}")]
    Rtl {
        /// Simulated time.
        at: SimTime,
        /// How.
        source: NtbError,
    },
    /// The link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Simulated time has run out.
    #[error("simulated time has no clock edge left")]
    EndOfTime,
}

/// Runs `ntb`, which has seen no clock edge yet, until the other side ends the link and nothing is left to do; then
/// ends it too.
///
/// PME_Turn_Off, which is for whoever supplies the power and not for the RTL, ends in PME_TO_Ack and a reset, as of power
/// that goes and comes back, at the first edge at which the RTL is idle.
///
/// What arrives at `a` is offered to the RTL at the first clock edge at or after `a`; a TLP whose last beat is taken at
/// an edge is sent at that time. An edge at `t` is evaluated once the link can bring nothing more at or before `t`.
pub fn run(ntb: &mut Ntb, link: &mut impl Link, config: &DeviceConfig) -> Result<Summary, DeviceError> {
    if config.clock_period < SimTime::from_ps(2) {
        return Err(DeviceError::ClockPeriod(config.clock_period));
    }
    Device {
        ntb,
        link,
        config,
        edge: config.clock_period,
        promised: SimTime::ZERO,
        turned_off_by: None,
        summary: Summary::default(),
    }
    .run()
}

struct Device<'a, L> {
    ntb: &'a mut Ntb,
    link: &'a mut L,
    config: &'a DeviceConfig,
    /// The next one to be evaluated.
    edge: SimTime,
    /// As last told to the other side: nothing is sent before, but for answers.
    promised: SimTime,
    /// A PME_Turn_Off that is not answered.
    turned_off_by: Option<Message>,
    summary: Summary,
}

/// Message codes (PCIe Base spec 2.2.8.2).
const PME_TURN_OFF: u8 = 0x19;
const PME_TO_ACK: u8 = 0x1b;
/// Gathered and routed to the root complex.
const GATHERED: u8 = 0b101;

impl<L: Link> Device<'_, L> {
    fn run(mut self) -> Result<Summary, DeviceError> {
        loop {
            // Before the arrivals: whatever comes in between arrives at this horizon or later.
            let horizon = self.link.horizon();
            self.take_arrivals()?;
            let arrival = self.link.next_arrival();
            if self.ntb.is_idle() {
                self.power_cycle()?;
                if self.link.ended() {
                    break;
                }
                let limit = arrival.unwrap_or(horizon);
                if self.config.jump_when_idle || limit == SimTime::NEVER {
                    match arrival {
                        Some(at) => self.edge = self.first_edge(at)?,
                        None => self.link.wait(SimTime::NEVER)?,
                    }
                    continue;
                }
                self.promise(SimTime::NEVER)?;
                if self.edge >= limit && arrival.is_none() {
                    self.link.wait(SimTime::NEVER)?;
                    continue;
                }
            } else {
                let ended = self.link.ended();
                if ended {
                    self.promised = self.edge;
                } else if self.edge >= horizon && arrival.is_none() {
                    self.promised = self.edge;
                    self.link.wait(self.edge)?;
                    continue;
                } else if self.edge >= self.promised + self.link.latency() {
                    self.promise(self.edge)?;
                }
            }
            self.evaluate(arrival.map_or(horizon, |at| at.min(horizon)))?;
        }
        self.link.end(self.edge)?;
        Ok(self.summary)
    }

    /// Offers the RTL what arrives at or before the next edge.
    fn take_arrivals(&mut self) -> Result<(), DeviceError> {
        while self.link.next_arrival().is_some_and(|at| at <= self.edge)
            && let Some(arrival) = self.link.receive()
        {
            self.summary.received += 1;
            match arrival.tlp.body {
                Body::Message(message) if message.code == PME_TURN_OFF => self.turned_off_by = Some(message),
                _ => self.ntb.offer(&arrival.tlp).map_err(|source| DeviceError::Rtl {
                    at: self.edge,
                    source,
                })?,
            }
            if self.promised == SimTime::NEVER {
                self.promised = self.edge;
            }
        }
        Ok(())
    }

    /// Answers PME_Turn_Off, if there is one. The RTL is idle.
    fn power_cycle(&mut self) -> Result<(), DeviceError> {
        let Some(turn_off) = self.turned_off_by.take() else {
            return Ok(());
        };
        let at = self.edge;
        self.ntb
            .reset()
            .map_err(|source| DeviceError::Rtl { at, source })?;
        let acknowledgement = Tlp::from(Body::Message(Message {
            routing: GATHERED,
            code: PME_TO_ACK,
            ..turn_off
        }));
        self.summary.sent += 1;
        self.link.send(at, &acknowledgement)?;
        Ok(())
    }

    /// At most [`BATCH`] edges below `limit`, until something is sent, a promise is due or, with the jump, the RTL is idle.
    fn evaluate(&mut self, limit: SimTime) -> Result<(), DeviceError> {
        let mut edge = self.edge;
        let batch = edge + SimTime::from_ps(self.config.clock_period.as_ps().saturating_mul(BATCH));
        let limit = limit.min(self.promised + self.link.latency()).min(batch);
        while edge < limit {
            let sent = self
                .ntb
                .cycle(edge)
                .map_err(|source| DeviceError::Rtl { at: edge, source })?;
            self.summary.cycles += 1;
            let now = edge;
            edge += self.config.clock_period;
            if let Some(tlp) = sent {
                self.edge = edge;
                self.summary.sent += 1;
                self.link.send(now, &tlp)?;
                break;
            }
            let stops = self.config.jump_when_idle || self.turned_off_by.is_some();
            if stops && self.ntb.is_idle() {
                break;
            }
        }
        self.edge = edge;
        if edge == SimTime::NEVER {
            Err(DeviceError::EndOfTime)
        } else {
            Ok(())
        }
    }

    fn promise(&mut self, next: SimTime) -> Result<(), DeviceError> {
        self.link.promise(next)?;
        self.promised = next;
        Ok(())
    }

    /// The first edge at or after `time` that has not been evaluated.
    fn first_edge(&self, time: SimTime) -> Result<SimTime, DeviceError> {
        let period = self.config.clock_period.as_ps();
        let edge = time
            .as_ps()
            .div_ceil(period)
            .checked_mul(period)
            .ok_or(DeviceError::EndOfTime)?;
        Ok(self.edge.max(SimTime::from_ps(edge)))
    }
}
