//! Releases of KKP as data: what each accepts and how it is installed, and the route between two of them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use crate::facts::Stop;
use crate::version::KkpVersion;

/// How a Job of a release's own image can run the installer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum JobMode {
    /// The image has every chart dependency: nothing is fetched.
    Full,
    /// Chart dependencies are fetched at run time: the Job needs a way to the chart repositories.
    Download,
    /// Only with the charts that have dependencies skipped.
    Core,
}

/// Kubernetes versions that an update rule with `automatic: true` takes along.
#[derive(Debug, Clone)]
pub struct AutomaticUpdate {
    /// Range of versions that the rule starts from, as written in KKP.
    pub from: String,
    ranges: Vec<VersionReq>,
}

impl AutomaticUpdate {
    /// A rule from KKP's `from`: comma for "and", `||` for "or", `*` as a wildcard, a bare version for exactly this one
    /// (KKP `spec.versions.updates[].from`).
    ///
    /// # Errors
    /// A text that is no range.
    pub fn parse(from: &str) -> Result<Self, String> {
        let alternative = |text: &str| {
            let exact: Vec<String> = text.split(',').map(|part| exact_if_bare(part.trim())).collect();
            VersionReq::parse(&exact.join(", "))
                .map_err(|error| format!("`{from}` is not a range of versions: {error}"))
        };
        let ranges = from.split("||").map(alternative).collect::<Result<_, _>>()?;
        Ok(Self {
            from: from.to_owned(),
            ranges,
        })
    }

    /// Whether the rule covers `version`.
    #[must_use]
    pub fn covers(&self, version: &Version) -> bool {
        self.ranges.iter().any(|range| range.matches(version))
    }
}

/// A bare full version means "exactly" in KKP's notation and "compatible" in this one.
fn exact_if_bare(part: &str) -> String {
    if Version::parse(part).is_ok() {
        format!("={part}")
    } else {
        part.to_owned()
    }
}

/// One release of KKP.
#[derive(Debug, Clone)]
pub struct Release {
    /// The release.
    pub version: KkpVersion,
    /// Kubernetes versions of user clusters that it accepts: the exact patch version counts.
    pub kubernetes: BTreeSet<Version>,
    /// Kubernetes version that it proposes for new user clusters.
    pub default_kubernetes: Version,
    /// Update rules that widen what it accepts.
    pub automatic_updates: Vec<AutomaticUpdate>,
    /// How a Job can run its installer.
    pub job: JobMode,
    /// What it changes for good.
    pub one_way: Vec<String>,
    /// Whether its upgrade notes ask for the newest patch release of the minor before.
    pub from_newest_patch: bool,
    /// Whether the rules of the catalogue hold what its upgrade notes say.
    pub notes_covered: bool,
    /// Lists that rules look into, by name: feature gates, versions of network plugins, …
    pub lists: BTreeMap<String, Vec<String>>,
}

impl Release {
    /// Whether a user cluster of this Kubernetes version may exist under the release (KKP `clusterVersionIsConfigured`).
    #[must_use]
    pub fn accepts(&self, kubernetes: &Version) -> bool {
        self.kubernetes.contains(kubernetes) || self.automatic_updates.iter().any(|update| update.covers(kubernetes))
    }

    /// Lowest and highest accepted Kubernetes version, for messages.
    #[must_use]
    pub fn kubernetes_range(&self) -> String {
        match (self.kubernetes.first(), self.kubernetes.last()) {
            (Some(first), Some(last)) => format!("{first} to {last}"),
            _ => "none".to_owned(),
        }
    }
}

/// All releases that the catalogue knows.
#[derive(Debug, Clone, Default)]
pub struct Releases {
    by_version: BTreeMap<KkpVersion, Arc<Release>>,
    list_names: BTreeSet<String>,
    images: BTreeMap<String, String>,
}

/// Why there is no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// KKP does not go back.
    #[error("{target} is older than {from}: KKP cannot be downgraded, set targetVersion to {from} or newer")]
    Downgrade {
        /// What runs.
        from: KkpVersion,
        /// What is wanted.
        target: KkpVersion,
    },
    /// The major numbers differ.
    #[error("{target} is another major version than {from}: there is no way between them")]
    OtherMajor {
        /// What runs.
        from: KkpVersion,
        /// What is wanted.
        target: KkpVersion,
    },
    /// A version that is not in the catalogue.
    #[error("release {version} is not in the catalogue: {hint}")]
    UnknownRelease {
        /// The version.
        version: KkpVersion,
        /// What to do.
        hint: String,
    },
    /// An entry of `via` that does not lie on the way.
    #[error("via {version} does not lie between {from} and {target}, or its minor is named twice: remove it")]
    ViaOffRoute {
        /// The entry.
        version: KkpVersion,
        /// What runs.
        from: KkpVersion,
        /// What is wanted.
        target: KkpVersion,
    },
}

impl Releases {
    pub(super) fn insert(&mut self, release: Release) -> Option<Arc<Release>> {
        self.list_names.extend(release.lists.keys().cloned());
        self.by_version.insert(release.version, Arc::new(release))
    }

    pub(super) fn set_images(&mut self, images: BTreeMap<String, String>) {
        self.images = images;
    }

