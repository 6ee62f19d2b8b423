//! What a person writes: the spec of a `KKPUpgrade`. Talks to no cluster.
//!
//! A field stands here only when the operator honours it. List items carry no defaults: Argo CD compares lists of a
//! custom resource as a whole, so a default filled into an item would show as drift for ever.

use kkp_upgrade_core::status::Status;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checks::Checks;

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
    /// Version of KKP to reach, with or without a leading `v`, for example `2.31.0`. Several minors ahead are several hops,
    /// one after the other. Setting it back to `status.fromVersion` or `status.currentVersion` while an upgrade runs
    /// aborts the upgrade.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^v?2\.\d+\.\d+$"))]
    pub target_version: String,
    /// Patch releases to stop at on the way, at most one of each minor. Default: the newest known one of every minor between,
    /// and of the running minor where the upgrade notes ask for it; the running version here means to start from it.
    #[schemars(
        length(max = 8),
        inner(length(min = 1, max = 32), regex(pattern = r"^v?2\.\d+\.\d+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<String>,
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
    /// Whether somebody has to approve the plan before anything is changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalSpec>,
    /// How `kubermatic-installer` is run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installer: Option<Installer>,
    /// Where backups go and whether they are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
    /// How success is established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// What is checked beyond what is always checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<Checks>,
    /// Findings that a person answers for: each by the rule's id, with a reason and an end.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted_risks: Vec<AcceptedRisk>,
    /// Rules whose own fix the operator makes, each by its id: a plain write to the object that a finding is about, between
    /// the limit and the installer. Findings say which rules have one. May change at any time: what is not made yet follows.
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 64), regex(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<String>,
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

/// Whether somebody has to approve the plan before anything is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ApprovalSpec {
    /// `Manual` waits in Preflight until exactly the plan of `status.plan.digest` is approved, by `digests` or by the
    /// annotation `upgrade.k8c.io/approve`; a plan that changes has to be approved anew. `Automatic` goes on by itself.
    pub mode: ApprovalMode,
    /// Digests of approved plans, `sha256:` and 64 hexadecimal digits: consent by Git.
    #[schemars(
        length(max = 32),
        inner(length(max = 71), regex(pattern = "^sha256:[0-9a-f]{64}$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<String>,
}

/// Who decides that a plan is carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalMode {
    /// The operator, once nothing blocks.
    #[default]
    Automatic,
    /// A person or a pipeline.
    Manual,
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
    /// `Auto` lets KKP make one backup of the etcd of each user cluster, on every Seed with a default or only destination for etcd
    /// backups. `Disabled` makes none. They are never deleted by the operator.
    pub user_cluster_etcd: UserClusterEtcd,
    /// How backups are encrypted. Default: with a key that the operator keeps in the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<BackupEncryption>,
}

/// How backups are encrypted. They hold Secrets, so they always are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupEncryption {
    /// Public keys of age (`age1…`, as `age-keygen` prints them) that can open the backups, at most 16. Default: a key pair that the
    /// operator makes once and keeps in Secret `kkp-upgrade-backup-key`, which is the warning `backup-key-in-cluster`.
    #[schemars(
        length(max = 16),
        inner(length(min = 62, max = 62), regex(pattern = "^age1[02-9ac-hj-np-z]{58}$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
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

/// Whether KKP is asked for backups of the etcds of user clusters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UserClusterEtcd {
    /// One of each user cluster where the Seed has a destination.
    #[default]
    Auto,
    /// None.
    Disabled,
}

/// Where backups are written: exactly one kind of storage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.persistentVolumeClaim), has(self.s3)].filter(chosen, chosen).size() == 1",
    "message": "exactly one kind of storage must be set: `persistentVolumeClaim` or `s3`",
    "reason": "FieldValueRequired",
}]))]
#[serde(rename_all = "camelCase")]
pub struct BackupStorage {
    /// A volume claim in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimStorage>,
    /// A bucket of an object storage that speaks S3 and honours conditional writes (`If-None-Match`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Storage>,
}

/// A bucket of an object storage that speaks S3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.pathStyle) || !self.pathStyle || has(self.endpoint)",
    "message": "pathStyle is only for an own endpoint: remove it, or set `endpoint`",
    "reason": "FieldValueInvalid",
}]))]
#[serde(rename_all = "camelCase")]
pub struct S3Storage {
    /// Address of the object storage, for example `https://s3.example.com:9000`. Default: AWS in `region`.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^https?://[A-Za-z0-9.:\\[\\]-]+/?$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Name of the bucket, which has to exist.
    #[schemars(length(min = 3, max = 63), regex(pattern = "^[a-z0-9][a-z0-9.-]*[a-z0-9]$"))]
    pub bucket: String,
    /// What the names of all objects begin with, for example `platform/prod`. Default: nothing.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9._/-]+$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Region of the bucket. Default: `us-east-1`, which is also what most storages other than AWS take.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[a-z0-9-]+$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether the bucket's name stands in the path (`true`) or in the host name (`false`). Default: in the path where `endpoint`
    /// is set, in the host name on AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// `ConfigMap` in the same namespace with the authorities (PEM) that the endpoint's certificate is checked with. Default: those
    /// of the operator's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundleRef>,
    /// Secret in the same namespace with the credentials.
    pub credentials_secret_ref: CredentialsRef,
}

/// A key of a `ConfigMap` in the same namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaBundleRef {
    /// Name of the `ConfigMap`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    #[serde(default = "bundle_pem")]
    pub key: String,
}

/// The key that KKP's own `ConfigMap` `ca-bundle` has.
fn bundle_pem() -> String {
    "ca-bundle.pem".to_owned()
}

/// A Secret in the same namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsRef {
    /// Name of the Secret. Its keys `accessKeyID` and `secretAccessKey`, or `ACCESS_KEY_ID` and `SECRET_ACCESS_KEY` as KKP
    /// names them, are the credentials. Only the backup Job sees them.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
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
