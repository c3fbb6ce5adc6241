//! Many runs at a time: each has all that it needs, so that it is the same whatever runs beside it.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Does jobs 0 to `jobs` on all CPUs. `take` gets each result with its number when it is there, in any order; no job is
/// begun after it has returned.
pub fn run<R: Send, T>(
    jobs: usize,
    job: impl Fn(usize) -> R + Sync,
    take: impl FnOnce(mpsc::IntoIter<(usize, R)>) -> T,
) -> T {
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
        take(results.into_iter())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_job_is_done_once() {
        let mut results: Vec<_> = run(1000, |n| n * n, Iterator::collect);
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
        let job = |n| match n {
            0 => told.lock().expect("one waits").recv().is_ok(),
            _ => tell.send(()).is_ok(),
        };
        let mut ended: Vec<_> = run(2, job, Iterator::collect);
        ended.sort();
        assert_eq!(ended, [(0, true), (1, true)]);
    }

    #[test]
    fn no_jobs_have_no_results() {
        assert_eq!(run(0, |n| n, Iterator::count), 0);
    }

    #[test]
    fn who_has_enough_ends_the_others() {
        // Jobs without number: this test ends or hangs.
        assert!(run(usize::MAX, |n| n, |mut results| results.next()).is_some());
    }
}
