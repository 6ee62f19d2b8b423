//! Status: what the plan says and found. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The plan of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanStatus {
    /// `sha256:` digest of everything in the plan that matters.
    #[schemars(length(max = 80))]
    pub digest: String,
    /// The ConfigMap with plan and findings, in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapRef>,
    /// How many findings there are.
    pub findings: FindingCounts,
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
    /// What is wrong.
    #[schemars(length(max = 256))]
    pub message: String,
    /// What to do.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}
