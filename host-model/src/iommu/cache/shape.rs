/// Sets, ways and replacement of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    sets: usize,
    ways: usize,
    replacement: Replacement,
}

/// Which entry of a full set makes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replacement {
    /// The least recently used. Each hit writes the order of use, which threads then share.
    TrueLru,
    /// One that was not used since it was last passed over (the clock algorithm): one bit an entry, and hits of what
    /// is in use write nothing.
    #[default]
    PseudoLru,
    /// Any, the same ones for the same seed.
    Random {
        /// Of the sequence of draws.
        seed: u64,
    },
}

/// A shape that no cache can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CacheShapeError {
    /// Sets are chosen by bits of a hash.
    #[error("{0} sets: a power of two from 1 to {max} is needed", max = CacheShape::MAX_SETS)]
    Sets(usize),
    /// The order of use of a set's ways is one 64-bit word.
    #[error("{0} ways: 1 to {max} are possible", max = CacheShape::MAX_WAYS)]
    Ways(usize),
}

impl CacheShape {
    /// Most sets.
    pub const MAX_SETS: usize = 1 << 16;
    /// Most ways.
    pub const MAX_WAYS: usize = 16;
    /// No cache: every lookup reads memory.
    pub const DISABLED: Self = Self {
        sets: 0,
        ways: 0,
        replacement: Replacement::TrueLru,
    };
    /// Two entries in one set, which forces evictions.
    pub const TINY: Self = Self {
        sets: 1,
        ways: 2,
        replacement: Replacement::TrueLru,
    };

    /// `sets` must be a power of two.
    pub const fn new(sets: usize, ways: usize) -> Result<Self, CacheShapeError> {
        if !sets.is_power_of_two() || sets > Self::MAX_SETS {
            return Err(CacheShapeError::Sets(sets));
        }
        if ways == 0 || ways > Self::MAX_WAYS {
            return Err(CacheShapeError::Ways(ways));
        }
        Ok(Self {
            sets,
            ways,
            replacement: Replacement::PseudoLru,
        })
    }

    /// The same with another replacement.
    pub const fn with_replacement(self, replacement: Replacement) -> Self {
        Self { replacement, ..self }
    }

    /// Number of sets, 0 if disabled.
    pub const fn sets(self) -> usize {
        self.sets
    }

    /// Entries of a set, 0 if disabled.
    pub const fn ways(self) -> usize {
        self.ways
    }

    /// Sets times ways.
    pub const fn entries(self) -> usize {
        self.sets * self.ways
    }

    /// How room is made.
    pub const fn replacement(self) -> Replacement {
        self.replacement
    }
}

/// 256 sets of 4 ways, pseudo-LRU.
impl Default for CacheShape {
    fn default() -> Self {
        Self {
            sets: 256,
            ways: 4,
            replacement: Replacement::PseudoLru,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_cache_shapes_are_refused() {
        assert_eq!(CacheShape::new(0, 4), Err(CacheShapeError::Sets(0)));
        assert_eq!(CacheShape::new(48, 4), Err(CacheShapeError::Sets(48)));
        assert_eq!(CacheShape::new(1 << 17, 4), Err(CacheShapeError::Sets(1 << 17)));
        assert_eq!(CacheShape::new(16, 0), Err(CacheShapeError::Ways(0)));
        assert_eq!(CacheShape::new(16, 17), Err(CacheShapeError::Ways(17)));
        assert!(CacheShape::new(1 << 16, 16).is_ok());
    }
}
