//! Helm releases of the master stack, from the labels of their Secrets. Reading only; no payload is read here.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};

use crate::call::{CallError, call};
use crate::permissions::MASTER_STACK_NAMESPACES;

/// Newest revision of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) revision: i64,
    pub(super) status: String,
}

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
    let mut newest: BTreeMap<String, Release> = BTreeMap::new();
    for secret in &list.items {
        let Some(release) = release(secret, namespace) else {
            continue;
        };
        let known = newest.entry(release.name.clone()).or_insert_with(|| release.clone());
        if release.revision > known.revision {
            *known = release;
        }
    }
    Ok(newest.into_values().collect())
}

/// Labels of a release Secret (Helm 3 and 4): `name`, `status`, `version` = revision.
fn release(secret: &PartialObjectMeta<Secret>, namespace: &str) -> Option<Release> {
    let label = |key: &str| secret.labels().get(key).cloned();
    Some(Release {
        namespace: namespace.to_owned(),
        name: label("name")?,
        revision: label("version")?.parse().ok()?,
        status: label("status").unwrap_or_else(|| "unknown".to_owned()),
    })
}
