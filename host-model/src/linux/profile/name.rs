use std::str::FromStr;

use super::{IrtFlush, Profile};

/// No profile has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownProfile {
    /// The name.
    #[error("there is no kernel profile `{0}`")]
    Name(String),
    /// The parameter behind the name.
    #[error("{name}:{parameter}: the parameter is a number of requester IDs from 0 to 65535")]
    Parameter {
        /// The name.
        name: &'static str,
        /// What is behind the colon.
        parameter: String,
    },
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    /// A name, with its parameter or without.
    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        let (name, parameter) = text
            .split_once(':')
            .map_or((text, None), |(name, parameter)| (name, Some(parameter)));
        let unknown = || UnknownProfile::Name(text.to_owned());
        let profile = Self::ALL.into_iter().find(|profile| profile.name == name);
        let profile = profile.ok_or_else(unknown)?;
        let Some(parameter) = parameter else {
            return Ok(profile);
        };
        if profile.irt_flush.all_above.is_none() {
            return Err(unknown());
        }
        let all_above = parameter.parse().map_err(|_| UnknownProfile::Parameter {
            name: profile.name,
            parameter: parameter.to_owned(),
        })?;
        Ok(Self {
            irt_flush: IrtFlush {
                all_above: Some(all_above),
                ..profile.irt_flush
            },
            ..profile
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_found_by_what_it_shows() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
            assert_eq!(profile.name.parse(), Ok(profile));
        }
    }

    #[test]
    fn a_parameter_is_taken_where_there_is_one() {
        let profile: Profile = "per-alias-then-all:8".parse().expect("known");
        assert_eq!(profile.irt_flush.all_above, Some(8));
        assert_eq!(profile.to_string(), "per-alias-then-all:8");
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (text, message) in [
            ("6.13", "there is no kernel profile `6.13`"),
            ("7.2:8", "there is no kernel profile `7.2:8`"),
            ("", "there is no kernel profile ``"),
            (
                "per-alias-then-all:many",
                "per-alias-then-all:many: the parameter is a number of requester IDs from 0 to 65535",
            ),
        ] {
            let error = text.parse::<Profile>().expect_err(text);
            assert_eq!(error.to_string(), message);
        }
    }
}
