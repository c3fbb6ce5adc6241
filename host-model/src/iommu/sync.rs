//! The atomics of the lock-free parts: those of `loom` when its model checker runs.

#[cfg(loom)]
pub(super) use loom::{
    hint,
    sync::atomic::{AtomicU64, fence},
};
#[cfg(not(loom))]
pub(super) use std::{
    hint,
    sync::atomic::{AtomicU64, fence},
};
