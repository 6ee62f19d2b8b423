//! Writing objects: server-side apply, and status by merge patch. Never deletes.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Error;
use crate::cluster_access::call;
use crate::condition::{self, Statement};
use crate::follow::fingerprint;

/// What was applied to each object, and what the object looked like behind it. KKP compares with what it has in its caches
/// before it writes; who applies the same to an unchanged object writes nothing either.
#[derive(Clone, Default)]
pub(crate) struct Applied(Arc<Mutex<HashMap<String, (u64, u64)>>>);

impl Applied {
    fn of(&self, object: &str) -> Option<(u64, u64)> {
        let applied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        applied.get(object).copied()
    }

    fn remember(&self, object: String, document: u64, result: u64) {
        let mut applied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        applied.insert(object, (document, result));
    }
}

/// Writes whole objects under one field manager and takes its fields back from everybody else, as KKP does.
#[derive(Clone)]
pub(crate) struct Applier {
    /// The cluster.
    pub(crate) client: Client,
    manager: &'static str,
    applied: Applied,
}

impl Applier {
    pub(crate) fn new(client: Client, manager: &'static str) -> Self {
        Self::remembering(client, manager, Applied::default())
    }

    /// One that knows what an earlier one applied.
    pub(crate) const fn remembering(client: Client, manager: &'static str, applied: Applied) -> Self {
        Self {
            client,
            manager,
            applied,
        }
    }

    /// Creates or updates a namespaced object.
    pub(crate) async fn namespaced<K>(&self, object: &K) -> Result<K, Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let api = Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        self.apply(&api, object).await
    }

    /// Creates or updates an object of the cluster.
    pub(crate) async fn cluster_wide<K>(&self, object: &K) -> Result<K, Error>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        self.apply(&Api::all(self.client.clone()), object).await
    }

    async fn apply<K>(&self, api: &Api<K>, object: &K) -> Result<K, Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let name = object.name_any();
        let action = format!("apply {} {name}", K::kind(&()));
        let mut document =
            serde_json::to_value(object).map_err(|error| Error::Refused(format!("cannot {action}: {error}")))?;
        if let Some(fields) = document.as_object_mut() {
            fields.insert("apiVersion".to_owned(), json!(K::api_version(&())));
            fields.insert("kind".to_owned(), json!(K::kind(&())));
            // A status in an applied document would claim fields that belong to Kubernetes' own controllers.
            fields.remove("status");
        }
        let key = format!("{} {}/{name}", K::kind(&()), object.namespace().unwrap_or_default());
        let mut hasher = DefaultHasher::new();
        document.to_string().hash(&mut hasher);
        let wanted = hasher.finish();
        if let Some((applied, result)) = self.applied.of(&key)
            && applied == wanted
            && let Some(live) = call(&action, api.get_opt(&name)).await?
            && fingerprint(&live) == result
        {
            return Ok(live);
        }
        let parameters = PatchParams::apply(self.manager).force();
        let written = call(&action, api.patch(&name, &parameters, &Patch::Apply(document))).await?;
        self.applied.remember(key, wanted, fingerprint(&written));
        Ok(written)
    }
}

/// Merges `status` into the status subresource of an object, unless all of it stands there already.
pub(crate) async fn merge_status(api: &Api<DynamicObject>, object: &DynamicObject, status: Value) -> Result<(), Error> {
    let old = object.data.get("status").unwrap_or(&Value::Null);
    if contains(old, &status) {
        return Ok(());
    }
    let name = object.name_any();
    let patch = Patch::Merge(json!({ "status": status }));
    call(
        &format!("write the status of {name}"),
        api.patch_status(&name, &PatchParams::default(), &patch),
    )
    .await?;
    Ok(())
}

/// Writes one condition, unless it says that already.
pub(crate) async fn set_condition(
    api: &Api<DynamicObject>,
    object: &DynamicObject,
    kind: &str,
    statement: Statement<'_>,
) -> Result<(), Error> {
    let old = object
        .data
        .pointer("/status/conditions")
        .and_then(|conditions| conditions.get(kind));
    let Some(condition) = condition::update(old, statement, &condition::now()) else {
        return Ok(());
    };
    merge_status(api, object, json!({ "conditions": { kind: condition } })).await
}

/// True if a merge patch would change nothing.
fn contains(old: &Value, patch: &Value) -> bool {
    match patch {
        Value::Object(fields) => fields
            .iter()
            .all(|(key, value)| contains(old.get(key).unwrap_or(&Value::Null), value)),
        other => old == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_that_changes_nothing_is_recognised() {
        let old = json!({"a": 1, "b": {"c": "x", "d": 2}});
        assert!(contains(&old, &json!({"b": {"c": "x", "gone": null}})));
        assert!(!contains(&old, &json!({"b": {"c": "y"}})));
        assert!(!contains(&Value::Null, &json!({"a": 1})));
    }
}
