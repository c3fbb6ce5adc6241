//! Lookups that wait for memory.
//!
//! A lookup takes a slot before it looks at generations and memory; an invalidation counts the generation up before
//! it looks at the slots. So either the lookup sees the new generation, or the invalidation sees the lookup.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::{array, fmt};

use bitfield_struct::bitfield;
use sim_bridge::RequesterId;

use super::sync::AtomicU64;

/// The lookups that have begun and are not answered.
pub(super) struct InFlight {
    slots: Box<[AtomicU64; SLOTS]>,
    /// No slot from here on was ever taken.
    used: AtomicU64,
    /// Lookups that found no slot free. Whoever waits for older lookups waits until there is none of them.
    overflow: AtomicU64,
}

/// Slots; more lookups than that at once still work.
#[cfg(not(loom))]
const SLOTS: usize = 512;
#[cfg(loom)]
const SLOTS: usize = 2;

/// What a slot holds. Each lookup in a slot makes another word.
#[bitfield(u64)]
struct SlotWord {
    #[inline]
    device: u16,
    #[inline]
    busy: bool,
    #[inline]
    memory: bool,
    #[bits(46)]
    #[inline]
    sequence: u64,
}

/// Kind of lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookupKind {
    Interrupt,
    Memory,
}

/// Whose lookups may use what is invalidated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affected {
    /// A requester ID's interrupts.
    Interrupts(RequesterId),
    /// Everything of a requester ID.
    Device(RequesterId),
    /// Everybody's memory requests.
    Memory,
    All,
}

/// What the words of affected lookups have in common.
#[derive(Debug, Clone, Copy)]
struct Pattern {
    mask: u64,
    value: u64,
}

impl Pattern {
    #[inline]
    fn matches(self, word: u64) -> bool {
        word & self.mask == self.value
    }
}

impl Affected {
    #[inline]
    fn pattern(self) -> Pattern {
        const BUSY: u64 = SlotWord::new().with_busy(true).into_bits();
        const MEMORY: u64 = SlotWord::new().with_memory(true).into_bits();
        const DEVICE: u64 = SlotWord::new().with_device(u16::MAX).into_bits();
        // The requester ID is the word's lowest field.
        let (mask, value) = match self {
            Self::Interrupts(RequesterId(id)) => (BUSY | DEVICE | MEMORY, BUSY | u64::from(id)),
            Self::Device(RequesterId(id)) => (BUSY | DEVICE, BUSY | u64::from(id)),
            Self::Memory => (BUSY | MEMORY, BUSY | MEMORY),
            Self::All => (BUSY, BUSY),
        };
        Pattern { mask, value }
    }
}

/// The lookups that were unanswered at some time.
#[derive(Debug)]
pub(super) struct Barrier {
    slots: Vec<(usize, u64)>,
    overflow: bool,
}

/// The slots that were ever taken: every token has one of these.
impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("slots", &self.used().map(|(_, slot)| slot).collect::<Vec<_>>())
            .field("overflow", &self.overflow)
            .finish()
    }
}

impl InFlight {
    pub(super) fn new() -> Self {
        Self {
            slots: Box::new(array::from_fn(|_| AtomicU64::new(0))),
            used: AtomicU64::new(0),
            overflow: AtomicU64::new(0),
        }
    }

