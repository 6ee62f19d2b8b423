//! Which namespaces are the platform's, and which single Secrets outside of them.
//!
//! Talks to the cluster, reading only. Must never take a user cluster's namespace from its name: its Cluster says it.

use std::collections::BTreeSet;

use kube::api::ListParams;
use serde_json::Value;

use crate::BackupError;
use crate::api::{Source, Subject};
use crate::discovery::{Resource, read_namespace};
use crate::scope::{CHART_NAMESPACES, Omission, Reach, Scope};

/// Secret of a seed's `kube-system` that no Seed names where KKP's old etcd backups are used (KKP source, `pkg/resources`).
const OLD_BACKUP_CREDENTIALS: &str = "kube-system/kubermatic-s3-credentials";

/// Completes the scope: KKP's namespace, those of its charts that exist, those of user clusters, and the credentials that
/// Seeds name elsewhere. Gives what is left out because of that.
pub(crate) async fn find_namespaces(
    source: &Source,
    scope: &mut Scope,
    reach: Reach,
    resources: &[Resource],
) -> Result<Vec<Omission>, BackupError> {
    read_namespace(source, &scope.platform_namespace).await?;
    let mut others = names_of_all(source).await?;
    for namespace in CHART_NAMESPACES.iter().filter(|&&namespace| others.contains(namespace)) {
        scope.namespaces.insert((*namespace).to_owned());
    }
    for clusters in resources.iter().filter(|resource| resource.is_clusters()) {
        collect(source, clusters, &claimed_namespace, &mut scope.namespaces).await?;
    }
    let mut secrets = BTreeSet::from([OLD_BACKUP_CREDENTIALS.to_owned()]);
    for seeds in resources.iter().filter(|resource| resource.is_seeds()) {
        collect(source, seeds, &credentials, &mut secrets).await?;
    }
    others.retain(|namespace| !scope.namespaces.contains(namespace));
    let mut omitted = Vec::new();
    if reach == Reach::Everywhere {
        scope.secrets = secrets;
    } else {
        omitted.push(Omission::new(
            format!("Secrets {}", joined(&secrets)),
            "used on seeds, and in the backups of those",
        ));
    }
    if !others.is_empty() {
        omitted.push(Omission::new(
            format!(
                "Secrets, ConfigMaps, Ingresses and RBAC in the namespaces {}",
                joined(&others)
            ),
            "not of KKP, of its charts or of user clusters",
        ));
    }
    omitted.push(Omission::new(
        format!("Secret {}/{}", scope.platform_namespace, crate::scope::KEY_SECRET),
        "the key that opens this archive: keep it outside of the cluster",
    ));
    Ok(omitted)
}

fn joined(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

async fn names_of_all(source: &Source) -> Result<BTreeSet<String>, BackupError> {
    let name = |object: &Value| vec![text(object, "/metadata/name").to_owned()];
    let mut names = BTreeSet::new();
    collect(source, &Resource::namespaces(), &name, &mut names).await?;
    Ok(names)
}

type Find<'a> = &'a (dyn Fn(&Value) -> Vec<String> + Sync);

/// Looks at every object as it is now; only what `find` takes of it is kept.
async fn collect(
    source: &Source,
    resource: &Resource,
    find: Find<'_>,
    found: &mut BTreeSet<String>,
) -> Result<(), BackupError> {
    let label = resource.label();
    let subject = Subject::of(&label);
    let mut size = source.first_page(resource);
    let mut token = None::<String>;
    loop {
        let mut parameters = ListParams::default().limit(size.objects());
        if let Some(token) = &token {
            parameters = parameters.continue_token(token);
        }
        let page = source.page(resource, &parameters, &subject).await?;
        let items = page.items()?;
        found.extend(items.iter().flat_map(find).filter(|name| !name.is_empty()));
        size = size.after(page.bytes(), page.objects);
        token = page.next;
        if token.is_none() {
            return Ok(());
        }
    }
}

/// The namespace of a user cluster, as its Cluster says.
pub(crate) fn claimed_namespace(cluster: &Value) -> Vec<String> {
    vec![text(cluster, "/status/namespaceName").to_owned()]
}

/// The Secrets of the destinations of etcd backups, as a Seed names them.
fn credentials(seed: &Value) -> Vec<String> {
    let destinations = seed
        .pointer("/spec/etcdBackupRestore/destinations")
        .and_then(Value::as_object);
    let references = destinations.into_iter().flat_map(|all| all.values());
    references
        .map(|destination| {
            (
                text(destination, "/credentials/namespace"),
                text(destination, "/credentials/name"),
            )
        })
        .filter(|(_, name)| !name.is_empty())
        .map(|(namespace, name)| {
            let namespace = if namespace.is_empty() { "kube-system" } else { namespace };
            format!("{namespace}/{name}")
        })
        .collect()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
