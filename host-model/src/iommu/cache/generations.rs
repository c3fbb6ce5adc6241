use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use sim_bridge::RequesterId;

use super::super::sync::AtomicU64;

/// A generation for each requester ID, counted up by an invalidation, in constant time.
#[derive(Debug)]
pub(in super::super) struct Generations {
    devices: Box<[AtomicU64; DEVICES]>,
    mask: u64,
}

/// Requester IDs.
#[cfg(not(loom))]
const DEVICES: usize = 1 << 16;
/// The model checker creates them anew for each order of events.
#[cfg(loom)]
const DEVICES: usize = 2;

impl Generations {
    /// `bits` wide, 1 to 64: after 2^`bits` invalidations a requester ID is back at the first.
    pub(in super::super) fn new(bits: u32) -> Self {
        let devices: Box<[AtomicU64]> = (0..DEVICES).map(|_| AtomicU64::new(0)).collect();
        let Ok(devices) = devices.try_into() else {
            unreachable!("there are as many")
        };
        Self {
            devices,
            mask: u64::MAX >> (64 - bits.clamp(1, 64)),
        }
    }

    /// What an entry must have to be hit.
    #[inline]
    pub(in super::super) fn of(&self, device: RequesterId) -> u64 {
        self.devices[usize::from(device.0) % DEVICES].load(Acquire)
    }

    /// For a fill that has been entered as in flight: either this is the generation after an invalidation, or the
    /// invalidation sees the fill.
    #[inline]
    pub(in super::super) fn capture(&self, device: RequesterId) -> u64 {
        self.devices[usize::from(device.0) % DEVICES].load(SeqCst)
    }

    /// Whether the count began anew. Then `drop` drops what the requester ID has in the cache, and refuses fills that
    /// have begun: before, so that what the first generation had can't be hit in it again, and after, so that what the
    /// last one had can't either when that comes again. Not to be called by two threads at once.
    #[inline]
    pub(in super::super) fn invalidate(&self, device: RequesterId, drop: impl Fn()) -> bool {
        let generation = &self.devices[usize::from(device.0) % DEVICES];
        let next = generation.load(Relaxed).wrapping_add(1) & self.mask;
        let began_anew = next == 0;
        if began_anew {
            drop();
        }
        generation.swap(next, SeqCst);
        if began_anew {
            drop();
        }
        began_anew
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn one_device_is_invalidated() {
        let generations = Generations::new(64);
        let devices = [0, 0x4100, 0xffff].map(RequesterId);
        let all = || devices.map(|device| generations.of(device));
        let before = all();
        assert!(!generations.invalidate(devices[1], || {}));
        let after = all();
        assert_eq!([after[0], after[2]], [before[0], before[2]]);
        assert_ne!(after[1], before[1]);
    }

    #[test]
    fn a_count_that_begins_anew_says_so() {
        let generations = Generations::new(4);
        let dropped_at = RefCell::new(vec![]);
        let began_anew: Vec<bool> = (0..32)
            .map(|_| {
                let drop = || dropped_at.borrow_mut().push(generations.of(RequesterId(7)));
                generations.invalidate(RequesterId(7), drop)
            })
            .collect();
        let at: Vec<usize> = (0..32).filter(|n| began_anew[*n]).collect();
        assert_eq!(at, [15, 31]);
        assert_eq!(dropped_at.into_inner(), [15, 0, 15, 0]);
    }
}
