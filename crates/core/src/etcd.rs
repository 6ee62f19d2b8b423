//! One etcd backup of each user cluster before the platform changes: names, and what the objects on a seed tell. Pure.
//!
//! KKP makes the backup: a one-shot `EtcdBackupConfig` in the namespace of the user cluster is the order for it, and its
//! status the receipt (KKP 2.31 source, `pkg/controller/seed-controller-manager/etcdbackup`). It is never deleted by us,
//! because deleting one deletes the backup.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::effect::short_digest;

/// Rule whose acceptance lets a run go on without the etcd backups that failed.
pub const FAILED_RULE: &str = "etcd-backup-failed";
/// Label on each `EtcdBackupConfig` of ours: the run that it was made for.
pub const RUN_LABEL: &str = "upgrade.k8c.io/run";
/// Annotation on each `EtcdBackupConfig` of ours: when it was asked for, by the operator's clock, RFC 3339.
pub const REQUESTED_ANNOTATION: &str = "upgrade.k8c.io/requested-time";
/// Most user clusters of a seed that one look names as still to be begun.
pub const MOST_NEXT: usize = 100;

/// Value of [`RUN_LABEL`] for a run: at most 63 characters.
#[must_use]
pub fn run_label(uid: &str, run: i64) -> String {
    format!("{uid}.{run}")
}

/// Name of the backup of any user cluster of this run and attempt. KKP names the file in the bucket after cluster and
/// config, so that a name that comes twice would write over an older backup.
#[must_use]
pub fn config_name(uid: &str, run: i64, attempt: i32) -> String {
    format!("{}-{attempt}", stem(uid, run))
}

fn stem(uid: &str, run: i64) -> String {
    format!("kkpu-{}", short_digest(&format!("{uid}\n{run}\netcd")))
}

/// A user cluster whose etcd is to be backed up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EtcdCluster {
    /// Name of the Cluster.
    pub name: String,
    /// UID of the Cluster.
    pub uid: String,
    /// Namespace of its control plane on the seed.
    pub namespace: String,
    /// Its project, where it has one: KKP's dashboard shows backups by project.
    pub project: Option<String>,
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EtcdState {
    /// It has not ended, or KKP has not begun with it.
    Running,
    /// It is in the bucket.
    Completed,
    /// It ended without a backup, for this reason.
    Failed(String),
}

/// One attempt to back up one etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdAttempt {
    /// Number of the attempt, from 1.
    pub number: i32,
    /// When it was asked for; `None` = nobody can tell.
    pub requested: Option<Timestamp>,
    /// How far it is.
    pub state: EtcdState,
}

/// A user cluster without a backup of this run, and its last attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenEtcd {
    /// The user cluster.
    pub cluster: EtcdCluster,
    /// Its last attempt, which is not completed.
    pub attempt: EtcdAttempt,
}

/// What the objects of one seed tell about the etcd backups of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcdFacts {
    /// User clusters that are to have a backup.
    pub total: i32,
    /// Those of them that have one.
    pub completed: i32,
    /// User clusters that KKP backs up now by nobody's order: paused, being deleted, another worker's, or not yet set up.
    pub left_out: i32,
    /// The first of those for which nothing was asked yet, in the order of their names.
    pub next: Vec<EtcdCluster>,
    /// Those with an attempt that is not completed.
    pub open: Vec<OpenEtcd>,
}

/// Puts the objects of one seed together: first the configs of the run, then the user clusters.
#[derive(Debug)]
pub struct EtcdTally {
    prefix: String,
    /// By namespace and number of the attempt.
    attempts: BTreeMap<String, BTreeMap<i32, EtcdAttempt>>,
    facts: EtcdFacts,
}

impl EtcdTally {
    /// Nothing is known yet of the run.
    #[must_use]
    pub fn new(uid: &str, run: i64) -> Self {
        Self {
            prefix: format!("{}-", stem(uid, run)),
            attempts: BTreeMap::new(),
            facts: EtcdFacts::default(),
        }
    }

