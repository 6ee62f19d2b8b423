//! Which releases there are and in which state, from the labels of their Secrets alone.
//!
//! Pure; needs no payload, so a metadata-only list is enough. Source: Helm 3, `pkg/storage/driver/secrets.go` (labels),
//! `pkg/release/status.go` (states); KKP 2.31, `pkg/install/util/helm.go` (what the installer does with them).

use std::collections::BTreeMap;
use std::fmt;

use kube::api::ObjectMeta;

const NAME_PREFIX: &str = "sh.helm.release.v1.";

/// State of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseStatus {
    /// The revision is what runs.
    Deployed,
    /// A newer revision took its place.
    Superseded,
    /// The last operation failed.
    Failed,
    /// Removed, its history kept.
    Uninstalled,
    /// Being removed.
    Uninstalling,
    /// An installation is going on or was interrupted.
    PendingInstall,
    /// An upgrade is going on or was interrupted.
    PendingUpgrade,
    /// A rollback is going on or was interrupted.
    PendingRollback,
    /// A state that this version does not know.
    Unknown(String),
}

impl ReleaseStatus {
    /// Whether KKP's installer would uninstall the release before it installs it anew, and throw away its history and its
    /// volume claims.
    #[must_use]
    pub const fn purges(&self) -> bool {
        matches!(
            self,
            Self::Failed | Self::PendingInstall | Self::PendingUpgrade | Self::PendingRollback
        )
    }

    /// The word that Helm writes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Deployed => "deployed",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
            Self::Uninstalled => "uninstalled",
            Self::Uninstalling => "uninstalling",
            Self::PendingInstall => "pending-install",
            Self::PendingUpgrade => "pending-upgrade",
            Self::PendingRollback => "pending-rollback",
            Self::Unknown(word) => word,
        }
    }
}

impl From<&str> for ReleaseStatus {
    fn from(word: &str) -> Self {
        match word {
            "deployed" => Self::Deployed,
            "superseded" => Self::Superseded,
            "failed" => Self::Failed,
            "uninstalled" => Self::Uninstalled,
            "uninstalling" => Self::Uninstalling,
            "pending-install" => Self::PendingInstall,
            "pending-upgrade" => Self::PendingUpgrade,
            "pending-rollback" => Self::PendingRollback,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

impl fmt::Display for ReleaseStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The newest revision of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Name of the release.
    pub name: String,
    /// Namespace of the release.
    pub namespace: String,
    /// The newest revision.
    pub revision: u64,
    /// State of the newest revision.
    pub status: ReleaseStatus,
    /// The newest revision whose state is `deployed`: where a rollback leads.
    pub last_deployed: Option<u64>,
    /// Name of the Secret of the newest revision.
    pub secret: String,
}

/// A Secret of Helm whose labels do not say what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRelease {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// The label that is missing or malformed.
    pub label: &'static str,
}

/// All releases of a set of Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseIndex {
    /// The newest revision of each release, by namespace and name.
    pub releases: Vec<Release>,
    /// Secrets that could not be read; whoever needs certainty must not go on.
    pub unreadable: Vec<UnreadableRelease>,
}

impl ReleaseIndex {
    /// The newest revision of one release.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Release> {
        self.releases
            .iter()
            .find(|release| release.namespace == namespace && release.name == name)
    }
}

/// The newest revision per namespace and name. Takes metadata of Secrets, and skips those that are not Helm's.
pub fn newest_releases<'a>(secrets: impl IntoIterator<Item = &'a ObjectMeta>) -> ReleaseIndex {
    let mut newest: BTreeMap<(String, String), Release> = BTreeMap::new();
    let mut unreadable = Vec::new();
    for metadata in secrets {
        match read(metadata) {
            None => {}
            Some(Err(problem)) => unreadable.push(problem),
            Some(Ok(revision)) => {
                let key = (revision.namespace.clone(), revision.name.clone());
                let merged = match newest.remove(&key) {
                    Some(known) => newer(known, revision),
                    None => revision,
                };
                newest.insert(key, merged);
            }
        }
    }
    ReleaseIndex {
        releases: newest.into_values().collect(),
        unreadable,
    }
}

fn newer(known: Release, other: Release) -> Release {
    let last_deployed = known.last_deployed.max(other.last_deployed);
    let newest = if other.revision > known.revision { other } else { known };
    Release {
        last_deployed,
        ..newest
    }
}

fn read(metadata: &ObjectMeta) -> Option<Result<Release, UnreadableRelease>> {
    let secret = metadata.name.clone().unwrap_or_default();
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let label = |key: &str| {
        metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    if !secret.starts_with(NAME_PREFIX) || label("owner") != Some("helm") {
        return None;
    }
    let unreadable = |label| {
        Err(UnreadableRelease {
            namespace: namespace.clone(),
            secret: secret.clone(),
            label,
        })
    };
    let Some(name) = label("name").filter(|name| !name.is_empty()) else {
        return Some(unreadable("name"));
    };
    let Some(revision) = label("version").and_then(|version| version.parse().ok()) else {
        return Some(unreadable("version"));
    };
    let Some(status) = label("status") else {
        return Some(unreadable("status"));
    };
    let status = ReleaseStatus::from(status);
    let last_deployed = (status == ReleaseStatus::Deployed).then_some(revision);
    Some(Ok(Release {
        name: name.to_owned(),
        namespace,
        revision,
        status,
        last_deployed,
        secret,
    }))
}
