//! Status: what the plan says and found. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Time;

/// The plan of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanStatus {
    /// `sha256:` digest of everything in the plan that matters.
    #[schemars(length(max = 80))]
    pub digest: String,
    /// Short digests of the plan's parts: `route`, `limit`, `master`, `seeds`, `fixes`, `findings`. They tell what changed.
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PlanPart>,
    /// The plan that somebody has to approve before the run goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awaiting: Option<PlanAwaiting>,
    /// The last consent that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<Approval>,
    /// The ConfigMap with plan and findings, in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapRef>,
    /// How many findings there are.
    pub findings: FindingCounts,
}

/// The catalogue of rules and releases that findings come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CatalogueStatus {
    /// Version of the form that its files have.
    #[schemars(length(max = 16))]
    pub version: String,
    /// `sha256:` digest of all its files, those of the ConfigMap included.
    #[schemars(length(max = 80))]
    pub digest: String,
    /// `Compiled`: the operator's own. `ConfigMap`: with what ConfigMap `kkp-upgrade-catalogue` adds and replaces.
    #[schemars(length(max = 16))]
    pub source: String,
}

/// One part of the plan, to tell what changed between two plans.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanPart {
    /// `route`, `limit`, `master`, `seeds`, `fixes` or `findings`.
    #[schemars(length(max = 64))]
    pub name: String,
    /// The first twelve hexadecimal digits of the part's SHA-256.
    #[schemars(length(max = 12))]
    pub digest: String,
}

/// A plan that waits for consent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanAwaiting {
    /// The hop that it is for, for example `2.30.6 → 2.31.0`.
    #[schemars(length(max = 64))]
    pub hop: String,
    /// Digest of the plan.
    #[schemars(length(max = 80))]
    pub digest: String,
}

/// Consent to a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Approval {
    /// Digest of the plan that was approved.
    #[schemars(length(max = 80))]
    pub digest: String,
    /// How it was given, and by which field manager: a claim, not a proof.
    #[schemars(length(max = 256))]
    pub by: String,
    /// When the operator saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// Parts of the plan that was approved.
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PlanPart>,
}

/// Name of a ConfigMap in the same namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapRef {
    /// Name of the ConfigMap.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// Findings by severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FindingCounts {
    /// Findings that block and are not accepted.
    #[schemars(range(min = 0))]
    pub blockers: i32,
    /// Warnings.
    #[schemars(range(min = 0))]
    pub warnings: i32,
    /// For information.
    #[schemars(range(min = 0))]
    pub infos: i32,
    /// Blockers that `spec.acceptedRisks` accepts.
    #[schemars(range(min = 0))]
    pub accepted: i32,
    /// Findings that a fix of `spec.fixes` is going to mend; they block nothing.
    #[schemars(range(min = 0))]
    pub to_be_fixed: i32,
}

/// One finding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FindingStatus {
    /// Id of the rule.
    #[schemars(length(max = 64))]
    pub rule: String,
    /// `blocker`, `accepted`, `warning` or `info`.
    #[schemars(length(max = 16))]
    pub severity: String,
    /// What the finding is about, for example `seed eu` or `cluster eu/x7f2`.
    #[schemars(length(max = 256))]
    pub target: String,
    /// A later hop that it is about; absent for the present one.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<String>,
    /// What is wrong.
    #[schemars(length(max = 256))]
    pub message: String,
    /// What to do.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// `available`: the rule has a fix, name it in `spec.fixes`. `requested`: it is made before the installer runs.
    /// `refused`: it was asked for and cannot be made; the message says why.
    #[schemars(length(max = 16))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}
