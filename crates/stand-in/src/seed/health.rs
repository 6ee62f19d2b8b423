//! `Cluster.status.extendedHealth` and `status.phase` from what runs, with overrides from the script (KKP source,
//! pkg/controller/seed-controller-manager/kubernetes/health.go).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::controller::Action;
use serde_json::json;

use super::context::Context;
use crate::Error;
use crate::apply::merge_status;
use crate::objects::text;
use crate::script::Script;

const UP: &str = "HealthStatusUp";
const PROVISIONING: &str = "HealthStatusProvisioning";
/// Which Deployment says how a component is; components without one here share the one of controller-manager.
const COMPONENTS: [(&str, &str); 5] = [
    ("apiserver", "apiserver"),
    ("controller", "controller-manager"),
    ("scheduler", "controller-manager"),
    ("machineController", "controller-manager"),
    ("userClusterControllerManager", "usercluster-controller"),
];

/// Writes health and phase of one user cluster.
pub(super) async fn reconcile(cluster: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, Error> {
    let again = Action::requeue(Duration::from_secs(2));
    if !context.is_ours(&cluster) || cluster.metadata.deletion_timestamp.is_some() {
        return Ok(again);
    }
    let ready: BTreeMap<String, i32> = context
        .deployments_of(&cluster)
        .iter()
        .map(|deployment| {
            (
                deployment.name_any(),
                deployment
                    .status
                    .as_ref()
                    .and_then(|status| status.ready_replicas)
                    .unwrap_or(0),
            )
        })
        .collect();
    let is_etcd_ready = context.stateful_sets_of(&cluster).iter().any(|set| {
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        // Quorum is enough.
        set.name_any() == "etcd"
            && set
                .status
                .as_ref()
                .and_then(|status| status.ready_replicas)
                .unwrap_or(0)
                * 2
                > wanted
    });
    let overrides = Script::load().seed.cluster(&cluster.name_any()).health;
    let health = health(&ready, is_etcd_ready, overrides);
    let is_healthy = health.values().all(|status| status == UP);
    let phase = phase(&cluster, is_healthy);
    merge_status(
        &context.api(),
        &cluster,
        json!({ "extendedHealth": health, "phase": phase }),
    )
    .await?;
    Ok(again)
}

fn health(
    ready: &BTreeMap<String, i32>,
    is_etcd_ready: bool,
    overrides: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let status = |is_up: bool| if is_up { UP.to_owned() } else { PROVISIONING.to_owned() };
    let mut health: BTreeMap<String, String> = COMPONENTS
        .iter()
        .map(|(component, deployment)| {
            (
                (*component).to_owned(),
                status(ready.get(*deployment).is_some_and(|ready| *ready > 0)),
            )
        })
        .collect();
    health.insert("etcd".to_owned(), status(is_etcd_ready));
    health.insert("cloudProviderInfrastructure".to_owned(), UP.to_owned());
    health.extend(overrides);
    health
}

fn phase(cluster: &DynamicObject, is_healthy: bool) -> &'static str {
    let running = text(cluster, "/status/versions/controlPlane");
    match (running, text(cluster, "/spec/version")) {
        (None, _) => "Creating",
        (Some(running), Some(wanted)) if running != wanted => "Updating",
        _ if is_healthy || text(cluster, "/status/phase") == Some("Running") => "Running",
        _ => "Creating",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_follows_what_runs_and_the_script_has_the_last_word() {
        let ready = BTreeMap::from([("apiserver".to_owned(), 1), ("controller-manager".to_owned(), 0)]);
        let found = health(
            &ready,
            true,
            BTreeMap::from([("etcd".to_owned(), "HealthStatusDown".to_owned())]),
        );
        let of = |name: &str| found.get(name).map(String::as_str);
        assert_eq!(of("apiserver"), Some(UP));
        assert_eq!(of("scheduler"), Some(PROVISIONING));
        assert_eq!(of("userClusterControllerManager"), Some(PROVISIONING));
        assert_eq!(of("etcd"), Some("HealthStatusDown"));
    }
}
