//! Names of findings: all that is needed to run the case again and to find it there.

use std::fmt;
use std::str::FromStr;

use host_model::checker::{Finding, FindingKind};
use host_model::linux::Profile;

use crate::lock_limit::LockLimit;
use crate::run::{IrteFormat, Spec};
use crate::scenario::{Chosen, ParameterError, Scenario, Values};
use crate::topology::Topology;

/// A finding of a run: `affinity-move@6.12-func1:stale:41:00.1:0`, or with what is not the default,
/// `affinity-move@6.12-func1,seed=3,irte=32:stale:41:00.1:0`. Parameters and steps of the scenario follow likewise.
#[derive(Clone)]
pub struct FindingId {
    /// The run.
    pub spec: Spec,
    /// What was found.
    pub kind: FindingKind,
    /// About what, as [`host_model::checker::Subject`] is shown.
    pub subject: String,
}

/// Not the name of a finding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseFindingIdError {
    /// Not of that form.
    #[error(
        "`{0}` is not of the form SCENARIO@KERNEL-ALIASES:KIND:SUBJECT, such as \
         affinity-move@6.12-func1:stale:41:00.1:0"
    )]
    Form(String),
    /// No kind of finding comes after the case.
    #[error("`{id}` names no kind of finding: possible are {}", FindingKind::ALL.map(FindingKind::name).join(", "))]
    Kind {
        /// The whole.
        id: String,
    },
    /// There is no such scenario.
    #[error("there is no scenario `{0}`: `ntb-cosim list` names them")]
    Scenario(String),
    /// No kernel profile begins it.
    #[error("`{0}` begins with no kernel profile: `ntb-cosim list` names them")]
    Kernel(String),
    /// No alias topology ends it.
    #[error("`{0}` ends with no alias topology: `ntb-cosim list` names them")]
    Aliases(String),
    /// No setting is called so, or has this value.
    #[error(
        "`{0}` is no setting of a run: possible are seed=N, irte=32, lock-limit=200us, steps=1+2, and the scenario's parameters"
    )]
    Setting(String),
    /// A parameter of the scenario.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}

impl FindingId {
    /// Of a run's finding.
    pub fn of(spec: &Spec, finding: &Finding) -> Self {
        Self {
            spec: spec.clone(),
            kind: finding.kind,
            subject: finding.subject.to_string(),
        }
    }

    /// Whether it is this one.
    pub fn names(&self, finding: &Finding) -> bool {
        finding.kind == self.kind && finding.subject.to_string() == self.subject
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spec, kind, subject } = self;
        write!(f, "{}@{}-{}", spec.scenario.name, spec.profile, spec.topology)?;
        if spec.seed != 0 {
            write!(f, ",seed={}", spec.seed)?;
        }
        if spec.irte != IrteFormat::default() {
            write!(f, ",irte={}", spec.irte.bits())?;
        }
        if spec.lock_limit != LockLimit::default() {
            write!(f, ",lock-limit={}", spec.lock_limit)?;
        }
        spec.values
            .arguments()
            .try_for_each(|argument| write!(f, ",{argument}"))?;
        if let Some(steps) = &spec.steps {
            let steps: Vec<String> = steps.iter().map(usize::to_string).collect();
            write!(f, ",steps={}", steps.join("+"))?;
        }
        write!(f, ":{}:{subject}", kind.name())
    }
}

impl FromStr for FindingId {
    type Err = ParseFindingIdError;

    fn from_str(id: &str) -> Result<Self, ParseFindingIdError> {
        let form = || ParseFindingIdError::Form(id.to_owned());
        let (scenario, rest) = id.split_once('@').ok_or_else(form)?;
        // Names of kernels and topologies may have a colon, but no part that is a kind's.
        let kind = |(at, _): (usize, &str)| {
            let (name, subject) = rest[at + 1..].split_once(':')?;
            Some((&rest[..at], FindingKind::named(name)?, subject))
        };
        if !rest.contains(':') {
            return Err(form());
        }
        let found = rest.match_indices(':').find_map(kind);
        let (case, kind, subject) = found.ok_or_else(|| ParseFindingIdError::Kind { id: id.to_owned() })?;
        let mut settings = case.split(',');
        let (profile, topology) = case_of(settings.next().unwrap_or_default())?;
        let scenario =
            Scenario::named(scenario).ok_or_else(|| ParseFindingIdError::Scenario(scenario.to_owned()))?;
        let mut spec = Spec::new(scenario, profile, topology);
        let mut parameters = Vec::new();
        for setting in settings {
            let wrong = || ParseFindingIdError::Setting(setting.to_owned());
            match setting.split_once('=').ok_or_else(wrong)? {
                ("seed", seed) => spec.seed = seed.parse().map_err(|_| wrong())?,
                ("irte", "32") => spec.irte = IrteFormat::Bits32,
                ("irte", "128") => spec.irte = IrteFormat::Bits128,
                ("lock-limit", limit) => spec.lock_limit = limit.parse().map_err(|_| wrong())?,
                ("steps", steps) => {
                    let steps: Result<Chosen, _> = steps.split('+').map(str::parse).collect();
                    spec.steps = Some(steps.map_err(|_| wrong())?);
                }
                (name, _) if scenario.parameters.iter().any(|parameter| parameter.name == name) => {
                    parameters.push(setting.to_owned());
                }
                _ => return Err(wrong()),
            }
        }
        spec.values = Values::parse(&scenario, &parameters)?;
        Ok(Self {
            spec,
            kind,
            subject: subject.to_owned(),
        })
    }
}

