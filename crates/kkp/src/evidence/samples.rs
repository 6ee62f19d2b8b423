//! Documents with exactly the evidence that proves a version, as the API would give it, and their judgement.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::types::{Addon, Cluster, KubermaticConfiguration, Seed};

pub(super) const OLD: &str = "v2.30.6";
pub(super) const TARGET: &str = "v2.31.0";

/// A rolled-out Deployment with two replicas and these containers, each at its image.
pub(super) fn deployment(name: &str, containers: &[(&str, &str)]) -> Value {
    let containers: Vec<Value> = containers
        .iter()
        .map(|(name, image)| json!({"name": name, "image": image}))
        .collect();
    json!({
        "metadata": {"name": name, "generation": 4},
        "spec": {"replicas": 2, "template": {"spec": {"containers": containers}}},
        "status": {"observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2},
    })
}

fn kkp_deployment(name: &str, repository: &str, tag: &str) -> Value {
    deployment(name, &[("main", &format!("{repository}:{tag}"))])
}

pub(super) fn master_document(tag: &str) -> Value {
    let kubermatic = "quay.io/kubermatic/kubermatic";
    json!({
        "configuration": {"metadata": {}, "status": {"kubermaticVersion": tag}},
        "deployments": [
            kkp_deployment("kubermatic-operator", kubermatic, tag),
            kkp_deployment("kubermatic-master-controller-manager", kubermatic, tag),
            kkp_deployment("kubermatic-webhook", kubermatic, tag),
            kkp_deployment("kubermatic-api", "quay.io/kubermatic/dashboard", tag),
            kkp_deployment("kubermatic-dashboard", "quay.io/kubermatic/dashboard", tag),
        ],
        "crd": {"annotations": {"app.kubernetes.io/version": tag}},
    })
}

pub(super) fn seed_document(tag: &str) -> Value {
    let kubermatic = "quay.io/kubermatic/kubermatic";
    let manager = format!("quay.io/kubermatic/nodeport-proxy:{tag}");
    let mut envoy = deployment("nodeport-proxy-envoy", &[("envoy-manager", &manager)]);
    envoy["spec"]["template"]["spec"]["initContainers"] = json!([{"image": manager}]);
    json!({
        "seed": {"metadata": {}, "status": {"conditions": {
            "KubeconfigValid": {"status": "True"},
            "ResourcesReconciled": {"status": "True"},
        }}},
        "deployments": [
            kkp_deployment("kubermatic-seed-controller-manager", kubermatic, tag),
            kkp_deployment("kubermatic-webhook", kubermatic, tag),
            envoy,
            kkp_deployment("nodeport-proxy-updater", "quay.io/kubermatic/nodeport-proxy", tag),
        ],
        "crd": {"annotations": {"app.kubernetes.io/version": tag}},
    })
}

pub(super) fn addon(name: &str, tag: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "status": {"conditions": {"AddonReconciledSuccessfully": {"status": "True", "kubermaticVersion": tag}}},
    })
}

pub(super) fn cluster_document(tag: &str) -> Value {
    let conditions: serde_json::Map<String, Value> = user_cluster::REQUIRED_CONDITIONS
        .iter()
        .chain([&user_cluster::ADDON_CONDITION])
        .map(|kind| ((*kind).to_owned(), json!({"status": "True", "kubermaticVersion": tag})))
        .collect();
    json!({
        "cluster": {"metadata": {"name": "a"}, "status": {"conditions": conditions}},
        "controller": kkp_deployment("usercluster-controller", "quay.io/kubermatic/kubermatic", tag),
        "addons": [addon("canal", tag), addon("csi", tag)],
    })
}

fn read<T: DeserializeOwned>(document: &Value, key: &str) -> Observed<T> {
    match document.get(key) {
        None | Some(Value::Null) => Observed::Absent,
        Some(value) => match serde_json::from_value(value.clone()) {
            Ok(value) => Observed::Found(value),
            Err(error) => Observed::Unreadable(error.to_string()),
        },
    }
}

