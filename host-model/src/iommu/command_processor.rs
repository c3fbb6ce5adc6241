//! Commands: fetch, execute, retire.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use sim_bridge::RequesterId;
use vm_memory::{Address, GuestAddress, GuestMemory, GuestMemoryRegion, VolatileMemory};

use super::config::Faults;
use super::in_flight::{Affected, Barrier};
use super::spec::command::Command;
use super::spec::event::Event;
use super::spec::registers::{Ring, RingPointer};
use super::step::{HaltReason, Step};
use super::{Iommu, State};

/// Head and tail of the command buffer: software moves the tail while a command is executed.
#[derive(Debug)]
pub(super) struct CommandPointers {
    head: AtomicU64,
    tail: AtomicU64,
    /// Bits that are 0 in a tail that names an entry of the ring.
    beyond: AtomicU64,
}

impl CommandPointers {
    pub(super) fn new() -> Self {
        Self {
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            beyond: AtomicU64::new(u64::MAX),
        }
    }

    /// Those that may be 1 in such a tail.
    pub(super) fn set_tail_bits(&self, bits: u64) {
        self.beyond.store(!bits, Release);
    }

    /// Moves the tail to an entry of the ring; `false` if it names none.
    #[inline]
    pub(super) fn move_tail(&self, value: u64) -> bool {
        let names_entry = value & self.beyond.load(Relaxed) == 0;
        if names_entry {
            self.tail.store(value, Release);
        }
        names_entry
    }

    #[inline]
    pub(super) fn head(&self) -> RingPointer {
        RingPointer::from_bits(self.head.load(Acquire))
    }

    #[inline]
    pub(super) fn tail(&self) -> RingPointer {
        RingPointer::from_bits(self.tail.load(Acquire))
    }

    #[inline]
    pub(super) fn set_head(&self, value: u64) {
        self.head.store(value & RingPointer::WRITABLE, Release);
    }

    #[inline]
    pub(super) fn set_tail(&self, value: u64) {
        self.tail.store(value & RingPointer::WRITABLE, Release);
    }
}

/// Commands between fetch and retirement.
#[derive(Debug, Default)]
pub(super) struct CommandProcessor {
    /// Where commands come from, if they do.
    source: Option<Source>,
    /// Executed invalidations that older lookups, or devices, keep from retiring.
    executed: Vec<Executed>,
    /// A COMPLETION_WAIT at the head pointer, which waits for `executed` to empty.
    waiting: Option<Command>,
    /// Of [`Faults::wait_before_invalidate`](super::Faults): invalidations that wait for the ring to empty.
    deferred: VecDeque<(u32, Command)>,
}

/// The ring, and where it is in the guest memory's regions.
#[derive(Debug, Clone, Copy)]
struct Source {
    ring: Ring,
    /// `None` if no region holds all of it, or if memory is to be asked with care.
    in_region: Option<RingInRegion>,
}

/// A command ring in one region of guest memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct RingInRegion {
    /// Place among the regions.
    region: usize,
    /// Of the ring in the region.
    start: usize,
    /// Bits of the offset of a command in the ring.
    mask: u32,
}

impl RingInRegion {
    #[inline]
    fn offset(self, pointer: RingPointer) -> u32 {
        pointer.into_bits() as u32 & self.mask
    }

    #[inline]
    fn next(self, offset: u32) -> u32 {
        (offset + 16) & self.mask
    }
}

#[derive(Debug)]
struct Executed {
    offset: u32,
    command: Command,
    until: Until,
}

/// What keeps an executed command from retiring.
#[derive(Debug)]
enum Until {
    LookupsAnswered(Barrier),
    DeviceAnswered {
        /// Whether it has.
        answered: bool,
        /// Of the command, whatever becomes of its ring meanwhile.
        address: u64,
    },
}

/// A device has executed INVALIDATE_IOTLB_PAGES, or not. The IOMMU has no clock: whoever has one says when
/// Control.InvTimeout has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IotlbResponse {
    /// It has.
    Completed,
    /// It has not in time: IOTLB_INV_TIMEOUT.
    TimedOut,
}

/// Executed commands that are remembered until they retire; fetching stops beyond that.
const CAPACITY: usize = 64;

impl CommandProcessor {
    /// Forgets what was fetched from a ring that runs no more.
    fn set_source(&mut self, source: Option<Source>) {
        self.source = source;
        if source.is_none() {
            self.waiting = None;
            self.deferred.clear();
        }
    }

    fn is_held_up(&self) -> bool {
        !self.executed.is_empty() || self.waiting.is_some() || !self.deferred.is_empty()
    }

    /// Where the next command comes from, if that is all there is to the next step.
    pub(super) fn plain_source(&self) -> Option<RingInRegion> {
        self.source?.in_region.filter(|_| !self.is_held_up())
    }
}

