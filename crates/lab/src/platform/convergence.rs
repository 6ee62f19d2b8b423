//! Whether a platform runs a version: by what can't be true unless the work is done, not by version fields. Reads only.

use super::field::field;
use kube::api::DynamicObject;
use serde_json::Value;

use super::PlatformError;
use super::objects::{KKP, NAMESPACE};
use super::plane::Plane;
use super::topology::Topology;

/// Conditions that the controllers of a user cluster write last (KKP source, `pkg/apis/kubermatic/v1`, `AllClusterConditionTypes`).
const CONTROLLERS: [&str; 4] = [
    "ClusterControllerReconciledSuccessfully",
    "CloudControllerReconciledSuccessfully",
    "UpdateControllerReconciledSuccessfully",
    "MonitoringControllerReconciledSuccessfully",
];

/// What is not there yet; empty = converged.
pub(super) async fn missing(
    topology: &Topology,
    planes: &[Plane],
    version: &str,
) -> Result<Vec<String>, PlatformError> {
    let tag = format!("v{}", version.trim_start_matches('v'));
    let plane_of = |name: &str| planes.iter().find(|plane| plane.name == name);
    let mut missing = Vec::new();
    let Some(master) = planes.first() else {
        return Ok(missing);
    };
    let mut deployments = vec![
        "kubermatic-operator",
        "kubermatic-master-controller-manager",
        "kubermatic-webhook",
    ];
    if !topology.headless {
        deployments.extend(["kubermatic-api", "kubermatic-dashboard"]);
    }
    missing_deployments(master, NAMESPACE, &deployments, &tag, &mut missing).await?;
    for seed in &topology.seeds {
        let Some(plane) = plane_of(seed.plane()) else { continue };
        seed_condition(master, &seed.name, &mut missing).await?;
        let deployments = ["kubermatic-seed-controller-manager", "kubermatic-webhook"];
        missing_deployments(plane, NAMESPACE, &deployments, &tag, &mut missing).await?;
        definition(plane, &tag, &mut missing).await?;
        user_clusters(plane, seed.clusters, &tag, &mut missing).await?;
    }
    Ok(missing)
}

async fn missing_deployments(
    plane: &Plane,
    namespace: &str,
    names: &[&str],
    tag: &str,
    missing: &mut Vec<String>,
) -> Result<(), PlatformError> {
    for name in names {
        let deployment = plane.get("apps/v1", "Deployment", Some(namespace), name).await?;
        if !deployment.is_some_and(|deployment| is_rolled_out(&deployment, tag)) {
            missing.push(format!("{}: Deployment {namespace}/{name}", plane.name));
        }
    }
    Ok(())
}

fn is_rolled_out(deployment: &DynamicObject, tag: &str) -> bool {
    let number = |pointer: &str| deployment.data.pointer(pointer).and_then(Value::as_i64);
    let wanted = number("/spec/replicas").unwrap_or(1);
    let image = deployment
        .data
        .pointer("/spec/template/spec/containers/0/image")
        .and_then(Value::as_str);
    image.is_some_and(|image| image.rsplit_once(':').is_some_and(|(_, found)| found == tag))
        && number("/status/observedGeneration") >= deployment.metadata.generation
        && [
            "/status/replicas",
            "/status/updatedReplicas",
            "/status/availableReplicas",
        ]
        .iter()
        .all(|pointer| number(pointer) == Some(wanted))
}

async fn seed_condition(master: &Plane, name: &str, missing: &mut Vec<String>) -> Result<(), PlatformError> {
    let seed = master.get(KKP, "Seed", Some(NAMESPACE), name).await?;
    let condition = |seed: &DynamicObject| is_true(&seed.data, "ResourcesReconciled");
    if !seed.as_ref().is_some_and(condition) {
        missing.push(format!("Seed {name}: ResourcesReconciled"));
    }
    Ok(())
}

