//! The run that keeps every promise, event by event.

use std::sync::Arc;

use serde_json::{Value, json};

use super::story::{
    BACKUP_JOB, JOB, LIMIT, Story, UID, at, cluster, configuration_key, deletion, deployment, job, key, record,
    release, set, upgrade_key, write,
};
use crate::{Identity, InstallerRecord, Verb, What};

impl Story {
    /// A run that keeps every promise.
    pub(super) fn whole() -> Self {
        let mut story = Self::empty();
        story.before_deploying();
        story.deploying();
        story.ending();
        story
    }

    fn before_deploying(&mut self) {
        let configuration = Arc::new(self.configuration.clone());
        let backup = json!({"location": "run/1/master", "digest": format!("sha256:{}", "a".repeat(64)), "objects": 9, "bytes": 9,
            "verifiedTime": at(9).to_string()});
        let plan = json!({"digest": "sha256:plan", "content": "sha256:text", "findings": {"blockers": 0}});
        let upgrade = self.upgrade.clone();
        self.push("configuration", What::Seen(configuration_key(), configuration))
            .write("order", write(Identity::Other, Verb::Create, upgrade_key(), upgrade))
            .status(
                "pending",
                "Pending",
                "Pending",
                &[("/runId", json!(1)), ("/targetVersion", json!("2.31.0"))],
            )
            .status(
                "preflight",
                "Preflight",
                "RunningPreflight",
                &[
                    ("/currentVersion", json!("2.30.6")),
                    ("/fromVersion", json!("2.30.6")),
                    (
                        "/hop",
                        json!({"index": 1, "total": 1, "from": "2.30.6", "to": "2.31.0"}),
                    ),
                    ("/plan", plan),
                ],
            )
            .lease("lease", Verb::Create, UID)
            .truth("Planned")
            .truth("PreflightPassed")
            .status("backup", "Backup", "BackingUp", &[("/locked", json!(true))]);
        set(
            &mut self.upgrade,
            "/metadata/finalizers",
            json!(["upgrade.k8c.io/put-back"]),
        );
        self.upgrade_write("finalizer", None)
            .write(
                "backup-job",
                write(
                    Identity::Operator,
                    Verb::Create,
                    key("batch", "jobs", BACKUP_JOB),
                    job(BACKUP_JOB, "backup", None),
                ),
            )
            .write(
                "backup-complete",
                write(
                    Identity::Kubernetes,
                    Verb::Update,
                    key("batch", "jobs", BACKUP_JOB),
                    job(BACKUP_JOB, "backup", Some("Complete")),
                ),
            )
            .status(
                "backed-up",
                "Backup",
                "BackingUp",
                &[(
                    "/targets",
                    json!([{"name": "master", "state": "BackedUp", "backup": backup}]),
                )],
            )
            .write(
                "backup-deleted",
                deletion(Identity::Operator, key("batch", "jobs", BACKUP_JOB), Some("x")),
            )
            .truth("BackupVerified");
    }

    fn deploying(&mut self) {
        self.limiting();
        self.installing();
        self.converging();
    }

    fn limiting(&mut self) {
        let note = json!({"owner": UID, "original": 7, "applied": LIMIT});
        self.status(
            "deploying",
            "Deploying",
            "Throttling",
            &[(
                "/changes",
                json!([{"object": "o", "field": "f", "original": "7", "applied": "3"}]),
            )],
        )
        .limit("limit", LIMIT, Some(note))
        .write(
            "seed-limit",
            write(
                Identity::Other,
                Verb::Update,
                key("apps", "deployments", "kubermatic-seed-controller-manager"),
                deployment("s", "2.30.6", 1),
            ),
        )
        .truth("Throttled");
    }

