use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;

use sim_bridge::SimTime;

use super::Signal;
use crate::machine::{Cpu, InterruptsOff, RunError};
use crate::trace::{Kind, Lock, LockStep, Source};

/// A spinlock in simulated time, served in the order of arrival as Linux's queued spinlocks are. What is done with it
/// is in the trace.
pub struct SpinLock<T> {
    name: Lock,
    value: RefCell<T>,
    /// Tickets, and whose CPU's they are. The first has the lock.
    queue: RefCell<VecDeque<(u64, u32)>>,
    next_ticket: Cell<u64>,
    /// When its holder died.
    died_at: Cell<Option<SimTime>>,
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
            died_at: Cell::new(None),
            released: Signal::default(),
        }
    }

    /// `spin_lock`: spins until the lock is free and takes it. Where that can't be the run fails.
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
        self.queue.borrow_mut().push_back((ticket, cpu.id()));
        let is_first = || matches!(self.queue.borrow().front(), Some((first, _)) if *first == ticket);
        if !is_first() {
            self.record(cpu, LockStep::Contended);
            self.check_that_it_may_end(cpu);
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
            died: false,
            _interrupts_off: interrupts_off,
        }
    }

    /// Of a holder that is dead the next in the queue waits for ever.
    fn check_that_it_may_end(&self, cpu: &Cpu) {
        let queue = self.queue.borrow();
        let mut cpus = queue.iter().map(|(_, cpu)| *cpu);
        if let (Some(died_at), Some(held_by), Some(waits)) = (self.died_at.get(), cpus.next(), cpus.next()) {
            cpu.machine().fail(RunError::Deadlock {
                at: cpu.machine().now(),
                cpu: waits,
                lock: self.name,
                held_by,
                died_at,
            });
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
    died: bool,
    _interrupts_off: Option<InterruptsOff>,
}

impl<T> SpinGuard<'_, T> {
    /// The protected value. Not to be held over an `await`.
    pub fn get(&self) -> RefMut<'_, T> {
        self.lock.value.borrow_mut()
    }

    /// The task dies: the lock stays as it is, and the CPU goes on to other tasks with interrupts restored (Linux
    /// kernel/exit.c `make_task_dead`).
    pub fn die(mut self) {
        self.died = true;
        self.lock.died_at.set(Some(self.cpu.machine().now()));
        self.lock.check_that_it_may_end(&self.cpu);
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        if self.died {
            return;
        }
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

    /// CPU 1 dies with the lock after a microsecond, CPU 2 asks for it at these nanoseconds: how the run of 3 us ends, and
    /// whether CPU 1 has interrupts off after two.
    fn die(asks_at: Option<u64>) -> (Result<(), RunError>, bool) {
        let device = LinkTo::new(RequesterId::new(2, 0, 0), ScriptedDevice::default());
        let machine = Machine::new(MachineConfig::default(), [device]).expect("memory");
        let lock = Rc::new(SpinLock::new(Lock::IommuTable, ()));
        let (cpu, dies) = (machine.cpu(1), lock.clone());
        machine.executor().spawn("holder", async move {
            let guard = dies.lock_irqsave(&cpu).await;
            cpu.udelay(1).await;
            guard.die();
        });
        if let Some(at) = asks_at {
            let (cpu, asks) = (machine.cpu(2), lock.clone());
            machine.executor().spawn("spinner", async move {
                cpu.delay(SimTime::from_ns(at)).await;
                asks.lock_irqsave(&cpu).await;
                unreachable!("nobody unlocks it");
            });
        }
        let off = Rc::new(Cell::new(true));
        let seen = off.clone();
        let end = machine.run(|cpu| async move {
            cpu.udelay(2).await;
            seen.set(cpu.machine().cpu(1).has_interrupts_off());
            cpu.udelay(1).await;
        });
        (end, off.get())
    }

    #[test]
    fn nobody_gets_the_lock_of_a_task_that_died_and_whoever_wants_it_ends_the_run() {
        let (unwanted, off) = die(None);
        assert!(unwanted.is_ok() && !off);
        for (asks_at, expected) in [(500, 1000), (2500, 2500)] {
            let (ended, _) = die(Some(asks_at));
            let Err(RunError::Deadlock {
                at,
                cpu: 2,
                lock: Lock::IommuTable,
                held_by: 1,
                died_at,
            }) = ended
            else {
                panic!("{ended:?}");
            };
            assert_eq!((at, died_at), (SimTime::from_ns(expected), SimTime::from_us(1)));
        }
    }
}