async fn definition(plane: &Plane, tag: &str, missing: &mut Vec<String>) -> Result<(), PlatformError> {
    let name = "clusters.kubermatic.k8c.io";
    let found = plane
        .get("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, name)
        .await?;
    let annotations = found.and_then(|found| found.metadata.annotations).unwrap_or_default();
    if annotations
        .get("app.kubernetes.io/version")
        .is_none_or(|version| version != tag)
    {
        missing.push(format!("{}: CRD {name}", plane.name));
    }
    Ok(())
}

async fn user_clusters(
    plane: &Plane,
    expected: usize,
    tag: &str,
    missing: &mut Vec<String>,
) -> Result<(), PlatformError> {
    let clusters = plane.list(KKP, "Cluster", None).await?;
    if clusters.len() < expected {
        missing.push(format!(
            "{}: {} of {expected} user clusters",
            plane.name,
            clusters.len()
        ));
    }
    let addons = plane.list(KKP, "Addon", None).await?;
    for cluster in clusters.iter().filter(|cluster| !is_set_apart(cluster)) {
        let name = cluster.metadata.name.as_deref().unwrap_or_default();
        let namespace = namespace_of(cluster);
        let mut of_cluster = addons
            .iter()
            .filter(|addon| addon.metadata.namespace.as_deref() == Some(&namespace))
            .peekable();
        let has_addons = of_cluster.peek().is_some();
        let mut wanted = CONTROLLERS.to_vec();
        wanted.extend(has_addons.then_some("AddonControllerReconciledSuccessfully"));
        let condition = wanted
            .into_iter()
            .find(|condition| !is_true_at(&cluster.data, condition, tag));
        if let Some(condition) =
            condition.or((!is_true(&cluster.data, "SeedResourcesUpToDate")).then_some("SeedResourcesUpToDate"))
        {
            missing.push(format!("Cluster {name}: {condition}"));
        }
        missing_deployments(plane, &namespace, &["usercluster-controller"], tag, missing).await?;
        let late = of_cluster.find(|addon| !is_true_at(&addon.data, "AddonReconciledSuccessfully", tag));
        missing.extend(late.map(|addon| {
            format!(
                "Addon {namespace}/{}",
                addon.metadata.name.as_deref().unwrap_or_default()
            )
        }));
    }
    Ok(())
}

fn is_set_apart(cluster: &DynamicObject) -> bool {
    cluster.metadata.deletion_timestamp.is_some() || field(&cluster.data, "/spec/pause") == true
}

/// Namespace of a user cluster's control plane.
pub(super) fn namespace_of(cluster: &DynamicObject) -> String {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let given = cluster.data.pointer("/status/namespaceName").and_then(Value::as_str);
    given.map_or_else(|| format!("cluster-{name}"), str::to_owned)
}

/// Whether a condition of KKP's condition map is True.
pub(super) fn is_true(data: &Value, condition: &str) -> bool {
    field(data, &format!("/status/conditions/{condition}/status")) == "True"
}

fn is_true_at(data: &Value, condition: &str, tag: &str) -> bool {
    is_true(data, condition) && field(data, &format!("/status/conditions/{condition}/kubermaticVersion")) == tag
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(image: &str, updated: i64) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "generation": 2},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [{"image": image}]}}},
            "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": updated, "availableReplicas": 1},
        }))
        .unwrap()
    }

    #[test]
    fn only_the_rolled_out_image_of_the_version_counts() {
        assert!(is_rolled_out(&deployment("quay.io/a/b:v2.31.0", 1), "v2.31.0"));
        assert!(!is_rolled_out(&deployment("quay.io/a/b:v2.30.6", 1), "v2.31.0"));
        assert!(!is_rolled_out(&deployment("quay.io/a/b:v2.31.0", 0), "v2.31.0"));
    }

    #[test]
    fn a_true_condition_of_the_old_version_does_not_count() {
        let data = json!({"status": {"conditions": {"X": {"status": "True", "kubermaticVersion": "v2.30.6"}}}});
        assert!(is_true_at(&data, "X", "v2.30.6") && !is_true_at(&data, "X", "v2.31.0") && !is_true(&data, "Y"));
    }
}
