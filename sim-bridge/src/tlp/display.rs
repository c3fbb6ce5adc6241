//! TLPs as one short line each.

use std::fmt;

use super::{Body, CompletionStatus, ConfigType, Tlp};

/// Payload bytes that are shown at most.
const SHOWN: usize = 16;

impl Tlp {
    /// As the specification names it: `MWr`.
    pub fn name(&self) -> &'static str {
        match &self.body {
            Body::MemRead(_) => "MRd",
            Body::MemWrite(_) => "MWr",
            Body::ConfigRead(r) => match r.config_type {
                ConfigType::Type0 => "CfgRd0",
                ConfigType::Type1 => "CfgRd1",
            },
            Body::ConfigWrite(w) => match w.config_type {
                ConfigType::Type0 => "CfgWr0",
                ConfigType::Type1 => "CfgWr1",
            },
            Body::Completion(c) if c.data.is_empty() => "Cpl",
            Body::Completion(_) => "CplD",
            Body::Message(m) if m.data.is_empty() => "Msg",
            Body::Message(_) => "MsgD",
        }
    }
}

impl CompletionStatus {
    /// As the specification abbreviates it: `SC`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Successful => "SC",
            Self::UnsupportedRequest => "UR",
            Self::ConfigRetry => "CRS",
            Self::CompleterAbort => "CA",
        }
    }
}

/// Name as in the specification, requester (completions: completer and requester), tag where an answer needs it,
/// address, data. `MWr 41:00.0 0xfee00000 [22000000]`
impl fmt::Display for Tlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match &self.body {
            Body::MemRead(r) => {
                write!(
                    f,
                    " {} tag {:#x} {:#010x} {} DW",
                    r.requester, r.tag, r.address, r.length
                )?;
                byte_enables(f, r.length.into(), r.first_be, r.last_be)?;
            }
            Body::MemWrite(w) => {
                write!(f, " {} {:#010x}", w.requester, w.address)?;
                data(f, &w.data)?;
                byte_enables(f, w.data.len() / 4, w.first_be, w.last_be)?;
            }
            Body::ConfigRead(r) => {
                write!(
                    f,
                    " {} tag {:#x} {} {:#05x}",
                    r.requester, r.tag, r.target, r.register
                )?;
                byte_enables(f, 1, r.first_be, 0)?;
            }
            Body::ConfigWrite(w) => {
                write!(
                    f,
                    " {} tag {:#x} {} {:#05x}",
                    w.requester, w.tag, w.target, w.register
                )?;
                data(f, &w.data)?;
                byte_enables(f, 1, w.first_be, 0)?;
            }
            Body::Completion(c) => {
                let status = c.status.name();
                write!(f, " {} to {} tag {:#x} {status}", c.completer, c.requester, c.tag)?;
                data(f, &c.data)?;
            }
            Body::Message(m) => {
                write!(f, " {} code {:#04x} routing {}", m.requester, m.code, m.routing)?;
                data(f, &m.data)?;
            }
        }
        if self.attributes.poisoned {
            f.write_str(" poisoned")
        } else {
            Ok(())
        }
    }
}

/// Nothing for no data; what is too long is cut off and its length told.
fn data(f: &mut fmt::Formatter<'_>, data: &[u8]) -> fmt::Result {
    if data.is_empty() {
        return Ok(());
    }
    f.write_str(" [")?;
    for byte in data.iter().take(SHOWN) {
        write!(f, "{byte:02x}")?;
    }
    if data.len() > SHOWN {
        write!(f, ".. {} bytes]", data.len())
    } else {
        f.write_str("]")
    }
}

/// Nothing if all bytes are enabled.
fn byte_enables(f: &mut fmt::Formatter<'_>, dwords: usize, first: u8, last: u8) -> fmt::Result {
    match (dwords, first, last) {
        (1, 0xf, _) | (2.., 0xf, 0xf) => Ok(()),
        (1, ..) => write!(f, " be {first:04b}"),
        _ => write!(f, " be {first:04b}..{last:04b}"),
    }
}
