//! Threads on CPUs of their own: the scheduler may leave two on one for as long as a measurement takes.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The calling thread's CPU, until it is dropped.
pub struct OwnCpu {
    before: CpuSet,
}

impl OwnCpu {
    /// The `n`th of those that the thread may have; all of them where there are not as many.
    pub fn nth(n: usize) -> Self {
        let before = sched_getaffinity(None).expect("Linux tells");
        if let Some(cpu) = (0..CpuSet::MAX_CPU).filter(|&cpu| before.is_set(cpu)).nth(n) {
            let mut own = CpuSet::new();
            own.set(cpu);
            sched_setaffinity(None, &own).expect("one that it may have");
        }
        Self { before }
    }
}

impl Drop for OwnCpu {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.before).expect("those that it had");
    }
}
