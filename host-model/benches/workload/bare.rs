//! What a lookup costs at least: a set-associative array with nothing around it.

use host_model::iommu::InterruptRequest;

const SETS: usize = 2048;
const WAYS: usize = 4;

/// As many sets and ways as [`roomy`](super::roomy), plain words.
pub struct BareArray(Vec<Set>);

struct Set {
    tags: [u64; WAYS],
    entries: [u128; WAYS],
}

const EMPTY: u64 = u64::MAX;

impl BareArray {
    pub fn holding(requests: &[InterruptRequest]) -> Self {
        let set = || Set {
            tags: [EMPTY; WAYS],
            entries: [0; WAYS],
        };
        let mut array = Self((0..SETS).map(|_| set()).collect());
        for request in requests {
            let key = key(request);
            let set = &mut array.0[set_of(key)];
            let way = set.tags.iter().position(|tag| *tag == EMPTY);
            let way = way.expect("room for all requests");
            set.tags[way] = key;
            set.entries[way] = u128::from(key) << 64 | 5 << 8 | 1;
        }
        array
    }

    #[inline]
    pub fn find(&self, request: &InterruptRequest) -> Option<u128> {
        let key = key(request);
        let set = &self.0[set_of(key)];
        let way = set.tags.iter().position(|tag| *tag == key)?;
        Some(set.entries[way])
    }
}

#[inline]
fn key(request: &InterruptRequest) -> u64 {
    u64::from(request.requester.0) << 11 | u64::from(request.data & 0x7ff)
}

/// Fibonacci hashing: the top bits spread neighbouring keys evenly.
#[inline]
fn set_of(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SETS.ilog2())) as usize
}
