//! Lookups that wait for memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sim_bridge::RequesterId;

/// Locks, whatever became of another thread that held the lock: no state behind these locks is ever half-written
/// across a call that can panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lookups that have begun and are not answered, oldest first.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<Lookups>);

#[derive(Debug, Default)]
struct Lookups {
    next: u64,
    unanswered: Vec<(u64, RequesterId)>,
}

/// Whose lookups, and begun before when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Barrier {
    before: u64,
    /// `None`: everybody's.
    device: Option<RequesterId>,
}

impl InFlight {
    /// Enters a lookup, which lasts until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, device: RequesterId) -> InFlightGuard {
        let mut lookups = lock(&self.0);
        let sequence = lookups.next;
        lookups.next += 1;
        lookups.unanswered.push((sequence, device));
        InFlightGuard {
            table: Arc::clone(self),
            sequence,
        }
    }

    /// Stands behind all lookups that have begun by now.
    pub(super) fn barrier(&self, device: Option<RequesterId>) -> Barrier {
        Barrier {
            before: lock(&self.0).next,
            device,
        }
    }

    /// Are all lookups before the barrier answered?
    pub(super) fn passed(&self, barrier: &Barrier) -> bool {
        !lock(&self.0)
            .unanswered
            .iter()
            .take_while(|(sequence, _)| *sequence < barrier.before)
            .any(|(_, device)| barrier.device.is_none_or(|d| d == *device))
    }
}

#[derive(Debug)]
pub(super) struct InFlightGuard {
    table: Arc<InFlight>,
    sequence: u64,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        lock(&self.table.0)
            .unanswered
            .retain(|(sequence, _)| *sequence != self.sequence);
    }
}
