//! What is compiled into one KKP release: version, edition, images, accepted versions, CRDs and webhooks. Pure, but for
//! [`Release::load`], which reads one file. Another release is another file, not other code.

use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Where a stand-in image has its release file.
pub const RELEASE_FILE: &str = "/etc/kkp-stand-in/release.yaml";
/// Environment variable that names another release file, for tests.
pub const RELEASE_FILE_VARIABLE: &str = "KKP_STAND_IN_RELEASE";

const BUILT_IN: [&str; 2] = [
    include_str!("../data/v2.30.6.yaml"),
    include_str!("../data/v2.31.0.yaml"),
];
const CRDS: &str = include_str!("../data/crds.yaml");
const WEBHOOKS: &str = include_str!("../data/webhooks.yaml");

/// Community or Enterprise Edition; decides image repositories and which Seeds count.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub enum Edition {
    /// Community Edition: only the Seed named `kubermatic` is reconciled.
    #[default]
    #[serde(rename = "CE")]
    Community,
    /// Enterprise Edition: every Seed is reconciled.
    #[serde(rename = "EE")]
    Enterprise,
}

impl Edition {
    /// `CE` or `EE`, as in `KubermaticConfiguration.status.kubermaticEdition`.
    #[must_use]
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Community => "CE",
            Self::Enterprise => "EE",
        }
    }
}

/// Kubernetes versions of user clusters that a release knows.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesVersions {
    /// The version of a new cluster that names none.
    pub default: String,
    /// All versions, compared for exact equality.
    pub versions: Vec<String>,
}

/// Versions of network plug-ins that the webhook accepts on existing clusters (supported and deprecated).
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkPlugins {
    /// Canal, with leading `v`.
    pub canal: Vec<String>,
    /// Cilium, mostly without leading `v`.
    pub cilium: Vec<String>,
}

/// Where a CRD or a webhook configuration stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// On the master: put there by the installer.
    Master,
    /// On every seed: put there by kubermatic-operator.
    Seed,
    /// In user clusters only.
    UserCluster,
    /// On the master, but put there by kubermatic-operator.
    Operator,
}

/// One of KKP's custom resource definitions.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomResource {
    /// Kind, for example `Seed`.
    pub kind: String,
    /// Plural name, for example `seeds`.
    pub plural: String,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// `Namespaced` or `Cluster`.
    pub scope: String,
    /// Where it is installed.
    pub location: Vec<Location>,
    /// True if the status is a subresource.
    #[serde(default)]
    pub status: bool,
    /// Short names for kubectl.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub short_names: Vec<String>,
    /// First minor release that has it; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Type of an admission webhook.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum WebhookKind {
    /// May refuse.
    Validating,
    /// May change.
    Mutating,
}

/// One admission webhook configuration.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Name of the configuration.
    pub name: String,
    /// Validating, mutating, or both under one name.
    pub kinds: Vec<WebhookKind>,
    /// API group of the resource.
    pub group: String,
    /// Plural name of the resource.
    pub resource: String,
    /// On which clusters it stands.
    pub location: Vec<Location>,
    /// First minor release that has it; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// One release of KKP.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// The compiled git tag, for example `v2.31.0`.
    pub version: String,
    /// The compiled edition.
    #[serde(default)]
    pub edition: Edition,
    /// Registry and organisation of all images.
    #[serde(default = "default_registry")]
    pub image_registry: String,
    /// Tag of the envoy image in `nodeport-proxy-envoy`, which is not KKP's.
    pub envoy_tag: String,
    /// Kubernetes versions of user clusters.
    pub kubernetes: KubernetesVersions,
    /// Network plug-ins of user clusters.
    pub network_plugins: NetworkPlugins,
    /// KKP's custom resource definitions.
    #[serde(default)]
    pub custom_resources: Vec<CustomResource>,
    /// KKP's admission webhooks.
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
}

fn default_registry() -> String {
    "quay.io/kubermatic".to_owned()
}

impl Release {
    /// The releases that are built in, oldest first, as Community Edition.
    #[must_use]
    pub fn built_in() -> Vec<Self> {
        BUILT_IN.iter().filter_map(|text| Self::from_yaml(text).ok()).collect()
    }

    /// The data of any version: of the built-in release with this version, or of the nearest older (else oldest) one.
    /// Accepts `2.31.0` and `v2.31.0`.
    ///
    /// # Errors
    /// If the version is not a semantic version.
    pub fn of(version: &str, edition: Edition) -> Result<Self, Error> {
        let wanted = parse_version(version)?;
        let releases = Self::built_in();
        let nearest = releases
            .iter()
            .rfind(|release| parse_version(&release.version).is_ok_and(|known| known <= wanted))
            .or_else(|| releases.first());
        let Some(nearest) = nearest else {
            return Err(Error::Refused(
                "no release is built in: the data files do not parse".to_owned(),
            ));
        };
        Ok(Self {
            version: format!("v{wanted}"),
            edition,
            ..nearest.clone()
        }
        .completed())
    }

    /// The release of this process: the file of its image, or the one that the environment names.
    ///
    /// # Errors
    /// If the file is absent or is not a release.
    pub fn load() -> Result<Self, Error> {
        let path = std::env::var_os(RELEASE_FILE_VARIABLE).map_or_else(|| PathBuf::from(RELEASE_FILE), PathBuf::from);
        Self::load_from(&path)
    }

