//! What a platform is, object by object, without what an API server writes by itself: read without the backup's own code, to compare
//! before and after. Reads only.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context as _;
use kkp_upgrade_backup::{Resource, canonical_json, digest};
use kube::Client;
use serde_json::Value;

use crate::bed::NAMESPACE;

/// Fields of `metadata` that an API server always writes anew.
pub(super) const SERVER_FIELDS: [&str; 5] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
];
/// What every cluster makes for itself.
const OWN: &str = "kube-root-ca.crt";
/// Groups of KKP end like this.
const GROUPS: &str = "k8c.io";
const PAGE: u32 = 500;

/// Every object of a platform.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// Path → digest of its canonical JSON.
    objects: BTreeMap<String, String>,
    /// Whose owner does not live under the UID that they name.
    orphans: BTreeSet<String>,
}

impl Picture {
    /// Of a control plane, as it is now.
    pub(super) async fn take(client: &Client) -> anyhow::Result<Self> {
        let mut picture = Self::default();
        let mut uids = HashMap::new();
        let mut owned = Vec::new();
        for resource in resources(client).await? {
            let mut token = String::new();
            loop {
                let address = format!("{}?limit={PAGE}&continue={token}", resource.collection_path());
                let request = http::Request::get(address).body(Vec::new())?;
                let mut page: Value = client.request(request).await.with_context(|| resource.label())?;
                let items = page.get_mut("items").map(Value::take);
                let Some(Value::Array(items)) = items else { break };
                for item in items.into_iter().filter(|item| is_of_the_platform(&resource, item)) {
                    picture.add(&resource, item, &mut uids, &mut owned)?;
                }
                let next = page.pointer("/metadata/continue").and_then(Value::as_str);
                match next.filter(|next| !next.is_empty()) {
                    Some(next) => next.clone_into(&mut token),
                    None => break,
                }
            }
        }
        for (path, owner, uid) in owned {
            if uids.get(&owner) != Some(&uid) {
                picture.orphans.insert(path);
            }
        }
        Ok(picture)
    }

    fn add(
        &mut self,
        resource: &Resource,
        mut item: Value,
        uids: &mut HashMap<String, String>,
        owned: &mut Vec<(String, String, String)>,
    ) -> anyhow::Result<()> {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if resource.is_crds()
            && let Some(members) = item.as_object_mut()
        {
            // What the API server says about a CRD, with times.
            members.remove("status");
        }
        let metadata = item.get_mut("metadata").and_then(Value::as_object_mut);
        let metadata = metadata.context("an object has no metadata")?;
        let part = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
        let path = format!("{}/{}/{}", resource.label(), part("namespace"), part("name"));
        uids.insert(format!("{}/{}", resource.kind, part("name")), part("uid").to_owned());
        for field in SERVER_FIELDS {
            metadata.remove(field);
        }
        let owners = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut);
        for owner in owners.into_iter().flatten() {
            let name = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            owned.push((path.clone(), name, text(owner, "uid")));
            if let Some(members) = owner.as_object_mut() {
                members.remove("uid");
            }
        }
        self.objects.insert(path, digest(&canonical_json(&item)?));
        Ok(())
    }

    /// Number of objects.
    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Objects that are missing, new or different, or whose owner lives in one picture alone.
    pub(super) fn differences(&self, after: &Self) -> Vec<String> {
        let paths: BTreeSet<&String> = self.objects.keys().chain(after.objects.keys()).collect();
        let mut found: Vec<String> = paths
            .into_iter()
            .filter_map(|path| match (self.objects.get(path), after.objects.get(path)) {
                (Some(before), Some(now)) if before == now => None,
                (Some(_), Some(_)) => Some(format!("different: {path}")),
                (Some(_), None) => Some(format!("missing: {path}")),
                (None, _) => Some(format!("new: {path}")),
            })
            .collect();
        let orphans = self.orphans.symmetric_difference(&after.orphans);
        found.extend(orphans.map(|path| format!("owner: {path}")));
        found
    }
}

