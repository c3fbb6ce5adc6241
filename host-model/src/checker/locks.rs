//! How long locks are held with interrupts off, and what their holders do meanwhile.

use std::collections::HashMap;

use sim_bridge::SimTime;

use crate::iommu::spec::command::Command;
use crate::iommu::spec::registers::offset;
use crate::trace::{Kind, Lock, LockStep};

/// A lock that was held too long with interrupts off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub lock: Lock,
    /// By which CPU.
    pub cpu: u32,
    /// In which driver call; `None` if the interrupt core took it.
    pub call: Option<&'static str>,
    /// When it was taken.
    pub taken_at: SimTime,
    /// When it was given up.
    pub released_at: SimTime,
    /// What is still no mistake.
    pub limit: SimTime,
    /// What the CPU did.
    pub meanwhile: Meanwhile,
}

impl Held {
    /// How long.
    pub fn span(&self) -> SimTime {
        self.released_at - self.taken_at
    }
}

/// What a CPU did while it held a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meanwhile {
    /// Commands that it queued.
    pub commands: u64,
    /// Time that it spun for room in the command ring.
    pub ring: SimTime,
    /// Time that it spun on the semaphore of COMPLETION_WAIT.
    pub semaphore: SimTime,
    /// Time that it spun for other locks.
    pub locks: SimTime,
}

/// A lock that is held longer than this with interrupts off is a finding, unless another limit is set.
pub const LOCK_LIMIT: SimTime = SimTime::from_us(1000);

/// Who holds what.
pub(super) struct Locks {
    pub(super) limit: SimTime,
    cpus: HashMap<u32, CpuState>,
}

impl Default for Locks {
    fn default() -> Self {
        Self {
            limit: LOCK_LIMIT,
            cpus: HashMap::new(),
        }
    }
}

#[derive(Default)]
struct CpuState {
    /// Held with interrupts off, the oldest first.
    holds: Vec<Held>,
    /// Since when it may be spinning, and for what.
    spins: Option<(SimTime, SpinsFor)>,
    /// The last command that it queued is a COMPLETION_WAIT.
    waits: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SpinsFor {
    Ring,
    Semaphore,
    Lock,
}

impl CpuState {
    /// Time has passed since the last event.
    fn settle(&mut self, now: SimTime) {
        let Some((since, what)) = &mut self.spins else {
            return;
        };
        for held in &mut self.holds {
            let time = match what {
                SpinsFor::Ring => &mut held.meanwhile.ring,
                SpinsFor::Semaphore => &mut held.meanwhile.semaphore,
                SpinsFor::Lock => &mut held.meanwhile.locks,
            };
            *time += now - *since;
        }
        *since = now;
    }

    fn spins_for(&mut self, what: Option<SpinsFor>, now: SimTime) {
        self.spins = what.map(|what| (now, what));
    }