impl<M: GuestMemory> Iommu<M> {
    /// Registers were written.
    pub(super) fn set_command_ring(&self, commands: &mut CommandProcessor, ring: Option<Ring>) {
        commands.set_source(ring.map(|ring| {
            let last = GuestAddress(ring.address.saturating_add(u64::from(ring.bytes) - 1));
            let in_region = self
                .memory
                .iter()
                .enumerate()
                .find(|(_, r)| {
                    r.to_region_addr(GuestAddress(ring.address)).is_some() && r.to_region_addr(last).is_some()
                })
                .filter(|_| self.config.faults == Faults::default())
                .map(|(region, r)| RingInRegion {
                    region,
                    start: (ring.address - r.start_addr().raw_value()) as usize,
                    mask: ring.bytes - ring.entry,
                });
            Source { ring, in_region }
        }));
    }

    /// Executes the next command, if it is an INVALIDATE_INTERRUPT_TABLE, as most are by far: its offset, and whose
    /// entries.
    #[inline(always)]
    pub(super) fn next_interrupt_table_invalidation(&self, ring: RingInRegion) -> Option<(u32, RequesterId)> {
        let offset = ring.offset(self.command_pointers.head());
        if offset == ring.offset(self.command_pointers.tail()) {
            return None;
        }
        let region = self.memory.iter().nth(ring.region)?;
        let slice = region.as_volatile_slice().ok()?;
        let raw = slice.get_ref::<[u64; 2]>(ring.start + offset as usize).ok()?;
        let device = Command::as_interrupt_table_invalidation(raw.load().map(u64::from_le))?;
        self.command_pointers.set_head(ring.next(offset).into());
        self.invalidate_irtes(device);
        Some((offset, device))
    }

    pub(super) fn command_work(&self, state: &State) -> bool {
        let commands = &state.commands;
        if commands.executed.iter().any(|e| self.is_over(e)) {
            return true;
        }
        let Some(ring) = commands.source.map(|source| source.ring) else {
            return false;
        };
        let fetchable = self.head_offset(ring) != self.tail_offset(ring);
        if commands.waiting.is_some() {
            return commands.executed.is_empty() && fetchable;
        }
        commands.executed.len() < CAPACITY && (fetchable || !commands.deferred.is_empty())
    }

    /// The answer of a device to the oldest INVALIDATE_IOTLB_PAGES for it that has none; `false` if it has them all.
    pub fn iotlb_response(&self, device: RequesterId, response: IotlbResponse) -> bool {
        let state = &mut *self.lock();
        let waiting = state.commands.executed.iter_mut().find_map(|executed| {
            match (&executed.command, &mut executed.until) {
                (
                    Command::InvalidateIotlbPages { device: d, .. },
                    Until::DeviceAnswered { answered, address },
                ) if *d == device && !*answered => Some((answered, *address)),
                _ => None,
            }
        });
        let Some((answered, address)) = waiting else {
            return false;
        };
        *answered = true;
        if response == IotlbResponse::TimedOut {
            state
                .registers
                .log_event(Event::IotlbInvTimeout { device, address });
        }
        true
    }

    fn head_offset(&self, ring: Ring) -> u32 {
        ring.offset(self.command_pointers.head())
    }

    fn tail_offset(&self, ring: Ring) -> u32 {
        ring.offset(self.command_pointers.tail())
    }

    pub(super) fn command_step(&self, state: &mut State) -> Option<Step> {
        if state.commands.is_held_up() {
            return self.held_up_step(state);
        }
        let ring = state.commands.source?.ring;
        let offset = self.head_offset(ring);
        if offset == self.tail_offset(ring) {
            return None;
        }
        self.next_command(state, offset)
    }

    /// Commands that others keep from retiring, from completing, or by a fault from taking effect.
    fn held_up_step(&self, state: &mut State) -> Option<Step> {
        let commands = &mut state.commands;
        if let Some(retired) = commands.executed.iter().position(|e| self.is_over(e)) {
            let Executed { offset, command, .. } = commands.executed.remove(retired);
            return Some(Step::CommandRetired { offset, command });
        }
        if commands.executed.len() == CAPACITY {
            return None;
        }
        let ring = commands.source?.ring;
        let offset = self.head_offset(ring);
        if let Some(command) = commands.waiting {
            // Software may have taken it back: the head must not pass the tail.
            if !commands.executed.is_empty() || offset == self.tail_offset(ring) {
                return None;
            }
            commands.waiting = None;
            return Some(self.completion_wait(state, ring, offset, command));
        }
        if offset != self.tail_offset(ring) {
            return self.next_command(state, offset);
        }
        let (offset, command) = commands.deferred.pop_front()?;
        Some(self.execute(state, offset, command))
    }

