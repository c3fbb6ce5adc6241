use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// A Linux release: `6.12.117`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// The first two numbers: what mainline calls a release.
    pub series: (u16, u16),
    /// The third: of the stable series, 0 for the mainline release.
    pub patch: u16,
}

impl KernelVersion {
    /// The newest that quirks are known of.
    pub const NEWEST: Self = Self::new(7, 3, 4);

    /// From its three numbers.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            series: (major, minor),
            patch,
        }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((major, minor), patch) = (self.series, self.patch);
        f.pad(&format!("{major}.{minor}.{patch}"))
    }
}

/// Not two or three numbers with dots between.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a Linux release such as 6.12.117")]
pub struct ParseKernelVersionError(String);

impl FromStr for KernelVersion {
    type Err = ParseKernelVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Result<Vec<u16>, ParseIntError> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[major, minor]) => Ok(Self::new(major, minor, 0)),
            Ok(&[major, minor, patch]) => Ok(Self::new(major, minor, patch)),
            _ => Err(ParseKernelVersionError(text.to_owned())),
        }
    }
}

/// Since when Linux does something: a mainline release, and stable ones that got it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since {
    pub(super) mainline: (u16, u16),
    pub(super) stable: &'static [KernelVersion],
}

impl Since {
    pub(super) const ALWAYS: Self = Self::mainline(0, 0);

    pub(super) const fn mainline(major: u16, minor: u16) -> Self {
        Self {
            mainline: (major, minor),
            stable: &[],
        }
    }

    pub(super) fn includes(self, kernel: KernelVersion) -> bool {
        let backported = |since: &KernelVersion| since.series == kernel.series && since.patch <= kernel.patch;
        self.mainline <= kernel.series || self.stable.iter().any(backported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_shown_and_parsed_alike() {
        for (text, version) in [
            ("6.12.117", KernelVersion::new(6, 12, 117)),
            ("7.0.0", KernelVersion::new(7, 0, 0)),
        ] {
            assert_eq!(text.parse(), Ok(version));
            assert_eq!(version.to_string(), text);
        }
        assert_eq!("7.2".parse(), Ok(KernelVersion::new(7, 2, 0)));
        for text in ["", "7", "7.2.x", "7.2.1.1", "7..1", "-7.2"] {
            assert!(text.parse::<KernelVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_backport_counts_in_its_own_series_only() {
        const SINCE: Since = Since {
            mainline: (7, 3),
            stable: &[KernelVersion::new(6, 12, 117)],
        };
        let cases = [
            ("6.12.116", false),
            ("6.12.117", true),
            ("6.13.118", false),
            ("7.2.200", false),
            ("7.3.0", true),
            ("8.0.0", true),
        ];
        for (kernel, expected) in cases {
            let kernel = kernel.parse().expect("a release");
            assert_eq!(SINCE.includes(kernel), expected, "{kernel}");
        }
    }
}
