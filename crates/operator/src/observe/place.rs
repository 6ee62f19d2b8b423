//! One cluster as it passes by the rules: object for object, what belongs together kept until its end. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kkp_upgrade_core::rules::{
    ClusterFacts, DeploymentFacts, Evaluation, Facts, Field, ItemKind, Object, PodFacts, RingFacts, TlsSecretFacts,
};
use kkp_upgrade_kkp::evidence;
use kkp_upgrade_kkp::types::Cluster;
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kinds::TLS_SECRET;
use super::user_clusters;
use crate::certificate;
use crate::context::UPGRADE_LABEL;

/// A part of a look: everything on one cluster.
pub(super) struct Place {
    /// `master`, or the name of the seed.
    name: String,
    evaluation: Evaluation,
    /// Whether a Pod was replaced is seen on the others: they are judged together.
    pods: Vec<Value>,
    /// Namespaces of user clusters that KKP reconciles: what an etcd ring means is said by its Cluster.
    active: BTreeSet<String>,
    /// Kinds of which all objects have passed by.
    complete: BTreeSet<ItemKind>,
    /// Why nothing more is read of it.
    given_up: Option<String>,
}

impl Place {
    /// Nothing has passed by yet; `evaluation` is the part of this place.
    pub(super) const fn new(name: String, evaluation: Evaluation) -> Self {
        Self {
            name,
            evaluation,
            pods: Vec::new(),
            active: BTreeSet::new(),
            complete: BTreeSet::new(),
            given_up: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether all objects of the kind have passed by.
    pub(super) fn is_complete(&self, kind: ItemKind) -> bool {
        self.complete.contains(&kind)
    }

    /// Whether anybody looks at objects of the kind.
    pub(super) fn wants(&self, kind: ItemKind) -> bool {
        self.evaluation.kinds().any(|wanted| wanted == kind)
    }

    /// Everything of the kind was looked for.
    pub(super) fn visited(&mut self, kind: ItemKind) {
        self.complete.insert(kind);
        self.evaluation.visited(kind, &self.name);
    }

    /// Not everything of the kind could be read.
    pub(super) fn unreadable(&mut self, kind: ItemKind, why: &str) {
        self.evaluation.unreadable(kind, &self.name, why);
    }

    /// Why nothing more is to be read of it.
    pub(super) fn given_up(&self) -> Option<&str> {
        self.given_up.as_deref()
    }

    /// Not everything of the kind could be read, and it is of no use to try any other.
    pub(super) fn give_up(&mut self, kind: ItemKind, why: &str) {
        self.given_up.get_or_insert_with(|| why.to_owned());
        self.unreadable(kind, why);
    }

    /// The evaluation, for what is no plain object.
    pub(super) const fn evaluation(&mut self) -> &mut Evaluation {
        &mut self.evaluation
    }

    /// An object passes by.
    pub(super) fn show(&mut self, kind: ItemKind, object: &Value) {
        match kind {
            ItemKind::Pod => self.pods.push(object.clone()),
            ItemKind::Deployment => {
                let facts = typed(object).as_ref().map(deployment_facts).unwrap_or_default();
                self.show_with(kind, object, &facts);
            }
            ItemKind::Cluster => self.show_cluster(object, typed(object).as_ref()),
            ItemKind::Ring => {
                let facts = self.ring_facts(object);
                self.show_with(kind, object, &facts);
            }
            ItemKind::TlsSecret => self.show_certificate(object),
            _ => self.evaluation.object(&Object::new(kind, &self.name, object)),
        }
    }

    /// A Cluster passes by; `None` = it does not fit its type, and what is computed from it was not read.
    pub(super) fn show_cluster(&mut self, object: &Value, cluster: Option<&Cluster>) {
        let active = cluster.filter(|cluster| evidence::set_apart(cluster, "").is_none());
        if let Some(cluster) = active {
            self.active.insert(cluster.status.namespace_name.text().to_owned());
        }
        let facts = cluster.map_or_else(ClusterFacts::default, user_clusters::facts);
        self.show_with(ItemKind::Cluster, object, &facts);
    }

    /// Shows a Secret without what it holds: a catalogue of the administrator may name any path, and a finding what it found.
    fn show_certificate(&mut self, secret: &Value) {
        if secret.pointer("/type").and_then(Value::as_str) != Some(TLS_SECRET) {
            return;
        }
        let encoded = secret.pointer("/data/tls.crt");
        let facts = TlsSecretFacts {
            certificate_ends: encoded
                .and_then(certificate::first_ends)
                .map(|ends| ends.to_string())
                .into(),
        };
        self.show_with(ItemKind::TlsSecret, &without_content(secret), &facts);
    }

    fn show_with(&mut self, kind: ItemKind, object: &Value, facts: &impl Facts) {
        self.evaluation
            .object(&Object::new(kind, &self.name, object).with(facts));
    }

    fn ring_facts(&self, object: &Value) -> RingFacts {
        let namespace = object
            .pointer("/metadata/namespace")
            .and_then(Value::as_str)
            .unwrap_or_default();
        RingFacts {
            cluster_active: if self.is_complete(ItemKind::Cluster) {
                Field::Known(self.active.contains(namespace))
            } else {
                Field::NotRead("the Clusters were not read".to_owned())
            },
        }
    }

    /// Nothing more comes.
    pub(super) fn end(mut self) -> Evaluation {
        let objects = std::mem::take(&mut self.pods);
        let pods: Vec<Option<Pod>> = objects.iter().map(typed).collect();
        let mut siblings: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
        for pod in pods.iter().flatten() {
            siblings.entry(owner(pod).unwrap_or_default()).or_default().push(pod);
        }
        for (object, pod) in objects.iter().zip(&pods) {
            let facts = pod.as_ref().map(|pod| pod_facts(pod, &siblings)).unwrap_or_default();
            self.show_with(ItemKind::Pod, object, &facts);
        }
        self.evaluation
    }
}

/// Name, labels and notes of a Secret.
fn without_content(secret: &Value) -> Value {
    let mut metadata = secret.pointer("/metadata").cloned().unwrap_or_default();
    if let Some(Value::Object(annotations)) = metadata.pointer_mut("/annotations") {
        // kubectl writes a copy of everything there.
        annotations.retain(|name, _| name != "kubectl.kubernetes.io/last-applied-configuration");
    }
    serde_json::json!({"metadata": metadata})
}

/// The object as its type; `None` = it does not fit.
fn typed<T: DeserializeOwned>(object: &Value) -> Option<T> {
    T::deserialize(object).ok()
}

fn deployment_facts(deployment: &Deployment) -> DeploymentFacts {
    let status = deployment.status.clone().unwrap_or_default();
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    DeploymentFacts {
        generation: deployment.metadata.generation.unwrap_or(0).into(),
        observed_generation: status.observed_generation.unwrap_or(0).into(),
        replicas: i64::from(replicas).into(),
        updated_replicas: i64::from(status.updated_replicas.unwrap_or(0)).into(),
        available_replicas: i64::from(status.available_replicas.unwrap_or(0)).into(),
        ours: is_ours(deployment.labels()).into(),
    }
}

fn pod_facts(pod: &Pod, siblings: &BTreeMap<&str, Vec<&Pod>>) -> PodFacts {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let everything = containers.iter().chain(status.init_container_statuses.iter().flatten());
    let mut everything = everything;
    let waiting = everything.find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    PodFacts {
        phase: status.phase.unwrap_or_default().into(),
        ready: (!containers.is_empty() && containers.iter().all(|container| container.ready)).into(),
        waiting_reason: waiting.into(),
        ours: is_ours(pod.labels()).into(),
        superseded: superseded(pod, siblings).into(),
    }
}

/// This operator and what it makes: no part of KKP, and an operator that reads this is at work.
fn is_ours(labels: &BTreeMap<String, String>) -> bool {
    labels.contains_key(UPGRADE_LABEL)
        || labels.get("app.kubernetes.io/name").map(String::as_str) == Some("kkp-upgrade-operator")
}

/// UID of what made the Pod.
fn owner(pod: &Pod) -> Option<&str> {
    let owner = pod
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true))?;
    Some(&owner.uid)
}

/// A failed Pod whose owner has made another one since that runs or has succeeded.
fn superseded(pod: &Pod, siblings: &BTreeMap<&str, Vec<&Pod>>) -> bool {
    let phase = |pod: &Pod| {
        pod.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    };
    let made = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let Some(all) = owner(pod).and_then(|owner| siblings.get(owner)) else {
        return false;
    };
    phase(pod) == "Failed"
        && all.iter().any(|other| {
            made(other) >= made(pod)
                && other.metadata.uid != pod.metadata.uid
                && matches!(phase(other).as_str(), "Running" | "Succeeded")
        })
}
