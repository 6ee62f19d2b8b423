//! The one Node of a control plane. Registered once; nothing is renewed.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::cluster::{CallError, Cluster};

/// How long a starting API server may take to accept the Node.
const REGISTRATION_DEADLINE: Duration = Duration::from_mins(1);

/// Makes the Node, or takes over the one that is there, and marks it Ready; its logs are served on this port.
pub(super) async fn register(cluster: &Cluster, name: &str, log_port: u16) -> Result<(), CallError> {
    let tries = async {
        loop {
            match register_once(cluster, name, log_port).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "the Node is not registered yet"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    if tokio::time::timeout(REGISTRATION_DEADLINE, tries).await.is_ok() {
        return Ok(());
    }
    register_once(cluster, name, log_port).await
}

async fn register_once(cluster: &Cluster, name: &str, log_port: u16) -> Result<(), CallError> {
    let nodes: Api<Node> = Api::all(cluster.client());
    let node: Node = Node {
        metadata: kube::api::ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(
                [
                    ("kubernetes.io/hostname", name),
                    ("kubernetes.io/os", "linux"),
                    ("kubernetes.io/arch", architecture()),
                ]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ),
            ..kube::api::ObjectMeta::default()
        },
        ..Node::default()
    };
    let create = PostParams::default();
    match cluster
        .call(|| format!("register Node {name}"), nodes.create(&create, &node))
        .await
    {
        Err(error) if !error.is_conflict() => return Err(error),
        _ => {}
    }
    let parameters = PatchParams::default();
    // Admission taints a new Node as not ready; nobody else here would take that away.
    let spec = Patch::Merge(json!({"spec": {"taints": null}}));
    cluster
        .call(
            || format!("take the taints off Node {name}"),
            nodes.patch(name, &parameters, &spec),
        )
        .await?;
    let status = Patch::Strategic(status(name, log_port));
    cluster
        .call(
            || format!("mark Node {name} as ready"),
            nodes.patch_status(name, &parameters, &status),
        )
        .await
        .map(drop)
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

fn status(name: &str, log_port: u16) -> serde_json::Value {
    let capacity = json!({"cpu": "256", "memory": "1024Gi", "pods": "5000", "ephemeral-storage": "1024Gi"});
    let now = jiff::Timestamp::now();
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "lastHeartbeatTime": now, "lastTransitionTime": now});
    json!({"status": {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [
            condition("Ready", "True", "KubeletReady"),
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        ],
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": log_port}},
    }})
}