/// `KERNEL-ALIASES`, of which both may have a `-`.
fn case_of(case: &str) -> Result<(Profile, Topology), ParseFindingIdError> {
    let kernels = case
        .match_indices('-')
        .filter_map(|(at, _)| -> Option<(Profile, &str)> {
            Some((case[..at].parse().ok()?, &case[at + 1..]))
        });
    let mut aliases = kernels.peekable();
    if aliases.peek().is_none() {
        return Err(ParseFindingIdError::Kernel(case.to_owned()));
    }
    aliases
        .find_map(|(profile, topology)| Some((profile, topology.parse().ok()?)))
        .ok_or_else(|| ParseFindingIdError::Aliases(case.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_as_they_are_shown() {
        for id in [
            "affinity-move@6.12-func1:stale:41:00.1:0",
            "affinity-move@6.12+fix-switchtec:4:stolen:41:00.1:700",
            "free-and-reuse@7.2-pci-bridge,seed=18446744073709551615:left:03:00.0:0",
            "no-alias@7.2-none,seed=3,irte=32,lock-limit=200us,steps=1+3:held:irq_desc-lock-24:cpu1",
            "no-alias@irtcachedis-mic-x200:use-after-release:00:14.0",
            "no-alias@per-alias-one-tail-write-plx:stale:41:00.0:0x1000",
            "no-alias@per-alias-then-all:8-switchtec:16:stale:41:00.0:0",
        ] {
            match id.parse::<FindingId>() {
                Ok(parsed) => assert_eq!(parsed.to_string(), id),
                Err(error) => panic!("{id}: {error}"),
            }
        }
    }

    #[test]
    fn the_case_is_all_of_the_spec() {
        let id: FindingId = "no-alias@7.2-plx,seed=3,irte=32,steps=1+3:stale:41:00.1:0"
            .parse()
            .expect("a finding");
        let spec = &id.spec;
        assert_eq!((spec.scenario.name, spec.profile.name), ("no-alias", "7.2"));
        assert_eq!((spec.topology.to_string(), spec.seed), ("plx".to_owned(), 3));
        assert_eq!(spec.irte, IrteFormat::Bits32);
        assert_eq!(spec.steps, Some([1, 3].into()));
        assert_eq!((id.kind, &id.subject[..]), (FindingKind::Stale, "41:00.1:0"));
    }

    #[test]
    fn the_part_that_is_wrong_is_named() {
        type Error = ParseFindingIdError;
        type Row<'a> = (&'a str, fn(String) -> Error, &'a str);
        let rows: [Row<'_>; 7] = [
            ("stale:41:00.1:0", Error::Form, "stale:41:00.1:0"),
            ("a@6.12-func1", Error::Form, "a@6.12-func1"),
            ("a@6.12-func1:stale:41:00.1:0", Error::Scenario, "a"),
            ("no-alias@6.13-func1:stale:41:00.1:0", Error::Kernel, "6.13-func1"),
            ("no-alias@6.12-funk:stale:41:00.1:0", Error::Aliases, "6.12-funk"),
            (
                "no-alias@6.12-func1,seed=-1:stale:41:00.1:0",
                Error::Setting,
                "seed=-1",
            ),
            (
                "no-alias@6.12-func1,steps=a:stale:41:00.1:0",
                Error::Setting,
                "steps=a",
            ),
        ];
        for (id, error, part) in rows {
            let parsed = id.parse::<FindingId>().err();
            assert_eq!(parsed, Some(error(part.to_owned())), "{id}");
        }
        let id = "no-alias@6.12-func1:old:41:00.1:0".to_owned();
        let kind = id.parse::<FindingId>().err();
        assert_eq!(kind, Some(Error::Kind { id }));
    }
}