/// KKP's groups, and what else of the platform is kept by kinds that everybody uses.
async fn resources(client: &Client) -> anyhow::Result<Vec<Resource>> {
    let mut all = kinds(client).await?;
    all.extend([
        Resource::crds(),
        Resource::namespaces(),
        Resource::new("", "v1", "secrets", "Secret", true),
        Resource::new("", "v1", "configmaps", "ConfigMap", true),
    ]);
    let rights = [
        ("clusterroles", "ClusterRole", false),
        ("clusterrolebindings", "ClusterRoleBinding", false),
        ("roles", "Role", true),
        ("rolebindings", "RoleBinding", true),
    ];
    let group = "rbac.authorization.k8s.io";
    all.extend(rights.map(|(plural, kind, namespaced)| Resource::new(group, "v1", plural, kind, namespaced)));
    Ok(all)
}

/// Every kind of KKP's groups that can be listed.
pub(super) async fn kinds(client: &Client) -> anyhow::Result<Vec<Resource>> {
    let mut found = Vec::new();
    let groups = client.list_api_groups().await?;
    for group in groups.groups.iter().filter(|group| group.name.ends_with(GROUPS)) {
        if let Some(version) = &group.preferred_version {
            let list = client.list_api_group_resources(&version.group_version).await?;
            let offers = list.resources.into_iter().filter(|offer| !offer.name.contains('/'));
            found.extend(offers.map(|offer| {
                Resource::new(
                    &group.name,
                    &version.version,
                    &offer.name,
                    &offer.kind,
                    offer.namespaced,
                )
            }));
        }
    }
    Ok(found)
}

fn is_of_the_platform(resource: &Resource, item: &Value) -> bool {
    let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let platforms = |namespace: &str| namespace == NAMESPACE || namespace.starts_with("cluster-");
    if resource.group.ends_with(GROUPS) {
        return true;
    }
    match resource.kind.as_str() {
        "CustomResourceDefinition" => text("/spec/group").ends_with(GROUPS),
        "Namespace" => platforms(name),
        "ClusterRole" | "ClusterRoleBinding" => name.starts_with("kubermatic"),
        _ => platforms(namespace) && name != OWN,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn picture(objects: &[Value]) -> Picture {
        let (mut picture, mut uids, mut owned) = (Picture::default(), HashMap::new(), Vec::new());
        let maps = Resource::new("", "v1", "configmaps", "ConfigMap", true);
        for object in objects {
            picture.add(&maps, object.clone(), &mut uids, &mut owned).unwrap();
        }
        picture
    }

    #[test]
    fn what_the_server_writes_is_no_difference_and_everything_else_is_one() {
        let object = |uid: &str, data: &str, more: Value| json!({"metadata": {"name": "a", "namespace": "n", "uid": uid, "labels": more}, "data": data});
        let one = picture(&[object("1", "x", json!({}))]);
        assert!(one.differences(&picture(&[object("2", "x", json!({}))])).is_empty());
        for other in [object("1", "y", json!({})), object("1", "x", json!({"b": "c"}))] {
            assert_eq!(one.differences(&picture(&[other])), ["different: configmaps/n/a"]);
        }
        assert_eq!(one.differences(&picture(&[])), ["missing: configmaps/n/a"]);
        assert_eq!(picture(&[]).differences(&one), ["new: configmaps/n/a"]);
        assert_eq!(one.len(), 1);
    }

    #[test]
    fn what_every_cluster_makes_for_itself_does_not_count() {
        let maps = Resource::new("", "v1", "configmaps", "ConfigMap", true);
        let is = |namespace: &str, name: &str| {
            is_of_the_platform(&maps, &json!({"metadata": {"namespace": namespace, "name": name}}))
        };
        assert!(is("kubermatic", "a") && is("cluster-x", "a"));
        assert!(!is("cluster-x", OWN) && !is("default", "a"));
    }
}
