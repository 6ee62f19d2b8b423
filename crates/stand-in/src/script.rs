//! Latencies and faults of the stand-ins: `script.yaml` in the state folder, read again at every use, so that a test can
//! change it while the programs run. Absent file or key: the default. Only reads that one file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The folder of `script.yaml` and `ledger.jsonl`.
pub const STATE_FOLDER: &str = "/var/lib/kkp-stand-in";
/// Environment variable that names another state folder, for tests.
pub const STATE_FOLDER_VARIABLE: &str = "KKP_STAND_IN_STATE";

/// The whole script; one section a program. Times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Script {
    /// kubermatic-operator.
    pub operator: OperatorScript,
    /// master-controller-manager.
    pub master: MasterScript,
    /// seed-controller-manager.
    pub seed: SeedScript,
    /// kubermatic-webhook.
    pub webhook: WebhookScript,
    /// Sections of other programs, kept as they are.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// Behaviour of kubermatic-operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OperatorScript {
    /// From process start to the first action.
    pub start_ms: u64,
    /// Before each Deployment of the master whose Pods will be replaced.
    pub master_deployment_ms: u64,
    /// Before each Deployment of a seed whose Pods will be replaced.
    pub seed_deployment_ms: u64,
    /// Before the CRDs of a seed are replaced.
    pub crds_ms: u64,
    /// The master is left alone, silently.
    pub master_stuck: bool,
    /// Faults by name of the Seed; `*` for those not named.
    pub seeds: BTreeMap<String, OperatorSeedScript>,
}

/// Behaviour of kubermatic-operator towards one seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OperatorSeedScript {
    /// The seed is left alone, silently: its old conditions stay.
    pub stuck: bool,
    /// Every reconciliation fails with this message.
    pub error: Option<String>,
    /// How late a changed KubermaticConfiguration reaches this seed.
    pub configuration_delay_ms: u64,
    /// How late a new operator begins with this seed.
    pub roll_delay_ms: u64,
}

/// Behaviour of master-controller-manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MasterScript {
    /// From process start to the first action.
    pub start_ms: u64,
    /// Between two looks at a seed (KKP: 60 s).
    pub seed_status_ms: u64,
    /// Seeds whose status is not written.
    pub silent_seeds: Vec<String>,
    /// Seeds to which nothing is copied.
    pub unsynchronised_seeds: Vec<String>,
}

/// Behaviour of seed-controller-manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SeedScript {
    /// From process start to the first action.
    pub start_ms: u64,
    /// What one reconciliation of a user cluster takes, when it changes something.
    pub reconcile_ms: u64,
    /// After how long a throttled user cluster is looked at again (KKP: 10 s).
    pub throttle_requeue_ms: u64,
    /// What one Addon takes.
    pub addon_ms: u64,
    /// Replicas of etcd of each user cluster (KKP: 3).
    pub etcd_replicas: i32,
    /// Faults by name of the user cluster; `*` for those not named.
    pub clusters: BTreeMap<String, ClusterScript>,
}

/// Faults of one user cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClusterScript {
    /// Its Deployments are written but never roll, so it occupies a place of the throttle for ever.
    pub never_converges: bool,
    /// Every reconciliation of the cluster controller fails with this message.
    pub error: Option<String>,
    /// Overrides of `status.extendedHealth`, for example `etcd: HealthStatusDown`.
    pub health: BTreeMap<String, String>,
    /// Its Addons are never reconciled.
    pub addons_stuck: bool,
    /// Its Addons take this much longer.
    pub addon_delay_ms: u64,
    /// Its one-shot etcd backups.
    pub etcd_backup: EtcdBackupScript,
}

/// Faults of one user cluster's one-shot etcd backups: ends of the names of `EtcdBackupConfigs`, an empty text for all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EtcdBackupScript {
    /// They run and fail.
    pub failed: Vec<String>,
    /// They never begin.
    pub never: Vec<String>,
}

/// Behaviour of kubermatic-webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WebhookScript {
    /// From process start to the moment when it answers.
    pub start_ms: u64,
    /// What one answer takes.
    pub answer_ms: u64,
    /// Refuses every request for a resource (plural name) with this message.
    pub refuse: BTreeMap<String, String>,
}

impl Default for OperatorScript {
    fn default() -> Self {
        Self {
            start_ms: 100,
            master_deployment_ms: 50,
            seed_deployment_ms: 50,
            crds_ms: 50,
            master_stuck: false,
            seeds: BTreeMap::new(),
        }
    }
}

