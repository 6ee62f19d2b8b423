//! A bed with several operators, and what tests do to one of them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kkp_lab::platform::{MASTER, Topology};
use kkp_lab::pod_runner::{Control, ControlCommand};
use kube::{Api, ResourceExt};

use super::gate;
use crate::bed::{Bed, BedOptions, NAMESPACE};

/// Name of the leader's Lease.
pub const LEADER_LEASE: &str = "kkp-upgrade-operator-leader";
/// How long a lease must stay unchanged before another one takes over.
pub const LEASE: Duration = Duration::from_secs(1);
/// Pause between two looks at the lease.
pub const RETRY: Duration = Duration::from_millis(100);
/// The platform's own limit.
pub const ORIGINAL: i64 = 7;
/// Longest that anything here may take.
pub const DEADLINE: Duration = Duration::from_mins(5);
const DEPLOYMENT: &str = "deployment/kkp-upgrade-operator";

/// Soak of the upgrades of these tests, in seconds.
pub const SOAK: u32 = 2;

impl Bed {
    /// A platform with so many operators, whose lease lasts a second; all of their writes go through the gate, if there is
    /// one.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn with_operators(program: PathBuf, count: usize, gate: Option<&gate::Gate>) -> anyhow::Result<Self> {
        let options = BedOptions {
            program,
            versions: vec!["2.31.0".to_owned()],
            overrides: Vec::new(),
            snapshot: true,
        };
        let bed = Self::start(&Topology::small("2.30.6"), &options).await?;
        bed.install_operator().await?;
        if let Some(gate) = gate {
            let variable = format!("{}={}", gate::VARIABLE, gate.address);
            bed.kubectl(&["set", "env", DEPLOYMENT, "-n", NAMESPACE, &variable])
                .await?;
        }
        let lease = format!("--leader-lease={}", LEASE.as_millis());
        let retry = format!("--leader-retry={}", RETRY.as_millis());
        let flags = [
            "--poll=500",
            "--resync=1000",
            "--leader-renew-deadline=800",
            &lease,
            &retry,
        ];
        bed.operator_arguments(&flags).await?;
        bed.set_limit(ORIGINAL).await?;
        bed.scale(count).await?;
        Ok(bed)
    }

    /// Runs so many operators and waits until all of them are ready.
    ///
    /// # Errors
    /// When they do not become ready.
    pub async fn scale(&self, count: usize) -> anyhow::Result<()> {
        let replicas = format!("--replicas={count}");
        self.kubectl(&["scale", DEPLOYMENT, "-n", NAMESPACE, &replicas]).await?;
        self.wait("the operators", DEADLINE, || async {
            let pods = self.operator_pods().await.ok()?;
            (pods.len() == count && pods.iter().all(is_ready)).then_some(())
        })
        .await
    }

    /// UID of the Pod that the lease names.
    pub async fn leader(&self) -> Option<String> {
        let leases = Api::<Lease>::namespaced(self.client.clone(), NAMESPACE);
        let lease = leases.get(LEADER_LEASE).await.ok()?;
        lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    /// Waits for a leader other than `old`; its UID.
    ///
    /// # Errors
    /// When none comes.
    pub async fn next_leader(&self, old: &str) -> anyhow::Result<String> {
        self.wait("another leader", DEADLINE, || async {
            self.leader().await.filter(|leader| leader != old)
        })
        .await
    }

    /// The operator's Pod with this UID.
    ///
    /// # Errors
    /// When there is none.
    pub async fn operator(&self, uid: &str) -> anyhow::Result<Pod> {
        let pods = self.operator_pods().await?;
        let found = pods.into_iter().find(|pod| pod.uid().as_deref() == Some(uid));
        found.with_context(|| format!("no operator has UID {uid}"))
    }

    /// Sends a signal to the process of one operator.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn signal(&self, pod: &str, signal: &str) -> anyhow::Result<()> {
        let command = ControlCommand::Kill {
            namespace: NAMESPACE.to_owned(),
            pod: pod.to_owned(),
            container: Some("operator".to_owned()),
            signal: signal.to_owned(),
        };
        let signalled = Control::new(&self.node_folder(MASTER)?).send(&command).await?;
        ensure!(signalled == 1, "{signalled} processes of {pod} got {signal}");
        Ok(())
    }

    /// What an operator has logged, of all its runs.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn operator_logs(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        let mut folders = vec![self.node_folder(MASTER)?];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)?.flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir())
                    && path.file_name().is_some_and(|name| name != "claims")
                {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "log") {
                    text.push_str(&String::from_utf8_lossy(&std::fs::read(&path)?));
                }
            }
        }
        Ok(text)
    }

    /// The audit log of the master.
    ///
    /// # Errors
    /// When there is no master.
    pub fn audit_log(&self) -> anyhow::Result<PathBuf> {
        Ok(self.running.lab.cluster(MASTER)?.folder.join("audit.log"))
    }
}

fn is_ready(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses.is_some_and(|statuses| statuses.iter().all(|status| status.ready))
}
