//! Status: where a run is, what it has changed and how it ends. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Time;

/// One hop of the route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Hop {
    /// Number of the hop, from 1.
    #[schemars(range(min = 0, max = 16))]
    pub index: i32,
    /// How many hops the route has.
    #[schemars(range(min = 0, max = 16))]
    pub total: i32,
    /// Version that the hop starts from, without `v`.
    #[schemars(length(max = 32))]
    pub from: String,
    /// Version that the hop goes to, without `v`.
    #[schemars(length(max = 32))]
    pub to: String,
}

/// The step that is being taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Step {
    /// Name of the step.
    #[schemars(length(max = 32))]
    pub name: String,
    /// Target of the step: `master` or the name of a Seed.
    #[schemars(length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Number of the attempt, from 1.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// Name of the step's Job.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Digest of what the Job is to do; a Job of the same name that says something else is not ours.
    #[schemars(length(max = 80))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// Operator process that wrote the intent, new for every effect.
    #[schemars(length(max = 128))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// When the step began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// Not before this time is the next attempt made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_time: Option<Time>,
}

/// The limit on parallel reconciles, `spec.seedController.maximumParallelReconciles` of the `KubermaticConfiguration`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Throttle {
    /// Value before the run; absent = the field was not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<i32>,
    /// Value of this run.
    #[schemars(range(min = 1, max = 1000))]
    pub applied: i32,
    /// `Applying`, `InForce`, `Contested`, `Restoring` or `Restored`.
    #[schemars(length(max = 16))]
    pub state: String,
}

/// Whether the platform can still go back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PointOfNoReturn {
    /// `Ahead`, `Armed` (the installer may start) or `Passed` (it has changed something that cannot go back).
    #[schemars(length(max = 16))]
    pub state: String,
    /// When the state was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// What was seen.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What an abort would do now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AbortStatus {
    /// Whether there is anything to abort.
    pub possible: bool,
    /// What it would do.
    #[schemars(length(max = 256))]
    pub effect: String,
}

/// Something that the run changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Change {
    /// The changed object, for example `KubermaticConfiguration kubermatic/kubermatic`.
    #[schemars(length(max = 256))]
    pub object: String,
    /// The changed field.
    #[schemars(length(max = 128))]
    pub field: String,
    /// Value before; `unset` where the field was absent.
    #[schemars(length(max = 64))]
    pub original: String,
    /// Value of this run.
    #[schemars(length(max = 64))]
    pub applied: String,
    /// The rule whose fix it was; absent for the limit.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Whether it stays: nothing has to be put back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub permanent: bool,
}

/// The fixes of one rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FixCount {
    /// Id of the rule.
    #[schemars(length(max = 64))]
    pub rule: String,
    /// Values that this run has written and that have not been put back.
    #[schemars(range(min = 0))]
    pub made: i32,
    /// Findings that are still to be fixed, at the last look.
    #[schemars(range(min = 0))]
    pub pending: i32,
}

/// One run that has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HistoryEntry {
    /// Number of the run.
    pub run_id: i64,
    /// Version before, without `v`.
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Target version, without `v`.
    #[schemars(length(max = 32))]
    pub to: String,
    /// `Done`, `Failed` or `Aborted`.
    #[schemars(length(max = 16))]
    pub result: String,
    /// Why.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// When the run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How long each of its hops took from the first backup to the proof, in seconds.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hop_seconds: Vec<i64>,
    /// Digest of its plan.
    #[schemars(length(max = 80))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,
    /// Who approved it, where somebody had to.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// The rules whose fixes were made, with the number of values written.
    #[schemars(length(max = 8), inner(length(max = 96)), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<String>,
}

/// How a run is going to end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Ending {
    /// `Failed` or `Aborted`.
    #[schemars(length(max = 16))]
    pub result: String,
    /// Why.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// For people.
    #[schemars(length(max = 256))]
    pub message: String,
}

/// Where and why a run failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FailedIn {
    /// The phase it failed in.
    #[schemars(length(max = 32))]
    pub phase: String,
    /// The step.
    #[schemars(length(max = 32))]
    pub step: String,
    /// The target of the step.
    #[schemars(length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The attempt.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// Why.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// For people: for a Job its last error lines.
    #[schemars(length(max = 256))]
    pub message: String,
}
