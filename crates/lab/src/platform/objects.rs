//! The objects that make up a platform, as a person would write them. Pure.
//!
//! Field names: the schemas of KKP 2.30 and 2.31 (`pkg/apis/kubermatic/v1`).

use serde_json::{Value, json};

use super::field::slot;
use super::topology::{SeedSpec, Topology};

/// API version of KKP's kinds.
pub(super) const KKP: &str = "kubermatic.k8c.io/v1";
/// Namespace of KKP.
pub(super) const NAMESPACE: &str = "kubermatic";

/// The Secret with a Seed's kubeconfig.
pub(super) fn kubeconfig_secret_name(seed: &str) -> String {
    format!("kubeconfig-{seed}")
}

pub(super) fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "kubermatic-fast"}, "provisioner": "lab.kkp-upgrade/none",
    })
}

pub(super) fn configuration(topology: &Topology) -> Value {
    let mut spec = json!({
        "ingress": {"domain": "kkp.example.test"},
        "featureGates": {"HeadlessInstallation": topology.headless},
        "auth": {
            "serviceAccountKey": "lab-service-account-key-of-40-characters",
            "issuerClientSecret": "lab-issuer-client-secret-32-chars",
            "issuerCookieKey": "lab-issuer-cookie-key-32-character",
        },
    });
    if let Some(limit) = topology.maximum_parallel_reconciles {
        *slot(&mut spec, &["seedController"]) = json!({"maximumParallelReconciles": limit});
    }
    json!({
        "apiVersion": KKP, "kind": "KubermaticConfiguration",
        "metadata": {"name": "kubermatic", "namespace": NAMESPACE}, "spec": spec,
    })
}

pub(super) fn kubeconfig_secret(seed: &str, kubeconfig: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": kubeconfig_secret_name(seed), "namespace": NAMESPACE},
        "stringData": {"kubeconfig": kubeconfig},
    })
}

pub(super) fn seed(seed: &SeedSpec) -> Value {
    let name = &seed.name;
    json!({
        "apiVersion": KKP, "kind": "Seed",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "country": "DE", "location": "lab",
            "kubeconfig": {"name": kubeconfig_secret_name(name), "namespace": NAMESPACE, "fieldPath": "kubeconfig"},
            "datacenters": {datacenter(name): {"country": "DE", "location": "lab", "spec": {"fake": {}}}},
        },
    })
}

fn datacenter(seed: &str) -> String {
    format!("{seed}-fake")
}

/// Objects of people: something that a backup has to contain.
pub(super) fn people() -> Vec<Value> {
    let project = "lab-project";
    vec![
        json!({"apiVersion": KKP, "kind": "User", "metadata": {"name": "lab-admin"},
               "spec": {"name": "Lab Admin", "email": "admin@example.test", "admin": true}}),
        json!({"apiVersion": KKP, "kind": "User", "metadata": {"name": "lab-user"},
               "spec": {"name": "Lab User", "email": "user@example.test"}}),
        json!({"apiVersion": KKP, "kind": "Project", "metadata": {"name": project}, "spec": {"name": "Lab"}}),
        json!({"apiVersion": KKP, "kind": "UserProjectBinding", "metadata": {"name": "lab-binding"},
               "spec": {"userEmail": "user@example.test", "projectID": project, "group": format!("owners-{project}")}}),
        json!({"apiVersion": KKP, "kind": "UserSSHKey", "metadata": {"name": "lab-key"},
               "spec": {"name": "key", "owner": "lab-user", "project": project, "clusters": [],
                        "fingerprint": "00:00", "publicKey": "ssh-ed25519 AAAA lab"}}),
        json!({"apiVersion": KKP, "kind": "Preset", "metadata": {"name": "lab-preset"},
               "spec": {"fake": {"token": "lab-token"}}}),
    ]
}

pub(super) fn cluster(seed: &SeedSpec, index: usize, name: &str) -> Value {
    let mut spec = json!({
        "humanReadableName": name,
        "version": seed.kubernetes_version(index),
        "cloud": {"dc": datacenter(&seed.name), "providerName": "fake", "fake": {"token": "lab-token"}},
        "cniPlugin": {"type": "canal", "version": "v3.30"},
        "containerRuntime": "containerd",
        "clusterNetwork": {
            "pods": {"cidrBlocks": ["172.25.0.0/16"]}, "services": {"cidrBlocks": ["10.240.16.0/20"]},
            "dnsDomain": "cluster.local", "proxyMode": "ipvs", "konnectivityEnabled": true, "ipFamily": "IPv4",
        },
        "exposeStrategy": "NodePort",
        "features": {"externalCloudProvider": true},
        "enableOperatingSystemManager": true,
    });
    if seed.paused.iter().any(|paused| paused == name) {
        *slot(&mut spec, &["pause"]) = json!(true);
        *slot(&mut spec, &["pauseReason"]) = json!("paused by the lab's topology");
    }
    json!({
        "apiVersion": KKP, "kind": "Cluster",
        "metadata": {"name": name, "labels": {"project-id": "lab-project"}}, "spec": spec,
    })
}

/// An Addon of a user cluster; the namespace is that of the cluster's control plane.
pub(super) fn addon(name: &str, cluster: &str, cluster_uid: &str, namespace: &str) -> Value {
    let reference = json!({"apiVersion": KKP, "kind": "Cluster", "name": cluster, "uid": cluster_uid});
    let mut owner = reference.clone();
    *slot(&mut owner, &["controller"]) = json!(true);
    json!({
        "apiVersion": KKP, "kind": "Addon",
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": [owner]},
        "spec": {"name": name, "cluster": reference},
    })
}