    /// Enters a lookup, which lasts until the guard is dropped.
    #[inline]
    pub(super) fn begin(&self, device: RequesterId, kind: LookupKind) -> InFlightGuard<'_> {
        for (index, slot) in self.slots.iter().enumerate() {
            let old = SlotWord::from_bits(slot.load(Relaxed));
            if old.busy() {
                continue;
            }
            // Before the slot is taken: an invalidation that sees the slot must look at it.
            if index as u64 >= self.used.load(SeqCst) {
                self.used.fetch_max(index as u64 + 1, SeqCst);
            }
            let new = SlotWord::new()
                .with_device(device.0)
                .with_busy(true)
                .with_memory(kind == LookupKind::Memory)
                .with_sequence(old.sequence().wrapping_add(1) & (u64::MAX >> 18));
            let taken = slot.compare_exchange(old.into_bits(), new.into_bits(), SeqCst, Relaxed);
            if taken.is_ok() {
                return InFlightGuard {
                    table: self,
                    slot: index,
                    word: new,
                };
            }
        }
        self.overflow.fetch_add(1, SeqCst);
        InFlightGuard {
            table: self,
            slot: OVERFLOW,
            word: SlotWord::new(),
        }
    }

    #[inline]
    fn used(&self) -> impl Iterator<Item = (usize, &AtomicU64)> {
        let used = self.used.load(SeqCst) as usize;
        self.slots[..used.min(self.slots.len())].iter().enumerate()
    }

    /// Are there any?
    #[inline]
    pub(super) fn any(&self, affected: Affected) -> bool {
        let pattern = affected.pattern();
        let affects = |(_, slot): (usize, &AtomicU64)| pattern.matches(slot.load(SeqCst));
        self.overflow.load(SeqCst) != 0 || self.used().any(affects)
    }

    /// Stands behind all lookups that have begun by now.
    pub(super) fn barrier(&self, affected: Affected) -> Barrier {
        let pattern = affected.pattern();
        let words = self.used().map(|(index, slot)| (index, slot.load(SeqCst)));
        Barrier {
            slots: words.filter(|(_, word)| pattern.matches(*word)).collect(),
            overflow: self.overflow.load(SeqCst) != 0,
        }
    }

    /// Are all lookups before the barrier answered?
    pub(super) fn passed(&self, barrier: &Barrier) -> bool {
        let waits = |(index, word): &(usize, u64)| self.slots[*index].load(Acquire) == *word;
        !(barrier.slots.iter().any(waits) || barrier.overflow && self.overflow.load(Acquire) != 0)
    }
}

/// A lookup that is not answered.
#[derive(Debug)]
pub(super) struct InFlightGuard<'a> {
    table: &'a InFlight,
    /// [`OVERFLOW`] if there was none.
    slot: usize,
    word: SlotWord,
}

const OVERFLOW: usize = usize::MAX;

impl Drop for InFlightGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        match self.table.slots.get(self.slot) {
            Some(slot) => slot.store(self.word.with_busy(false).into_bits(), Release),
            None => {
                self.table.overflow.fetch_sub(1, Release);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const DEVICE: RequesterId = RequesterId(0x4100);

    #[test]
    fn a_barrier_waits_for_those_that_it_concerns() {
        let table = InFlight::new();
        let interrupt = table.begin(DEVICE, LookupKind::Interrupt);
        let other = RequesterId(0x4101);
        for affected in [
            Affected::Interrupts(other),
            Affected::Device(other),
            Affected::Memory,
        ] {
            assert!(!table.any(affected) && table.passed(&table.barrier(affected)));
        }
        for affected in [
            Affected::Interrupts(DEVICE),
            Affected::Device(DEVICE),
            Affected::All,
        ] {
            let barrier = table.barrier(affected);
            assert!(table.any(affected) && !table.passed(&barrier));
        }
        let barrier = table.barrier(Affected::All);
        drop(interrupt);
        assert!(table.passed(&barrier));

        let _memory = table.begin(DEVICE, LookupKind::Memory);
        assert!(!table.any(Affected::Interrupts(DEVICE)));
        assert!(table.any(Affected::Memory));
    }

    #[test]
    fn a_younger_lookup_in_the_same_slot_holds_nothing_up() {
        let table = InFlight::new();
        let older = table.begin(DEVICE, LookupKind::Interrupt);
        let barrier = table.barrier(Affected::All);
        drop(older);
        let _younger = table.begin(DEVICE, LookupKind::Interrupt);
        assert!(table.passed(&barrier));
    }

    #[test]
    fn lookups_beyond_the_slots_are_waited_for() {
        let table = InFlight::new();
        let mut lookups: Vec<_> = (0..SLOTS + 2)
            .map(|_| table.begin(DEVICE, LookupKind::Interrupt))
            .collect();
        let barrier = table.barrier(Affected::Interrupts(DEVICE));
        lookups.drain(..SLOTS);
        assert!(!table.passed(&barrier));
        lookups.clear();
        assert!(table.passed(&barrier));
    }
}