    fn has(&self, lock: Lock) -> bool {
        self.holds.iter().any(|held| held.lock == lock)
    }
}

impl Locks {
    /// A CPU did something, in a driver call or outside of any: the lock that it held too long, if it gives it up now.
    pub(super) fn observe(
        &mut self,
        cpu: u32,
        call: Option<&'static str>,
        kind: &Kind,
        now: SimTime,
    ) -> Option<Held> {
        let state = self.cpus.entry(cpu).or_default();
        state.settle(now);
        match *kind {
            Kind::Lock { lock, step } => match step {
                LockStep::Contended => state.spins_for(Some(SpinsFor::Lock), now),
                LockStep::Taken { interrupts_off } => {
                    // Who takes the ring's lock is going to queue something.
                    let ring = (lock == Lock::Iommu).then_some(SpinsFor::Ring);
                    state.spins_for(ring, now);
                    if interrupts_off {
                        state.holds.push(Held {
                            lock,
                            cpu,
                            call,
                            taken_at: now,
                            released_at: now,
                            limit: self.limit,
                            meanwhile: Meanwhile::default(),
                        });
                    }
                }
                LockStep::Released => {
                    // The semaphore is polled with the ring's lock and without.
                    let polls = matches!(state.spins, Some((_, SpinsFor::Semaphore)));
                    if !(lock == Lock::Iommu && polls) {
                        state.spins_for(None, now);
                    }
                    let place = state.holds.iter().rposition(|held| held.lock == lock)?;
                    let held = Held {
                        released_at: now,
                        ..state.holds.remove(place)
                    };
                    return (held.span() > held.limit).then_some(held);
                }
            },
            Kind::Queued(command) | Kind::QueuedElsewhere { command, .. } => {
                state.waits = matches!(command, Command::CompletionWait { .. });
                for held in &mut state.holds {
                    held.meanwhile.commands += 1;
                }
                state.spins_for(None, now);
            }
            Kind::RegisterWritten { offset, .. } if offset == offset::CMD_BUF_TAIL => {
                let next = match state.waits {
                    true => Some(SpinsFor::Semaphore),
                    false => state.has(Lock::Iommu).then_some(SpinsFor::Ring),
                };
                state.spins_for(next, now);
            }
            _ => state.spins_for(None, now),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use sim_bridge::RequesterId;

    use super::*;

    const CPU: u32 = 1;
    const RID: RequesterId = RequesterId(0x4100);

    fn us(us: u64) -> SimTime {
        SimTime::from_us(us)
    }

    /// What happens when, in microseconds, and what is found at the end.
    fn held(limit: u64, events: &[(u64, Kind)]) -> Vec<Held> {
        let mut locks = Locks {
            limit: us(limit),
            ..Locks::default()
        };
        let found = events
            .iter()
            .filter_map(|(at, kind)| locks.observe(CPU, Some("move"), kind, us(*at)));
        found.collect()
    }

    fn taken(lock: Lock, interrupts_off: bool) -> Kind {
        let step = LockStep::Taken { interrupts_off };
        Kind::Lock { lock, step }
    }

    fn released(lock: Lock) -> Kind {
        let step = LockStep::Released;
        Kind::Lock { lock, step }
    }

    fn tail() -> Kind {
        Kind::RegisterWritten {
            offset: offset::CMD_BUF_TAIL,
            size: 4,
            value: 0,
        }
    }

    const INVALIDATE: Kind = Kind::Queued(Command::InvalidateInterruptTable(RID));
    const WAIT: Kind = Kind::Queued(Command::CompletionWait {
        store: Some(0x1000),
        interrupt: false,
        flush: false,
        data: 1,
    });

    #[test]
    fn only_longer_than_the_limit_and_with_interrupts_off_is_too_long() {
        for (limit, off, expected) in [(9, true, 1), (10, true, 0), (9, false, 0)] {
            let events = [(5, taken(Lock::Iommu, off)), (15, released(Lock::Iommu))];
            assert_eq!(held(limit, &events).len(), expected, "{limit} {off}");
        }
    }

    #[test]
    fn what_the_holder_spun_for_is_told_apart() {
        let desc = Lock::IrqDesc(24);
        let contended = Kind::Lock {
            lock: Lock::Iommu,
            step: LockStep::Contended,
        };
        let events = [
            (0, taken(desc, true)),
            (1, contended),
            // 3 us for the other lock.
            (4, taken(Lock::Iommu, true)),
            // 10 us for room.
            (14, INVALIDATE),
            (15, tail()),
            // 2 us for room.
            (17, WAIT),
            (18, tail()),
            (18, released(Lock::Iommu)),
            // 6 us on the semaphore.
            (24, Kind::CallEnded("move")),
            (30, released(desc)),
        ];
        let [inner, outer] = &held(0, &events)[..] else {
            panic!("two");
        };
        assert_eq!((inner.lock, inner.span()), (Lock::Iommu, us(14)));
        assert_eq!((outer.lock, outer.span(), outer.cpu), (desc, us(30), CPU));
        let all = Meanwhile {
            commands: 2,
            ring: us(12),
            semaphore: us(6),
            locks: us(3),
        };
        assert_eq!(outer.meanwhile, all);
        let inside = Meanwhile {
            semaphore: us(0),
            locks: us(0),
            ..all
        };
        assert_eq!(inner.meanwhile, inside);
    }

    #[test]
    fn a_semaphore_that_is_polled_under_the_rings_lock_counts_for_it() {
        let events = [
            (0, taken(Lock::Iommu, true)),
            (0, WAIT),
            (1, tail()),
            (8, released(Lock::Iommu)),
        ];
        assert_eq!(held(0, &events)[0].meanwhile.semaphore, us(7));
    }

    #[test]
    fn a_semaphore_that_timed_out_is_polled_no_longer() {
        let log = Kind::KernelLog("AMD-Vi: Completion-Wait loop timed out".to_owned());
        let events = [
            (0, taken(Lock::IommuTable, true)),
            (0, WAIT),
            (1, tail()),
            (100, log),
            (130, released(Lock::IommuTable)),
        ];
        assert_eq!(held(0, &events)[0].meanwhile.semaphore, us(99));
    }
}
