//! Requester IDs.

use std::fmt;
use std::str::FromStr;

/// Bus, device and function as a TLP carries them (PCIe Base spec 2.2.6.2); Linux's `devid`. Shown as `41:00.1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RequesterId(pub u16);

impl RequesterId {
    /// `device` is 0 to 31 and `function` 0 to 7; higher bits are dropped.
    pub const fn new(bus: u8, device: u8, function: u8) -> Self {
        Self::from_devfn(bus, (device & 0x1f) << 3 | function & 7)
    }

    /// Device and function in one byte, as Linux's `devfn`.
    pub const fn from_devfn(bus: u8, devfn: u8) -> Self {
        Self((bus as u16) << 8 | devfn as u16)
    }

    /// The bus number.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The device number, 0 to 31.
    pub const fn device(self) -> u8 {
        (self.0 >> 3 & 0x1f) as u8
    }

    /// The function number, 0 to 7.
    pub const fn function(self) -> u8 {
        (self.0 & 7) as u8
    }

    /// Device and function in one byte.
    pub const fn devfn(self) -> u8 {
        self.0 as u8
    }

    /// The same device and function, on a bus with a number that is higher by `by`, if there is one.
    pub fn moved(self, by: u8) -> Option<Self> {
        Some(Self::from_devfn(self.bus().checked_add(by)?, self.devfn()))
    }
}

impl fmt::Display for RequesterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!(
            "{:02x}:{:02x}.{}",
            self.bus(),
            self.device(),
            self.function()
        ))
    }
}

impl fmt::Debug for RequesterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not of the form `bus:device.function`, in hexadecimal, within 8, 5 and 3 bits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a requester ID: expected bus:device.function such as 41:00.1")]
pub struct ParseRequesterIdError(String);

impl FromStr for RequesterId {
    type Err = ParseRequesterIdError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (bus, rest) = s.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            let hex = |t: &str, max: u8| {
                let plain = !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit());
                u8::from_str_radix(t, 16).ok().filter(|&n| plain && n <= max)
            };
            Some(Self::new(hex(bus, 0xff)?, hex(device, 0x1f)?, hex(function, 7)?))
        };
        parse().ok_or_else(|| ParseRequesterIdError(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_and_parsed_alike() {
        for raw in [0, 0x0320, 0x4101, 0x41ff, 0xffff] {
            let rid = RequesterId(raw);
            assert_eq!(rid.to_string().parse(), Ok(rid));
        }
        assert_eq!(RequesterId(0x41ff).to_string(), "41:1f.7");
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in [
            "", "41", "41:00", "41:20.0", "41:00.8", "141:00.0", "+1:00.0", "41:.0",
        ] {
            assert!(text.parse::<RequesterId>().is_err(), "{text}");
        }
    }
}
