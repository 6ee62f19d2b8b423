//! A Helm release and its Secret: type `helm.sh/release.v1`, `data.release` = base64(gzip(JSON)) inside the base64 of the API
//! (Helm source, `pkg/storage/driver`). Pure.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Type of the Secrets.
pub const SECRET_TYPE: &str = "helm.sh/release.v1";

/// State of one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// In use.
    Deployed,
    /// Followed by a later revision.
    Superseded,
    /// Did not work.
    Failed,
    /// First installation under way, or killed.
    PendingInstall,
    /// Upgrade under way, or killed.
    PendingUpgrade,
    /// Roll-back under way, or killed.
    PendingRollback,
    /// Being removed.
    Uninstalling,
}

impl Status {
    /// The word in labels and in the release.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
            Self::PendingInstall => "pending-install",
            Self::PendingUpgrade => "pending-upgrade",
            Self::PendingRollback => "pending-rollback",
            Self::Uninstalling => "uninstalling",
        }
    }

    /// The purge rule: the installer uninstalls a release in this state before it installs it anew
    /// (KKP source, `pkg/install/util/helm.go`, `statusRequiresPurge`).
    #[must_use]
    pub fn requires_purge(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::PendingInstall | Self::PendingUpgrade | Self::PendingRollback
        )
    }
}

/// What a chart is, for Helm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// Name, also that of the release.
    pub name: String,
    /// Version of the chart.
    pub version: String,
    /// Version of what is in it.
    pub app_version: String,
    /// Version of the chart format.
    #[serde(default = "chart_format")]
    pub api_version: String,
}

