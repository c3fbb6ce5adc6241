//! A deterministic executor in simulated time.
//!
//! Tasks are `async` Rust. Time passes only where a task awaits. Tasks that are runnable at the same time run in the
//! order of a hash of seed, time, task and sequence, so that a seed fixes the order and another seed gives another.

mod signal;
mod spin_lock;

pub use signal::Signal;
pub use spin_lock::{SpinGuard, SpinLock};

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use sim_bridge::SimTime;

/// A handle to the executor; clones share it.
#[derive(Clone)]
pub struct Executor(Rc<Inner>);

struct Inner {
    seed: u64,
    now: Cell<SimTime>,
    sequence: Cell<u64>,
    current: Cell<TaskId>,
    queue: RefCell<BinaryHeap<Reverse<Entry>>>,
    tasks: RefCell<BTreeMap<TaskId, Task>>,
    /// `std`'s wakers are `Sync`, so what they write to is too, although all of this runs on one thread.
    woken: Arc<Mutex<Vec<TaskId>>>,
}

type TaskId = u64;

/// A task to poll. The field order is the order of execution.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    time: SimTime,
    tie: u64,
    sequence: u64,
    task: TaskId,
}

struct Task {
    name: String,
    /// `None` while the task is being polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Waker,
}

struct TaskWaker {
    id: TaskId,
    woken: Arc<Mutex<Vec<TaskId>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.id);
    }
}

impl Executor {
    /// An executor at time zero, without tasks.
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(Inner {
            seed,
            now: Cell::new(SimTime::ZERO),
            sequence: Cell::new(0),
            current: Cell::new(0),
            queue: RefCell::default(),
            tasks: RefCell::default(),
            woken: Arc::default(),
        }))
    }

    /// The current time.
    pub fn now(&self) -> SimTime {
        self.0.now.get()
    }

    /// Starts a task at the current time. `name` is for [`Executor::waiting`].
    pub fn spawn(&self, name: impl Into<String>, future: impl Future<Output = ()> + 'static) {
        let id = self.next_sequence();
        let waker = Arc::new(TaskWaker {
            id,
            woken: self.0.woken.clone(),
        })
        .into();
        let task = Task {
            name: name.into(),
            future: Some(Box::pin(future)),
            waker,
        };
        self.0.tasks.borrow_mut().insert(id, task);
        self.enqueue(self.now(), id);
    }

    /// Completes `span` from now.
    pub fn sleep(&self, span: SimTime) -> Sleep {
        self.sleep_until(self.now() + span)
    }

    /// Completes at `deadline`, or at once where that is past.
    pub fn sleep_until(&self, deadline: SimTime) -> Sleep {
        Sleep {
            executor: self.clone(),
            deadline,
            queued: false,
        }
    }

    /// Lets whoever runs now take turns: completes at the same time, after or before the others as the seed says.
    pub async fn turn(&self) {
        let mut queued = false;
        poll_fn(|_| {
            if std::mem::replace(&mut queued, true) {
                return Poll::Ready(());
            }
            self.enqueue(self.now(), self.0.current.get());
            Poll::Pending
        })
        .await;
    }

    /// When the next task runs; [`SimTime::NEVER`] if none is to run.
    pub fn next_time(&self) -> SimTime {
        self.0
            .queue
            .borrow()
            .peek()
            .map_or(SimTime::NEVER, |entry| entry.0.time)
    }

    /// Moves the clock to `time` for something that comes from outside. Earlier times leave it as it is.
    pub fn advance(&self, time: SimTime) {
        self.0.now.set(self.now().max(time));
    }

    /// Runs the next task until it waits. False where there is none.
    pub fn run_next(&self) -> bool {
        let Some(Reverse(entry)) = self.0.queue.borrow_mut().pop() else {
            return false;
        };
        self.advance(entry.time);
        let taken = self.0.tasks.borrow_mut().get_mut(&entry.task).and_then(|task| {
            let future = task.future.take()?;
            Some((future, task.waker.clone()))
        });
        if let Some((mut future, waker)) = taken {
            self.0.current.set(entry.task);
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.0.tasks.borrow_mut().remove(&entry.task);
            } else if let Some(task) = self.0.tasks.borrow_mut().get_mut(&entry.task) {
                task.future = Some(future);
            }
        }
        self.queue_woken();
        true
    }

    /// The names of the tasks that have not ended.
    pub fn waiting(&self) -> Vec<String> {
        self.0
            .tasks
            .borrow()
            .values()
            .map(|task| task.name.clone())
            .collect()
    }

    /// Drops all tasks.
    pub fn clear(&self) {
        // A task's guards may wake others while it is dropped.
        let tasks = self.0.tasks.take();
        drop(tasks);
        self.0.queue.borrow_mut().clear();
    }

    /// Queues the tasks whose wakers were called, also those called from outside of any task.
    pub(crate) fn queue_woken(&self) {
        let woken = std::mem::take(&mut *self.0.woken.lock().unwrap_or_else(PoisonError::into_inner));
        for id in woken {
            self.enqueue(self.now(), id);
        }
    }

    fn enqueue(&self, time: SimTime, task: TaskId) {
        let sequence = self.next_sequence();
        let tie = hash([self.0.seed, time.as_ps(), task, sequence]);
        self.0.queue.borrow_mut().push(Reverse(Entry {
            time,
            tie,
            sequence,
            task,
        }));
    }

    fn next_sequence(&self) -> u64 {
        let next = self.0.sequence.get() + 1;
        self.0.sequence.set(next);
        next
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("now", &self.now())
            .field("waiting", &self.waiting())
            .finish()
    }
}

