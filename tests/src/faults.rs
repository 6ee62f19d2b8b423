//! What tests do to a bed: operator timings, volumes that refuse, the limit, and how they read what was left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kkp_lab::platform::MASTER;
use kkp_upgrade_core::status::Status;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::bed::{Bed, NAMESPACE};

/// Longest that the operator's Pod may take to be replaced.
const REPLACED: Duration = Duration::from_mins(4);
const OPERATOR: &str = "kkp-upgrade-operator";

/// A fault of a volume.
#[derive(Debug, Clone, Copy)]
pub enum VolumeFault {
    /// Mounted read-only.
    ReadOnly,
    /// Room for this many KiB.
    Kibibytes(u32),
}

impl Bed {
    /// Adds arguments to the operator's container and waits until the Pod with them is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn operator_arguments(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let add = |argument: &&str| json!({"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": argument});
        let patch = Value::Array(arguments.iter().map(add).collect()).to_string();
        self.kubectl(&[
            "patch",
            "deployment",
            OPERATOR,
            "-n",
            NAMESPACE,
            "--type=json",
            "-p",
            &patch,
        ])
        .await?;
        let deployments = Api::<Deployment>::namespaced(self.client.clone(), NAMESPACE);
        self.wait("the operator's Pod with new arguments", REPLACED, || async {
            let deployment = deployments.get(OPERATOR).await.ok()?;
            let status = deployment.status?;
            let seen = status.observed_generation >= deployment.metadata.generation;
            (seen
                && status.updated_replicas == Some(1)
                && status.ready_replicas == Some(1)
                && status.replicas == Some(1))
            .then_some(())
        })
        .await
    }

    /// Folder of the node of a cluster: Pods' logs and claims.
    ///
    /// # Errors
    /// When there is no such cluster.
    pub fn node_folder(&self, cluster: &str) -> anyhow::Result<PathBuf> {
        Ok(self.running.lab.cluster(cluster)?.folder.join("pods"))
    }

    /// Makes a claim on the master whose volume is there already; its folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn claim(&self, name: &str) -> anyhow::Result<PathBuf> {
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        });
        self.apply(&claim.to_string()).await?;
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), NAMESPACE);
        let uid = claims.get(name).await?.uid().context("the claim has no UID")?;
        let folder = self.node_folder(MASTER)?.join("claims").join(uid);
        std::fs::create_dir_all(&folder)?;
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        Ok(folder)
    }

    /// Mounts a fault over a claim's folder, in the lab's mount namespace: the host does not see it, and it ends with the
    /// lab.
    ///
    /// # Errors
    /// What mount says.
    pub async fn break_volume(&self, folder: &Path, fault: VolumeFault) -> anyhow::Result<()> {
        let size = match fault {
            VolumeFault::ReadOnly => "ro".to_owned(),
            VolumeFault::Kibibytes(size) => format!("size={size}k"),
        };
        let options = format!("mode=0777,{size}");
        self.in_mounts_of_lab(&["mount", "-t", "tmpfs", "-o", &options, "tmpfs"], folder)
            .await
    }

    /// Takes the fault off again; below it lies the volume as it was. A lab cannot remove a folder that is mounted on, so
    /// this belongs before its end.
    ///
    /// # Errors
    /// What umount says.
    pub async fn mend_volume(&self, folder: &Path) -> anyhow::Result<()> {
        self.in_mounts_of_lab(&["umount"], folder).await
    }

    async fn in_mounts_of_lab(&self, command: &[&str], folder: &Path) -> anyhow::Result<()> {
        let output = tokio::process::Command::new("nsenter")
            .arg(format!("--target={}", self.running.lab.pid()))
            .arg("--mount")
            .args(command)
            .arg(folder)
            .output()
            .await
            .context("nsenter cannot be started")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {said}");
        Ok(())
    }

    /// The limit on parallel reconciles; `None` = not set.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn limit(&self) -> anyhow::Result<Option<i64>> {
        Ok(self
            .configuration()
            .await?
            .pointer("/spec/seedController/maximumParallelReconciles")
            .and_then(Value::as_i64))
    }

    /// The operator's note beside the limit.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn limit_note(&self) -> anyhow::Result<Option<String>> {
        let configuration = self.configuration().await?;
        let note = configuration
            .pointer("/metadata/annotations/upgrade.k8c.io~1throttle")
            .and_then(Value::as_str);
        Ok(note.map(str::to_owned))
    }

    /// Sets the limit as a person would.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn set_limit(&self, limit: i64) -> anyhow::Result<()> {
        let patch = json!({"spec": {"seedController": {"maximumParallelReconciles": limit}}}).to_string();
        let name = self
            .configuration()
            .await?
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        self.kubectl(&[
            "patch",
            "kubermaticconfiguration",
            &name,
            "-n",
            NAMESPACE,
            "--type=merge",
            "-p",
            &patch,
        ])
        .await?;
        Ok(())
    }

    async fn configuration(&self) -> anyhow::Result<Value> {
        let text = self
            .kubectl(&["get", "kubermaticconfigurations", "-n", NAMESPACE, "-o", "json"])
            .await?;
        let list: Value = serde_json::from_str(&text)?;
        list.pointer("/items/0")
            .cloned()
            .context("there is no KubermaticConfiguration")
    }

    /// Gives a command by its annotation.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn command(&self, upgrade: &str, command: &str, token: &str) -> anyhow::Result<()> {
        let annotation = format!("upgrade.k8c.io/{command}={token}");
        self.kubectl(&[
            "annotate",
            "kkpupgrade",
            upgrade,
            "-n",
            NAMESPACE,
            "--overwrite",
            &annotation,
        ])
        .await?;
        Ok(())
    }

    /// Deletes a KKPUpgrade and waits until it is gone.
    ///
    /// # Errors
    /// When it is not gone in time.
    pub async fn delete(&self, upgrade: &str) -> anyhow::Result<()> {
        self.kubectl(&["delete", "kkpupgrade", upgrade, "-n", NAMESPACE, "--timeout=30s"])
            .await?;
        Ok(())
    }

    /// Runs of the installer of a version that have started, by the name of their Job's Pod, after a check that no two
    /// of them ran at the same time and no Job had two.
    ///
    /// # Errors
    /// When two overlapped, or one attempt ran twice.
    pub fn installer_starts(&self, version: &str) -> anyhow::Result<Vec<String>> {
        let mut open: Option<String> = None;
        let mut starts = Vec::new();
        for entry in self.running.platform.ledger()? {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            match text("event").as_str() {
                "start" => {
                    if let Some(other) = open.replace(text("runId")) {
                        bail!("installer run {} started while {other} had not ended", text("runId"));
                    }
                    if text("version").trim_start_matches('v') == version {
                        starts.push(text("hostname"));
                    }
                }
                "end" => open = None,
                _ => {}
            }
        }
        // A Job's Pod is named <job>-<five characters>; a second Pod of the same Job would be a second start of one attempt.
        let mut jobs: Vec<&str> = starts
            .iter()
            .filter_map(|pod| pod.rsplit_once('-'))
            .map(|(job, _)| job)
            .collect();
        jobs.sort_unstable();
        if let Some(pair) = jobs.windows(2).find(|pair| pair.first() == pair.last()) {
            bail!("Job {} started the installer twice", pair.first().unwrap_or(&""));
        }
        Ok(starts)
    }
}

/// Message of a condition; empty where it is absent.
#[must_use]
pub fn message_of(status: &Status, condition: &str) -> String {
    status
        .conditions
        .iter()
        .find(|found| found.r#type == condition)
        .map_or_else(String::new, |found| found.message.clone())
}

/// Reason of a condition; empty where it is absent.
#[must_use]
pub fn reason_of(status: &Status, condition: &str) -> String {
    status
        .conditions
        .iter()
        .find(|found| found.r#type == condition)
        .map_or_else(String::new, |found| found.reason.clone())
}
