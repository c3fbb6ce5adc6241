//! The atomics of the lock-free parts: those of `loom` when its model checker runs.

#[cfg(loom)]
pub(super) use loom::{hint, sync::atomic::fence};
#[cfg(loom)]
pub(super) use modelled::AtomicU64;
#[cfg(not(loom))]
pub(super) use std::{
    hint,
    sync::atomic::{AtomicU64, fence},
};

#[cfg(loom)]
mod modelled {
    use std::sync::atomic::Ordering::{self, SeqCst};

    use loom::sync::atomic::{self, fence};

    /// Loom takes two things for less than they are, and would find errors that there are not. Sequentially
    /// consistent accesses: a fence before a load forbids that two threads each miss the other's store. And a store
    /// that comes after another thread's read-modify-write: as a swap it can't fall in between.
    #[derive(Debug)]
    pub(in super::super) struct AtomicU64(atomic::AtomicU64);

    impl AtomicU64 {
        pub(in super::super) fn new(value: u64) -> Self {
            Self(atomic::AtomicU64::new(value))
        }

        pub(in super::super) fn load(&self, order: Ordering) -> u64 {
            if order == SeqCst {
                fence(SeqCst);
            }
            self.0.load(order)
        }

        pub(in super::super) fn store(&self, value: u64, order: Ordering) {
            self.0.swap(value, order);
        }

        pub(in super::super) fn swap(&self, value: u64, order: Ordering) -> u64 {
            self.0.swap(value, order)
        }

        pub(in super::super) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
            self.0.fetch_add(value, order)
        }

        pub(in super::super) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
            self.0.fetch_sub(value, order)
        }

        pub(in super::super) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
            self.0.fetch_max(value, order)
        }

        pub(in super::super) fn fetch_and(&self, value: u64, order: Ordering) -> u64 {
            self.0.fetch_and(value, order)
        }

        pub(in super::super) fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.0.compare_exchange(current, new, success, failure)
        }

        pub(in super::super) fn compare_exchange_weak(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.0.compare_exchange_weak(current, new, success, failure)
        }
    }
}
