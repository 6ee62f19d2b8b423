//! What a run leaves behind: the objects, the writes of each of the operator's programs, ledger, logs. Reads only.

use std::collections::BTreeMap;
use std::path::Path;

use kkp_lab::platform::MASTER;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::normal;
use crate::bed::{Bed, NAMESPACE};

/// Kinds beside all of KKP's and our own: (group, version, kind).
const KINDS: [(&str, &str, &str); 6] = [
    ("", "v1", "ConfigMap"),
    ("", "v1", "PersistentVolumeClaim"),
    ("batch", "v1", "Job"),
    ("coordination.k8s.io", "v1", "Lease"),
    ("apps", "v1", "Deployment"),
    ("", "v1", "Secret"),
];
/// Secrets and logs hold this word in the helm values of a platform of the campaign.
pub const CANARY: &str = "canary-of-the-campaign";
/// Accounts of the operator's programs begin like this.
const ACCOUNT: &str = "system:serviceaccount:kubermatic:kkp-upgrade-";

/// Object → path → value, all normal.
pub type Objects = BTreeMap<String, BTreeMap<String, String>>;
/// Who did what to which object → how often.
pub type Effects = BTreeMap<String, usize>;

/// What a run left behind.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// All objects at the end.
    pub objects: Objects,
    /// All writes that were accepted.
    pub effects: Effects,
    /// What is wrong by itself, without a comparison.
    pub wrong: Vec<String>,
}

/// The kinds that a platform has.
///
/// # Errors
/// When discovery fails.
pub async fn kinds(client: &Client) -> anyhow::Result<Vec<ApiResource>> {
    let groups = ["kubermatic.k8c.io", "apps.kubermatic.k8c.io", "upgrade.k8c.io"];
    let discovery = kube::discovery::Discovery::new(client.clone())
        .filter(&groups)
        .run()
        .await?;
    let ours = discovery
        .groups()
        .flat_map(kube::discovery::ApiGroup::recommended_resources)
        .map(|(resource, _)| resource);
    let more = KINDS.map(|(group, version, kind)| ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)));
    Ok(ours.chain(more).collect())
}

/// Every object of these kinds.
///
/// # Errors
/// When one cannot be listed.
pub async fn objects(client: &Client, kinds: &[ApiResource]) -> anyhow::Result<Objects> {
    let lists = kinds.iter().map(async |kind| {
        let api = Api::<DynamicObject>::all_with(client.clone(), kind);
        let list = api.list(&ListParams::default()).await?;
        Ok::<_, kube::Error>((kind.kind.clone(), list.items))
    });
    let mut found = Objects::new();
    for list in futures::future::join_all(lists).await {
        let (kind, items) = list?;
        for object in items {
            let name = object.name_any();
            if is_machinery(&kind, &object.namespace().unwrap_or_default(), &name) {
                continue;
            }
            let mut value = serde_json::to_value(&object)?;
            if let Some(fields) = value.as_object_mut() {
                // Secrets stay secret; how a roll-out goes is Kubernetes' business.
                match kind.as_str() {
                    "Secret" => drop(fields.remove("data")),
                    "Deployment" => drop(fields.remove("status")),
                    _ => {}
                }
            }
            let namespace = object.namespace().unwrap_or_default();
            let key = format!("{kind} {namespace}/{}", normal::text(&name));
            let number = (1..).map(|number| format!("{key} {number}"));
            let key = std::iter::once(key.clone())
                .chain(number)
                .find(|key| !found.contains_key(key))
                .unwrap_or(key);
            found.insert(key, normal::leaves(&value));
        }
    }
    Ok(found)
}

/// What moves by itself and says nothing about a run: the leader's lease, the operator's own roll-out, the system.
fn is_machinery(kind: &str, namespace: &str, name: &str) -> bool {
    namespace.starts_with("kube-")
        || (kind == "Lease" && name != "kkp-upgrade-active")
        || (kind == "Deployment" && name == "kkp-upgrade-operator")
}

/// Counts the accepted writes of the operator's programs in an audit log. Status writes of `KKPUpgrade`s, later versions of a
/// plan for people, events and the leader's lease do not count: the first two follow what is seen when, and are judged by
/// their sum, the end state; the others are no effects.
#[must_use]
pub fn effects(audit: &str) -> Effects {
    let mut effects = Effects::new();
    for event in audit
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        if let Some(effect) = effect(&event) {
            *effects.entry(effect).or_default() += 1;
        }
    }
    effects
}

