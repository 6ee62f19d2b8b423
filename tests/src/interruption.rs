//! Moments of a run at which a test can hold it, ways to interrupt it there, and what must be true of its installer
//! whatever happened.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kkp_lab::platform::MASTER;
use kkp_lab::pod_runner::{Control, ControlCommand, StartBehaviour};
use kkp_upgrade_core::status::Status;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::bed::{Bed, NAMESPACE};
use crate::faults::reason_of;

/// Longest that a run may take to a point.
const REACHED: Duration = Duration::from_mins(4);
/// The operator's Pods.
const OPERATOR_LABEL: &str = "app.kubernetes.io/name=kkp-upgrade-operator";

/// A moment of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Preflight, stopped by a blocker.
    Blocked,
    /// A backup Job is there.
    Backup,
    /// The installer's Job is there and its Pod has not started.
    BeforeFence,
    /// The installer runs.
    Installer,
    /// User clusters converge.
    Converging,
    /// The evidence is watched.
    Soak,
}

impl Point {
    /// A `KKPUpgrade` to 2.31.0 with limit 2 that can be held here.
    #[must_use]
    pub fn upgrade(self, name: &str) -> String {
        // Two minutes are longer than any of these tests waits: who is not interrupted is not Done.
        let soak = if self == Self::Soak { 120 } else { 0 };
        // Not to back up is a blocker as long as nobody has accepted its risk.
        let policy = if self == Self::Blocked { "Skip" } else { "Required" };
        format!(
            "apiVersion: upgrade.k8c.io/v1alpha1
kind: KKPUpgrade
metadata: {{name: {name}, namespace: kubermatic}}
spec:
  targetVersion: \"2.31.0\"
  maximumParallelReconciles: 2
  backup: {{policy: {policy}}}
  verification: {{soakSeconds: {soak}}}
"
        )
    }

    /// Whether the status shows this moment.
    #[must_use]
    pub fn is_shown(self, status: &Status) -> bool {
        let phase = status.phase.as_deref().unwrap_or_default();
        let step = status.step.as_ref();
        let step_is = |name: &str| step.is_some_and(|step| step.name == name);
        let has_job = step.is_some_and(|step| step.job.is_some());
        match self {
            Self::Blocked => phase == "Preflight" && reason_of(status, "Stalled") == "PreflightBlocked",
            Self::Backup => phase == "Backup" && has_job,
            Self::BeforeFence | Self::Installer => phase == "Deploying" && step_is("Master") && has_job,
            Self::Converging => phase == "Deploying" && step_is("UserClusters"),
            Self::Soak => phase == "Verifying" && step_is("Verify") && status.evidence_since.is_some(),
        }
    }
}

/// How a run is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Annotation `upgrade.k8c.io/abort`.
    Annotation,
    /// `spec.targetVersion` goes back.
    Git,
    /// The KKPUpgrade is deleted.
    Deletion,
}

