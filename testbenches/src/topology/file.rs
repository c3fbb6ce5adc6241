//! The form of a topology file.

use std::ops::Range;
use std::str::FromStr;

use host_model::pci::BridgeKind;
use serde::{Deserialize, Deserializer, de};
use sim_bridge::RequesterId;
use toml::Spanned;

use super::error::{Mistake, Problem};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) sentence: String,
    #[serde(default)]
    pub(super) function: Vec<Spanned<FunctionRow>>,
    #[serde(default)]
    pub(super) bus: Vec<Spanned<BusRow>>,
    #[serde(default)]
    pub(super) ivrs: Vec<Spanned<IvrsRow>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FunctionRow {
    pub(super) id: Spanned<Id>,
    #[serde(default)]
    pub(super) kind: Kind,
    pub(super) role: Option<Spanned<Role>>,
    pub(super) device: Option<Spanned<Pair>>,
    pub(super) subsystem: Option<Spanned<Pair>>,
    pub(super) class: Option<Spanned<u32>>,
    pub(super) secondary: Option<Spanned<u8>>,
    pub(super) subordinate: Option<Spanned<u8>>,
    pub(super) table: Option<Spanned<u16>>,
    pub(super) first: Option<Spanned<Devfn>>,
    pub(super) aliases: Option<Vec<Spanned<Id>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BusRow {
    pub(super) number: Spanned<u8>,
    pub(super) parent: Option<Spanned<u8>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IvrsRow {
    pub(super) kind: IvrsKind,
    pub(super) device: Option<Spanned<Id>>,
    pub(super) first: Option<Spanned<Id>>,
    pub(super) last: Option<Spanned<Id>>,
    pub(super) to: Option<Spanned<Id>>,
    pub(super) handle: Option<Spanned<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    #[default]
    Endpoint,
    RootPort,
    UpstreamPort,
    DownstreamPort,
    PcieToPci,
    PciToPcie,
    PciToPci,
    Vmd,
}

impl Kind {
    pub(super) fn bridge(self) -> Option<BridgeKind> {
        match self {
            Self::Endpoint => None,
            Self::RootPort | Self::UpstreamPort | Self::DownstreamPort => Some(BridgeKind::PciePort),
            Self::PcieToPci => Some(BridgeKind::PcieToPci),
            Self::PciToPcie => Some(BridgeKind::PciToPcie),
            Self::PciToPci => Some(BridgeKind::Conventional),
            Self::Vmd => Some(BridgeKind::Vmd),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Role {
    Ntb,
    Neighbour,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum IvrsKind {
    Alias,
    AliasRange,
    Ioapic,
    Hpet,
}

impl IvrsKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Alias => "an alias",
            Self::AliasRange => "an alias range",
            Self::Ioapic => "an IOAPIC",
            Self::Hpet => "an HPET",
        }
    }
}

/// `41:00.0`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id(pub(super) RequesterId);

/// `08.0`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Devfn(pub(super) u8);

/// `10b5:87b0`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair(pub(super) u16, pub(super) u16);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        RequesterId::from_str(&text).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Devfn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        RequesterId::from_str(&format!("00:{text}"))
            .map(|id| Self(id.devfn()))
            .map_err(|_| {
                de::Error::custom(format!(
                    "`{text}` is not of the form device.function, such as 08.0"
                ))
            })
    }
}

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let half = |half: &str| {
            let plain = half.len() == 4 && half.bytes().all(|digit| digit.is_ascii_hexdigit());
            u16::from_str_radix(half, 16).ok().filter(|_| plain)
        };
        text.split_once(':')
            .and_then(|(vendor, device)| Some(Self(half(vendor)?, half(device)?)))
            .ok_or_else(|| {
                de::Error::custom(format!(
                    "`{text}` is not of the form vendor:device, such as 10b5:87b0"
                ))
            })
    }
}

/// Between what deserializes a spanned value and the value.
const SPANNED: &str = "$__serde_spanned";

impl File {
    pub(super) fn parse(text: &str) -> Result<Self, Mistake> {
        let form = |key: String, error: &toml::de::Error| Mistake {
            span: error.span().unwrap_or(0..0),
            key,
            problem: Problem::Form(error.message().to_owned()),
        };
        let deserializer = toml::Deserializer::parse(text).map_err(|error| form(String::new(), &error))?;
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let path = error.path().to_string();
            let keys = path
                .split('.')
                .filter(|key| !key.starts_with(SPANNED) && *key != "?");
            form(keys.collect::<Vec<_>>().join("."), error.inner())
        })
    }

    /// Of the NTB.
    pub(super) fn set_table_size(&mut self, entries: u16) {
        for row in &mut self.function {
            if let Some(table) = &mut row.as_mut().table {
                *table.as_mut() = entries;
            }
        }
    }
}

/// A value, its place and its key.
pub(super) struct Located<'a, T> {
    pub(super) value: &'a T,
    span: Range<usize>,
    key: String,
}

impl<'a, T> Located<'a, T> {
    /// `key` of row `n` of `table`.
    pub(super) fn new(table: &str, n: usize, key: &str, spanned: &'a Spanned<T>) -> Self {
        Self {
            value: spanned.get_ref(),
            span: spanned.span(),
            key: format!("{table}[{n}].{key}"),
        }
    }

    pub(super) fn mistake(&self, problem: impl Into<Problem>) -> Mistake {
        Mistake {
            span: self.span.clone(),
            key: self.key.clone(),
            problem: problem.into(),
        }
    }
}

impl<T: Copy + PartialOrd + Into<u32>> Located<'_, T> {
    pub(super) fn at_most(&self, max: T) -> Result<T, Mistake> {
        if *self.value <= max {
            return Ok(*self.value);
        }
        Err(self.mistake(Problem::TooLarge {
            value: (*self.value).into(),
            max: max.into(),
        }))
    }
}