    /// An `EtcdBackupConfig` with the run's label. One that has another name is none of ours.
    pub fn add_config(&mut self, config: &Value) {
        let text = |path: &str| config.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let number = text("/metadata/name").strip_prefix(&self.prefix);
        let Some(number) = number
            .and_then(|number| number.parse::<i32>().ok())
            .filter(|number| *number > 0)
        else {
            return;
        };
        let annotation = config
            .pointer("/metadata/annotations")
            .and_then(|all| all.get(REQUESTED_ANNOTATION)?.as_str());
        let requested = annotation
            .unwrap_or_else(|| text("/metadata/creationTimestamp"))
            .parse()
            .ok();
        let attempt = EtcdAttempt {
            number,
            requested,
            state: state(config),
        };
        let namespace = self.attempts.entry(text("/metadata/namespace").to_owned()).or_default();
        namespace.insert(number, attempt);
    }

    /// A user cluster; `None` = one that KKP does not back up now.
    pub fn add_cluster(&mut self, cluster: Option<EtcdCluster>) {
        let Some(cluster) = cluster else {
            self.facts.left_out = self.facts.left_out.saturating_add(1);
            return;
        };
        self.facts.total = self.facts.total.saturating_add(1);
        let mut attempts = self.attempts.remove(&cluster.namespace).unwrap_or_default();
        let completed = attempts.values().any(|attempt| attempt.state == EtcdState::Completed);
        match attempts.pop_last() {
            _ if completed => self.facts.completed = self.facts.completed.saturating_add(1),
            Some((_, attempt)) => self.facts.open.push(OpenEtcd { cluster, attempt }),
            None => {
                self.facts.next.push(cluster);
                if self.facts.next.len() > 2 * MOST_NEXT {
                    self.cut();
                }
            }
        }
    }

    fn cut(&mut self) {
        self.facts.next.sort();
        self.facts.next.truncate(MOST_NEXT);
    }

    /// Everything was shown.
    #[must_use]
    pub fn facts(mut self) -> EtcdFacts {
        self.cut();
        self.facts.open.sort_by(|one, other| one.cluster.cmp(&other.cluster));
        self.facts
    }
}

