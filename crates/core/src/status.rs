//! What a run remembers: the status of a KKPUpgrade. Pure.
//!
//! Status holds the cursor and what cannot be observed again; everything about the platform is read anew each round.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::Condition;
use crate::phase::Phase;
use crate::time::Time;

/// Longest message anywhere in status, in bytes: a text over the schema's `maxLength` would make every write fail.
pub const MESSAGE_BYTES: usize = 256;

/// Observed state of a KKPUpgrade.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Generation of the spec that this status was made for; -1 before the operator has seen the object.
    pub observed_generation: i64,
    /// Conditions, one per type.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Where the run is: Pending, Preflight, Backup, Deploying, Verifying, Done, Failed or Aborted. Treat an unknown value as "in progress".
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Number of the run; one more for each new run of this object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<i64>,
    /// Digest of what makes this run this run: target version, edition, mode.
    #[schemars(length(max = 80))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_identity: Option<String>,
    /// True from the intent that enters Backup to the end of the run: most of the spec must not change then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    /// Version that the platform ran when this run began, without `v`.
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_version: Option<String>,
    /// Version that the platform runs; moves only after verification. Dependants gate on this.
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_version: Option<String>,
    /// Version that this run goes to, without `v`.
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_version: Option<String>,
    /// Versions of the route, frozen at the first Preflight of the run.
    #[schemars(length(max = 16), inner(length(max = 32)), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// The hop that is being made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<Hop>,
    /// The step that is being taken: written before its effect, so that a restarted operator knows what was intended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// The plan of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// The ten worst findings; all of them are in the plan's ConfigMap.
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingStatus>,
    /// How far the run is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Master and seeds.
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// The clusters behind the Seeds, as Preflight found them: what another cluster says during the run is not believed.
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seed_clusters: Vec<SeedCluster>,
    /// User clusters ("seed/cluster") that were unhealthy before the run; not waited for and not our regression.
    #[schemars(length(max = 100), inner(length(max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unhealthy_before: Vec<String>,
    /// The limit on parallel reconciles, while this run has changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// What the run waits for, worst first.
    #[schemars(length(max = 10), inner(length(max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub insights: Vec<String>,
    /// Whether the platform can still go back to where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point_of_no_return: Option<PointOfNoReturn>,
    /// What an abort would do now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<AbortStatus>,
    /// What this run changed and still has to put back.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Earlier runs, newest first.
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    /// When this run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the current phase began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase_start_time: Option<Time>,
    /// When something last moved forward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_progress_time: Option<Time>,
    /// Since when all evidence has held without a gap (Verifying only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_since: Option<Time>,
    /// Since when facts that block could not be read (Preflight only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<Time>,
    /// When the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How the run is going to end once everything is put back; set before the first put-back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Where and why the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_in: Option<FailedIn>,
    /// Last answered value of the annotation `upgrade.k8c.io/retry`.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_retry: Option<String>,
    /// Last answered value of the annotation `upgrade.k8c.io/abort`.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_abort: Option<String>,
    /// Last answered value of the annotation `upgrade.k8c.io/release`.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_release: Option<String>,
}

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

/// How far the run is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// For example `2/3 seeds, 31/40 clusters`.
    #[schemars(length(max = 64))]
    pub summary: String,
    /// 0 to 100.
    #[schemars(range(min = 0, max = 100))]
    pub percent: i32,
    /// Master and seeds that run the target version, by evidence.
    #[schemars(range(min = 0))]
    pub targets_done: i32,
    /// Master and seeds in scope.
    #[schemars(range(min = 0))]
    pub targets_total: i32,
    /// User clusters.
    pub user_clusters: ClusterCounts,
}

/// User clusters, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterCounts {
    /// All that exist.
    #[schemars(range(min = 0))]
    pub total: i32,
    /// Reconciled by the target version, by evidence.
    #[schemars(range(min = 0))]
    pub converged: i32,
    /// Paused: not waited for.
    #[schemars(range(min = 0))]
    pub paused: i32,
    /// Being deleted: not waited for.
    #[schemars(range(min = 0))]
    pub deleting: i32,
    /// Belonging to another worker of KKP (label `worker-name`): not waited for.
    #[schemars(range(min = 0))]
    pub foreign: i32,
    /// Unhealthy before the run and still not converged: not waited for.
    #[schemars(range(min = 0))]
    pub unhealthy_before: i32,
    /// Unhealthy now and healthy before.
    #[schemars(range(min = 0))]
    pub failing: i32,
}

