//! Which way of a full set makes room. The set's lock is held where it is chosen.

use std::sync::atomic::Ordering::Relaxed;

use super::{Cache, KEY, Listener, Replacement, USED};

/// True LRU: ways in 4 bits each, the last used in the lowest. The clock: where its hand is.
pub(super) const INITIAL_ORDER: u64 = 0xfedc_ba98_7654_3210;

impl Replacement {
    /// Whether an entry is born used. Lookups touch what is not marked used: always, seldom, never.
    pub(super) fn initial_use(self) -> u64 {
        match self {
            Self::TrueLru => 0,
            Self::PseudoLru | Self::Random { .. } => USED,
        }
    }
}

impl<const N: usize, L: Listener, const HASHED: bool> Cache<N, L, HASHED> {
    /// An entry that is not marked used was hit.
    #[cold]
    pub(super) fn touch(&self, set: usize, way: usize, tag: u64) {
        match self.shape.replacement() {
            Replacement::TrueLru => self.move_to_front(set, way),
            Replacement::PseudoLru => {
                // Somebody else may have changed the entry, and then this use is none of the new one.
                let _ = self.ways_of(set)[way]
                    .tag
                    .compare_exchange(tag, tag | USED, Relaxed, Relaxed);
            }
            Replacement::Random { .. } => {}
        }
    }

    pub(super) fn inserted(&self, set: usize, way: usize) {
        if self.shape.replacement() == Replacement::TrueLru {
            self.move_to_front(set, way);
        }
    }

    /// Two threads that touch at once may lose one of the two; the word stays a permutation.
    fn move_to_front(&self, set: usize, way: usize) {
        let order = &self.sets[set].order;
        let old = order.load(Relaxed);
        if old & 0xf != way as u64 {
            order.store(to_front(old, way as u64), Relaxed);
        }
    }

    pub(super) fn victim(&self, set: usize) -> usize {
        let ways = self.ways;
        match self.shape.replacement() {
            Replacement::TrueLru => {
                let order = self.sets[set].order.load(Relaxed);
                (order >> (4 * (ways - 1)) & 0xf) as usize
            }
            Replacement::PseudoLru => self.clock(set),
            Replacement::Random { seed } => {
                let draw = self.draws.fetch_add(1, Relaxed);
                (mix(seed.wrapping_add(draw.wrapping_mul(0x9e37_79b9_7f4a_7c15))) % ways as u64) as usize
            }
        }
    }

    /// Passes over used ways and marks them unused, so the second round finds one.
    fn clock(&self, set: usize) -> usize {
        let ways = self.ways_of(set);
        let order = &self.sets[set].order;
        let mut hand = (order.load(Relaxed) & 0xf) as usize % ways.len();
        for _ in 0..ways.len() {
            let tag = ways[hand].tag.fetch_and(!USED, Relaxed);
            if tag & USED == 0 {
                break;
            }
            self.tell_gone(tag & KEY, set, hand);
            hand = (hand + 1) % ways.len();
        }
        order.store(((hand + 1) % ways.len()) as u64, Relaxed);
        hand
    }
}

/// Moves `way` to the lowest digit; those below it move up by one.
const fn to_front(order: u64, way: u64) -> u64 {
    const ONES: u64 = 0x1111_1111_1111_1111;
    // The digit of `way` becomes zero; the lowest marker is that of the lowest zero digit.
    let difference = order ^ (way * ONES);
    let zero = difference.wrapping_sub(ONES) & !difference & (ONES << 3);
    let position = zero.trailing_zeros() & !3;
    let below = (1 << position) - 1;
    order & !(below << 4 | 0xf) | (order & below) << 4 | way
}

/// The finalizer of SplitMix64: neighbours become unrelated.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
