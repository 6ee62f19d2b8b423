//! Stand-in of seed-controller-manager: the user clusters of one seed (KKP source, pkg/controller/seed-controller-manager).
//!
//! One cache feeds independent controllers, each with its own queue and workers; they decide on cached data, which is what
//! makes the throttle soft.

mod addons;
mod cluster;
mod context;
mod etcd_backups;
mod health;
mod report;
mod throttle;
mod unthrottled;
mod up_to_date;
mod workloads;

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::DynamicObject;
use kube::runtime::controller::{Action, applier};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, reflector};
use kube::runtime::{WatchStreamExt, controller, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use self::context::Context;
use crate::Error;
use crate::apply::Applier;
use crate::objects::{addon_resource, cluster_resource};
use crate::script::{Script, pause};
use crate::start::Process;

const MANAGER: &str = "kubermatic-seed-controller-manager";
/// Events of one cluster within this time are one.
const DEBOUNCE: Duration = Duration::from_millis(20);

type Reconciliation = Pin<Box<dyn Future<Output = Result<Action, Error>> + Send>>;
type Reconciler = fn(Arc<DynamicObject>, Arc<Context>) -> Reconciliation;
type Queues = Vec<UnboundedSender<ObjectRef<DynamicObject>>>;

/// All controllers; each has as many workers as `-worker-count` says.
const CONTROLLERS: [Reconciler; 8] = [
    |cluster, context| Box::pin(cluster::reconcile(cluster, context)),
    |cluster, context| Box::pin(up_to_date::reconcile(cluster, context)),
    |cluster, context| Box::pin(unthrottled::monitoring(cluster, context)),
    |cluster, context| Box::pin(unthrottled::cloud(cluster, context)),
    |cluster, context| Box::pin(unthrottled::update(cluster, context)),
    |cluster, context| Box::pin(addons::reconcile(cluster, context)),
    |cluster, context| Box::pin(health::reconcile(cluster, context)),
    |cluster, context| Box::pin(etcd_backups::reconcile(cluster, context)),
];

/// Runs until it fails.
pub(crate) async fn run(process: Arc<Process>) -> Result<(), Error> {
    pause(Script::load().seed.start_ms).await;
    let client = process.client.clone();
    let (senders, receivers): (Queues, Vec<_>) = CONTROLLERS.iter().map(|_| unbounded()).unzip();
    let mut tasks = JoinSet::new();
    let clusters = Writer::new(cluster_resource());
    let addons = Writer::new(addon_resource());
    let (deployments, stateful_sets) = (Writer::<Deployment>::default(), Writer::<StatefulSet>::default());
    let context = Arc::new(Context {
        applier: Applier::new(client.clone(), MANAGER),
        // 0 and absent mean 10 (internal default of the flag); negative values freeze.
        limit: match process.flags.number("max-parallel-reconcile", 10) {
            0 => 10,
            limit => limit,
        },
        clusters: clusters.as_reader(),
        deployments: deployments.as_reader(),
        stateful_sets: stateful_sets.as_reader(),
        addons: addons.as_reader(),
        written: Mutex::default(),
        process,
    });
    tasks.spawn(feed(
        Api::all_with(client.clone(), &cluster_resource()),
        clusters,
        senders.clone(),
        |cluster| Some(cluster.name_any()),
    ));
    tasks.spawn(feed(
        Api::all_with(client.clone(), &addon_resource()),
        addons,
        senders.clone(),
        cluster_of,
    ));
    tasks.spawn(feed(
        Api::<Deployment>::all(client.clone()),
        deployments,
        senders.clone(),
        cluster_of,
    ));
    tasks.spawn(feed(
        Api::<StatefulSet>::all(client),
        stateful_sets,
        senders,
        cluster_of,
    ));
    let ready = futures::try_join!(
        context.clusters.wait_until_ready(),
        context.addons.wait_until_ready(),
        context.deployments.wait_until_ready(),
        context.stateful_sets.wait_until_ready(),
    );
    ready.map_err(|error| Error::Refused(format!("a cache ended: {error}")))?;
    for (reconciler, queue) in CONTROLLERS.into_iter().zip(receivers) {
        tasks.spawn(work(reconciler, queue, Arc::clone(&context)));
    }
    tasks.join_next().await;
    Err(Error::Refused("a controller ended".to_owned()))
}

/// Keeps one cache and puts the user cluster of every changed object into all queues.
async fn feed<K>(api: Api<K>, cache: Writer<K>, queues: Queues, cluster: fn(&K) -> Option<String>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    let events = watcher(api, watcher::Config::default()).modify(|object| object.managed_fields_mut().clear());
    let mut changed = std::pin::pin!(reflector(cache, events.default_backoff()).touched_objects());
    loop {
        match changed.try_next().await {
            Ok(Some(object)) => {
                for (queue, name) in queues.iter().zip(std::iter::repeat(cluster(&object))) {
                    if let Some(name) = name {
                        let reference = ObjectRef::new_with(&name, cluster_resource());
                        // A closed queue means that the process ends.
                        drop(queue.unbounded_send(reference));
                    }
                }
            }
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "a watch broke; it is opened again"),
        }
    }
}

fn cluster_of<K: ResourceExt>(object: &K) -> Option<String> {
    object
        .namespace()
        .and_then(|namespace| namespace.strip_prefix("cluster-").map(ToOwned::to_owned))
}

/// One controller with its workers.
async fn work(reconciler: Reconciler, queue: UnboundedReceiver<ObjectRef<DynamicObject>>, context: Arc<Context>) {
    let workers = u16::try_from(context.process.flags.number("worker-count", 4))
        .unwrap_or(4)
        .max(1);
    let config = controller::Config::default().concurrency(workers).debounce(DEBOUNCE);
    let on_error = |cluster: Arc<DynamicObject>, error: &Error, _| {
        tracing::warn!(cluster = cluster.name_any(), %error, "the user cluster is not reconciled");
        Action::requeue(Duration::from_millis(500))
    };
    let clusters = context.clusters.clone();
    let queue = queue.map(Ok::<_, Infallible>);
    // A cluster that is gone before its turn is no error worth a word.
    applier(reconciler, on_error, context, clusters, queue, config)
        .for_each(|_| std::future::ready(()))
        .await;
}