/// Master or one seed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Target {
    /// `master`, or the name of the Seed.
    #[schemars(length(max = 253))]
    pub name: String,
    /// `Pending`, `BackedUp`, `Installing`, `RollingOut`, `Converging`, `Upgraded` or `Unreachable`.
    #[schemars(length(max = 32))]
    pub state: String,
    /// What is still missing, or what is wrong.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Installer attempts of this run.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i32>,
    /// Backup attempts of this run.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_attempts: Option<i32>,
    /// User clusters of this seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_clusters: Option<ClusterCounts>,
    /// The verified backup of this target; absent where another target's backup covers the same cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupRecord>,
}

/// The cluster behind a Seed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SeedCluster {
    /// Name of the Seed.
    #[schemars(length(max = 253))]
    pub seed: String,
    /// UID of the Seed: one that was deleted and made again is another.
    #[schemars(length(max = 64))]
    pub seed_uid: String,
    /// UID of the cluster's namespace `kube-system`: the usual identity of a cluster.
    #[schemars(length(max = 64))]
    pub cluster_uid: String,
}

/// A verified backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupRecord {
    /// Where it lies on the volume.
    #[schemars(length(max = 256))]
    pub location: String,
    /// `sha256:` digest of the manifest.
    #[schemars(length(max = 80))]
    pub digest: String,
    /// How many objects it holds.
    #[schemars(range(min = 0))]
    pub objects: i64,
    /// Size of the archive in bytes.
    #[schemars(range(min = 0))]
    pub bytes: i64,
    /// When its Job was asked for, by the operator's clock: the backup is not older than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When its result was read: it had been read back and found equal by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_time: Option<Time>,
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

/// Something that the run changed and has to put back.
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
    /// Digest of its plan.
    #[schemars(length(max = 80))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,
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

impl Status {
    /// The phase; `None` before the first look. A text that is no phase of ours reads as Pending here, and
    /// [`decide`](crate::decide::decide) stops at it.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.phase.as_deref().map(|text| text.parse().unwrap_or(Phase::Pending))
    }

    /// Whether the run has changed something that is not put back yet.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locked.unwrap_or(false)
    }

    /// Number of the run, 0 before the first.
    #[must_use]
    pub fn run(&self) -> i64 {
        self.run_id.unwrap_or(0)
    }

    /// Changes the named target's entry, which is made where it is missing.
    pub fn update_target(&mut self, name: &str, change: impl FnOnce(&mut Target)) {
        if let Some(target) = self.targets.iter_mut().find(|target| target.name == name) {
            change(target);
        } else {
            let mut target = Target {
                name: name.to_owned(),
                state: "Pending".to_owned(),
                ..Target::default()
            };
            change(&mut target);
            self.targets.push(target);
        }
    }

    /// The named target's entry.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }
}

/// `text` cut to [`MESSAGE_BYTES`] at a character boundary, control characters replaced by blanks.
#[must_use]
pub fn message(text: &str) -> String {
    cut(text, MESSAGE_BYTES)
}

/// `text` cut to so many bytes like [`message`].
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    let clean: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if clean.len() <= bytes {
        return clean;
    }
    let mut end = bytes.saturating_sub('…'.len_utf8());
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    let mut cut: String = clean
        .chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= end).then_some(c)
        })
        .collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_character_and_keeps_no_line_breaks() {
        let cut = message(&format!("a\nb{}", "ü".repeat(300)));
        assert!(cut.len() <= MESSAGE_BYTES, "{}", cut.len());
        assert!(cut.starts_with("a b") && cut.ends_with('…'));
        assert_eq!(message("short"), "short");
    }

    #[test]
    fn an_empty_status_has_nothing_but_its_generation() {
        assert_eq!(
            serde_json::to_value(Status::default()).unwrap(),
            serde_json::json!({"observedGeneration": 0})
        );
    }
}