impl Bed {
    /// Pods with this step of ours start like this from now on.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn job_pods_start(&self, step: &str, behaviour: StartBehaviour) -> anyhow::Result<()> {
        let labels = BTreeMap::from([("upgrade.k8c.io/step".to_owned(), step.to_owned())]);
        let command = ControlCommand::OnStart {
            labels,
            behaviour,
            pods: None,
        };
        self.node()?.send(&command).await?;
        Ok(())
    }

    /// All Pods start as always again.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn pods_start_normally(&self) -> anyhow::Result<()> {
        self.node()?.send(&ControlCommand::ForgetStarts).await?;
        Ok(())
    }

    fn node(&self) -> anyhow::Result<Control> {
        Ok(Control::new(&self.node_folder(MASTER)?))
    }

    /// Waits until a run is at a point; its status there.
    ///
    /// # Errors
    /// When it does not get there.
    pub async fn reached(&self, name: &str, point: Point) -> anyhow::Result<Status> {
        if point == Point::Installer {
            let before = self.installer_ends()?.len();
            self.wait("the installer's start", REACHED, || async {
                let (starts, ends) = (self.installer_starts("2.31.0").ok()?, self.installer_ends().ok()?);
                (starts.len() > ends.len() && ends.len() == before).then_some(())
            })
            .await?;
        }
        self.until(name, REACHED, |status| point.is_shown(status))
            .await
            .with_context(|| format!("{point:?}"))
    }

    /// Interrupts a run.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn interrupt(&self, name: &str, way: Way) -> anyhow::Result<()> {
        match way {
            Way::Annotation => self.command(name, "abort", "now").await,
            Way::Git => {
                let revert = r#"{"spec":{"targetVersion":"2.30.6"}}"#;
                self.kubectl(&[
                    "patch",
                    "kkpupgrade",
                    name,
                    "-n",
                    NAMESPACE,
                    "--type=merge",
                    "-p",
                    revert,
                ])
                .await
                .map(drop)
            }
            Way::Deletion => self
                .kubectl(&["delete", "kkpupgrade", name, "-n", NAMESPACE, "--wait=false"])
                .await
                .map(drop),
        }
    }

    /// Exit codes of the installer runs of 2.31.0 that have ended; a run that was killed has none.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn installer_ends(&self) -> anyhow::Result<Vec<i64>> {
        let ledger = self.running.platform.ledger()?;
        let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        let ours: Vec<Option<String>> = ledger
            .iter()
            .filter(|entry| text(entry, "event").as_deref() == Some("start"))
            .filter(|entry| text(entry, "version").is_some_and(|version| version.trim_start_matches('v') == "2.31.0"))
            .map(|entry| text(entry, "runId"))
            .collect();
        let ends = ledger
            .iter()
            .filter(|entry| text(entry, "event").as_deref() == Some("end") && ours.contains(&text(entry, "runId")));
        Ok(ends
            .filter_map(|entry| entry.get("exitCode").and_then(Value::as_i64))
            .collect())
    }

    /// Every run of the installer has ended well, and there were so many.
    ///
    /// # Errors
    /// When it is not so.
    pub fn installers_ended_well(&self, runs: usize) -> anyhow::Result<()> {
        let (starts, ends) = (self.installer_starts("2.31.0")?, self.installer_ends()?);
        ensure!(starts.len() == runs, "{runs} runs expected: {starts:?}");
        ensure!(
            ends == vec![0; runs],
            "exit codes {ends:?} of {runs} runs: one was killed or failed"
        );
        Ok(())
    }

    /// The operator's Pods.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn operator_pods(&self) -> anyhow::Result<Vec<Pod>> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), NAMESPACE);
        Ok(pods.list(&ListParams::default().labels(OPERATOR_LABEL)).await?.items)
    }

    /// Kills one operator with SIGKILL, waiting for its process first where it is about to start.
    ///
    /// # Errors
    /// When there is no such Pod or its process does not come.
    pub async fn kill_operator(&self, pod: &Pod) -> anyhow::Result<()> {
        let command = ControlCommand::Kill {
            namespace: NAMESPACE.to_owned(),
            pod: pod.name_any(),
            container: Some("operator".to_owned()),
            signal: "SIGKILL".to_owned(),
        };
        let node = self.node()?;
        self.wait("the operator's process", REACHED, || async {
            node.send(&command).await.ok()
        })
        .await
        .map(drop)
    }

    /// How often the operator's container was started again.
    ///
    /// # Errors
    /// When the Pods cannot be listed.
    pub async fn operator_restarts(&self) -> anyhow::Result<i32> {
        let restarts = |pod: &Pod| {
            let statuses = pod
                .status
                .as_ref()
                .and_then(|status| status.container_statuses.as_ref());
            statuses
                .into_iter()
                .flatten()
                .map(|status| status.restart_count)
                .sum::<i32>()
        };
        Ok(self.operator_pods().await?.iter().map(restarts).sum())
    }
}
