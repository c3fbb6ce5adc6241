//! Entries of the logs, and interrupts: queued here, written or sent one at a time.

use super::super::config::{EventLogInt, GaTailStore};
use super::super::logs::Done;
use super::super::spec::event::{Event, HardwareError};
use super::super::spec::log::{GaEntry, PprEntry};
use super::super::spec::registers::{Ring, Status};
use super::super::step::Step;
use super::RegisterFile;

const EVENT_OVERFLOW: Status = Status::new().with_event_overflow(true);
const EVENT_LOG_INT: Status = Status::new().with_event_log_int(true);
const PPR_OVERFLOW: Status = Status::new().with_ppr_overflow(true);
const PPR_INT: Status = Status::new().with_ppr_int(true);
const GA_LOG_OVERFLOW: Status = Status::new().with_ga_log_overflow(true);
const GA_LOG_INT: Status = Status::new().with_ga_log_int(true);

impl RegisterFile {
    fn event_log_enabled(&self) -> bool {
        self.control.iommu_en() && self.control.event_log_en()
    }

    fn ppr_log_enabled(&self) -> bool {
        self.control.iommu_en() && self.control.ppr_log_en()
    }

    fn ga_log_enabled(&self) -> bool {
        self.control.iommu_en() && self.control.ga_log_en()
    }

    /// The event log, if events are written (Status.EventLogRun).
    pub(super) fn event_ring(&self) -> Option<Ring> {
        self.events.ring(self.event_log_enabled())
    }

    /// The PPR log, if PPRs are written (Status.PPRLogRun).
    pub(super) fn ppr_ring(&self) -> Option<Ring> {
        self.pprs.ring(self.ppr_log_enabled())
    }

    /// The GA log, if its entries are written (Status.GALogRun).
    pub(super) fn ga_ring(&self) -> Option<Ring> {
        self.ga.ring(self.ga_log_enabled())
    }

    /// Queues the event of a refused request, or counts that it has none.
    pub(in super::super) fn report(&mut self, event: Option<Event>) {
        match event {
            Some(event) => self.log_event(event),
            None => self.unreported += 1,
        }
    }

    /// Queues an event.
    pub(in super::super) fn log_event(&mut self, event: Event) {
        self.raised.count(&event);
        self.record_hardware_event(&event);
        self.events.push(event, self.event_log_enabled());
    }

    /// Queues a PPR.
    pub(in super::super) fn log_ppr(&mut self, entry: PprEntry) {
        self.pprs.push(entry, self.ppr_log_enabled());
    }

    /// Queues a GA log entry.
    pub(in super::super) fn log_ga(&mut self, entry: GaEntry) {
        self.ga.push(entry, self.ga_log_enabled());
    }

    /// The first hardware error stays in the hardware event registers until software clears HEV; HEO says that there
    /// was another one.
    fn record_hardware_event(&mut self, event: &Event) {
        let hardware = matches!(
            event,
            Event::DevTabHardwareError { .. }
                | Event::PageTabHardwareError { .. }
                | Event::CommandHardwareError { .. }
        );
        if hardware && self.features.efr().he_sup() {
            if self.hardware_event_status.valid() {
                self.hardware_event_status.set_overflow(true);
            } else {
                self.hardware_event = event.encode();
                self.hardware_event_status.set_valid(true);
            }
        }
    }

    /// Would [`Self::step`] do something?
    #[inline]
    pub(in super::super) fn has_work(&self) -> bool {
        // One branch, on the way of every command.
        self.events.waiting() | self.pprs.waiting() | self.ga.waiting() | self.interrupts.waiting()
    }

    /// Writes or drops the oldest entry of a log, or sends an interrupt: entries first, so that they are in memory
    /// before their interrupt. `store` writes guest memory.
    pub(in super::super) fn step(
        &mut self,
        store: impl Fn(u64, &[u8]) -> Result<(), HardwareError>,
    ) -> Option<Step> {
        if let Some(done) = self.events.write_next(self.event_log_enabled(), &store) {
            let told = self.event_log_int == EventLogInt::Always || self.control.event_int_en();
            let written = if told { EVENT_LOG_INT } else { Status::new() };
            self.entry_done(&done, written, EVENT_OVERFLOW);
            let event = done.entry;
            return Some(match done.result {
                Ok(offset) => Step::EventWritten { event, offset },
                Err(reason) => Step::EventDropped { event, reason },
            });
        }
        if let Some(done) = self.pprs.write_next(self.ppr_log_enabled(), &store) {
            self.entry_done(&done, PPR_INT, PPR_OVERFLOW);
            let entry = done.entry;
            return Some(match done.result {
                Ok(offset) => Step::PprWritten { entry, offset },
                Err(reason) => Step::PprDropped { entry, reason },
            });
        }
        if let Some(done) = self.ga.write_next(self.ga_log_enabled(), &store) {
            if done.result.is_ok() {
                self.store_ga_tail(&store);
            }
            self.entry_done(&done, GA_LOG_INT, GA_LOG_OVERFLOW);
            let entry = done.entry;
            return Some(match done.result {
                Ok(offset) => Step::GaWritten { entry, offset },
                Err(reason) => Step::GaDropped { entry, reason },
            });
        }
        let (source, form) = self.interrupts.send()?;
        Some(Step::Interrupt { source, form })
    }

    fn entry_done<E>(&mut self, done: &Done<E>, written: Status, overflow: Status) {
        if done.result.is_ok() {
            self.set_status(written);
        }
        if done.overflowed {
            self.set_status(overflow);
        }
    }

    fn store_ga_tail(&mut self, store: impl Fn(u64, &[u8]) -> Result<(), HardwareError>) {
        let address = self.ga_tail_address.address();
        if self.ga_tail_store == GaTailStore::Store && address != 0 {
            let tail = self.ga.tail.into_bits().to_le_bytes();
            if store(address, &tail).is_err() {
                self.ga_tail_unwritable += 1;
            }
        }
    }
}
