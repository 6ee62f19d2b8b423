//! The smaller controllers of user clusters. Monitoring obeys the throttle like the cluster controller; cloud and update do
//! not (KKP source, pkg/controller/seed-controller-manager/{monitoring,cloud,update-controller}).

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::controller::Action;
use serde_json::json;

use super::context::Context;
use super::report::{Outcome, reported};
use super::throttle::is_throttled;
use super::up_to_date::is_deployment_rolled;
use crate::Error;
use crate::apply::{merge_status, set_condition};
use crate::condition::Statement;
use crate::objects::text;
use crate::script::Script;

/// Monitoring: nothing but its condition, throttled.
pub(super) async fn monitoring(cluster: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, Error> {
    let outcome = if is_throttled(&cluster, &context.clusters.state(), context.limit) {
        Outcome::Again(Duration::from_millis(Script::load().seed.throttle_requeue_ms.max(50)))
    } else {
        Outcome::Done
    };
    reported(
        &context,
        &cluster,
        "MonitoringControllerReconciledSuccessfully",
        async { Ok(outcome) },
    )
    .await
}

/// Cloud: nothing but its condition.
pub(super) async fn cloud(cluster: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, Error> {
    reported(&context, &cluster, "CloudControllerReconciledSuccessfully", async {
        Ok(Outcome::Done)
    })
    .await
}

/// Update: `status.versions` follows `spec.version` once the API server's Deployment is rolled.
pub(super) async fn update(cluster: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, Error> {
    reported(
        &context,
        &cluster,
        "UpdateControllerReconciledSuccessfully",
        follow_version(&cluster, &context),
    )
    .await
}

async fn follow_version(cluster: &DynamicObject, context: &Context) -> Result<Outcome, Error> {
    let wanted = text(cluster, "/spec/version").unwrap_or(&context.process.release.kubernetes.default);
    let image = format!("registry.k8s.io/kube-apiserver:v{wanted}");
    let is_running = context.deployments_of(cluster).iter().any(|deployment| {
        let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let containers = pod.into_iter().flat_map(|pod| &pod.containers);
        deployment.name_any() == "apiserver"
            && is_deployment_rolled(deployment)
            && containers
                .map(|container| container.image.as_deref())
                .any(|found| found == Some(&image))
    });
    if is_running && cluster.metadata.deletion_timestamp.is_none() {
        let versions = ["controlPlane", "apiserver", "controllerManager", "scheduler"]
            .map(|name| (name.to_owned(), json!(wanted)));
        let versions: serde_json::Map<_, _> = versions.into_iter().collect();
        merge_status(&context.api(), cluster, json!({ "versions": versions })).await?;
    }
    let statement = Statement {
        status: is_running,
        reason: if is_running { "UpToDate" } else { "Progressing" },
        message: "",
        kubermatic_version: Some(context.version()),
    };
    set_condition(&context.api(), cluster, "UpdateProgress", statement).await?;
    Ok(Outcome::Done)
}
