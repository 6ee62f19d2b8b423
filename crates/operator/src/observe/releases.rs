//! Helm releases of the master stack, from the labels of their Secrets. Reading only; no payload is read here.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kkp_upgrade_kkp::helm::{Release, newest_releases};
use kube::api::ListParams;
use kube::{Api, Client};

use crate::call::{CallError, call};
use crate::permissions::MASTER_STACK_NAMESPACES;

/// Newest revision of each release in the chart namespaces that exist, and the namespaces that could not be read.
pub(super) async fn read(client: &Client) -> (Vec<Release>, Vec<(String, String)>) {
    let (mut releases, mut unreadable) = (Vec::new(), Vec::new());
    for namespace in MASTER_STACK_NAMESPACES {
        match in_namespace(client, namespace).await {
            Ok(found) => releases.extend(found),
            Err(error) => unreadable.push((namespace.to_owned(), error.to_string())),
        }
    }
    (releases, unreadable)
}

async fn in_namespace(client: &Client, namespace: &str) -> Result<Vec<Release>, CallError> {
    let namespaces = Api::<Namespace>::all(client.clone());
    if call(format!("namespace {namespace}"), namespaces.get_metadata_opt(namespace))
        .await?
        .is_none()
    {
        return Ok(Vec::new());
    }
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let selector = ListParams::default().labels("owner=helm");
    let list = call(
        format!("Helm releases in {namespace}"),
        secrets.list_metadata(&selector),
    )
    .await?;
    let index = newest_releases(list.items.iter().map(|secret| &secret.metadata));
    match index.unreadable.first() {
        // The Secret may be the newest revision: an older one that is `deployed` proves nothing then.
        Some(bad) => Err(CallError::unusable(
            format!("Helm release Secret {namespace}/{}", bad.secret),
            format!("label `{}` is missing or malformed", bad.label),
        )),
        None => Ok(index.releases),
    }
}
