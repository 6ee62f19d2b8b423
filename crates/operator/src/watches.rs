//! What makes a KKPUpgrade look again: changes of Jobs, of the configuration, of Seeds, of the catalogue, and inside seeds. A watch only
//! wakes; every decision reads live. Talks to master and seeds, reading only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_connection::{EndlessList, bounded_list};
use kkp_upgrade_kkp::types::{KubermaticConfiguration, Seed};
use kube::api::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::catalogue::CONFIG_MAP;
use crate::cluster_views::ClusterViews;
use crate::context::{ABORT_ANNOTATION, Context, UPGRADE_LABEL};
use crate::lock;
use crate::observe::OBJECTS;

/// Changes that come close together wake once; the first wakes at once.
const COALESCE: Duration = Duration::from_millis(200);

/// Objects per page of the list that a watch inside a seed begins with.
const PAGE: u32 = 500;

/// How often a round that reads looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(250);

/// Makes every KKPUpgrade look again.
pub struct Trigger {
    sender: watch::Sender<u64>,
    seeds: Mutex<SeedWatches>,
    upgrades: OnceLock<Store<KKPUpgradeObject>>,
    views: ClusterViews,
}

/// Watches inside seeds, while at least one upgrade has not ended.
#[derive(Default)]
struct SeedWatches {
    running: BTreeMap<(String, (String, String)), Vec<AbortHandle>>,
    wanted_by: BTreeSet<String>,
}

impl Trigger {
    /// Nothing is watched yet. What watches inside seeds say of user clusters is held against a live read at least every
    /// two `resync`.
    #[must_use]
    pub fn new(resync: Duration) -> Self {
        let sender = watch::Sender::new(0);
        Self {
            views: ClusterViews::new(sender.clone(), resync),
            sender,
            seeds: Mutex::default(),
            upgrades: OnceLock::new(),
        }
    }

    /// From now on knows what the watch of KKPUpgrades has seen.
    pub fn know(&self, upgrades: Store<KKPUpgradeObject>) {
        let _ = self.upgrades.set(upgrades);
    }

    /// Comes back when somebody wants the end of a run that `object` did not know of: a dead seed must not keep an abort
    /// waiting. Whatever the watch has seen before `object` was read is old news.
    pub async fn end_wanted(&self, object: &KKPUpgradeObject) {
        let Some(store) = self.upgrades.get() else {
            return std::future::pending().await;
        };
        let reference = ObjectRef::from_obj(object);
        loop {
            if store.get(&reference).is_some_and(|newer| wants_end(object, &newer)) {
                return;
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Wakes every KKPUpgrade.
    pub fn all(&self) {
        self.sender.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A KKPUpgrade is gone: nothing is watched for it any more.
    pub fn forget(&self, namespace: &str, name: &str) {
        let mut watches = lock(&self.seeds);
        watches.wanted_by.remove(&key(namespace, name));
        if watches.wanted_by.is_empty() {
            self.views.end();
            for handle in std::mem::take(&mut watches.running).into_values().flatten() {
                handle.abort();
            }
        }
    }

    /// What the watches hold of user clusters.
    pub(crate) fn views(&self) -> &ClusterViews {
        &self.views
    }

    /// One item per wake-up, coalesced: the first at once, then at most one every 200 ms.
    pub fn stream(&self) -> impl Stream<Item = ()> + Send + 'static {
        futures::stream::unfold(self.sender.subscribe(), |mut receiver| async move {
            receiver.changed().await.ok()?;
            tokio::time::sleep(COALESCE / 4).await;
            receiver.mark_unchanged();
            Some(((), receiver))
        })
    }
}

/// Whether `newer` is newer, and asks for an end where `object` does not.
fn wants_end(object: &KKPUpgradeObject, newer: &KKPUpgradeObject) -> bool {
    let version = |of: &KKPUpgradeObject| of.resource_version().and_then(|version| version.parse::<u64>().ok());
    let (Some(known), Some(seen)) = (version(object), version(newer)) else {
        return false;
    };
    let deleting = |of: &KKPUpgradeObject| of.metadata.deletion_timestamp.is_some();
    let abort = |of: &KKPUpgradeObject| of.annotations().get(ABORT_ANNOTATION).cloned();
    let asked = abort(newer).is_some() && abort(newer) != abort(object);
    seen > known && (asked || (deleting(newer) && !deleting(object)))
}

/// Watches of the master that live as long as the operator.
pub fn follow_master(context: &std::sync::Arc<Context>, namespace: &str) {
    let labelled = watcher::Config::default().labels(UPGRADE_LABEL);
    let client = &context.client;
    spawn(
        context,
        changes(
            Api::<PartialObjectMeta<Job>>::namespaced(client.clone(), namespace),
            labelled,
        ),
    );
    let catalogue = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
    spawn(
        context,
        changes(
            Api::<PartialObjectMeta<ConfigMap>>::namespaced(client.clone(), namespace),
            catalogue,
        ),
    );
    spawn(
        context,
        changes(
            Api::<KubermaticConfiguration>::namespaced(client.clone(), namespace),
            watcher::Config::default(),
        ),
    );
    spawn(
        context,
        changes(
            Api::<Seed>::namespaced(client.clone(), namespace),
            watcher::Config::default(),
        ),
    );
    spawn(
        context,
        changes(
            Api::<PartialObjectMeta<Deployment>>::namespaced(client.clone(), namespace),
            watcher::Config::default(),
        ),
    );
}

fn spawn(context: &std::sync::Arc<Context>, stream: impl Stream<Item = ()> + Send + 'static) {
    let context = context.clone();
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while stream.next().await.is_some() {
            context.trigger.all();
        }
    });
}

/// Name of a KKPUpgrade among those that want the watches inside seeds.
#[must_use]
pub fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// Starts and stops the watches inside seeds: there while an upgrade has not ended, one set per connection. Before it is
/// locked too: a blocker that is repaired inside a seed has to be seen.
pub async fn follow_seeds(context: &Context, upgrade: &str, active: bool) {
    let known = context.seeds.known().await;
    let mut watches = lock(&context.trigger.seeds);
    if active {
        watches.wanted_by.insert(upgrade.to_owned());
    } else {
        watches.wanted_by.remove(upgrade);
    }
    let wanted = !watches.wanted_by.is_empty();
    watches.running.retain(|(name, identity), handles| {
        let keep = wanted
            && known
                .get(name)
                .is_some_and(|connection| connection.identity == *identity);
        if !keep {
            handles.iter().for_each(AbortHandle::abort);
        }
        keep
    });
    if !wanted {
        context.trigger.views.end();
        return;
    }
    context.trigger.views.retain(|name, identity| {
        known
            .get(name)
            .is_some_and(|connection| connection.identity == *identity)
    });
    context.trigger.views.begin();
    for (name, connection) in known {
        let sender = context.trigger.sender.clone();
        let namespace = context.namespace.clone();
        watches
            .running
            .entry((name, connection.identity))
            .or_insert_with(|| seed_watches(&connection.client, &namespace, &sender));
    }
}

fn seed_watches(client: &Client, namespace: &str, sender: &watch::Sender<u64>) -> Vec<AbortHandle> {
    let everything = watcher::Config::default;
    let wake = |stream: futures::stream::BoxStream<'static, ()>| {
        let sender = sender.clone();
        let task = stream.for_each(move |()| {
            sender.send_modify(|count| *count = count.wrapping_add(1));
            std::future::ready(())
        });
        tokio::spawn(task).abort_handle()
    };
    vec![wake(
        changes(
            Api::<PartialObjectMeta<Deployment>>::namespaced(bounded_list(client, OBJECTS.div_ceil(PAGE)), namespace),
            everything().page_size(PAGE),
        )
        .boxed(),
    )]
}

