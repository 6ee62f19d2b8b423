//! Versions of KKP. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A release of KKP, `MAJOR.MINOR.PATCH`. Written without `v` in status and with `v` in image tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KkpVersion {
    /// Major number, `2` for every release that exists.
    pub major: u32,
    /// Minor number: KKP is upgraded one of these at a time.
    pub minor: u32,
    /// Patch number.
    pub patch: u32,
}

/// A text that is not a version of KKP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version of KKP: write it as 2.MINOR.PATCH, for example 2.31.0")]
pub struct VersionError(String);

impl KkpVersion {
    /// A version from its three numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// The image tag of this release, for example `v2.31.0`.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("v{self}")
    }

    /// Major and minor, for example `2.31`: what rules and documents are filed under.
    #[must_use]
    pub fn minor_line(&self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for KkpVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for KkpVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || VersionError(text.chars().take(64).collect());
        let mut numbers = text.strip_prefix('v').unwrap_or(text).split('.').map(|part| {
            let canonical = part == "0" || !part.starts_with('0');
            (canonical && part.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| part.parse::<u32>().ok())
                .flatten()
        });
        let mut next = || numbers.next().flatten().ok_or_else(error);
        let version = Self::new(next()?, next()?, next()?);
        if numbers.next().is_some() {
            Err(error())
        } else {
            Ok(version)
        }
    }
}

impl Serialize for KkpVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KkpVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_v_is_accepted_and_never_written() {
        let version: KkpVersion = "v2.31.0".parse().unwrap();
        assert_eq!(version, KkpVersion::new(2, 31, 0));
        assert_eq!(version.to_string(), "2.31.0");
        assert_eq!(version.tag(), "v2.31.0");
        assert_eq!(version.minor_line(), "2.31");
    }

    #[test]
    fn what_is_not_a_release_is_refused() {
        for text in [
            "",
            "v",
            "2.31",
            "2.31.0.1",
            "2.31.x",
            "2.31.0-rc.1",
            "2.031.0",
            "vv2.31.0",
            "2.-1.0",
            " 2.31.0",
            "2.99999999999.0",
        ] {
            assert!(text.parse::<KkpVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn order_is_numeric() {
        let mut versions: Vec<KkpVersion> = ["2.31.0", "2.9.3", "2.30.10", "2.30.6"]
            .iter()
            .map(|v| v.parse().unwrap())
            .collect();
        versions.sort();
        assert_eq!(
            versions.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["2.9.3", "2.30.6", "2.30.10", "2.31.0"]
        );
    }
}
