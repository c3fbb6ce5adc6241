use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;

use super::Signal;

/// A spinlock in simulated time, served in the order of arrival as Linux's queued spinlocks are.
#[derive(Default)]
pub struct SpinLock<T> {
    value: RefCell<T>,
    queue: RefCell<VecDeque<u64>>,
    next_ticket: Cell<u64>,
    released: Signal,
}

impl<T> SpinLock<T> {
    /// Unlocked.
    pub fn new(value: T) -> Self {
        Self {
            value: RefCell::new(value),
            queue: RefCell::default(),
            next_ticket: Cell::new(0),
            released: Signal::default(),
        }
    }

    /// Spins until the lock is free and takes it.
    pub async fn lock(&self) -> SpinGuard<'_, T> {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        self.queue.borrow_mut().push_back(ticket);
        self.released
            .wait_until(|| self.queue.borrow().front() == Some(&ticket))
            .await;
        SpinGuard { lock: self }
    }
}

/// Holds a [`SpinLock`]; dropping it unlocks.
pub struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
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
        self.lock.released.notify();
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use sim_bridge::SimTime;

    use super::*;
    use crate::exec::Executor;

    #[test]
    fn holders_exclude_each_other_and_are_served_in_order() {
        let executor = Executor::new(3);
        let lock = Rc::new(SpinLock::new(Vec::new()));
        for n in 0..3u64 {
            let (ex, lock) = (executor.clone(), lock.clone());
            executor.spawn("holder", async move {
                ex.sleep(SimTime::from_ns(n)).await;
                let guard = lock.lock().await;
                guard.get().push((n, "in"));
                ex.sleep(SimTime::from_us(1)).await;
                guard.get().push((n, "out"));
            });
        }
        while executor.run_next() {}
        let expected: Vec<_> = (0..3).flat_map(|n| [(n, "in"), (n, "out")]).collect();
        assert_eq!(*lock.value.borrow(), expected);
        assert_eq!(executor.now(), SimTime::from_us(3));
    }
}
