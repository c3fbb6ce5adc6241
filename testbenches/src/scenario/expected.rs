use std::collections::BTreeSet;
use std::fmt;

use host_model::checker::{Finding, FindingKind, Verdict};

/// What a scenario should find for a kernel profile and an alias topology, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What.
    pub expectation: Expectation,
    /// Why: a sentence without its full stop.
    pub because: &'static str,
}

/// What a scenario should find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// Findings.
    Findings {
        /// All of these kinds.
        always: BTreeSet<FindingKind>,
        /// And, as the order of what is simultaneous will have it, these.
        sometimes: BTreeSet<FindingKind>,
    },
    /// The scenario makes no sense there.
    Senseless,
}

impl Expected {
    /// No finding.
    pub fn coherent(because: &'static str) -> Self {
        Self::finds([], because)
    }

    /// Findings of all of these kinds.
    pub fn finds(kinds: impl IntoIterator<Item = FindingKind>, because: &'static str) -> Self {
        Self {
            expectation: Expectation::Findings {
                always: kinds.into_iter().collect(),
                sometimes: BTreeSet::new(),
            },
            because,
        }
    }

    /// And always of this kind, for this reason, which is told if no worse kind has one.
    pub fn and(mut self, kind: FindingKind, because: &'static str) -> Self {
        if Verdict::Bad(kind) > self.verdict() {
            self.because = because;
        }
        if let Expectation::Findings { always, .. } = &mut self.expectation {
            always.insert(kind);
        }
        self
    }

    /// And in some orders of what is simultaneous of these.
    pub fn or_else(mut self, kinds: impl IntoIterator<Item = FindingKind>) -> Self {
        if let Expectation::Findings { sometimes, .. } = &mut self.expectation {
            sometimes.extend(kinds);
        }
        self
    }

    /// What is said of this kind holds no more: it may be missing where it was always found.
    pub(crate) fn or_not(mut self, kind: FindingKind) -> Self {
        if let Expectation::Findings { always, sometimes } = &mut self.expectation
            && always.remove(&kind)
        {
            sometimes.insert(kind);
        }
        self
    }

    /// There is nothing to do there.
    pub fn senseless(because: &'static str) -> Self {
        Self {
            expectation: Expectation::Senseless,
            because,
        }
    }

    /// Whether there is nothing to do.
    pub fn is_senseless(&self) -> bool {
        self.expectation == Expectation::Senseless
    }

    /// The worst kind that is always found.
    pub fn verdict(&self) -> Verdict {
        match &self.expectation {
            Expectation::Findings { always, .. } => {
                always.last().copied().map_or(Verdict::Coherent, Verdict::Bad)
            }
            Expectation::Senseless => Verdict::Coherent,
        }
    }

    /// How findings differ from what is expected.
    pub fn compare(&self, findings: &[Finding]) -> Difference {
        let found: BTreeSet<FindingKind> = findings.iter().map(|finding| finding.kind).collect();
        let Expectation::Findings { always, sometimes } = &self.expectation else {
            return Difference {
                unexpected: found,
                missing: BTreeSet::new(),
            };
        };
        Difference {
            unexpected: found
                .iter()
                .filter(|kind| !always.contains(kind) && !sometimes.contains(kind))
                .copied()
                .collect(),
            missing: always.difference(&found).copied().collect(),
        }
    }
}

/// Kinds of findings, compared with those expected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Found and not expected.
    pub unexpected: BTreeSet<FindingKind>,
    /// Expected and not found.
    pub missing: BTreeSet<FindingKind>,
}

impl Difference {
    /// All is as expected.
    pub fn is_none(&self) -> bool {
        self.unexpected.is_empty() && self.missing.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |kinds: &BTreeSet<FindingKind>, what: &str| {
            let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
            (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
        };
        let parts = [
            named(&self.missing, "missing"),
            named(&self.unexpected, "not expected"),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use host_model::checker::{Mistake, Subject};

    use super::*;

    const STALE: FindingKind = FindingKind::Stale;
    const SPURIOUS: FindingKind = FindingKind::Spurious;
    const MISROUTED: FindingKind = FindingKind::Misrouted;

    fn compare(expected: &Expected, found: &[FindingKind]) -> String {
        let findings: Vec<Finding> = found
            .iter()
            .map(|&kind| Finding {
                kind,
                subject: Subject::Device(sim_bridge::RequesterId(0x4100)),
                got: None,
                expected: None,
                mistake: Mistake::NeverEnded,
                missing: Vec::new(),
                function: None,
                endings: Vec::new(),
            })
            .collect();
        expected.compare(&findings).to_string()
    }

    #[test]
    fn kinds_that_are_always_found_must_be_and_others_must_not() {
        let expected = Expected::finds([STALE, SPURIOUS], "two mistakes");
        assert_eq!(expected.verdict(), Verdict::Bad(STALE));
        for (found, difference) in [
            (&[STALE, SPURIOUS][..], ""),
            (&[STALE, STALE, SPURIOUS], ""),
            (&[STALE], "missing: spurious"),
            (&[], "missing: spurious, stale"),
            (&[STALE, MISROUTED, SPURIOUS], "not expected: misrouted"),
            (&[STALE, MISROUTED], "missing: spurious; not expected: misrouted"),
        ] {
            assert_eq!(compare(&expected, found), difference, "{found:?}");
        }
    }

    #[test]
    fn the_reason_is_that_of_the_worst_kind() {
        let because = |expected: Expected| expected.because;
        let stale = Expected::finds([STALE], "stale");
        assert_eq!(because(stale.clone().and(SPURIOUS, "spurious")), "stale");
        assert_eq!(
            because(Expected::coherent("").and(SPURIOUS, "spurious")),
            "spurious"
        );
        assert_eq!(
            stale.and(SPURIOUS, "spurious").compare(&[]).missing,
            [SPURIOUS, STALE].into()
        );
    }

    #[test]
    fn kinds_that_are_found_in_some_orders_may_be_missing() {
        let expected = Expected::coherent("a race").or_else([SPURIOUS]);
        assert_eq!(expected.verdict(), Verdict::Coherent);
        assert_eq!(compare(&expected, &[]), "");
        assert_eq!(compare(&expected, &[SPURIOUS]), "");
        assert_eq!(compare(&expected, &[STALE]), "not expected: stale");
    }

    #[test]
    fn a_kind_that_may_be_missing_is_still_not_news() {
        let expected = Expected::finds([STALE, SPURIOUS], "")
            .or_not(STALE)
            .or_not(MISROUTED);
        for (found, difference) in [
            (&[STALE, SPURIOUS][..], ""),
            (&[SPURIOUS], ""),
            (&[STALE], "missing: spurious"),
            (&[SPURIOUS, MISROUTED], "not expected: misrouted"),
        ] {
            assert_eq!(compare(&expected, found), difference, "{found:?}");
        }
    }
}
