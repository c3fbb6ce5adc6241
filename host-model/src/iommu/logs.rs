//! The event, PPR and GA logs: each a queue inside, and a ring in guest memory.

use std::collections::VecDeque;

use super::spec::event::{Event, HardwareError};
use super::spec::log::{GaEntry, PprEntry};
use super::spec::registers::{ReservedRingLength, Ring, RingBase, RingPointer};
use super::step::DropReason;

/// Room in a queue. A flood beyond it is an overflow of the log, as software sees it.
const CAPACITY: usize = 256;

/// What a log holds.
pub(super) trait LogEntry: Copy {
    type Bytes: AsRef<[u8]>;

    /// A ring of such entries.
    fn ring(base: RingBase) -> Result<Ring, ReservedRingLength> {
        base.parse()
    }

    /// As the IOMMU writes it.
    fn bytes(&self) -> Self::Bytes;
}

impl LogEntry for Event {
    type Bytes = [u8; 16];

    fn bytes(&self) -> [u8; 16] {
        bytemuck::must_cast(self.encode().map(u64::to_le))
    }
}

impl LogEntry for PprEntry {
    type Bytes = [u8; 16];

    fn bytes(&self) -> [u8; 16] {
        bytemuck::must_cast(self.encode().map(u64::to_le))
    }
}

impl LogEntry for GaEntry {
    type Bytes = [u8; 8];

    fn ring(base: RingBase) -> Result<Ring, ReservedRingLength> {
        base.parse_ga_log()
    }

    fn bytes(&self) -> [u8; 8] {
        self.encode().to_le_bytes()
    }
}

/// What became of a log's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStatistics {
    /// In the log.
    pub written: u64,
    /// Dropped because the log did not run.
    pub not_running: u64,
    /// Dropped because the log, or the queue before it, was full.
    pub overflow: u64,
    /// Dropped because memory refused the write.
    pub unwritable: u64,
}

/// A log's registers, but for the bits in Control and Status, and the entries that wait to be written.
#[derive(Debug)]
pub(super) struct Log<E> {
    pub(super) base: RingBase,
    pub(super) head: RingPointer,
    pub(super) tail: RingPointer,
    /// Stopped by an overflow.
    halted: bool,
    /// An entry found no room in the queue: the log overflows after those that did. Never with an empty queue.
    overflows: bool,
    queue: VecDeque<E>,
    statistics: LogStatistics,
}

/// An entry that left the queue.
#[derive(Debug)]
pub(super) struct Done<E> {
    pub(super) entry: E,
    /// Where it is, in bytes from the start of the ring.
    pub(super) result: Result<u32, DropReason>,
    /// The log stopped: it has no room for this entry, or the queue had none for the one after it.
    pub(super) overflowed: bool,
}

impl<E> Default for Log<E> {
    fn default() -> Self {
        Self {
            base: RingBase::new(),
            head: RingPointer::new(),
            tail: RingPointer::new(),
            halted: false,
            overflows: false,
            queue: VecDeque::with_capacity(CAPACITY),
            statistics: LogStatistics::default(),
        }
    }
}

impl<E: LogEntry> Log<E> {
    /// As by default, with what was counted before.
    pub(super) fn counted(statistics: LogStatistics) -> Self {
        Self {
            statistics,
            ..Self::default()
        }
    }

    /// The ring, if the log runs.
    pub(super) fn ring(&self, enabled: bool) -> Option<Ring> {
        (enabled && !self.halted)
            .then(|| E::ring(self.base).ok())
            .flatten()
    }

    /// A written base address register takes both pointers back to the start.
    pub(super) fn rebase(&mut self, base: RingBase) {
        self.base = base;
        (self.head, self.tail) = (RingPointer::new(), RingPointer::new());
    }

    pub(super) fn restart(&mut self) {
        self.halted = false;
    }

    /// Do entries wait to be written?
    #[inline]
    pub(super) fn waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) const fn statistics(&self) -> LogStatistics {
        self.statistics
    }

    /// Queues an entry, or loses it if there is no room.
    pub(super) fn push(&mut self, entry: E, enabled: bool) {
        // After an overflow the log has no entry: otherwise it would have a gap.
        if !self.overflows && self.queue.len() < CAPACITY {
            self.queue.push_back(entry);
        } else {
            self.statistics.overflow += 1;
            self.overflows |= self.ring(enabled).is_some();
        }
    }

    /// Writes the oldest entry, or drops it.
    pub(super) fn write_next(
        &mut self,
        enabled: bool,
        store: impl FnOnce(u64, &[u8]) -> Result<(), HardwareError>,
    ) -> Option<Done<E>> {
        let entry = self.queue.pop_front()?;
        let result = self.write(&entry, enabled, store);
        let counter = match result {
            Ok(_) => &mut self.statistics.written,
            Err(DropReason::NotRunning) => &mut self.statistics.not_running,
            Err(DropReason::Overflow) => &mut self.statistics.overflow,
            Err(DropReason::Unwritable { .. }) => &mut self.statistics.unwritable,
        };
        *counter += 1;
        let full = result == Err(DropReason::Overflow);
        let lost = self.overflows && self.queue.is_empty();
        let overflowed = full || lost && self.ring(enabled).is_some();
        self.overflows &= !full && !lost;
        self.halted |= overflowed;
        Some(Done {
            entry,
            result,
            overflowed,
        })
    }

    fn write(
        &mut self,
        entry: &E,
        enabled: bool,
        store: impl FnOnce(u64, &[u8]) -> Result<(), HardwareError>,
    ) -> Result<u32, DropReason> {
        let ring = self.ring(enabled).ok_or(DropReason::NotRunning)?;
        let tail = ring.offset(self.tail);
        let next = ring.next(tail);
        if next == ring.offset(self.head) {
            return Err(DropReason::Overflow);
        }
        let address = ring.address + u64::from(tail);
        store(address, entry.bytes().as_ref()).map_err(|_| DropReason::Unwritable { address })?;
        self.tail = RingPointer::at(next);
        Ok(tail)
    }
}
