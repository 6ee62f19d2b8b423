//! The Addon controller: it works inside the user cluster, so it comes last, when the new control plane runs. A cluster
//! without Addons never gets the condition (KKP source, pkg/controller/seed-controller-manager/addon). Each Addon has its
//! own conditions with its own version (KKP 2.26 and newer).

use std::sync::Arc;
use std::time::Duration;

use kube::api::DynamicObject;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::context::{Context, namespace_of};
use super::up_to_date::is_deployment_rolled;
use crate::Error;
use crate::apply::{merge_status, set_condition};
use crate::condition::{self, Statement};
use crate::objects::addon_resource;
use crate::script::{Script, pause};

const CONDITIONS: [&str; 2] = ["AddonResourcesCreatedSuccessfully", "AddonReconciledSuccessfully"];
const WAIT: Duration = Duration::from_secs(1);

/// Reconciles all Addons of one user cluster.
pub(super) async fn reconcile(cluster: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, Error> {
    let addons = context.addons_of(&cluster);
    if addons.is_empty() || !context.is_ours(&cluster) || cluster.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let script = Script::load().seed;
    let faults = script.cluster(&cluster.name_any());
    if faults.addons_stuck || !is_control_plane_new(&cluster, &context) {
        return Ok(Action::requeue(WAIT));
    }
    let api: Api<DynamicObject> = Api::namespaced_with(
        context.process.client.clone(),
        &namespace_of(&cluster),
        &addon_resource(),
    );
    for addon in addons {
        if let Some(status) = addon_status(&addon, context.version()) {
            pause(script.addon_ms.saturating_add(faults.addon_delay_ms)).await;
            merge_status(&api, &addon, status).await?;
        }
    }
    let statement = Statement {
        status: true,
        reason: "",
        message: "",
        kubermatic_version: Some(context.version()),
    };
    set_condition(
        &context.api(),
        &cluster,
        "AddonControllerReconciledSuccessfully",
        statement,
    )
    .await?;
    Ok(Action::requeue(Duration::from_secs(10)))
}

fn is_control_plane_new(cluster: &DynamicObject, context: &Context) -> bool {
    context.deployments_of(cluster).iter().any(|deployment| {
        let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let mut images = pod
            .into_iter()
            .flat_map(|pod| &pod.containers)
            .filter_map(|container| container.image.as_deref());
        deployment.name_any() == "usercluster-controller"
            && is_deployment_rolled(deployment)
            && images.any(|image| image.rsplit_once(':').is_some_and(|(_, tag)| tag == context.version()))
    })
}

/// The status to write, or nothing if the Addon is at this version.
fn addon_status(addon: &DynamicObject, version: &str) -> Option<Value> {
    let old = addon.data.pointer("/status/conditions");
    let statement = Statement {
        status: true,
        reason: "",
        message: "",
        kubermatic_version: Some(version),
    };
    let now = condition::now();
    let changed: serde_json::Map<String, Value> = CONDITIONS
        .iter()
        .filter_map(|kind| {
            let old = old.and_then(|conditions| conditions.get(*kind));
            condition::update(old, statement, &now).map(|condition| ((*kind).to_owned(), condition))
        })
        .collect();
    (!changed.is_empty()).then(|| json!({ "phase": "Healthy", "conditions": changed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_addon_gets_the_version_once() {
        let addon = DynamicObject::new("canal", &addon_resource()).data(json!({}));
        let status = addon_status(&addon, "v2.31.0").unwrap();
        assert_eq!(
            status.pointer("/conditions/AddonReconciledSuccessfully/kubermaticVersion"),
            Some(&json!("v2.31.0"))
        );
        let addon = DynamicObject::new("canal", &addon_resource()).data(json!({ "status": status }));
        assert_eq!(addon_status(&addon, "v2.31.0"), None);
        assert!(addon_status(&addon, "v2.31.1").is_some());
    }
}