    fn next_command(&self, state: &mut State, offset: u32) -> Option<Step> {
        let ring = state.commands.source?.ring;
        let address = ring.address + u64::from(offset);
        let raw = match self.fetch::<[u64; 2]>(address) {
            Ok(raw) => raw,
            Err(error) => {
                let event = Event::CommandHardwareError { address, error };
                return Some(self.halt(state, offset, HaltReason::FetchFailed(address), event));
            }
        };
        let command = match Command::parse(raw.map(u64::from_le), &self.config.features) {
            Ok(command) => command,
            Err(error) => {
                let event = Event::IllegalCommandError { address };
                return Some(self.halt(state, offset, HaltReason::Illegal(error), event));
            }
        };
        if let Command::CompletionWait { .. } = command {
            return Some(self.completion_wait(state, ring, offset, command));
        }
        self.command_pointers.set_head(ring.next(offset).into());
        if self.config.faults.wait_before_invalidate {
            return self.defer(state, ring, offset, command);
        }
        Some(self.execute(state, offset, command))
    }

    /// [`Faults::wait_before_invalidate`](super::Faults).
    #[cold]
    fn defer(&self, state: &mut State, ring: Ring, offset: u32, command: Command) -> Option<Step> {
        state.commands.deferred.push_back((offset, command));
        let next = self.head_offset(ring);
        if next != self.tail_offset(ring) && state.commands.deferred.len() < CAPACITY {
            return self.next_command(state, next);
        }
        let (offset, command) = state.commands.deferred.pop_front()?;
        Some(self.execute(state, offset, command))
    }

    fn is_over(&self, executed: &Executed) -> bool {
        match &executed.until {
            Until::LookupsAnswered(barrier) => self.in_flight.passed(barrier),
            Until::DeviceAnswered { answered, .. } => *answered,
        }
    }

    fn completion_wait(&self, state: &mut State, ring: Ring, offset: u32, command: Command) -> Step {
        if !state.commands.executed.is_empty() {
            state.commands.waiting = Some(command);
            return Step::Waiting { offset, command };
        }
        let (store, interrupt, data) = match command {
            Command::CompletionWait {
                store,
                interrupt,
                data,
                ..
            } => (store, interrupt, data),
            _ => (None, false, 0),
        };
        if let Some(address) = store
            && let Err(error) = self.store(address, data)
        {
            let event = Event::CommandHardwareError { address, error };
            return self.halt(state, offset, HaltReason::StoreFailed(address), event);
        }
        if interrupt {
            state.registers.completion_wait_interrupt();
        }
        self.command_pointers.set_head(ring.next(offset).into());
        match store {
            Some(address) => Step::CompletionStored {
                offset,
                command,
                address,
                data,
            },
            None => Step::CommandExecuted {
                offset,
                command,
                retired: true,
            },
        }
    }

    fn execute(&self, state: &mut State, offset: u32, command: Command) -> Step {
        let affected = match command {
            Command::InvalidateInterruptTable(device) => {
                self.invalidate_irtes(device);
                Affected::Interrupts(device)
            }
            Command::InvalidateDevtabEntry(device) => {
                self.invalidate_dte(device);
                state.reported_faults.forget(device, &self.translations);
                Affected::Device(device)
            }
            Command::InvalidateIommuAll => {
                self.invalidate_all();
                state.reported_faults.forget_all(&self.translations);
                Affected::All
            }
            Command::InvalidateIommuPages {
                domain, range, guest, ..
            } => {
                self.invalidate_pages(domain, range, guest);
                Affected::Memory
            }
            Command::PrefetchIommuPages { invalidate: true, .. } => {
                self.invalidate_for_prefetch();
                Affected::Memory
            }
            Command::InvalidateIotlbPages { .. } => {
                let ring = state.commands.source.map_or(0, |source| source.ring.address);
                let until = Until::DeviceAnswered {
                    answered: false,
                    address: ring + u64::from(offset),
                };
                return waits(state, offset, command, until);
            }
            // A hint, and an answer that is the owner's to forward. A COMPLETION_WAIT has its own way.
            Command::PrefetchIommuPages { .. }
            | Command::CompletePprRequest { .. }
            | Command::CompletionWait { .. } => {
                return Step::CommandExecuted {
                    offset,
                    command,
                    retired: true,
                };
            }
        };
        // After the invalidation is visible: a lookup that begins from here on can't hit what was cached before.
        if self.in_flight.any(affected) {
            return self.await_lookups(state, offset, command, affected);
        }
        Step::CommandExecuted {
            offset,
            command,
            retired: true,
        }
    }

    /// An executed command retires once the lookups that have begun by now are answered.
    #[cold]
    pub(super) fn await_lookups(
        &self,
        state: &mut State,
        offset: u32,
        command: Command,
        affected: Affected,
    ) -> Step {
        let until = Until::LookupsAnswered(self.in_flight.barrier(affected));
        waits(state, offset, command, until)
    }

    #[cold]
    fn halt(&self, state: &mut State, offset: u32, reason: HaltReason, event: Event) -> Step {
        state.registers.halt_commands();
        state.commands.source = None;
        state.registers.log_event(event);
        Step::Halted {
            offset,
            reason,
            event,
        }
    }
}

#[cold]
fn waits(state: &mut State, offset: u32, command: Command, until: Until) -> Step {
    state.commands.executed.push(Executed {
        offset,
        command,
        until,
    });
    Step::CommandExecuted {
        offset,
        command,
        retired: false,
    }
}
