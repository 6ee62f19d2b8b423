//! The master's part: accounts, Deployments, webhook configurations, in KKP's order (KKP 2.31 source,
//! pkg/controller/operator/master). Exactly one `KubermaticConfiguration` is allowed: none or several are only errors.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::workloads::Platform;
use super::{MANAGER, access, custom_resources, roll, webhooks};
use crate::Error;
use crate::apply::Applier;
use crate::cluster_access::call;
use crate::follow::{notify_on_change, wait};
use crate::objects::{MANAGED_BY_LABEL, configurations, configurations_to_watch};
use crate::release::Location;
use crate::script::Script;
use crate::start::Process;

const SAFETY_NET: Duration = Duration::from_secs(15);
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Reconciles the master for ever.
pub(super) async fn run(process: Arc<Process>) -> Result<(), Error> {
    let changed = Arc::new(Notify::new());
    let mut watches = JoinSet::new();
    let client = &process.client;
    watches.spawn(notify_on_change(
        configurations_to_watch(client, &process.namespace),
        watcher::Config::default(),
        Arc::clone(&changed),
    ));
    let deployments: Api<PartialObjectMeta<Deployment>> = Api::namespaced(client.clone(), &process.namespace);
    let managed = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}"));
    watches.spawn(notify_on_change(deployments, managed, Arc::clone(&changed)));
    let applier = Applier::new(client.clone(), MANAGER);
    loop {
        let pause = match reconcile(&process, &applier).await {
            Ok(()) => SAFETY_NET,
            Err(error) => {
                tracing::error!(%error, "the master is not reconciled");
                AFTER_ERROR
            }
        };
        wait(&changed, pause).await;
    }
}

/// The only configuration of the platform.
pub(super) async fn configuration(process: &Process) -> Result<DynamicObject, Error> {
    let api = configurations(&process.client, &process.namespace);
    let mut found = call("list KubermaticConfigurations", api.list(&ListParams::default()))
        .await?
        .items;
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(Error::Refused(
            "there is no KubermaticConfiguration; create one".to_owned(),
        )),
        (Some(_), false) => Err(Error::Refused(
            "there are several KubermaticConfigurations; delete all but one".to_owned(),
        )),
    }
}

async fn reconcile(process: &Process, applier: &Applier) -> Result<(), Error> {
    let script = Script::load().operator;
    let configuration = configuration(process).await?;
    if script.master_stuck || configuration.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    custom_resources::ensure(applier, &process.release, Location::Operator, 0).await?;
    access::ensure(applier, &process.namespace, &access::MASTER).await?;
    let platform = Platform {
        release: &process.release,
        configuration: &configuration,
        owner: &configuration,
        namespace: &process.namespace,
    };
    roll::deployments(applier, script.master_deployment_ms, platform.master()?).await?;
    webhooks::ensure(applier, &process.release, Location::Master).await
}