    /// A release from a file.
    ///
    /// # Errors
    /// If the file is absent or is not a release.
    pub fn load_from(path: &Path) -> Result<Self, Error> {
        let failed = |reason: String| Error::File {
            path: path.display().to_string(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::from_yaml(&text).map_err(|error| failed(error.to_string()))
    }

    /// A release from YAML text. CRDs and webhooks that the text leaves out are those of its version.
    ///
    /// # Errors
    /// If the text is not a release.
    pub fn from_yaml(text: &str) -> Result<Self, Error> {
        let release: Self = serde_saphyr::from_str(text).map_err(|error| Error::File {
            path: "release data".to_owned(),
            reason: error.to_string(),
        })?;
        parse_version(&release.version)?;
        Ok(release.completed())
    }

    /// The text for the release file of an image.
    ///
    /// # Errors
    /// If it cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String, Error> {
        serde_saphyr::to_string(self).map_err(|error| Error::File {
            path: "release data".to_owned(),
            reason: error.to_string(),
        })
    }

    fn completed(mut self) -> Self {
        let version = parse_version(&self.version).unwrap_or_else(|_| Version::new(0, 0, 0));
        if self.custom_resources.is_empty() {
            self.custom_resources = serde_saphyr::from_str(CRDS).unwrap_or_default();
        }
        if self.webhooks.is_empty() {
            self.webhooks = serde_saphyr::from_str(WEBHOOKS).unwrap_or_default();
        }
        self.custom_resources
            .retain(|resource| is_since(resource.since.as_deref(), &version));
        self.webhooks
            .retain(|webhook| is_since(webhook.since.as_deref(), &version));
        self
    }

    /// `v2.31.0` as a semantic version.
    #[must_use]
    pub fn semantic_version(&self) -> Version {
        parse_version(&self.version).unwrap_or_else(|_| Version::new(0, 0, 0))
    }

    /// Repository of operator, controller managers, webhook, user-cluster controllers and installer.
    #[must_use]
    pub fn kubermatic_repository(&self) -> String {
        self.edition_repository("kubermatic")
    }

    /// Repository of API and dashboard.
    #[must_use]
    pub fn dashboard_repository(&self) -> String {
        self.edition_repository("dashboard")
    }

    /// Repository that both editions share, for example `nodeport-proxy` or `etcd-launcher`.
    #[must_use]
    pub fn shared_repository(&self, name: &str) -> String {
        format!("{}/{name}", self.image_registry)
    }

    fn edition_repository(&self, name: &str) -> String {
        let suffix = if self.edition == Edition::Enterprise { "-ee" } else { "" };
        format!("{}/{name}{suffix}", self.image_registry)
    }

    /// True if this release reconciles a Seed of that name: the Community Edition knows only `kubermatic`.
    #[must_use]
    pub fn reconciles_seed(&self, name: &str) -> bool {
        self.edition == Edition::Enterprise || name == "kubermatic"
    }
}

fn is_since(since: Option<&str>, version: &Version) -> bool {
    let Some(since) = since else { return true };
    Version::parse(&format!("{since}.0"))
        .is_ok_and(|since| (since.major, since.minor) <= (version.major, version.minor))
}

/// A version with or without leading `v`.
///
/// # Errors
/// If it is not a semantic version.
pub fn parse_version(text: &str) -> Result<Version, Error> {
    Version::parse(text.strip_prefix('v').unwrap_or(text))
        .map_err(|error| Error::Refused(format!("version {text:?} is not semantic: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_built_in_releases_parse_and_survive_a_round_trip() {
        let releases = Release::built_in();
        let versions: Vec<&str> = releases.iter().map(|release| release.version.as_str()).collect();
        assert_eq!(versions, ["v2.30.6", "v2.31.0"]);
        for release in releases {
            assert_eq!(Release::from_yaml(&release.to_yaml().unwrap()).unwrap(), release);
            assert!(release.kubernetes.versions.contains(&release.kubernetes.default));
        }
    }

    #[test]
    fn webhooks_are_as_many_as_measured_on_a_shared_master_and_seed() {
        let release = Release::of("2.31.0", Edition::Community).unwrap();
        let count = |kind| {
            release
                .webhooks
                .iter()
                .filter(|webhook| webhook.kinds.contains(&kind))
                .count()
        };
        assert_eq!((count(WebhookKind::Validating), count(WebhookKind::Mutating)), (12, 6));
    }

    #[test]
    fn another_version_takes_the_data_of_the_nearest_older_release() {
        let release = Release::of("2.31.4", Edition::Enterprise).unwrap();
        assert_eq!(release.version, "v2.31.4");
        assert_eq!(release.kubermatic_repository(), "quay.io/kubermatic/kubermatic-ee");
        assert_eq!(release.kubernetes.default, "1.35.7");
        assert!(release.kubernetes.versions.iter().all(|version| version != "1.32.13"));
    }

    #[test]
    fn kinds_that_an_older_release_does_not_have_are_left_out() {
        let has = |version, plural: &str| {
            Release::of(version, Edition::Community)
                .unwrap()
                .custom_resources
                .iter()
                .any(|resource| resource.plural == plural)
        };
        assert!(has("2.28.0", "policybindings") && !has("2.27.9", "policybindings"));
        assert!(has("2.30.6", "applicationcatalogs") && !has("2.29.1", "applicationcatalogs"));
    }

    #[test]
    fn community_edition_reconciles_only_the_seed_kubermatic() {
        let community = Release::of("2.31.0", Edition::Community).unwrap();
        assert!(community.reconciles_seed("kubermatic") && !community.reconciles_seed("eu"));
        assert!(
            Release::of("2.31.0", Edition::Enterprise)
                .unwrap()
                .reconciles_seed("eu")
        );
    }

    #[test]
    fn a_version_that_is_not_semantic_is_refused() {
        assert!(Release::of("latest", Edition::Community).is_err());
    }
}
