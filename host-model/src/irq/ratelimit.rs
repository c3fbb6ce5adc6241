//! How often a line may be in the kernel's log (Linux lib/ratelimit.c).

use sim_bridge::SimTime;

/// `DEFAULT_RATELIMIT_INTERVAL`.
const INTERVAL: SimTime = SimTime::from_us(5_000_000);
/// `DEFAULT_RATELIMIT_BURST`.
const BURST: u32 = 10;

/// `struct ratelimit_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RateLimit {
    begin: Option<SimTime>,
    printed: u32,
    missed: u32,
}

/// Whether a line may be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// After a line that tells of those that were not, if there are any.
    Yes {
        /// Of the interval before.
        suppressed: u32,
    },
    No,
}

impl RateLimit {
    /// `___ratelimit`.
    pub(super) fn allow(&mut self, now: SimTime) -> Allowed {
        let begin = *self.begin.get_or_insert(now);
        let mut suppressed = 0;
        if now > begin + INTERVAL {
            suppressed = std::mem::take(&mut self.missed);
            self.begin = Some(now);
            self.printed = 0;
        }
        if self.printed == BURST {
            self.missed += 1;
            return Allowed::No;
        }
        self.printed += 1;
        Allowed::Yes { suppressed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    #[test]
    fn ten_lines_are_printed_in_five_seconds_and_the_next_interval_tells_of_the_others() {
        let mut limit = RateLimit::default();
        let mut at = |us| limit.allow(SimTime::from_us(us));
        let none = Allowed::Yes { suppressed: 0 };
        assert!((0..10).all(|n| at(S + n) == none));
        assert_eq!([at(S + 10), at(6 * S)], [Allowed::No; 2]);
        assert_eq!(at(6 * S + 1), Allowed::Yes { suppressed: 2 });
        assert!((0..9).all(|_| at(6 * S + 2) == none));
        assert_eq!(at(6 * S + 2), Allowed::No);
    }
}