impl Default for MasterScript {
    fn default() -> Self {
        Self {
            start_ms: 50,
            seed_status_ms: 2_000,
            silent_seeds: Vec::new(),
            unsynchronised_seeds: Vec::new(),
        }
    }
}

impl Default for SeedScript {
    fn default() -> Self {
        Self {
            start_ms: 50,
            reconcile_ms: 50,
            throttle_requeue_ms: 500,
            addon_ms: 100,
            etcd_replicas: 1,
            clusters: BTreeMap::new(),
        }
    }
}

impl Default for WebhookScript {
    fn default() -> Self {
        Self {
            start_ms: 200,
            answer_ms: 0,
            refuse: BTreeMap::new(),
        }
    }
}

impl OperatorScript {
    /// What the script says about one Seed.
    #[must_use]
    pub fn seed(&self, name: &str) -> OperatorSeedScript {
        named_or_any(&self.seeds, name)
    }
}

impl SeedScript {
    /// What the script says about one user cluster.
    #[must_use]
    pub fn cluster(&self, name: &str) -> ClusterScript {
        named_or_any(&self.clusters, name)
    }
}

fn named_or_any<T: Clone + Default>(entries: &BTreeMap<String, T>, name: &str) -> T {
    entries
        .get(name)
        .or_else(|| entries.get("*"))
        .cloned()
        .unwrap_or_default()
}

impl Script {
    /// The script of this process as it is now. A script that does not parse is reported and counts as absent.
    #[must_use]
    pub fn load() -> Self {
        match Self::load_from(&state_folder()) {
            Ok(script) => script,
            Err(error) => {
                tracing::error!(%error, "the script is ignored");
                Self::default()
            }
        }
    }

    /// The script in a state folder; the default if the folder has none.
    ///
    /// # Errors
    /// If the file is there and is not a script.
    pub fn load_from(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("script.yaml");
        let failed = |reason: String| Error::File {
            path: path.display().to_string(),
            reason,
        };
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => Ok(Self::default()),
            Ok(text) => serde_saphyr::from_str(&text).map_err(|error| failed(error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Writes the script so that a running program never reads half of it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_to(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join("script.yaml");
        let failed = |reason: String| Error::File {
            path: path.display().to_string(),
            reason,
        };
        let text = serde_saphyr::to_string(self).map_err(|error| failed(error.to_string()))?;
        let temporary = folder.join(".script.yaml.new");
        std::fs::write(&temporary, text).map_err(|error| failed(error.to_string()))?;
        std::fs::rename(&temporary, &path).map_err(|error| failed(error.to_string()))
    }
}

/// The state folder of this process.
#[must_use]
pub fn state_folder() -> PathBuf {
    std::env::var_os(STATE_FOLDER_VARIABLE).map_or_else(|| PathBuf::from(STATE_FOLDER), PathBuf::from)
}

/// A latency from the script; zero does not even yield.
pub(crate) async fn pause(milliseconds: u64) {
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_or_empty_script_is_the_default() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Script::load_from(folder.path()).unwrap(), Script::default());
        std::fs::write(folder.path().join("script.yaml"), "\n").unwrap();
        assert_eq!(Script::load_from(folder.path()).unwrap(), Script::default());
    }

    #[test]
    fn what_is_written_is_read_again_with_sections_of_other_programs() {
        let folder = tempfile::tempdir().unwrap();
        let mut script = Script::default();
        script.seed.clusters.insert(
            "abc".to_owned(),
            ClusterScript {
                never_converges: true,
                ..ClusterScript::default()
            },
        );
        script
            .other
            .insert("installer".to_owned(), serde_json::json!({"exitCode": 3}));
        script.write_to(folder.path()).unwrap();
        let read = Script::load_from(folder.path()).unwrap();
        assert_eq!(read, script);
        assert!(read.seed.cluster("abc").never_converges && !read.seed.cluster("other").never_converges);
    }

    #[test]
    fn a_key_that_nobody_knows_is_an_error_not_a_silent_default() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("script.yaml"), "seed: {reconcileMilliseconds: 5}").unwrap();
        assert!(Script::load_from(folder.path()).is_err());
    }

    #[test]
    fn a_star_counts_for_everything_that_is_not_named() {
        let script: Script = serde_saphyr::from_str("operator: {seeds: {eu: {}, '*': {stuck: true}}}").unwrap();
        assert!(!script.operator.seed("eu").stuck && script.operator.seed("us").stuck);
    }
}