    fn installing(&mut self) {
        let pod = |phase: &str| json!({"metadata": {"name": format!("{JOB}-abcde")}, "status": {"phase": phase}});
        let fence = json!({"metadata": {"name": JOB, "labels": {"upgrade.k8c.io/upgrade-uid": UID}, "annotations": {"upgrade.k8c.io/fence-owner": "pod"}}});
        let definition = json!({"metadata": {"annotations": {"app.kubernetes.io/version": "v2.31.0"}}});
        let pods = || key("", "pods", &format!("{JOB}-abcde"));
        let mut crds = key(
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            "clusters.kubermatic.k8c.io",
        );
        crds.namespace = String::new();
        self.status(
            "intent",
            "Deploying",
            "UpgradingMaster",
            &[("/step", json!({"name": "Master", "job": JOB, "attempt": 1}))],
        )
        .write(
            "job",
            write(
                Identity::Operator,
                Verb::Create,
                key("batch", "jobs", JOB),
                job(JOB, "installer", None),
            ),
        )
        .write("pod", write(Identity::Kubernetes, Verb::Create, pods(), pod("Running")))
        .write(
            "fence",
            write(Identity::Installer, Verb::Create, key("", "configmaps", JOB), fence),
        )
        .push("start", What::Installer(record("start")))
        .write("crds", write(Identity::Installer, Verb::Update, crds, definition))
        .push(
            "chart",
            What::Installer(InstallerRecord {
                step: "chart/kubermatic-operator".to_owned(),
                ..record("step")
            }),
        )
        .write(
            "release",
            write(
                Identity::Installer,
                Verb::Create,
                key("", "secrets", "sh.helm.release.v1.kubermatic-operator.v2"),
                release("deployed", 2),
            ),
        )
        .push(
            "end",
            What::Installer(InstallerRecord {
                exit_code: Some(0),
                ..record("end")
            }),
        )
        .write(
            "pod-ended",
            write(Identity::Kubernetes, Verb::Update, pods(), pod("Succeeded")),
        )
        .write(
            "job-complete",
            write(
                Identity::Kubernetes,
                Verb::Update,
                key("batch", "jobs", JOB),
                job(JOB, "installer", Some("Complete")),
            ),
        )
        .write(
            "job-deleted",
            deletion(Identity::Operator, key("batch", "jobs", JOB), Some("x")),
        );
    }

    fn converging(&mut self) {
        self.write(
            "operator-rolled",
            write(
                Identity::Other,
                Verb::Update,
                key("apps", "deployments", "kubermatic-operator"),
                deployment("o", "2.31.0", 1),
            ),
        )
        .truth("MasterUpgraded")
        .status(
            "master",
            "Deploying",
            "UpgradingSeeds",
            &[("/step", json!({"name": "Seeds"}))],
        )
        .write(
            "seed-rolled",
            write(
                Identity::Other,
                Verb::Update,
                key("apps", "deployments", "kubermatic-seed-controller-manager"),
                deployment("s", "2.31.0", 1),
            ),
        )
        .truth("SeedsUpgraded")
        .status(
            "seeds",
            "Deploying",
            "ConvergingUserClusters",
            &[("/step", json!({"name": "UserClusters"}))],
        )
        .write(
            "cluster",
            write(
                Identity::Other,
                Verb::Update,
                key("kubermatic.k8c.io", "clusters", "c1"),
                cluster("v2.31.0"),
            ),
        )
        .truth("UserClustersConverged");
    }

    fn ending(&mut self) {
        let entry = json!([{"runId": 1, "to": "2.31.0", "result": "Done", "reason": "UpgradeSucceeded"}]);
        self.status(
            "verifying",
            "Verifying",
            "Verifying",
            &[("/step", json!({"name": "PutBack"}))],
        )
        .limit("put-back", 7, None)
        .truth("Verified")
        .status(
            "done",
            "Done",
            "UpgradeSucceeded",
            &[
                ("/history", entry),
                ("/completionTime", json!(at(60).to_string())),
                ("/currentVersion", json!("2.31.0")),
                ("/locked", Value::Null),
                ("/step", Value::Null),
                ("/changes", json!([])),
            ],
        )
        .lease("lease-back", Verb::Update, "");
        set(&mut self.upgrade, "/metadata/finalizers", json!([]));
        self.upgrade_write("finalizer-off", None);
    }
}
