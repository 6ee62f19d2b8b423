//! The installed API on a real API server: `deploy/` applies, its rules hold (only a server computes their cost and
//! evaluates transitions with ratcheting), its accounts can do what they are for and no more.

#![expect(
    clippy::unwrap_used,
    reason = "functions that tests share; the exemption for tests covers only the tests themselves"
)]

use std::path::PathBuf;
use std::process::Output;

use kkp_lab::{Lab, Topology};
use kkp_upgrade_tests::bed::COLUMNS;

const MASTER: &str = "master";
const RUNNING: &str = r#"{"status":{"observedGeneration":1,"locked":true,"fromVersion":"2.30.6","currentVersion":"2.30.6","phase":"Deploying"}}"#;

/// A control plane with everything of `deploy/` on it and the fullest sample.
struct Server {
    lab: Lab,
}

impl Server {
    async fn start() -> Self {
        let lab = Lab::start(Topology {
            program: Some(PathBuf::from(env!("CARGO_BIN_EXE_kkp-upgrade-testbed"))),
            pod_runner: false,
            ..Topology::of(&[MASTER])
        })
        .await
        .unwrap();
        let server = Self { lab };
        for namespace in ["kubermatic", "dex"] {
            server.works(&["create", "namespace", namespace]).await;
        }
        server.works(&["apply", "-k", &deploy("")]).await;
        server
            .works(&[
                "wait",
                "--for=condition=Established",
                "crd/kkpupgrades.upgrade.k8c.io",
                "--timeout=30s",
            ])
            .await;
        server.works(&["apply", "-f", &deploy("samples/full.yaml")]).await;
        server
    }

    async fn kubectl(&self, arguments: &[&str]) -> Output {
        self.lab.kubectl(MASTER, arguments).await.unwrap()
    }

