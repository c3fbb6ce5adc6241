//! For how long locks may be held.

use std::fmt;
use std::str::FromStr;

use host_model::checker::LOCK_LIMIT;
use sim_bridge::SimTime;

/// For how long a lock may be held with interrupts off: `200us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockLimit(pub SimTime);

/// The checker's.
impl Default for LockLimit {
    fn default() -> Self {
        Self(LOCK_LIMIT)
    }
}

/// It is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time: a whole number and ns, us, ms or s, such as 200us")]
pub struct ParseLockLimitError(String);

/// With their picoseconds, the longest first.
const UNITS: [(&str, u64); 4] = [
    ("s", 1_000_000_000_000),
    ("ms", 1_000_000_000),
    ("us", 1_000_000),
    ("ns", 1_000),
];

impl FromStr for LockLimit {
    type Err = ParseLockLimitError;

    fn from_str(text: &str) -> Result<Self, ParseLockLimitError> {
        let parse = || {
            let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
            let (_, ps) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
            number.parse::<u64>().ok()?.checked_mul(ps)
        };
        let ps = parse().ok_or_else(|| ParseLockLimitError(text.to_owned()))?;
        Ok(Self(SimTime::from_ps(ps)))
    }
}

/// In the longest unit of which it is a whole number.
impl fmt::Display for LockLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ps = self.0.as_ps();
        match UNITS.into_iter().find(|(_, unit)| ps.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", ps / unit),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shown_in_the_longest_unit() {
        for (text, shown, ps) in [
            ("200us", "200us", 200_000_000),
            ("1000us", "1ms", 1_000_000_000),
            ("1500us", "1500us", 1_500_000_000),
            ("2s", "2s", 2_000_000_000_000),
            ("7ns", "7ns", 7_000),
            ("0ns", "0s", 0),
        ] {
            let limit: LockLimit = text.parse().expect("a time");
            assert_eq!((limit.to_string().as_str(), limit.0.as_ps()), (shown, ps));
            assert_eq!(shown.parse(), Ok(limit));
        }
    }

    #[test]
    fn a_number_without_a_unit_is_no_time() {
        for text in [
            "",
            "1",
            "us",
            "1.5ms",
            "-1us",
            "1 us",
            "1m",
            "1US",
            "99999999999999999999us",
            "18446745s",
        ] {
            assert_eq!(
                text.parse::<LockLimit>(),
                Err(ParseLockLimitError(text.to_owned()))
            );
        }
    }
}
