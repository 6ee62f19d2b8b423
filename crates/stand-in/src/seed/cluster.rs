//! The cluster controller: the control plane of one user cluster, throttled (KKP source,
//! pkg/controller/seed-controller-manager/kubernetes). It can end well without rolling anything: Deployments are left alone
//! while the cloud provider's infrastructure is not up, etcd while etcd is not up.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, DynamicObject};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::context::{Context, namespace_of};
use super::report::{Outcome, reported};
use super::throttle::is_throttled;
use super::workloads::Rendering;
use crate::Error;
use crate::apply::merge_status;
use crate::cluster_access::call;
use crate::objects::text;
use crate::script::{ClusterScript, Script, pause};

/// Reconciles one user cluster.
pub(super) async fn reconcile(cluster: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, Error> {
    let condition = "ClusterControllerReconciledSuccessfully";
    let reconciliation = Box::pin(reconcile_throttled(&cluster, &context));
    reported(&context, &cluster, condition, reconciliation).await
}

async fn reconcile_throttled(cluster: &DynamicObject, context: &Context) -> Result<Outcome, Error> {
    let script = Script::load().seed;
    if cluster.metadata.deletion_timestamp.is_some() {
        return clean_up(cluster, context).await;
    }
    if is_throttled(cluster, &context.clusters.state(), context.limit) {
        tracing::debug!(cluster = cluster.name_any(), "Concurrency limit reached");
        return Ok(Outcome::Again(Duration::from_millis(
            script.throttle_requeue_ms.max(50),
        )));
    }
    let faults = script.cluster(&cluster.name_any());
    if let Some(message) = &faults.error {
        return Err(Error::Refused(message.clone()));
    }
    let flags = &context.process.flags;
    let release = &context.process.release;
    let kubermatic_image = flags
        .text("kubermatic-image")
        .map_or_else(|| release.kubermatic_repository(), ToOwned::to_owned);
    let etcd_launcher_image = flags
        .text("etcd-launcher-image")
        .map_or_else(|| release.shared_repository("etcd-launcher"), ToOwned::to_owned);
    let rendering = Rendering {
        cluster,
        version: &release.version,
        kubermatic_image: &kubermatic_image,
        etcd_launcher_image: &etcd_launcher_image,
        default_kubernetes: &release.kubernetes.default,
        etcd_replicas: script.etcd_replicas,
        is_frozen: faults.never_converges,
    };
    write(context, &rendering, &faults, script.reconcile_ms).await?;
    merge_status(
        &context.api(),
        cluster,
        json!({ "namespaceName": namespace_of(cluster) }),
    )
    .await?;
    Ok(Outcome::Done)
}

/// Writes what differs. The latency passes once, before the first write.
async fn write(
    context: &Context,
    rendering: &Rendering<'_>,
    faults: &ClusterScript,
    latency: u64,
) -> Result<(), Error> {
    let may_write = |component: &str| {
        faults
            .health
            .get(component)
            .is_none_or(|health| health == "HealthStatusUp")
    };
    let mut deployments = if may_write("cloudProviderInfrastructure") {
        rendering.deployments()?
    } else {
        Vec::new()
    };
    deployments.retain(|wanted| {
        let live = context.deployments_of(rendering.cluster);
        let live = live.iter().find(|live| live.name_any() == wanted.name_any());
        context.must_write(&key(wanted), wanted, live.and_then(|live| live.metadata.generation))
    });
    let etcd = Some(rendering.etcd()?).filter(|wanted| {
        let live = context.stateful_sets_of(rendering.cluster);
        let live = live.iter().find(|live| live.name_any() == wanted.name_any());
        may_write("etcd") && context.must_write(&key(wanted), wanted, live.and_then(|live| live.metadata.generation))
    });
    if deployments.is_empty() && etcd.is_none() {
        return Ok(());
    }
    pause(latency).await;
    context.applier.cluster_wide(&rendering.namespace()?).await?;
    for wanted in deployments {
        let written: Deployment = context.applier.namespaced(&wanted).await?;
        context.remember(key(&wanted), &wanted, written.metadata.generation);
    }
    if let Some(wanted) = etcd {
        let written: StatefulSet = context.applier.namespaced(&wanted).await?;
        context.remember(key(&wanted), &wanted, written.metadata.generation);
    }
    Ok(())
}

fn key<K: ResourceExt>(object: &K) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// A deleted cluster loses its control plane; until its finalizers are gone it counts as not up to date.
async fn clean_up(cluster: &DynamicObject, context: &Context) -> Result<Outcome, Error> {
    if text(cluster, "/status/phase") != Some("Terminating") {
        let namespaces: Api<Namespace> = Api::all(context.process.client.clone());
        let name = namespace_of(cluster);
        match call(
            &format!("delete namespace {name}"),
            namespaces.delete(&name, &DeleteParams::default()),
        )
        .await
        {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => merge_status(&context.api(), cluster, json!({ "phase": "Terminating" })).await?,
        }
    }
    Ok(Outcome::Done)
}
