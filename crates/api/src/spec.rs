//! What a person writes: the spec of a `KKPUpgrade`. Talks to no cluster.
//!
//! A field stands here only when the operator honours it. List items carry no defaults: Argo CD compares lists of a
//! custom resource as a whole, so a default filled into an item would show as drift for ever.

use kkp_upgrade_core::status::Status;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the platform is to become, and how.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "upgrade.k8c.io",
    version = "v1alpha1",
    kind = "KKPUpgrade",
    plural = "kkpupgrades",
    singular = "kkpupgrade",
    shortname = "kkpu",
    category = "kubermatic",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "KKPUpgrade brings a Kubermatic Kubernetes Platform to a version: checked, backed up, in order, under a limit, verified by evidence. It is honoured only in the namespace of the KubermaticConfiguration.",
    selectable = ".status.phase",
    selectable = ".spec.targetVersion",
    label("app.kubernetes.io/name", "kkp-upgrade-operator"),
    label("app.kubernetes.io/part-of", "kkp-upgrade-operator")
)]
#[serde(rename_all = "camelCase")]
pub struct KKPUpgradeSpec {
    /// Version of KKP to reach, with or without a leading `v`, for example `2.31.0`. Setting it back to
    /// `status.fromVersion` while an upgrade runs aborts the upgrade.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^v?2\.\d+\.\d+$"))]
    pub target_version: String,
    /// Edition to reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edition: Option<Edition>,
    /// `Upgrade` carries the plan out; `Plan` keeps plan and findings fresh and changes nothing.
    #[serde(default)]
    pub mode: Mode,
    /// Stops at the next safe point. Nothing is undone, and a running installer is never interrupted.
    #[serde(default)]
    pub paused: bool,
    /// How many user clusters a seed may reconcile at once while the upgrade runs, 1 to 1000. Written to
    /// `spec.seedController.maximumParallelReconciles` of the KubermaticConfiguration and put back at the end. Default:
    /// KKP's own value stays.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_parallel_reconciles: Option<i32>,
    /// How `kubermatic-installer` is run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installer: Option<Installer>,
    /// Where backups go and whether they are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
    /// How success is established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Findings that a person answers for: each by the rule's id, with a reason and an end.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted_risks: Vec<AcceptedRisk>,
}

/// Edition to reach: `CE` or `EE`. Default: the running one. Another one than the running has to be accepted as a risk.
// The schema of an optional enum takes its description from the type, not from the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Edition {
    /// Community Edition.
    CE,
    /// Enterprise Edition.
    EE,
}

/// Whether to upgrade or only to plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Carry the plan out.
    #[default]
    Upgrade,
    /// Keep plan and findings fresh and change nothing.
    Plan,
}

/// How `kubermatic-installer` is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Installer {
    /// Secret in the same namespace with the Helm values that the platform was installed with. Default: the values of
    /// the live Helm release `kubermatic-operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helm_values_ref: Option<HelmValuesRef>,
    /// Charts that the installer leaves alone, for example `cert-manager`. Default: inferred from what is installed.
    /// An empty list leaves none alone.
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_charts: Option<Vec<String>>,
    /// Time-out of each Helm call in seconds, 10 to 7200.
    #[schemars(range(min = 10, max = 7200))]
    pub helm_timeout_seconds: i32,
}

impl Default for Installer {
    fn default() -> Self {
        Self {
            helm_values_ref: None,
            skip_charts: None,
            helm_timeout_seconds: 600,
        }
    }
}

/// A key of a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HelmValuesRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret whose value is the values file.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    #[serde(default = "values_yaml")]
    pub key: String,
}

/// The key that Helm users give a values file.
fn values_yaml() -> String {
    "values.yaml".to_owned()
}

/// Where backups go and whether they are made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Backup {
    /// Where backups are written. Default: the claim that the operator was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<BackupStorage>,
    /// `Required` makes a verified backup of every cluster before anything is changed. `Skip` makes none, and has to be
    /// accepted as the risk `backup-skipped`.
    pub policy: BackupPolicy,
}

/// Whether backups are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupPolicy {
    /// Nothing is changed before every cluster in scope has a verified backup.
    #[default]
    Required,
    /// No backup.
    Skip,
}

/// Where backups are written: exactly one kind of storage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.persistentVolumeClaim)].filter(chosen, chosen).size() == 1",
    "message": "exactly one kind of storage must be set: `persistentVolumeClaim`",
    "reason": "FieldValueRequired",
}]))]
#[serde(rename_all = "camelCase")]
pub struct BackupStorage {
    /// A volume claim in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimStorage>,
}

/// A folder on a volume claim in the same namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimStorage {
    /// Name of the `PersistentVolumeClaim`.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// Folder on the volume, relative and without `..`, for example `platform/prod`. Default: the volume's root.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9._/-]+$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// How success is established.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Verification {
    /// All evidence must hold without a gap for this many seconds before the upgrade counts as done, 0 to 86400.
    #[schemars(range(min = 0, max = 86_400))]
    pub soak_seconds: i32,
    /// Nothing moving forward for this many seconds makes the upgrade Stalled, 1 to 86400. The run goes on watching.
    #[schemars(range(min = 1, max = 86_400))]
    pub progress_deadline_seconds: i32,
}

impl Default for Verification {
    fn default() -> Self {
        Self {
            soak_seconds: 300,
            progress_deadline_seconds: 1800,
        }
    }
}

/// Consent to a rule's findings, by name and with an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedRisk {
    /// Id of the rule, as findings name it.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"))]
    pub rule: String,
    /// Targets that it is accepted for, as findings name them, for example `cluster eu/x7f2`. Default: all.
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Why it is acceptable; read by auditors.
    #[schemars(length(min = 1, max = 512))]
    pub reason: String,
    /// When the consent ends, RFC 3339, for example `2026-12-01T00:00:00Z`. Counts when the run is about to leave
    /// Preflight.
    #[schemars(length(min = 1, max = 64), extend("format" = "date-time"))]
    pub expiration_time: String,
}