fn effect(event: &Value) -> Option<String> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let who = text("/user/username").strip_prefix(ACCOUNT)?;
    let code = event.pointer("/responseStatus/code").and_then(Value::as_i64)?;
    let (verb, resource, subresource) = (
        text("/verb"),
        text("/objectRef/resource"),
        text("/objectRef/subresource"),
    );
    let name = match text("/objectRef/name") {
        "" => text("/responseObject/metadata/name"),
        name => name,
    };
    let writes = matches!(verb, "create" | "update" | "patch" | "delete" | "deletecollection");
    let ignored = matches!(
        resource,
        "events" | "selfsubjectaccessreviews" | "selfsubjectrulesreviews" | "subjectaccessreviews" | "tokenreviews"
    ) || (resource == "kkpupgrades" && subresource == "status")
        || name == "kkp-upgrade-operator-leader"
        || (resource == "configmaps" && verb == "update" && name.ends_with("-plan"))
        || event
            .pointer("/requestURI")
            .and_then(Value::as_str)
            .is_some_and(|uri| uri.contains("dryRun="));
    if !writes || ignored || !(200..300).contains(&code) {
        return None;
    }
    let name = normal::text(name);
    let subresource = if subresource.is_empty() {
        String::new()
    } else {
        format!("/{subresource}")
    };
    Some(format!(
        "{who} {verb} {resource}{subresource} {}/{name}",
        text("/objectRef/namespace")
    ))
}

/// What is wrong in logs, audit log and objects whatever the run was: panics, and the canary outside of Secrets.
///
/// # Errors
/// When a file cannot be read.
pub fn scan(bed: &Bed, audit: &str, objects: &Objects) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(bed.node_folder(MASTER)?.join("logs"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        let ours = name.starts_with(&format!("{NAMESPACE}_kkp"));
        wrong.extend(
            log.lines()
                .filter(|line| line.contains("panicked at"))
                .map(|line| format!("{name}: {line}")),
        );
        if ours && log.contains(CANARY) {
            wrong.push(format!("{name}: a secret is in the log"));
        }
    }
    // Secrets hold it rightly; the installer's own writes are KKP's business.
    let told = audit
        .lines()
        .filter(|line| line.contains(CANARY) && line.contains(ACCOUNT));
    for line in told {
        let event: Value = serde_json::from_str(line)?;
        let resource = event
            .pointer("/objectRef/resource")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if resource != "secrets" {
            wrong.push(format!("a secret is written into {resource}"));
        }
    }
    for (key, leaves) in objects {
        if leaves.values().any(|value| value.contains(CANARY)) {
            wrong.push(format!("{key}: a secret is in it"));
        }
    }
    Ok(wrong)
}

/// Starts of installers that overlap or come twice for one Job.
///
/// # Errors
/// When the ledger cannot be read.
pub fn ledger(bed: &Bed) -> Vec<String> {
    bed.installer_starts("2.31.0")
        .err()
        .map(|error| error.to_string())
        .into_iter()
        .collect()
}

/// The audit log of a cluster of the platform.
///
/// # Errors
/// When it cannot be read.
pub fn audit_log(bed: &Bed, cluster: &str) -> anyhow::Result<String> {
    let path: &Path = &bed.running.lab.cluster(cluster)?.folder.join("audit.log");
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn accepted_writes_of_the_operators_programs_count_and_nothing_else() {
        let event = |user: &str, verb: &str, resource: &str, code: u16| {
            let name = "kkpu-backup-0123456789";
            let object = json!({"resource": resource, "namespace": "kubermatic", "name": name});
            let user = json!({"username": format!("system:serviceaccount:kubermatic:{user}")});
            json!({"verb": verb, "user": user, "objectRef": object, "responseStatus": {"code": code}}).to_string()
        };
        let log = [
            event("kkp-upgrade-operator", "create", "jobs", 201),
            event("kkp-upgrade-operator", "create", "jobs", 409),
            event("kkp-upgrade-operator", "get", "jobs", 200),
            event("kkp-upgrade-operator", "create", "events", 201),
            event("kubermatic-operator", "create", "jobs", 201),
        ]
        .join("\n");
        let wanted = [("operator create jobs kubermatic/kkpu-backup-#".to_owned(), 1)];
        assert_eq!(effects(&log), Effects::from(wanted));
    }
}
