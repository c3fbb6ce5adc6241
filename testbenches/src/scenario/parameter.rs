use std::ops::RangeInclusive;

use super::Scenario;

/// A number that a scenario takes from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// As users name it.
    pub name: &'static str,
    /// What it is.
    pub sentence: &'static str,
    /// What it may be.
    pub range: RangeInclusive<u64>,
    /// What it is if it isn't given.
    pub default: u64,
}

/// What was given for a scenario's parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values(Vec<(&'static str, u64)>);

/// A parameter that is not as the scenario declares it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// Not `NAME=VALUE`.
    #[error("`{0}` is not NAME=VALUE")]
    Form(String),
    /// No scenario that runs has it.
    #[error("no scenario that is to run has a parameter `{name}`: {have}")]
    Unknown {
        /// As given.
        name: String,
        /// Which parameters there are.
        have: String,
    },
    /// Out of its range.
    #[error("scenario {scenario}: {name} is a number from {min} to {max}, not `{value}`")]
    Range {
        /// The scenario.
        scenario: &'static str,
        /// The parameter.
        name: &'static str,
        /// The least that it may be.
        min: u64,
        /// The most.
        max: u64,
        /// As given.
        value: String,
    },
}

impl Values {
    /// Of a parameter of the scenario; its default if it wasn't given.
    pub fn get(&self, parameter: &Parameter) -> u64 {
        let given = self.0.iter().find(|(name, _)| *name == parameter.name);
        given.map_or(parameter.default, |(_, value)| *value)
    }

    /// As the command line has them.
    pub fn arguments(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}"))
    }

    /// Of all `given` as `NAME=VALUE`, those that `scenario` declares. The last of several with one name counts.
    ///
    /// # Errors
    /// See [`ParameterError`]; a parameter of another scenario is none.
    pub fn parse(scenario: &Scenario, given: &[String]) -> Result<Self, ParameterError> {
        let mut values: Vec<(&'static str, u64)> = Vec::new();
        for text in given {
            let (name, value) = split(text)?;
            let Some(parameter) = scenario.parameters.iter().find(|p| p.name == name) else {
                continue;
            };
            let (min, max) = (*parameter.range.start(), *parameter.range.end());
            let number = value.parse().ok().filter(|n| parameter.range.contains(n));
            let number = number.ok_or_else(|| ParameterError::Range {
                scenario: scenario.name,
                name: parameter.name,
                min,
                max,
                value: value.to_owned(),
            })?;
            values.retain(|(other, _)| *other != parameter.name);
            values.push((parameter.name, number));
        }
        Ok(Self(values))
    }
}

/// Whether each of `given` is a parameter of one of `scenarios`.
///
/// # Errors
/// The first that is not.
pub fn check_names(scenarios: &[Scenario], given: &[String]) -> Result<(), ParameterError> {
    for text in given {
        let (name, _) = split(text)?;
        let mut declared = scenarios.iter().flat_map(|s| s.parameters);
        if declared.any(|parameter| parameter.name == name) {
            continue;
        }
        let with_any: Vec<String> = scenarios
            .iter()
            .filter(|scenario| !scenario.parameters.is_empty())
            .map(|scenario| {
                let names: Vec<_> = scenario.parameters.iter().map(|p| p.name).collect();
                format!("{} has {}", scenario.name, names.join(", "))
            })
            .collect();
        return Err(ParameterError::Unknown {
            name: name.to_owned(),
            have: if with_any.is_empty() {
                "they have none".to_owned()
            } else {
                with_any.join("; ")
            },
        });
    }
    Ok(())
}

fn split(text: &str) -> Result<(&str, &str), ParameterError> {
    text.split_once('=')
        .ok_or_else(|| ParameterError::Form(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Expected, Plan};

    const COUNT: Parameter = Parameter {
        name: "count",
        sentence: "how many",
        range: 1..=4,
        default: 2,
    };
    const COUNTED: Scenario = Scenario {
        name: "counted",
        sentence: "counts",
        parameters: &[COUNT],
        plan: |_: &mut Plan| {},
        expected: |_| Expected::coherent("nothing happens"),
    };
    const PLAIN: Scenario = Scenario {
        name: "plain",
        parameters: &[],
        ..COUNTED
    };

    fn parse(given: &[&str]) -> Result<u64, String> {
        let given: Vec<String> = given.iter().map(|&text| text.to_owned()).collect();
        check_names(&[COUNTED, PLAIN], &given)
            .and_then(|()| Values::parse(&COUNTED, &given))
            .map(|values| values.get(&COUNT))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_given_is_the_default_and_the_last_given_counts() {
        assert_eq!(parse(&[]), Ok(2));
        assert_eq!(parse(&["count=1"]), Ok(1));
        assert_eq!(parse(&["count=1", "count=4"]), Ok(4));
    }

    #[test]
    fn errors_name_scenario_parameter_and_range() {
        for value in ["0", "5", "-1", "x", "", "99999999999999999999"] {
            assert_eq!(
                parse(&[&format!("count={value}")]),
                Err(format!(
                    "scenario counted: count is a number from 1 to 4, not `{value}`"
                ))
            );
        }
        assert_eq!(
            parse(&["cuont=1"]),
            Err("no scenario that is to run has a parameter `cuont`: counted has count".to_owned())
        );
        assert_eq!(parse(&["count"]), Err("`count` is not NAME=VALUE".to_owned()));
    }

    #[test]
    fn a_parameter_of_another_scenario_changes_nothing() {
        let given = ["count=3".to_owned()];
        assert_eq!(Values::parse(&PLAIN, &given), Ok(Values::default()));
    }
}
