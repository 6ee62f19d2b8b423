//! Writes Deployments; the Deployment controller rolls them. On a cluster that is master and seed the webhook is one object
//! of both: the first owner stays, and the name of the seed is kept (KKP source, pkg/controller/operator/common).

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt};

use super::workloads::SEED_NAME_FLAG;
use crate::Error;
use crate::apply::Applier;
use crate::cluster_access::call;
use crate::script::pause;

/// Creates or updates the Deployments one after the other; `latency` passes before each whose Pods will be replaced.
pub(super) async fn deployments(applier: &Applier, latency: u64, wanted: Vec<Deployment>) -> Result<(), Error> {
    for deployment in wanted {
        let namespace = deployment.namespace().unwrap_or_default();
        let name = deployment.name_any();
        let api: Api<Deployment> = Api::namespaced(applier.client.clone(), &namespace);
        let live = call(&format!("read Deployment {name}"), api.get_opt(&name)).await?;
        let deployment = shared_with(live.as_ref(), deployment);
        if live.as_ref().is_none_or(|live| program(live) != program(&deployment)) {
            pause(latency).await;
            tracing::info!(deployment = name, "changes");
        }
        applier.namespaced(&deployment).await?;
    }
    Ok(())
}

fn shared_with(live: Option<&Deployment>, mut wanted: Deployment) -> Deployment {
    let Some(live) = live else { return wanted };
    if let Some(owners) = &live.metadata.owner_references
        && owners.iter().any(|owner| owner.controller == Some(true))
    {
        wanted.metadata.owner_references = Some(owners.clone());
    }
    let is_seed_name = |arg: &&String| arg.starts_with(SEED_NAME_FLAG);
    let kept = program(live)
        .into_iter()
        .flat_map(|(_, args)| args)
        .find(|arg| is_seed_name(&arg));
    let container = wanted
        .spec
        .as_mut()
        .and_then(|spec| spec.template.spec.as_mut())
        .and_then(|pod| pod.containers.first_mut());
    if let (Some(kept), Some(args)) = (kept, container.and_then(|container| container.args.as_mut()))
        && !args.iter().any(|arg| is_seed_name(&arg))
    {
        args.push(kept);
    }
    wanted
}

/// Image and arguments of each container: what decides whether Pods are replaced.
fn program(deployment: &Deployment) -> Vec<(Option<String>, Vec<String>)> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers = pod.into_iter().flat_map(|pod| &pod.containers);
    containers
        .map(|container| (container.image.clone(), container.args.clone().unwrap_or_default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(owner: &str, args: &[&str]) -> Deployment {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "kubermatic-webhook", "ownerReferences": [
                {"apiVersion": "v1", "kind": "X", "name": owner, "uid": owner, "controller": true}]},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "image": "i", "args": args}]}}},
        }))
        .unwrap()
    }

    #[test]
    fn the_first_owner_of_a_shared_deployment_stays() {
        let shared = shared_with(
            Some(&deployment("configuration", &[])),
            deployment("seed", &["-seed-name=eu"]),
        );
        let owners: Vec<String> = shared
            .owner_references()
            .iter()
            .map(|owner| owner.name.clone())
            .collect();
        assert_eq!(owners, ["configuration"]);
    }

    #[test]
    fn the_master_part_keeps_the_seed_name_that_the_seed_part_wrote() {
        let shared = shared_with(
            Some(&deployment("x", &["-a", "-seed-name=eu"])),
            deployment("x", &["-a"]),
        );
        assert_eq!(
            program(&shared),
            [(Some("i".to_owned()), vec!["-a".to_owned(), "-seed-name=eu".to_owned()])]
        );
        let again = shared_with(Some(&shared), deployment("x", &["-a", "-seed-name=eu"]));
        assert_eq!(program(&again), program(&shared));
    }
}
