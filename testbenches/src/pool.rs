//! Many runs at a time: each has all that it needs, so that it is the same whatever runs beside it.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Does jobs 0 to `jobs` on all CPUs. `ended` gets each result when it is there, in any order.
pub fn run<R: Send>(jobs: usize, job: impl Fn(usize) -> R + Sync, mut ended: impl FnMut(usize, R)) {
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(jobs);
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    // A worker that panics makes the scope panic.
    thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next, job) = (sender.clone(), &next, &job);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= jobs || sender.send((number, job(number))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (number, result) in results {
            ended(number, result);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_job_is_done_once() {
        let mut results = Vec::new();
        run(1000, |n| n * n, |n, result| results.push((n, result)));
        results.sort();
        assert_eq!(results, (0..1000).map(|n| (n, n * n)).collect::<Vec<_>>());
    }

    #[test]
    fn jobs_run_beside_each_other() {
        // Job 0 waits for what another does: on one CPU there is nobody to wait for.
        if thread::available_parallelism().map_or(1, NonZero::get) == 1 {
            return;
        }
        let (tell, told) = mpsc::channel();
        let told = Mutex::new(told);
        let mut ended = Vec::new();
        run(
            2,
            |n| match n {
                0 => told.lock().expect("one waits").recv().is_ok(),
                _ => tell.send(()).is_ok(),
            },
            |n, done| ended.push((n, done)),
        );
        ended.sort();
        assert_eq!(ended, [(0, true), (1, true)]);
    }

    #[test]
    fn no_jobs_have_no_results() {
        run(0, |n| n, |_, _| panic!("there is none"));
    }
}
