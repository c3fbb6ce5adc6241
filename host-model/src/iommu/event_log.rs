//! The event log: a queue inside, a ring in guest memory.

use std::collections::VecDeque;

use vm_memory::{Bytes, GuestAddress, GuestMemory};

use super::register_file::RegisterFile;
use super::spec::event::Event;
use super::spec::registers::{Ring, RingPointer};
use super::step::{DropReason, Step};

/// Events that wait to be written.
#[derive(Debug, Default)]
pub(super) struct EventQueue(VecDeque<Event>);

/// Room in the queue. A flood beyond it is an overflow of the log, as software sees it.
const CAPACITY: usize = 256;

impl EventQueue {
    pub(super) fn push(&mut self, event: Event, registers: &mut RegisterFile) {
        if self.0.len() < CAPACITY {
            self.0.push_back(event);
        } else if registers.event_log_runs() {
            registers.event_overflow();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the oldest event, or drops it.
    pub(super) fn step(&mut self, registers: &mut RegisterFile, memory: &impl GuestMemory) -> Option<Step> {
        let event = self.0.pop_front()?;
        Some(match write(&event, registers, memory) {
            Ok(offset) => Step::EventWritten { event, offset },
            Err(reason) => Step::EventDropped { event, reason },
        })
    }
}

fn write(event: &Event, registers: &mut RegisterFile, memory: &impl GuestMemory) -> Result<u32, DropReason> {
    let ring: Ring = registers.event_ring().ok_or(DropReason::NotRunning)?;
    let (head, tail) = (ring.offset(registers.evt_head), ring.offset(registers.evt_tail));
    if ring.next(tail) == head {
        registers.event_overflow();
        return Err(DropReason::Overflow);
    }
    let bytes: [u8; 16] = bytemuck::must_cast(event.encode().map(u64::to_le));
    let address = ring.address + u64::from(tail);
    memory
        .write_slice(&bytes, GuestAddress(address))
        .map_err(|_| DropReason::Unwritable { address })?;
    registers.evt_tail = RingPointer::at(ring.next(tail));
    registers.status.set_event_log_int(true);
    Ok(tail)
}
