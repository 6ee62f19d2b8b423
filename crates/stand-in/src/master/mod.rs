//! Stand-in of master-controller-manager: reports versions and the state of Seeds, and copies objects to seeds
//! (KKP 2.31 source, pkg/controller/master-controller-manager).

mod phase;
mod seed_status;
mod seed_sync;

use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use kube::runtime::watcher;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::Error;
use crate::apply::merge_status;
use crate::cluster_access::call;
use crate::follow::{notify_on_change, wait};
use crate::objects::{configurations, configurations_to_watch};
use crate::script::{Script, pause};
use crate::seed_workers;
use crate::start::Process;

const SAFETY_NET: Duration = Duration::from_secs(10);
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Runs until it fails.
pub(crate) async fn run(process: Arc<Process>) -> Result<(), Error> {
    pause(Script::load().master.start_ms).await;
    let mut parts = JoinSet::new();
    parts.spawn(report_version(Arc::clone(&process)));
    parts.spawn(seed_workers::run(process, seed_status::run));
    match parts.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(error)) => Err(Error::Refused(format!(
            "a part of the controller manager ended: {error}"
        ))),
        None => Ok(()),
    }
}

/// Writes the own version and edition into the configuration as soon as the process runs, long before any seed is rolled:
/// it says only which master-controller-manager runs (KKP 2.31 source, kc-status-controller).
async fn report_version(process: Arc<Process>) -> Result<(), Error> {
    let all = configurations(&process.client, &process.namespace);
    let changed = Arc::new(Notify::new());
    let followed = configurations_to_watch(&process.client, &process.namespace);
    let mut watches = JoinSet::new();
    watches.spawn(notify_on_change(
        followed,
        watcher::Config::default(),
        Arc::clone(&changed),
    ));
    let status = json!({
        "kubermaticVersion": process.release.version,
        "kubermaticEdition": process.release.edition.short_name(),
    });
    loop {
        let written = async {
            let list = call("list KubermaticConfigurations", all.list(&ListParams::default())).await?;
            // With several configurations no controller of KKP does anything.
            let [configuration] = list.items.as_slice() else {
                return Ok(());
            };
            merge_status(&all, configuration, status.clone()).await
        };
        let next = match written.await {
            Ok(()) => SAFETY_NET,
            Err(error) => {
                tracing::warn!(%error, "the configuration's status is not written");
                AFTER_ERROR
            }
        };
        wait(&changed, next).await;
    }
}
