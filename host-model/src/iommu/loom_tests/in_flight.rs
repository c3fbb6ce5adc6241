use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use loom::thread;
use sim_bridge::RequesterId;

use super::super::cache::{Cache, CacheShape, Generations};
use super::super::in_flight::{Affected, InFlight, LookupKind};
use super::super::sync::{AtomicU64, fence};
use super::{both, model};

const DEVICE: RequesterId = RequesterId(0);
const KEY: u64 = 1;
const OLD: u64 = 1;
const NEW: u64 = 2;

/// A table entry in memory, and what keeps its cached copy honest.
struct Shared {
    memory: AtomicU64,
    in_flight: InFlight,
    generations: Generations,
    cache: Cache<2>,
    /// The software was told that nothing old is used any more. Not part of what is checked.
    told: std::sync::atomic::AtomicBool,
}

#[derive(Clone, Copy)]
enum Invalidation {
    Generation,
    Drop,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            memory: AtomicU64::new(OLD),
            in_flight: InFlight::new(),
            generations: Generations::new(64),
            cache: Cache::new(CacheShape::new(1, 1).unwrap(), ()),
            told: false.into(),
        })
    }

    fn find(&self) -> Option<u64> {
        let generation = self.generations.of(DEVICE);
        let found = self.cache.find(KEY, |words| {
            (words[0].load(Relaxed) == generation).then(|| words[1].load(Relaxed))
        });
        found.map(|(_, value)| value)
    }

    /// Reads memory, and caches what it reads.
    fn fill(&self) {
        let in_flight = self.in_flight.begin(DEVICE, LookupKind::Interrupt);
        let generation = self.generations.capture(DEVICE);
        let guard = self.cache.guard(KEY);
        let value = self.memory.load(Relaxed);
        self.cache
            .insert(KEY, [generation, value], guard, |_| true, |_, _| true);
        let told = self.told.load(SeqCst);
        assert!(value == NEW || !told, "told while an older lookup is unanswered");
        drop(in_flight);
    }

    /// Changes memory and invalidates. Software is told if no older lookup keeps it from that.
    fn change(&self, invalidation: Invalidation) {
        self.memory.store(NEW, Relaxed);
        match invalidation {
            Invalidation::Generation => assert!(!self.generations.invalidate(DEVICE, || {})),
            Invalidation::Drop => {
                self.cache.drop_key(KEY);
                fence(SeqCst);
            }
        }
        let affected = Affected::Interrupts(DEVICE);
        let in_flight = &self.in_flight;
        if !in_flight.any(affected) || in_flight.passed(&in_flight.barrier(affected)) {
            self.told.store(true, SeqCst);
        }
        assert_ne!(self.find(), Some(OLD), "hit after its invalidation");
    }
}

#[test]
fn a_fill_never_survives_an_invalidation_that_has_retired() {
    for invalidation in [Invalidation::Generation, Invalidation::Drop] {
        model(3, move || {
            let shared = Shared::new();
            both(
                &shared,
                |shared| shared.fill(),
                move |shared| shared.change(invalidation),
            );
            assert_ne!(shared.find(), Some(OLD));
        });
    }
}

#[test]
fn a_fill_in_a_slot_that_was_used_before_is_waited_for_too() {
    for invalidation in [Invalidation::Generation, Invalidation::Drop] {
        model(2, move || {
            let shared = Shared::new();
            shared.fill();
            both(
                &shared,
                |shared| {
                    shared.fill();
                    shared.fill();
                },
                move |shared| shared.change(invalidation),
            );
        });
    }
}

/// Three lookups have two slots.
#[test]
fn lookups_without_a_slot_are_waited_for() {
    model(2, || {
        let shared = Shared::new();
        both(
            &shared,
            |shared| {
                let _first = shared.in_flight.begin(DEVICE, LookupKind::Memory);
                let _second = shared.in_flight.begin(DEVICE, LookupKind::Memory);
                shared.fill();
            },
            |shared| shared.change(Invalidation::Generation),
        );
    });
}

#[test]
fn two_lookups_never_share_a_slot() {
    model(3, || {
        let table = Arc::new(InFlight::new());
        let begin = |table: &InFlight| {
            let lookup = table.begin(DEVICE, LookupKind::Interrupt);
            assert!(table.any(Affected::Interrupts(DEVICE)));
            assert!(!table.passed(&table.barrier(Affected::Interrupts(DEVICE))));
            drop(lookup);
        };
        both(&table, begin, begin);
        assert!(!table.any(Affected::All));
    });
}

/// Another lookup has said that the slot is in use, and this one relies on it.
#[test]
fn a_slot_that_another_lookup_made_known_is_looked_at() {
    model(2, || {
        let shared = Shared::new();
        let third = Arc::clone(&shared);
        let thread = thread::spawn(move || third.fill());
        both(
            &shared,
            |shared| shared.fill(),
            |shared| shared.change(Invalidation::Generation),
        );
        thread.join().unwrap();
        assert_ne!(shared.find(), Some(OLD));
    });
}
