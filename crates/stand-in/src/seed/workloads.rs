//! The control plane of one user cluster as objects: Deployments apiserver, controller-manager, usercluster-controller and
//! `StatefulSet` etcd (KKP 2.31 source, pkg/resources). With a new KKP version the Pods of usercluster-controller and, by
//! etcd-launcher, of etcd are replaced; the others when the Kubernetes version changes. Pure.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::context::namespace_of;
use crate::Error;
use crate::objects::text;

/// Images and faults that decide what is rendered.
pub(super) struct Rendering<'rendering> {
    pub(super) cluster: &'rendering DynamicObject,
    /// Version of KKP, the tag of its images.
    pub(super) version: &'rendering str,
    pub(super) kubermatic_image: &'rendering str,
    pub(super) etcd_launcher_image: &'rendering str,
    pub(super) default_kubernetes: &'rendering str,
    pub(super) etcd_replicas: i32,
    /// Deployments that the Deployment controller does not roll.
    pub(super) is_frozen: bool,
}

impl Rendering<'_> {
    /// The namespace; it goes with the Cluster.
    pub(super) fn namespace(&self) -> Result<Namespace, Error> {
        self.parse(json!({ "metadata": {
            "name": namespace_of(self.cluster),
            "labels": { "cluster": self.cluster.name_any() },
            "ownerReferences": [self.owner_reference()],
        }}))
    }

    /// The three Deployments.
    pub(super) fn deployments(&self) -> Result<Vec<Deployment>, Error> {
        let kubernetes = text(self.cluster, "/spec/version").unwrap_or(self.default_kubernetes);
        let images = [
            ("apiserver", format!("registry.k8s.io/kube-apiserver:v{kubernetes}")),
            (
                "controller-manager",
                format!("registry.k8s.io/kube-controller-manager:v{kubernetes}"),
            ),
            (
                "usercluster-controller",
                format!("{}:{}", self.kubermatic_image, self.version),
            ),
        ];
        images
            .iter()
            .map(|(name, image)| self.parse(self.deployment(name, image)))
            .collect()
    }

    /// etcd.
    pub(super) fn etcd(&self) -> Result<StatefulSet, Error> {
        let launcher = format!("{}:{}", self.etcd_launcher_image, self.version);
        self.parse(json!({
            "metadata": self.metadata("etcd"),
            "spec": {
                "replicas": self.etcd_replicas,
                "serviceName": "etcd",
                "podManagementPolicy": "Parallel",
                "selector": { "matchLabels": self.labels("etcd") },
                "template": {
                    "metadata": { "labels": self.labels("etcd") },
                    "spec": {
                        "terminationGracePeriodSeconds": 1,
                        "initContainers": [{ "name": "etcd-launcher-init", "image": launcher, "command": ["/bin/cp"] }],
                        "containers": [{ "name": "etcd", "image": "registry.k8s.io/etcd:3.6.4-0", "command": ["/opt/bin/etcd-launcher"] }],
                    },
                },
            },
        }))
    }

    fn deployment(&self, name: &str, image: &str) -> Value {
        let command = if name == "usercluster-controller" {
            "/usr/local/bin/user-cluster-controller-manager"
        } else {
            name
        };
        json!({
            "metadata": self.metadata(name),
            "spec": {
                "replicas": 1,
                "paused": self.is_frozen,
                "selector": { "matchLabels": self.labels(name) },
                "template": {
                    "metadata": { "labels": self.labels(name) },
                    "spec": {
                        "terminationGracePeriodSeconds": 1,
                        "containers": [{ "name": name, "image": image, "command": [command] }],
                    },
                },
            },
        })
    }

    fn metadata(&self, name: &str) -> Value {
        json!({
            "name": name,
            "namespace": namespace_of(self.cluster),
            "labels": self.labels(name),
            "ownerReferences": [self.owner_reference()],
        })
    }

    fn labels(&self, name: &str) -> Value {
        json!({ "app": name, "cluster": self.cluster.name_any() })
    }

    fn owner_reference(&self) -> Value {
        json!({
            "apiVersion": "kubermatic.k8c.io/v1", "kind": "Cluster", "controller": true, "blockOwnerDeletion": true,
            "name": self.cluster.metadata.name, "uid": self.cluster.metadata.uid,
        })
    }

    fn parse<K: serde::de::DeserializeOwned>(&self, document: Value) -> Result<K, Error> {
        serde_json::from_value(document).map_err(|error| {
            Error::Refused(format!(
                "cannot render the control plane of {}: {error}",
                self.cluster.name_any()
            ))
        })
    }
}