/// Returned by [`Executor::sleep`].
pub struct Sleep {
    executor: Executor,
    deadline: SimTime,
    queued: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.executor.now() >= self.deadline {
            return Poll::Ready(());
        }
        if !self.queued {
            self.queued = true;
            let task = self.executor.0.current.get();
            self.executor.enqueue(self.deadline, task);
        }
        Poll::Pending
    }
}

/// splitmix64's finaliser over each word: the order of ties must be the same on every machine and release, which
/// `std`'s hasher does not promise.
fn hash(words: [u64; 4]) -> u64 {
    words.into_iter().fold(0, |state, word| {
        let mut z = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(executor: &Executor) {
        while executor.run_next() {}
    }

    fn order_of_ties(seed: u64) -> Vec<u32> {
        let executor = Executor::new(seed);
        let order = Rc::new(RefCell::new(Vec::new()));
        for n in 0..8 {
            let (ex, log) = (executor.clone(), order.clone());
            executor.spawn(format!("{n}"), async move {
                ex.sleep(SimTime::from_ns(5)).await;
                log.borrow_mut().push(n);
            });
        }
        run(&executor);
        order.take()
    }

    #[test]
    fn sleepers_wake_in_the_order_of_their_deadlines() {
        let executor = Executor::new(0);
        let order = Rc::new(RefCell::new(Vec::new()));
        for ns in [30, 10, 20] {
            let (ex, log) = (executor.clone(), order.clone());
            executor.spawn("sleeper", async move {
                ex.sleep(SimTime::from_ns(ns)).await;
                log.borrow_mut().push((ns, ex.now()));
            });
        }
        run(&executor);
        let expected = [10, 20, 30].map(|ns| (ns, SimTime::from_ns(ns)));
        assert_eq!(*order.borrow(), expected);
        assert!(executor.waiting().is_empty());
    }

    #[test]
    fn the_seed_fixes_the_order_of_ties() {
        assert_eq!(order_of_ties(1), order_of_ties(1));
        assert!((2..20).any(|seed| order_of_ties(seed) != order_of_ties(1)));
    }

    #[test]
    fn turns_take_no_time_and_the_seed_fixes_whose_is_first() {
        let first = |seed| {
            let executor = Executor::new(seed);
            let order = Rc::new(RefCell::new(Vec::new()));
            for n in 0..2 {
                let (ex, log) = (executor.clone(), order.clone());
                executor.spawn(format!("{n}"), async move {
                    ex.turn().await;
                    log.borrow_mut().push(n);
                });
            }
            run(&executor);
            assert_eq!(executor.now(), SimTime::ZERO);
            order.take()
        };
        assert!((0..20).any(|seed| first(seed) != first(20)));
        assert_eq!(first(1), first(1));
    }

    #[test]
    fn a_task_that_waits_for_ever_is_named() {
        let executor = Executor::new(0);
        executor.spawn("stuck", std::future::pending());
        run(&executor);
        assert_eq!(executor.waiting(), ["stuck"]);
        assert_eq!(executor.next_time(), SimTime::NEVER);
    }
}
