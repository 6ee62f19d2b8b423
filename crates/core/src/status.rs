//! What a run remembers: the status of a KKPUpgrade. Pure.
//!
//! Status holds the cursor and what cannot be observed again; everything about the platform is read anew each round.

mod plan;
mod run;
mod target;
mod text;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::Condition;
use crate::phase::Phase;
use crate::time::Time;

pub use plan::{
    Approval, CatalogueStatus, ConfigMapRef, FindingCounts, FindingStatus, PlanAwaiting, PlanPart, PlanStatus,
};
pub use run::{AbortStatus, Change, Ending, FailedIn, FixCount, HistoryEntry, Hop, PointOfNoReturn, Step, Throttle};
pub use target::{
    BackupRecord, ClusterCounts, Drift, EtcdCounts, EtcdRun, Progress, RetentionRecord, SeedCluster, Target,
};
pub(crate) use text::cut;
pub use text::{MESSAGE_BYTES, message};

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
    /// When the work of the hop began, with its first backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop_start_time: Option<Time>,
    /// How long each hop of this run took from its first backup to its proof, in seconds.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hop_seconds: Vec<i64>,
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
    /// The catalogue that these findings come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<CatalogueStatus>,
    /// How far the run is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Master and seeds.
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// The etcd backups of user clusters that KKP is asked for; absent where there are none to be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_backups: Option<EtcdRun>,
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
    /// What the fixes of `spec.fixes` have come to, by rule.
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<FixCount>,
    /// Objects that a fix has set in motion and that are waited for.
    #[schemars(length(max = 20), inner(length(max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixing: Vec<String>,
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
    /// What this run changed: what it still has to put back, and the fixes that stay.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// What became of older backups when this run was done; absent where there were not more than are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionRecord>,
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
    /// Last answered value of the annotation `upgrade.k8c.io/approve`.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_approve: Option<String>,
}

impl Status {
    /// The phase; `None` before the first look. A text that is no phase of ours reads as Pending here, and
    /// [`decide`](crate::decide::decide) stops at it.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.phase.as_deref().map(|text| text.parse().unwrap_or(Phase::Pending))
    }

    /// Whether the run has ended, well or not.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.phase().is_some_and(Phase::is_terminal)
    }

    /// Whether the run has changed something that is not put back yet.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locked.unwrap_or(false)
    }

    /// Whether something is changed that has to be put back.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.changes.iter().any(|change| !change.permanent)
    }

    /// Whether a temporary fix has to be put back.
    #[must_use]
    pub fn owes_fixes(&self) -> bool {
        self.changes
            .iter()
            .any(|change| !change.permanent && change.rule.is_some())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_status_has_nothing_but_its_generation() {
        assert_eq!(
            serde_json::to_value(Status::default()).unwrap(),
            serde_json::json!({"observedGeneration": 0})
        );
    }
}
