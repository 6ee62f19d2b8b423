//! One independent worker per Seed, so that a dead seed delays nobody: started when a Seed appears, ended when it is gone,
//! woken when the master's Seeds or `KubermaticConfigurations` change. Reads the master only.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::watcher;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use crate::Error;
use crate::cluster_access::call;
use crate::follow::{notify_on_change, wait};
use crate::objects::{configurations_to_watch, seeds, seeds_to_watch};
use crate::start::Process;

const SAFETY_NET: Duration = Duration::from_secs(10);

/// Runs `work` for every Seed that the edition knows. Ends only on an error that makes all work pointless: never by itself.
pub(crate) async fn run<Work, Run>(process: Arc<Process>, work: Work) -> Result<(), Error>
where
    Work: Fn(Arc<Process>, String, Arc<Notify>) -> Run + Send,
    Run: Future<Output = ()> + Send + 'static,
{
    let changed = Arc::new(Notify::new());
    let mut watches = JoinSet::new();
    let all_seeds = seeds(&process.client, &process.namespace);
    let everything = watcher::Config::default();
    let followed = seeds_to_watch(&process.client, &process.namespace);
    watches.spawn(notify_on_change(followed, everything.clone(), Arc::clone(&changed)));
    let followed = configurations_to_watch(&process.client, &process.namespace);
    watches.spawn(notify_on_change(followed, everything, Arc::clone(&changed)));
    let mut tasks = JoinSet::new();
    let mut workers: HashMap<String, (AbortHandle, Arc<Notify>)> = HashMap::new();
    loop {
        match call("list Seeds", all_seeds.list_metadata(&ListParams::default())).await {
            Ok(list) => {
                let names: Vec<String> = list.items.iter().map(ResourceExt::name_any).collect();
                workers.retain(|name, (task, _)| {
                    let is_known = names.contains(name);
                    if !is_known {
                        task.abort();
                    }
                    is_known && !task.is_finished()
                });
                for name in names.into_iter().filter(|name| process.release.reconciles_seed(name)) {
                    workers.entry(name).or_insert_with_key(|name| {
                        let nudge = Arc::new(Notify::new());
                        (
                            tasks.spawn(work(Arc::clone(&process), name.clone(), Arc::clone(&nudge))),
                            nudge,
                        )
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "the Seeds are not readable"),
        }
        for (_, nudge) in workers.values() {
            nudge.notify_one();
        }
        wait(&changed, SAFETY_NET).await;
    }
}
