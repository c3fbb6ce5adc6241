use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;

use super::Signal;
use crate::machine::{Cpu, InterruptsOff};
use crate::trace::{Kind, Lock, LockStep, Source};

/// A spinlock in simulated time, served in the order of arrival as Linux's queued spinlocks are. What is done with it
/// is in the trace.
pub struct SpinLock<T> {
    name: Lock,
    value: RefCell<T>,
    queue: RefCell<VecDeque<u64>>,
    next_ticket: Cell<u64>,
    released: Signal,
}

impl<T> SpinLock<T> {
    /// Unlocked.
    pub fn new(name: Lock, value: T) -> Self {
        Self {
            name,
            value: RefCell::new(value),
            queue: RefCell::default(),
            next_ticket: Cell::new(0),
            released: Signal::default(),
        }
    }

    /// `spin_lock`: spins until the lock is free and takes it.
    pub async fn lock(&self, cpu: &Cpu) -> SpinGuard<'_, T> {
        self.take(cpu, None).await
    }

    /// `spin_lock_irqsave`: the same with interrupts off on this CPU, from before it spins until it has unlocked.
    pub async fn lock_irqsave(&self, cpu: &Cpu) -> SpinGuard<'_, T> {
        self.take(cpu, Some(cpu.disable_interrupts())).await
    }

    async fn take(&self, cpu: &Cpu, interrupts_off: Option<InterruptsOff>) -> SpinGuard<'_, T> {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        self.queue.borrow_mut().push_back(ticket);
        let is_first = || self.queue.borrow().front() == Some(&ticket);
        if !is_first() {
            self.record(cpu, LockStep::Contended);
            self.released.wait_until(is_first).await;
        }
        self.record(
            cpu,
            LockStep::Taken {
                interrupts_off: cpu.has_interrupts_off(),
            },
        );
        SpinGuard {
            lock: self,
            cpu: cpu.clone(),
            _interrupts_off: interrupts_off,
        }
    }

    fn record(&self, cpu: &Cpu, step: LockStep) {
        let lock = self.name;
        cpu.record(Source::Cpu(cpu.id()), Kind::Lock { lock, step });
    }
}

/// Holds a [`SpinLock`]; dropping it unlocks, then restores interrupts.
pub struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    cpu: Cpu,
    _interrupts_off: Option<InterruptsOff>,
}

impl<T> SpinGuard<'_, T> {
    /// The protected value. Not to be held over an `await`.
    pub fn get(&self) -> RefMut<'_, T> {
        self.lock.value.borrow_mut()
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.queue.borrow_mut().pop_front();
        self.lock.record(&self.cpu, LockStep::Released);
        self.lock.released.notify();
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use sim_bridge::{RequesterId, SimTime};

    use super::*;
    use crate::machine::{LinkTo, Machine, MachineConfig};
    use crate::scripted::ScriptedDevice;

    type Seen = (u64, u32, LockStep);

    /// CPUs 0 to 2 ask one after the other, a nanosecond apart, and keep the lock for a microsecond: the value at the
    /// end, and the trace as (nanosecond, CPU, step).
    fn contend(irqsave: bool) -> (Vec<(u32, &'static str)>, Vec<Seen>) {
        let config = MachineConfig::default();
        let machine = Machine::new(
            config,
            [LinkTo::new(RequesterId::new(2, 0, 0), ScriptedDevice::default())],
        )
        .expect("memory");
        let lock = Rc::new(SpinLock::new(Lock::IommuTable, Vec::new()));
        for n in 0..3 {
            let (cpu, lock) = (machine.cpu(n), lock.clone());
            machine.executor().spawn("holder", async move {
                cpu.delay(SimTime::from_ns(n.into())).await;
                let guard = if irqsave {
                    lock.lock_irqsave(&cpu).await
                } else {
                    lock.lock(&cpu).await
                };
                guard.get().push((n, "in"));
                cpu.delay(SimTime::from_us(1)).await;
                guard.get().push((n, "out"));
            });
        }
        let end = machine.run(|cpu| async move { cpu.delay(SimTime::from_us(4)).await });
        end.expect("nothing stalls");
        let events = machine.trace().take();
        let seen = events
            .iter()
            .filter_map(|event| match (event.source, &event.kind) {
                (Source::Cpu(cpu), Kind::Lock { lock, step }) => {
                    assert_eq!(*lock, Lock::IommuTable);
                    Some((event.time.as_ps() / 1000, cpu, *step))
                }
                _ => None,
            });
        (lock.value.take(), seen.collect())
    }

    #[test]
    fn holders_exclude_each_other_and_are_served_in_order() {
        let expected: Vec<_> = (0..3).flat_map(|n| [(n, "in"), (n, "out")]).collect();
        assert_eq!(contend(false).0, expected);
    }

    #[test]
    fn the_trace_tells_who_spins_who_has_it_and_whether_interrupts_are_off() {
        for irqsave in [false, true] {
            let taken = LockStep::Taken {
                interrupts_off: irqsave,
            };
            let expected = [
                (0, 0, taken),
                (1, 1, LockStep::Contended),
                (2, 2, LockStep::Contended),
                (1000, 0, LockStep::Released),
                (1000, 1, taken),
                (2000, 1, LockStep::Released),
                (2000, 2, taken),
                (3000, 2, LockStep::Released),
            ];
            assert_eq!(contend(irqsave).1, expected);
        }
    }
}
