//! Wakes a controller when somebody changes an object that concerns it. Watches metadata only; never writes.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

/// Several changes at once are one reason to act.
const GATHER: Duration = Duration::from_millis(50);

/// Notifies on every creation, deletion and change of specification, annotations or labels; not on changes of status.
pub(crate) async fn notify_on_change<K>(api: Api<PartialObjectMeta<K>>, selection: watcher::Config, notify: Arc<Notify>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut seen: HashMap<String, u64> = HashMap::new();
    let mut events = pin!(watch(api, selection).default_backoff());
    loop {
        match events.try_next().await {
            Ok(Some(Event::Apply(object) | Event::InitApply(object))) => {
                let mark = fingerprint(&object);
                if seen.insert(object.name_any(), mark) != Some(mark) {
                    notify.notify_one();
                }
            }
            Ok(Some(Event::Delete(object))) => {
                seen.remove(&object.name_any());
                notify.notify_one();
            }
            // After a broken watch something may have been deleted without an event.
            Ok(Some(Event::InitDone)) => notify.notify_one(),
            Ok(Some(Event::Init)) => {}
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "a watch broke; it is opened again"),
        }
    }
}

/// What changes with every change but one of status.
pub(crate) fn fingerprint<K: Resource>(object: &K) -> u64 {
    let metadata = object.meta();
    let mut hasher = DefaultHasher::new();
    metadata.uid.hash(&mut hasher);
    match metadata.generation {
        Some(generation) => generation.hash(&mut hasher),
        None => metadata.resource_version.hash(&mut hasher),
    }
    metadata.annotations.hash(&mut hasher);
    metadata.labels.hash(&mut hasher);
    metadata.deletion_timestamp.is_some().hash(&mut hasher);
    hasher.finish()
}

/// Waits until somebody notifies, at the longest for `safety_net`.
pub(crate) async fn wait(notify: &Notify, safety_net: Duration) {
    if tokio::time::timeout(safety_net, notify.notified()).await.is_ok() {
        tokio::time::sleep(GATHER).await;
    }
}