/// Changes of objects; errors are retried with back-off and wake nobody. Ends where a list has no end: rounds read by
/// themselves, too.
fn changes<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = ()> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    watcher(api, config)
        .default_backoff()
        .touched_objects()
        .take_while(|event| std::future::ready(!event.as_ref().is_err_and(|error| EndlessList::is_behind(error))))
        .filter_map(|event| std::future::ready(event.ok().map(|_| ())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade(version: &str, abort: Option<&str>) -> KKPUpgradeObject {
        let mut metadata = serde_json::json!({"name": "u", "namespace": "kubermatic", "resourceVersion": version});
        if let (Some(token), Some(metadata)) = (abort, metadata.as_object_mut()) {
            let annotations = serde_json::json!({ABORT_ANNOTATION: token});
            metadata.insert("annotations".to_owned(), annotations);
        }
        let object = serde_json::json!({
            "apiVersion": "upgrade.k8c.io/v1alpha1", "kind": "KKPUpgrade", "metadata": metadata, "spec": {},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn only_a_newer_wish_for_the_end_counts() {
        let object = upgrade("10", None);
        assert!(wants_end(&object, &upgrade("11", Some("now"))));
        for (newer, why) in [
            (upgrade("11", None), "nothing was asked for"),
            (upgrade("9", Some("now")), "old news: it has been taken back"),
            (upgrade("10", Some("now")), "the same object"),
            (upgrade("x", Some("now")), "nobody can tell which is newer"),
        ] {
            assert!(!wants_end(&object, &newer), "{why}");
        }
        assert!(!wants_end(&upgrade("10", Some("now")), &upgrade("11", Some("now"))));
        let mut deleted = upgrade("11", None);
        deleted.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        ));
        assert!(wants_end(&object, &deleted));
        assert!(!wants_end(&deleted, &deleted));
    }

    #[tokio::test]
    async fn a_watch_ends_where_its_list_has_no_end() {
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counter = asked.clone();
        let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let page =
                serde_json::json!({"kind": "List", "apiVersion": "v1", "metadata": {"continue": "more"}, "items": []});
            let answer = http::Response::new(kube::client::Body::from(page.to_string().into_bytes()));
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        let client = bounded_list(&Client::new(service, "kubermatic"), 3);
        let api = Api::<PartialObjectMeta<Deployment>>::default_namespaced(client);
        let changes = changes(api, watcher::Config::default()).collect::<Vec<()>>();
        let changes = tokio::time::timeout(Duration::from_secs(30), changes).await;
        assert!(changes.expect("the watch ends").is_empty());
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 3);
    }
}
