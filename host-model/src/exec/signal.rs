use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Wakes the tasks that wait for a condition.
#[derive(Default)]
pub struct Signal(RefCell<Vec<Waker>>);

impl Signal {
    /// Completes when `condition` holds; it is looked at now and at each [`Signal::notify`].
    pub async fn wait_until(&self, mut condition: impl FnMut() -> bool) {
        poll_fn(|context| {
            if condition() {
                return Poll::Ready(());
            }
            self.0.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Something that conditions depend on has changed.
    pub fn notify(&self) {
        for waker in self.0.take() {
            waker.wake();
        }
    }
}