    /// The release with exactly this version.
    #[must_use]
    pub fn get(&self, version: KkpVersion) -> Option<&Release> {
        self.by_version.get(&version).map(Arc::as_ref)
    }

    /// The same, to be kept.
    pub(super) fn share(&self, version: KkpVersion) -> Option<Arc<Release>> {
        self.by_version.get(&version).cloned()
    }

    /// All releases, oldest first.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Release> {
        self.by_version.values().map(Arc::as_ref)
    }

    /// Names of the lists that at least one release has.
    #[must_use]
    pub const fn list_names(&self) -> &BTreeSet<String> {
        &self.list_names
    }

    /// Image repository of an edition (`CE` or `EE`), without tag. A platform may use a mirror: the running one wins.
    #[must_use]
    pub fn image(&self, edition: &str) -> Option<&str> {
        self.images.get(edition).map(String::as_str)
    }

    /// Newest known patch release of a minor.
    #[must_use]
    pub fn newest(&self, major: u32, minor: u32) -> Option<KkpVersion> {
        let first = KkpVersion::new(major, minor, 0);
        let last = KkpVersion::new(major, minor, u32::MAX);
        self.by_version
            .range((Bound::Included(first), Bound::Included(last)))
            .next_back()
            .map(|(version, _)| *version)
    }

    /// Versions to go to, one after the other, from `from` to `target`: for each minor between, the one that `via`
    /// names or else the newest that the catalogue knows; before that the newest patch release of the minor that runs,
    /// where the notes of the next minor ask for it. A `via` of the running minor chooses another patch release, and the
    /// running version itself means to start from what runs. Empty when nothing is to be done.
    ///
    /// # Errors
    /// A downgrade, another major, an unknown release, or a `via` that is not on the way.
    pub fn path(
        &self,
        from: KkpVersion,
        target: KkpVersion,
        via: &[KkpVersion],
    ) -> Result<Vec<KkpVersion>, RouteError> {
        if from.major != target.major {
            return Err(RouteError::OtherMajor { from, target });
        }
        if target < from {
            return Err(RouteError::Downgrade { from, target });
        }
        for &version in via {
            let named = via.iter().filter(|other| other.minor == version.minor).count();
            if version.major != from.major || version < from || version.minor >= target.minor || named > 1 {
                return Err(RouteError::ViaOffRoute { version, from, target });
            }
        }
        if from == target {
            return Ok(Vec::new());
        }
        let mut hops = (from.minor.saturating_add(1)..target.minor)
            .map(|minor| self.between(from.major, minor, via))
            .collect::<Result<Vec<_>, _>>()?;
        hops.push(self.known(target)?);
        if let Some(patch) = self.patch_first(from, hops.first(), via)? {
            hops.insert(0, patch);
        }
        Ok(hops)
    }

    /// The patch release to go to before the running minor is left.
    fn patch_first(
        &self,
        from: KkpVersion,
        next: Option<&KkpVersion>,
        via: &[KkpVersion],
    ) -> Result<Option<KkpVersion>, RouteError> {
        let Some(next) = next.filter(|next| next.minor > from.minor) else {
            return Ok(None);
        };
        if let Some(chosen) = via.iter().find(|version| version.minor == from.minor) {
            return Ok(Some(self.known(*chosen)?).filter(|chosen| *chosen != from));
        }
        let asked = self.get(*next).is_some_and(|release| release.from_newest_patch);
        let newest = self.newest(from.major, from.minor).filter(|newest| *newest > from);
        Ok(newest.filter(|_| asked))
    }

    /// The same with what each release on the way changes for good.
    ///
    /// # Errors
    /// See [`Releases::path`].
    pub fn stops(&self, from: KkpVersion, target: KkpVersion, via: &[KkpVersion]) -> Result<Vec<Stop>, RouteError> {
        let stop = |version: KkpVersion| Stop {
            version,
            one_way: self
                .get(version)
                .map(|release| release.one_way.clone())
                .unwrap_or_default(),
        };
        Ok(self.path(from, target, via)?.into_iter().map(stop).collect())
    }

    fn between(&self, major: u32, minor: u32, via: &[KkpVersion]) -> Result<KkpVersion, RouteError> {
        let chosen = via
            .iter()
            .find(|version| version.minor == minor)
            .copied()
            .or_else(|| self.newest(major, minor));
        self.known(chosen.unwrap_or(KkpVersion::new(major, minor, 0)))
    }

    fn known(&self, version: KkpVersion) -> Result<KkpVersion, RouteError> {
        self.get(version)
            .map(|release| release.version)
            .ok_or_else(|| RouteError::UnknownRelease {
                version,
                hint: self.hint(version),
            })
    }

    /// What to do about a version that is not in the catalogue.
    #[must_use]
    pub fn hint(&self, version: KkpVersion) -> String {
        self.newest(version.major, version.minor).map_or_else(
            || {
                format!(
                    "add minor {} to releases.yaml of ConfigMap kkp-upgrade-catalogue, or install an operator that knows it",
                    version.minor_line()
                )
            },
            |newest| {
                format!(
                    "newest known release of {} is {newest}; raise newestPatch in releases.yaml of ConfigMap kkp-upgrade-catalogue, or install an operator that knows it",
                    version.minor_line()
                )
            },
        )
    }
}
