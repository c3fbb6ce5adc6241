//! Lookups on one thread while another invalidates.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use super::*;

#[test]
fn the_iommu_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Iommu>();
    shared::<FillToken<'static>>();
}

/// Lookups on two threads while a third changes the entry and invalidates it.
fn check(config: Config, observed: bool) {
    const CHANGES: u32 = 1_000;
    let rig = Rig::with(config, RUN);
    let write = |n: u32| {
        let [vector, destination, ..] = n.to_le_bytes();
        rig.set_irte32(3, irte32(destination, vector));
    };
    write(0);
    let number = || {
        let request = Rig::message(RID, 3);
        let outcome = match observed {
            true => rig.ask(&request).outcome,
            false => rig.iommu.remap(&request),
        };
        let Outcome::Remapped(interrupt) = outcome else {
            panic!("{outcome:?}")
        };
        interrupt.destination() << 8 | u32::from(interrupt.vector())
    };
    let invalidated = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while invalidated.load(SeqCst) < CHANGES {
                    let floor = invalidated.load(SeqCst);
                    let number = number();
                    assert!(number >= floor, "{number} < {floor}");
                }
            });
        }
        scope.spawn(|| {
            for n in 1..=CHANGES {
                write(n);
                rig.queue(invalidate_irt(RID));
                rig.queue(completion_wait(n.into()));
                while rig.semaphore() < n.into() {
                    if rig.iommu.step().is_none() {
                        thread::yield_now();
                    }
                }
                invalidated.store(n, SeqCst);
            }
        });
    });
}

#[test]
fn a_lookup_never_sees_what_was_invalidated_before_it_began() {
    check(Config::default().with_caches(CacheShape::TINY), true);
    check(Config::default(), true);
    check(Config::default(), false);
}

#[test]
fn a_lookup_never_sees_what_a_generation_before_left() {
    for generation_bits in [1, 2] {
        let config = Config {
            generation_bits,
            ..Config::default()
        };
        check(config.clone(), true);
        check(config, false);
    }
}
