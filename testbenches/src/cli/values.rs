//! What arguments may be.

use std::env;
use std::fmt::Display;

use clap::builder::PossibleValuesParser;
use host_model::linux::{Profile, UnknownProfile};

use super::Stop;
use crate::device::LinkKind;
use crate::report::finding_id::{FindingId, ParseFindingIdError};
use crate::scenario::Scenario;
use crate::topology::{ParseTopologyError, Topology};

pub(super) fn link(text: &str) -> Result<LinkKind, String> {
    match text {
        "process" => process(),
        "thread" => Ok(LinkKind::Thread),
        path if path.contains('/') => Ok(LinkKind::Paths(vec![path.into()])),
        other => Err(format!(
            "`{other}` is none of process, thread, or a path with a /"
        )),
    }
}

/// What `--link` says in all; several are paths.
pub(super) fn joined(links: &[LinkKind]) -> Result<Option<LinkKind>, Stop> {
    let paths = || {
        let path = |link: &LinkKind| match link {
            LinkKind::Paths(paths) => Some(paths.clone()),
            LinkKind::Process(_) | LinkKind::Thread => None,
        };
        links.iter().map(path).collect::<Option<Vec<_>>>()
    };
    match links {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        _ => paths()
            .map(|paths| Some(LinkKind::Paths(paths.concat())))
            .ok_or_else(|| Stop::Input("--link is given more than once, and not for paths only".to_owned())),
    }
}

pub(super) fn process() -> Result<LinkKind, String> {
    env::current_exe()
        .map(LinkKind::Process)
        .map_err(|error| format!("can't find this program for the device process: {error}"))
}

/// One that needs nobody else.
pub(super) fn own_link(text: &str) -> Result<LinkKind, String> {
    match link(text)? {
        LinkKind::Paths(_) => Err("`explain` starts the device itself: process or thread".to_owned()),
        own => Ok(own),
    }
}

pub(super) fn finding(text: &str) -> Result<FindingId, String> {
    text.parse()
        .map_err(|error: ParseFindingIdError| error.to_string())
}

pub(super) fn scenarios() -> PossibleValuesParser {
    PossibleValuesParser::new(Scenario::ALL.map(|scenario| scenario.name))
}

pub(super) fn step(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| "a step is a number, such as in 1,3,4: `list SCENARIO` has them".to_owned())
}

pub(super) fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("a seed is a number from 0 to {}", u64::MAX))
}

pub(super) fn topology(text: &str) -> Result<Topology, String> {
    text.parse().map_err(|error: ParseTopologyError| {
        if !matches!(error, ParseTopologyError::Unknown(_)) {
            return error.to_string();
        }
        let names: Vec<_> = Topology::built_in().iter().map(Topology::to_string).collect();
        with_names(&error, text, &names)
    })
}

pub(super) fn kernel(text: &str) -> Result<Profile, String> {
    text.parse().map_err(|error| match error {
        UnknownProfile::Parameter { .. } => error.to_string(),
        UnknownProfile::Name(_) => with_names(&error, text, &Profile::ALL.map(|profile| profile.to_string())),
    })
}

/// An error about a name, with the nearest that there is, or all.
fn with_names(error: &impl Display, text: &str, names: &[String]) -> String {
    let likeness = |name: &str| strsim::jaro(text, name);
    let nearest = names
        .iter()
        .filter(|name| likeness(name) > 0.7)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(name) => format!("{error}; did you mean `{name}`?"),
        None => format!("{error}; possible are {}", names.join(", ")),
    }
}
