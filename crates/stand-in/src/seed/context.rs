//! What all controllers of one seed share: caches, flags, memory of what was written. Never writes by itself.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::DynamicObject;
use kube::runtime::reflector::Store;
use kube::{Api, ResourceExt};
use serde::Serialize;

use crate::apply::Applier;
use crate::objects::{clusters, is_on, text};
use crate::start::Process;

/// Shared by all controllers.
pub(super) struct Context {
    pub(super) process: Arc<Process>,
    pub(super) applier: Applier,
    /// `-max-parallel-reconcile`.
    pub(super) limit: i64,
    pub(super) clusters: Store<DynamicObject>,
    pub(super) deployments: Store<Deployment>,
    pub(super) stateful_sets: Store<StatefulSet>,
    pub(super) addons: Store<DynamicObject>,
    /// Per object: hash of what was written, and the generation that came of it.
    pub(super) written: Mutex<HashMap<String, Written>>,
}

/// What was written of one object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Written {
    hash: u64,
    generation: i64,
}

impl Context {
    /// The version of this process.
    pub(super) fn version(&self) -> &str {
        &self.process.release.version
    }

    /// All user clusters.
    pub(super) fn api(&self) -> Api<DynamicObject> {
        clusters(&self.process.client)
    }

    /// True if the cluster is this process's: not paused, and with the `worker-name` of the flag.
    pub(super) fn is_ours(&self, cluster: &DynamicObject) -> bool {
        let own = self.process.flags.text("worker-name").unwrap_or_default();
        !is_on(cluster, "/spec/pause") && cluster.labels().get("worker-name").map_or("", String::as_str) == own
    }

    /// The Deployments of a user cluster, as cached.
    pub(super) fn deployments_of(&self, cluster: &DynamicObject) -> Vec<Arc<Deployment>> {
        let namespace = namespace_of(cluster);
        self.deployments
            .state_filter(|deployment| deployment.namespace().as_deref() == Some(&namespace))
    }

    /// The `StatefulSets` of a user cluster, as cached.
    pub(super) fn stateful_sets_of(&self, cluster: &DynamicObject) -> Vec<Arc<StatefulSet>> {
        let namespace = namespace_of(cluster);
        self.stateful_sets
            .state_filter(|set| set.namespace().as_deref() == Some(&namespace))
    }

    /// The Addons of a user cluster, as cached.
    pub(super) fn addons_of(&self, cluster: &DynamicObject) -> Vec<Arc<DynamicObject>> {
        let namespace = namespace_of(cluster);
        self.addons
            .state_filter(|addon| addon.namespace().as_deref() == Some(&namespace))
    }

    /// True if `wanted` must be written: it is absent (`live`: its generation), is another than was written, or somebody changed it since.
    pub(super) fn must_write<K: Serialize>(&self, key: &str, wanted: &K, live: Option<i64>) -> bool {
        let Some(live_generation) = live else { return true };
        let written = self
            .written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied();
        written.is_none_or(|written| written.hash != hash(wanted) || live_generation > written.generation)
    }

    /// Remembers what was written.
    pub(super) fn remember<K: Serialize>(&self, key: String, wanted: &K, generation: Option<i64>) {
        let written = Written {
            hash: hash(wanted),
            generation: generation.unwrap_or(0),
        };
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, written);
    }
}

fn hash<K: Serialize>(object: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(object).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

/// The namespace of a user cluster's control plane.
pub(super) fn namespace_of(cluster: &DynamicObject) -> String {
    text(cluster, "/status/namespaceName").map_or_else(|| format!("cluster-{}", cluster.name_any()), ToOwned::to_owned)
}