fn borrowed<T>(observed: &Observed<T>) -> Observed<&T> {
    match observed {
        Observed::Found(value) => Observed::Found(value),
        Observed::Absent => Observed::Absent,
        Observed::Unreadable(why) => Observed::Unreadable(why.clone()),
    }
}

fn listed<T>(observed: &Observed<Vec<T>>) -> Observed<&[T]> {
    match observed {
        Observed::Found(values) => Observed::Found(values),
        Observed::Absent => Observed::Absent,
        Observed::Unreadable(why) => Observed::Unreadable(why.clone()),
    }
}

pub(super) fn judge_master(target: &str, document: &Value) -> Evidence {
    let configuration: Observed<KubermaticConfiguration> = read(document, "configuration");
    let deployments: Observed<Vec<Deployment>> = read(document, "deployments");
    let crd: Observed<ObjectMeta> = read(document, "crd");
    master(
        target,
        &MasterObservation {
            configuration: borrowed(&configuration),
            deployments: listed(&deployments),
            cluster_crd: borrowed(&crd),
        },
    )
}

pub(super) fn judge_seed(target: &str, document: &Value) -> Evidence {
    let observed: Observed<Seed> = read(document, "seed");
    let deployments: Observed<Vec<Deployment>> = read(document, "deployments");
    let crd: Observed<ObjectMeta> = read(document, "crd");
    seed(
        target,
        &SeedObservation {
            seed: borrowed(&observed),
            deployments: listed(&deployments),
            cluster_crd: borrowed(&crd),
        },
    )
}

pub(super) fn verdict(target: &str, document: &Value) -> ClusterVerdict {
    let cluster: Cluster = serde_json::from_value(document["cluster"].clone()).unwrap_or_default();
    let controller: Observed<Deployment> = read(document, "controller");
    let addons: Observed<Vec<Addon>> = read(document, "addons");
    user_cluster(
        target,
        &UserClusterObservation {
            cluster: &cluster,
            worker_name: "",
            controller: borrowed(&controller),
            addons: match listed(&addons) {
                Observed::Found(addons) => Observed::Found(addons.iter().collect()),
                Observed::Absent => Observed::Absent,
                Observed::Unreadable(why) => Observed::Unreadable(why),
            },
        },
    )
}

pub(super) fn judge_cluster(target: &str, document: &Value) -> Evidence {
    match verdict(target, document) {
        ClusterVerdict::Judged(evidence) => evidence,
        ClusterVerdict::SetApart(reason) => panic!("set apart: {reason:?}"),
    }
}

/// Sets a value, making the objects on the way.
pub(super) fn set(document: &mut Value, pointer: &str, value: Value) {
    let mut place = document;
    for part in pointer.trim_start_matches('/').split('/') {
        let part = part.replace("~1", "/");
        place = match part.parse::<usize>() {
            Ok(index) if place.is_array() => &mut place[index],
            _ => &mut place[part.as_str()],
        };
    }
    *place = value;
}

pub(super) type Judge = fn(&str, &Value) -> Evidence;

/// Applies changes to a document and gives the evidence.
pub(super) fn after(judge: Judge, mut document: Value, changes: &[(&str, Value)]) -> Evidence {
    for (pointer, value) in changes {
        set(&mut document, pointer, value.clone());
    }
    judge(TARGET, &document)
}

pub(super) fn expect_missing(evidence: &Evidence, part: &str) {
    let Evidence::NotYet { missing } = evidence else {
        panic!("{part}: {evidence:?}")
    };
    assert!(
        missing.iter().any(|reason| reason.contains(part)),
        "{part}: {missing:?}"
    );
}

pub(super) fn expect_unknown(evidence: &Evidence, part: &str) {
    let Evidence::Unknown { why } = evidence else {
        panic!("{part}: {evidence:?}")
    };
    assert!(why.contains(part), "{part}: {why}");
}