/// Only what says Completed is a backup; one whose config is being deleted is going to be removed with it.
fn state(config: &Value) -> EtcdState {
    if config
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|time| !time.is_null())
    {
        return EtcdState::Failed("its EtcdBackupConfig is being deleted, and the backup with it".to_owned());
    }
    let backups = config.pointer("/status/currentBackups").and_then(Value::as_array);
    let text = |backup: &Value, key: &str| backup.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut failure = None;
    for backup in backups.into_iter().flatten() {
        match text(backup, "backupPhase").as_str() {
            "Completed" => return EtcdState::Completed,
            "Failed" => failure = Some(text(backup, "backupMessage")),
            _ => {}
        }
    }
    match failure {
        Some(why) if why.is_empty() => EtcdState::Failed("KKP says Failed without a message".to_owned()),
        Some(why) => EtcdState::Failed(why),
        None => EtcdState::Running,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const UID: &str = "11111111-2222-3333-4444-555555555555";

    fn cluster(name: &str) -> EtcdCluster {
        EtcdCluster {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: format!("cluster-{name}"),
            project: None,
        }
    }

    fn config(name: &str, attempt: i32, status: &Value) -> Value {
        json!({"metadata": {"name": config_name(UID, 1, attempt), "namespace": format!("cluster-{name}"),
            "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status})
    }

    fn phase(phase: &str) -> Value {
        json!({"currentBackups": [{"backupPhase": phase, "backupMessage": "no bucket"}]})
    }

    fn facts(configs: &[Value], clusters: &[Option<EtcdCluster>]) -> EtcdFacts {
        let mut tally = EtcdTally::new(UID, 1);
        for config in configs {
            tally.add_config(config);
        }
        for cluster in clusters {
            tally.add_cluster(cluster.clone());
        }
        tally.facts()
    }

    #[test]
    fn names_differ_by_run_and_attempt_and_fit() {
        let names = [(UID, 1, 1), (UID, 1, 2), (UID, 2, 1), ("other", 1, 1)];
        let names: std::collections::BTreeSet<String> = names
            .iter()
            .map(|(uid, run, attempt)| config_name(uid, *run, *attempt))
            .collect();
        assert_eq!(names.len(), 4);
        assert!(config_name(UID, i64::MAX, i32::MAX).len() <= 63);
        assert!(run_label(UID, i64::MAX).len() <= 63);
    }

    #[test]
    fn only_completed_is_a_backup() {
        for (status, wanted) in [
            (json!({}), EtcdState::Running),
            (phase("Running"), EtcdState::Running),
            (phase("New in 2.40"), EtcdState::Running),
            (phase("Failed"), EtcdState::Failed("no bucket".to_owned())),
        ] {
            let facts = facts(&[config("a", 1, &status)], &[Some(cluster("a"))]);
            assert_eq!(
                (facts.completed, &facts.open[0].attempt.state),
                (0, &wanted),
                "{status}"
            );
        }
        let facts = facts(&[config("a", 1, &phase("Completed"))], &[Some(cluster("a"))]);
        assert_eq!((facts.total, facts.completed, facts.open.len()), (1, 1, 0));
    }

    #[test]
    fn a_backup_that_is_being_deleted_is_none() {
        let mut going = config("a", 1, &phase("Completed"));
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let facts = facts(&[going], &[Some(cluster("a"))]);
        assert_eq!((facts.completed, facts.open.len()), (0, 1));
    }

    #[test]
    fn the_last_attempt_counts_and_any_completed_one_suffices() {
        let configs = [
            config("a", 2, &phase("Running")),
            config("a", 1, &phase("Failed")),
            config("b", 1, &phase("Completed")),
            config("b", 2, &phase("Failed")),
        ];
        let facts = facts(&configs, &[Some(cluster("b")), Some(cluster("a")), None]);
        assert_eq!((facts.total, facts.completed, facts.left_out), (2, 1, 1));
        assert_eq!(
            (facts.open[0].cluster.name.as_str(), facts.open[0].attempt.number),
            ("a", 2)
        );
    }

    #[test]
    fn configs_of_others_and_of_other_runs_count_for_nothing() {
        let mut foreign = config("a", 1, &phase("Completed"));
        foreign["metadata"]["name"] = json!("default-backups");
        let mut earlier = foreign.clone();
        earlier["metadata"]["name"] = json!(config_name(UID, 2, 1));
        let facts = facts(&[foreign, earlier], &[Some(cluster("a"))]);
        assert_eq!((facts.completed, facts.next), (0, vec![cluster("a")]));
    }

    #[test]
    fn the_annotation_tells_when_it_was_asked_for_before_the_servers_clock() {
        let mut asked = config("a", 1, &json!({}));
        asked["metadata"]["annotations"] = json!({REQUESTED_ANNOTATION: "2026-01-01T01:00:00Z"});
        for (config, wanted) in [
            (asked, "2026-01-01T01:00:00Z"),
            (config("a", 1, &json!({})), "2026-01-01T00:00:00Z"),
        ] {
            let facts = facts(&[config], &[Some(cluster("a"))]);
            assert_eq!(facts.open[0].attempt.requested, Some(wanted.parse().unwrap()));
        }
    }

    #[test]
    fn what_is_named_as_next_is_bounded_and_in_order() {
        let clusters: Vec<_> = (0..1000).rev().map(|n| Some(cluster(&format!("{n:04}")))).collect();
        let facts = facts(&[], &clusters);
        assert_eq!((facts.total, facts.next.len()), (1000, MOST_NEXT));
        assert_eq!(
            (facts.next[0].name.as_str(), facts.next[99].name.as_str()),
            ("0000", "0099")
        );
    }
}
