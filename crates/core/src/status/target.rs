//! Status: master and seeds, how far they are and what covers them. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Time;

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
    /// Backups of the etcds of this seed's user clusters, made for this run; absent where none are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_backups: Option<EtcdCounts>,
    /// The verified backup of this target; absent where another target's backup covers the same cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupRecord>,
}

/// Backups of the etcds of a seed's user clusters, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EtcdCounts {
    /// User clusters that are to have one.
    #[schemars(range(min = 0))]
    pub total: i32,
    /// Those of them that have one.
    #[schemars(range(min = 0))]
    pub completed: i32,
    /// Those of them for which it failed or took too long, in all attempts that there are.
    #[schemars(range(min = 0))]
    pub failed: i32,
    /// User clusters that KKP does not back up now: paused, being deleted, of another worker, or not yet set up.
    #[schemars(range(min = 0))]
    pub left_out: i32,
}

/// The etcd backups of this run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EtcdRun {
    /// Attempts that each user cluster has in this run; each retry of the run adds some.
    #[schemars(range(min = 0, max = 1000))]
    pub attempts: i32,
    /// When the last one was seen complete, or was given up by an accepted risk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_time: Option<Time>,
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
    /// How many backups of this target lay in the storage then, this one included.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<i64>,
    /// What could not be compared with the cluster, because its API server had forgotten the revision of the backup each time;
    /// absent = every object was found equal at that very revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}

/// What changed between a backup and its comparison with the cluster, in objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Drift {
    /// Not written since, compared and equal.
    #[schemars(range(min = 0))]
    pub compared: i64,
    /// Written since.
    #[schemars(range(min = 0))]
    pub changed: i64,
    /// New since.
    #[schemars(range(min = 0))]
    pub created: i64,
    /// Gone since.
    #[schemars(range(min = 0))]
    pub deleted: i64,
}

/// What became of older backups when the run was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionRecord {
    /// How many were removed.
    #[schemars(range(min = 0))]
    pub removed: i64,
    /// How many verified ones of this platform's clusters stay.
    #[schemars(range(min = 0))]
    pub kept: i64,
    /// Why not all that may go are gone.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When its result was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}
