//! Counts user clusters that are not up to date, to see whether the limit of parallel reconciliations is kept. Reads only.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures::TryStreamExt as _;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::convergence::is_true;
use super::objects::KKP;
use super::plane::Plane;

/// Watches until it is dropped.
pub struct MostReconciling {
    highest: Arc<Mutex<BTreeMap<String, usize>>>,
    _watches: Vec<AbortOnDropHandle<()>>,
    ready: CancellationToken,
}

impl MostReconciling {
    /// Starts a watch per seed: its name and control plane.
    #[must_use]
    pub fn start(seeds: Vec<(String, Plane)>) -> Self {
        let highest = Arc::new(Mutex::new(BTreeMap::new()));
        let ready = CancellationToken::new();
        let watches = seeds.into_iter().map(|(seed, plane)| {
            let task = watch(seed, plane, highest.clone(), ready.clone());
            AbortOnDropHandle::new(tokio::spawn(task))
        });
        let watches = watches.collect();
        Self {
            highest,
            _watches: watches,
            ready,
        }
    }

    /// Returns when the first seed was listed.
    pub async fn started(&self) {
        self.ready.cancelled().await;
    }

    /// The highest number at once so far, by seed.
    #[must_use]
    pub fn highest(&self) -> BTreeMap<String, usize> {
        self.highest.lock().map(|highest| highest.clone()).unwrap_or_default()
    }
}

async fn watch(seed: String, plane: Plane, highest: Arc<Mutex<BTreeMap<String, usize>>>, ready: CancellationToken) {
    let api = plane.api(KKP, "Cluster", None);
    let mut events = pin!(watcher::watcher(api, watcher::Config::default()).default_backoff());
    let mut unready: BTreeSet<String> = BTreeSet::new();
    loop {
        // A watch that breaks starts anew with a list, after a back-off.
        let Ok(event) = events.try_next().await else { continue };
        let Some(event) = event else { return };
        let listed = matches!(event, Event::InitDone);
        note(&mut unready, event);
        if let Ok(mut highest) = highest.lock() {
            let most = highest.entry(seed.clone()).or_default();
            *most = (*most).max(unready.len());
        }
        if listed {
            ready.cancel();
        }
    }
}

fn note(unready: &mut BTreeSet<String>, event: Event<DynamicObject>) {
    match event {
        Event::Init => unready.clear(),
        Event::InitDone => {}
        Event::Delete(cluster) => {
            unready.remove(&cluster.metadata.name.unwrap_or_default());
        }
        Event::Apply(cluster) | Event::InitApply(cluster) => {
            let up_to_date = is_true(&cluster.data, "SeedResourcesUpToDate");
            let name = cluster.metadata.name.unwrap_or_default();
            if up_to_date {
                unready.remove(&name)
            } else {
                unready.insert(name)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(name: &str, up_to_date: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": KKP, "kind": "Cluster", "metadata": {"name": name},
            "status": {"conditions": {"SeedResourcesUpToDate": {"status": up_to_date}}},
        }))
        .unwrap()
    }

    #[test]
    fn a_cluster_counts_while_it_is_not_up_to_date() {
        let mut unready = BTreeSet::new();
        note(&mut unready, Event::InitApply(cluster("a", "True")));
        note(&mut unready, Event::InitApply(cluster("b", "False")));
        note(&mut unready, Event::Apply(cluster("a", "False")));
        assert_eq!(unready.len(), 2);
        note(&mut unready, Event::Apply(cluster("b", "True")));
        note(&mut unready, Event::Delete(cluster("a", "False")));
        assert!(unready.is_empty());
    }
}
