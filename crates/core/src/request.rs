//! What is asked for: the spec, parsed. Pure. The core never sees an unparsed text.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::rules::AcceptedRisk;
use crate::version::KkpVersion;

/// A spec that can be carried out as far as the spec alone can tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Version to reach.
    pub target: KkpVersion,
    /// Patch releases to stop at on the way; for other minors the newest known one.
    pub via: Vec<KkpVersion>,
    /// Edition to reach; `None` = the running one.
    pub edition: Option<Edition>,
    /// Whether to upgrade or only to plan.
    pub mode: Mode,
    /// Stop at the next safe point.
    pub paused: bool,
    /// Limit on parallel reconciles for the time of the run; `None` leaves KKP's own alone.
    pub maximum_parallel_reconciles: Option<i32>,
    /// Whether somebody has to approve the plan.
    pub approval: ApprovalRequest,
    /// How the installer is run.
    pub installer: InstallerRequest,
    /// Where backups go and whether they are made.
    pub backup: BackupRequest,
    /// How long evidence must hold.
    pub soak: Duration,
    /// Nothing moving for this long makes the run Stalled.
    pub progress_deadline: Duration,
    /// Which user clusters are looked into.
    pub inside: Inside,
    /// Whether the room on each seed is computed.
    pub seed_capacity: bool,
    /// Findings that a person answers for.
    pub accepted_risks: Vec<AcceptedRisk>,
    /// Rules whose own fix the operator may make.
    pub fixes: Vec<String>,
}

/// Which user clusters are looked into, with KKP's own kubeconfigs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Inside {
    /// None.
    #[default]
    None,
    /// A few of each seed, always the same.
    Sample,
    /// All, up to a bound.
    All,
}

/// Edition of KKP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumString)]
pub enum Edition {
    /// Community Edition.
    CE,
    /// Enterprise Edition.
    EE,
}

/// Whether to upgrade or only to plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
pub enum Mode {
    /// Carry the plan out.
    Upgrade,
    /// Keep plan and findings fresh and change nothing.
    Plan,
}

/// Whether somebody has to approve the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// `mode: Manual`: nothing is changed without consent to the plan.
    pub manual: bool,
    /// Digests of approved plans, as status shows them.
    pub digests: Vec<String>,
}

/// How the installer is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallerRequest {
    /// Secret (name, key) with the Helm values; `None` = the values of the live release `kubermatic-operator`.
    pub helm_values: Option<(String, String)>,
    /// Charts to leave alone; `None` = inferred from what is installed.
    pub skip_charts: Option<Vec<String>>,
    /// Time-out of each Helm call.
    pub helm_timeout: Duration,
}

/// Where backups go and whether they are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRequest {
    /// Where they are written; `None` = the operator's default, if it has one.
    pub storage: Option<Storage>,
    /// `false` = `policy: Skip`.
    pub required: bool,
    /// Whether KKP is asked for a backup of each user cluster's etcd, where the Seed has a destination.
    pub user_cluster_etcd: bool,
    /// Public keys that archives are encrypted for; empty = the key in the cluster.
    pub recipients: Vec<String>,
}

/// Where backups are written. A claim is written as it was before there were others, so that digests of intents stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Storage {
    /// A volume claim in the same namespace.
    Claim {
        /// Name of the `PersistentVolumeClaim`.
        claim: String,
        /// Folder on it.
        path: String,
    },
    /// A bucket that speaks S3.
    S3(Box<S3Bucket>),
}

/// A bucket that speaks S3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Bucket {
    /// Address of the object storage; `None` = AWS.
    pub endpoint: Option<String>,
    /// Name of the bucket.
    pub bucket: String,
    /// What the names of objects begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// Region of the bucket.
    pub region: String,
    /// Whether the bucket's name stands in the path.
    pub path_style: bool,
    /// `ConfigMap` (name, key) with the authorities; `None` = those of the image.
    pub ca_bundle: Option<(String, String)>,
    /// Secret with the credentials, which only the Job sees.
    pub credentials: String,
}

/// A spec that cannot be carried out: which field, and what must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field}: {problem}")]
pub struct SpecError {
    /// Path of the field below `spec`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl Request {
    /// Digest of what makes a run this run: another one of these, after the end, is another run.
    #[must_use]
    pub fn identity(&self) -> String {
        let edition = self.edition.map_or_else(String::new, |edition| edition.to_string());
        let mut text = format!("{}\n{edition}\n{}", self.target, self.mode);
        for version in &self.via {
            text.push('\n');
            text.push_str(&version.to_string());
        }
        sha256(text.as_bytes())
    }
}

/// `sha256:` and the digest in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