    /// Standard output of a kubectl that has to succeed.
    async fn works(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments).await;
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the server says to a change of the sample: nothing when it accepts it.
    async fn refusal(&self, patch: &str) -> Option<String> {
        let name = ["-n", "kubermatic", "kkpupgrade", "to-2-31-in-full"];
        let change = ["patch", "--type=merge", "--dry-run=server", "-p", patch];
        let output = self.kubectl(&[change.as_slice(), name.as_slice()].concat()).await;
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    async fn patch_status(&self, patch: &str) {
        let arguments = [
            "-n",
            "kubermatic",
            "patch",
            "kkpupgrade",
            "to-2-31-in-full",
            "--subresource=status",
            "--type=merge",
            "-p",
            patch,
        ];
        self.works(&arguments).await;
    }

    async fn may(&self, account: &str, question: &[&str]) -> bool {
        let user = format!("--as=system:serviceaccount:kubermatic:{account}");
        let output = self
            .kubectl(&[["auth", "can-i"].as_slice(), question, &[user.as_str()]].concat())
            .await;
        String::from_utf8_lossy(&output.stdout).trim() == "yes"
    }
}

fn deploy(path: &str) -> String {
    format!("{}/../deploy/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn a_locked_upgrade_changes_only_where_it_is_safe() {
    let server = Server::start().await;
    assert_eq!(
        server.refusal(r#"{"spec":{"edition":"EE"}}"#).await,
        None,
        "nothing is locked before the run"
    );
    server.patch_status(RUNNING).await;
    for (field, patch) in [
        ("targetVersion", r#"{"spec":{"targetVersion":"2.31.1"}}"#),
        ("mode", r#"{"spec":{"mode":"Plan"}}"#),
        ("edition", r#"{"spec":{"edition":"EE"}}"#),
        ("edition", r#"{"spec":{"edition":null}}"#),
        ("backup", r#"{"spec":{"backup":null}}"#),
        ("installer", r#"{"spec":{"installer":{"skipCharts":[]}}}"#),
        ("installer", r#"{"spec":{"installer":null}}"#),
    ] {
        let said = server.refusal(patch).await.unwrap_or_default();
        assert!(
            said.contains(&format!("`spec.{field}` must not change while the upgrade runs")),
            "{patch}: {said:?}"
        );
    }
    for patch in [
        r#"{"spec":{"paused":true,"maximumParallelReconciles":7,"acceptedRisks":null,"verification":{"soakSeconds":0}}}"#,
        r#"{"spec":{"targetVersion":"v2.30.6","edition":null,"installer":null,"backup":null}}"#,
        r#"{"metadata":{"annotations":{"upgrade.k8c.io/abort":"1"}}}"#,
    ] {
        assert_eq!(server.refusal(patch).await, None, "{patch}");
    }
    server.patch_status(r#"{"status":{"locked":false}}"#).await;
    assert_eq!(
        server
            .refusal(r#"{"spec":{"targetVersion":"2.31.1","backup":null}}"#)
            .await,
        None,
        "the run is over"
    );
    server.lab.stop().unwrap();
}

#[tokio::test]
async fn malformed_specs_are_refused_with_the_field_and_samples_are_accepted() {
    let server = Server::start().await;
    for (patch, field) in [
        (r#"{"spec":{"targetVersion":"latest"}}"#, "spec.targetVersion"),
        (r#"{"spec":{"targetVersion":null}}"#, "spec.targetVersion"),
        (
            r#"{"spec":{"maximumParallelReconciles":0}}"#,
            "spec.maximumParallelReconciles",
        ),
        (r#"{"spec":{"approval":{"mode":"Sometimes"}}}"#, "spec.approval.mode"),
        (
            r#"{"spec":{"approval":{"digests":["sha256:abc"]}}}"#,
            "spec.approval.digests[0]",
        ),
        (
            r#"{"spec":{"backup":{"storage":{"persistentVolumeClaim":null}}}}"#,
            "exactly one kind of storage must be set",
        ),
        (
            r#"{"spec":{"backup":{"encryption":{"recipients":["age1short"]}}}}"#,
            "spec.backup.encryption.recipients[0]",
        ),
        (
            r#"{"spec":{"acceptedRisks":[{"rule":"a","reason":"b"}]}}"#,
            "spec.acceptedRisks[0].expirationTime",
        ),
        (
            r#"{"spec":{"acceptedRisks":[{"rule":"a","reason":"b","expirationTime":"soon"}]}}"#,
            "spec.acceptedRisks[0].expirationTime",
        ),
    ] {
        let said = server.refusal(patch).await.unwrap_or_default();
        assert!(said.contains(field), "{patch}: {said:?}");
    }
    for sample in ["minimal", "plan-only", "full"] {
        server
            .works(&[
                "apply",
                "--dry-run=server",
                "--validate=strict",
                "-f",
                &deploy(&format!("samples/{sample}.yaml")),
            ])
            .await;
    }
    let new = server
        .works(&[
            "-n",
            "kubermatic",
            "get",
            "kkpu",
            "to-2-31-in-full",
            "-o",
            "jsonpath={.status}",
        ])
        .await;
    assert_eq!(
        new, r#"{"observedGeneration":-1}"#,
        "an object that nobody has looked at must not count as current"
    );
    server.works(&["diff", "-k", &deploy("")]).await;
    server.patch_status(RUNNING).await;
    let wide = server
        .works(&["-n", "kubermatic", "get", "kubermatic", "-o", "wide"])
        .await;
    let titles: Vec<&str> = wide.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(titles, COLUMNS);
    let found = server
        .works(&[
            "get",
            "kkpu",
            "-A",
            "--field-selector=status.phase=Deploying",
            "-o",
            "name",
        ])
        .await;
    assert_eq!(found.trim(), "kkpupgrade.upgrade.k8c.io/to-2-31-in-full");
    server.lab.stop().unwrap();
}

#[tokio::test]
async fn accounts_may_do_their_work_and_no_more() {
    const OPERATOR: &str = "kkp-upgrade-operator";
    const BACKUP: &str = "kkp-upgrade-backup";
    let server = Server::start().await;
    for (account, question, expected) in [
        (
            OPERATOR,
            ["update", "kkpupgrades.upgrade.k8c.io", "--subresource=status", "-A"].as_slice(),
            true,
        ),
        (OPERATOR, &["create", "jobs.batch", "-n", "kubermatic"], true),
        (OPERATOR, &["get", "secrets", "-n", "kubermatic"], true),
        (
            OPERATOR,
            &[
                "update",
                "leases.coordination.k8s.io/kkp-upgrade-active",
                "-n",
                "kubermatic",
            ],
            true,
        ),
        (
            OPERATOR,
            &["update", "leases.coordination.k8s.io/other", "-n", "kubermatic"],
            false,
        ),
        (OPERATOR, &["update", "kkpupgrades.upgrade.k8c.io", "-A"], false),
        (OPERATOR, &["create", "jobs.batch", "-n", "dex"], false),
        (OPERATOR, &["list", "secrets", "-n", "dex"], false),
        // The key of the backups, once.
        (OPERATOR, &["create", "secrets", "-n", "kubermatic"], true),
        (OPERATOR, &["update", "secrets", "-n", "kubermatic"], false),
        (OPERATOR, &["delete", "secrets", "-n", "kubermatic"], false),
        (OPERATOR, &["create", "secrets", "-n", "kube-system"], false),
        (
            OPERATOR,
            &["create", "clusterrolebindings.rbac.authorization.k8s.io"],
            false,
        ),
        (BACKUP, &["list", "kkpupgrades.upgrade.k8c.io", "-A"], true),
        (
            BACKUP,
            &["list", "customresourcedefinitions.apiextensions.k8s.io"],
            true,
        ),
        (BACKUP, &["list", "secrets", "-n", "kubermatic"], true),
        (BACKUP, &["list", "secrets", "-A"], false),
        (BACKUP, &["list", "secrets", "-n", "kube-system"], false),
        (BACKUP, &["create", "configmaps", "-n", "kubermatic"], false),
        (BACKUP, &["list", "clusterroles.rbac.authorization.k8s.io"], true),
        (
            BACKUP,
            &[
                "update",
                "kkpupgrades.upgrade.k8c.io",
                "--subresource=status",
                "-n",
                "kubermatic",
            ],
            false,
        ),
        ("kkp-upgrade-installer", &["*", "*"], true),
    ] {
        assert_eq!(server.may(account, question).await, expected, "{account}: {question:?}");
    }
    // Namespaces of charts that do not exist are named and do not keep the others from being bound.
    let bound = server
        .kubectl(&["apply", "-f", &deploy("chart-namespaces/bindings.yaml")])
        .await;
    assert!(String::from_utf8_lossy(&bound.stderr).contains("namespaces \"oauth\" not found"));
    assert!(server.may(OPERATOR, &["list", "secrets", "-n", "dex"]).await);
    assert!(!server.may(OPERATOR, &["list", "secrets", "-A"]).await);
    assert!(server.may(BACKUP, &["list", "secrets", "-n", "dex"]).await);
    assert!(!server.may(BACKUP, &["list", "secrets", "-A"]).await);
    server.lab.stop().unwrap();
}
