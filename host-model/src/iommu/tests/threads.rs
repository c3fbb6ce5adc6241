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

#[test]
fn a_lookup_never_sees_what_was_invalidated_before_it_began() {
    const CHANGES: u32 = 3_000;
    let rig = Rig::with(
        Config {
            irt_cache: CacheShape::TINY,
            ..Config::default()
        },
        RUN | GA_EN,
    );
    // The number is in one quadword, because nothing promises more than that to be read at once.
    let write = |n: u32| rig.set_irte128(3, [u64::from(n) << 8 | 1, 0x31]);
    write(0);
    let invalidated = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while invalidated.load(SeqCst) < CHANGES {
                    let floor = invalidated.load(SeqCst);
                    let irte = rig.ask(&Rig::message(RID, 3)).irte.unwrap().raw;
                    let number = irte as u32 >> 8;
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
