//! The lock-free parts in every order that threads and weak memory can have, by `make loom`.
//!
//! First the parts by themselves, with memory that is as weak as any; then an IOMMU with its real lookups and commands.

use std::sync::Arc;

use loom::thread;

mod cache;
mod in_flight;
mod lookups;

/// All orders with up to this many preemptions, of which there are some power of their number.
fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(test);
}

/// Runs both at once, and returns when both have returned.
fn both<T: Send + Sync + 'static>(
    shared: &Arc<T>,
    one: impl FnOnce(&T) + Send + 'static,
    other: impl FnOnce(&T),
) {
    let with_one = Arc::clone(shared);
    let thread = thread::spawn(move || one(&with_one));
    other(shared);
    thread.join().expect("it does not panic");
}