fn chart_format() -> String {
    "v2".to_owned()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ChartEnvelope {
    metadata: Chart,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Info {
    first_deployed: String,
    last_deployed: String,
    deleted: String,
    description: String,
    status: Status,
}

/// One revision of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Revision, counted from 1.
    pub version: u32,
    info: Info,
    chart: ChartEnvelope,
    /// The values given by the user.
    #[serde(default)]
    pub config: Value,
    /// The objects, as YAML documents.
    #[serde(default)]
    pub manifest: String,
}

impl Release {
    /// A new revision.
    #[must_use]
    pub fn new(namespace: &str, chart: Chart, revision: u32, status: Status, config: Value, manifest: String) -> Self {
        let now = jiff::Timestamp::now().to_string();
        Self {
            name: chart.name.clone(),
            namespace: namespace.to_owned(),
            version: revision,
            info: Info {
                first_deployed: now.clone(),
                last_deployed: now,
                deleted: String::new(),
                description: "Preparing".to_owned(),
                status,
            },
            chart: ChartEnvelope { metadata: chart },
            config,
            manifest,
        }
    }

    /// The chart.
    #[must_use]
    pub fn chart(&self) -> &Chart {
        &self.chart.metadata
    }

    /// State of this revision.
    #[must_use]
    pub fn status(&self) -> Status {
        self.info.status
    }

    /// The same revision in another state.
    #[must_use]
    pub fn become_status(mut self, status: Status, description: &str) -> Self {
        self.info.status = status;
        description.clone_into(&mut self.info.description);
        self
    }

    /// Name of the Secret.
    #[must_use]
    pub fn secret_name(&self) -> String {
        format!("sh.helm.release.v1.{}.v{}", self.name, self.version)
    }

    /// The Secret of this revision.
    ///
    /// # Errors
    /// When the release can't be encoded.
    pub fn to_secret(&self) -> anyhow::Result<Secret> {
        let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&serde_json::to_vec(self)?)?;
        let inner = STANDARD.encode(packed.finish()?);
        let labels = [
            ("owner", "helm".to_owned()),
            ("name", self.name.clone()),
            ("status", self.info.status.word().to_owned()),
            ("version", self.version.to_string()),
            ("modifiedAt", jiff::Timestamp::now().as_second().to_string()),
        ];
        Ok(Secret {
            metadata: ObjectMeta {
                name: Some(self.secret_name()),
                namespace: Some(self.namespace.clone()),
                labels: Some(
                    labels
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                ),
                ..ObjectMeta::default()
            },
            type_: Some(SECRET_TYPE.to_owned()),
            data: Some(BTreeMap::from([("release".to_owned(), ByteString(inner.into_bytes()))])),
            ..Secret::default()
        })
    }

    /// Reads a revision. The status is that of the labels, as `helm list` filters by them.
    ///
    /// # Errors
    /// When the Secret is not one of Helm's.
    pub fn from_secret(secret: &Secret) -> anyhow::Result<Self> {
        let name = secret.metadata.name.clone().unwrap_or_default();
        let data = secret
            .data
            .as_ref()
            .and_then(|data| data.get("release"))
            .with_context(|| format!("Secret {name} has no key release"))?;
        let packed = STANDARD
            .decode(&data.0)
            .with_context(|| format!("Secret {name} is not base64"))?;
        let mut json = Vec::new();
        GzDecoder::new(packed.as_slice())
            .read_to_end(&mut json)
            .with_context(|| format!("Secret {name} is not gzip"))?;
        let mut release: Self =
            serde_json::from_slice(&json).with_context(|| format!("Secret {name} is not a Helm release"))?;
        let label = secret.metadata.labels.as_ref().and_then(|labels| labels.get("status"));
        if let Some(status) = label.and_then(|word| serde_json::from_value(Value::String(word.clone())).ok()) {
            release.info.status = status;
        }
        Ok(release)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(status: Status) -> Release {
        let chart = Chart {
            name: "dex".to_owned(),
            version: "2.31.0".to_owned(),
            app_version: "v2.31.0".to_owned(),
            api_version: chart_format(),
        };
        Release::new(
            "dex",
            chart,
            7,
            status,
            json!({"dex": {"replicas": 2}}),
            "---\n".to_owned(),
        )
    }

    #[test]
    fn the_secret_is_helms_and_reads_back() {
        let original = release(Status::Deployed);
        let secret = original.to_secret().unwrap();
        assert_eq!(secret.type_.as_deref(), Some("helm.sh/release.v1"));
        assert_eq!(secret.metadata.name.as_deref(), Some("sh.helm.release.v1.dex.v7"));
        let labels = secret.metadata.labels.clone().unwrap();
        assert_eq!(labels["owner"], "helm");
        assert_eq!(labels["status"], "deployed");
        assert_eq!(labels["version"], "7");
        assert!(labels["modifiedAt"].parse::<i64>().unwrap() > 1_700_000_000);
        assert_eq!(Release::from_secret(&secret).unwrap(), original);
    }

    #[test]
    fn seen_through_the_api_the_data_is_base64_twice_around_gzip() {
        let secret = serde_json::to_value(release(Status::Failed).to_secret().unwrap()).unwrap();
        let outer = STANDARD.decode(secret["data"]["release"].as_str().unwrap()).unwrap();
        let gzip = STANDARD.decode(outer).unwrap();
        assert_eq!(gzip.get(..2), Some([0x1f, 0x8b].as_slice()));
        let mut json = String::new();
        GzDecoder::new(gzip.as_slice()).read_to_string(&mut json).unwrap();
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["config"]["dex"]["replicas"], 2);
        assert_eq!(value["chart"]["metadata"]["appVersion"], "v2.31.0");
        assert_eq!(value["info"]["status"], "failed");
    }

    #[test]
    fn only_the_four_defunct_states_are_purged() {
        let purged = [
            Status::Failed,
            Status::PendingInstall,
            Status::PendingUpgrade,
            Status::PendingRollback,
        ];
        let kept = [Status::Deployed, Status::Superseded, Status::Uninstalling];
        assert!(purged.into_iter().all(Status::requires_purge));
        assert!(!kept.into_iter().any(Status::requires_purge));
    }
}
