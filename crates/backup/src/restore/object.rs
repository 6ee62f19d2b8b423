//! What of an object is the user's and what the server's; what a restored one should be. Pure.

use serde_json::{Map, Value};

use crate::canonical::{canonical_json, digest};
use crate::discovery::Resource;

/// Written by the API server alone; a restore neither compares nor writes them.
const SERVER_FIELDS: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// What is compared and written: without the server's fields, without a status that has an address of its own, and without what is
/// empty where that means the same as absent.
pub(crate) fn essence(resource: &Resource, object: &Value, has_status: bool) -> Value {
    let mut essence = object.clone();
    let Some(members) = essence.as_object_mut() else {
        return essence;
    };
    members.insert("apiVersion".to_owned(), resource.api_version().into());
    members.insert("kind".to_owned(), resource.kind.as_str().into());
    if has_status {
        members.remove("status");
    }
    // Filled in by a controller, from other roles.
    if members.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
        members.remove("rules");
    }
    if let Some(metadata) = members.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in SERVER_FIELDS {
            metadata.remove(field);
        }
        for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
            if metadata.get(field).is_some_and(is_empty) {
                metadata.remove(field);
            }
        }
    }
    essence
}

/// The object as it should be: the backup's content, with these owners. What lives may have more finalizers and owners: taking one
/// away would let it be removed without its clean-up, or not at all, so they stay.
pub(crate) fn desired(
    resource: &Resource,
    backup: &Value,
    live: Option<&Value>,
    owners: &[Value],
    has_status: bool,
) -> Value {
    let mut desired = essence(resource, backup, has_status);
    let live = live.unwrap_or(&Value::Null);
    let mut kept: Vec<Value> = list(live, "/metadata/ownerReferences").to_vec();
    // The same owner under a UID that is gone would have the object collected as garbage.
    kept.retain(|known| {
        !owners
            .iter()
            .any(|owner| same_owner(known, owner) && known["uid"] != owner["uid"])
    });
    let owners = joined(kept, owners, |known, owner| known["uid"] == owner["uid"]);
    let finalizers = joined(
        list(live, "/metadata/finalizers").to_vec(),
        list(backup, "/metadata/finalizers"),
        |known, finalizer| known == finalizer,
    );
    if let Some(metadata) = desired.get_mut("metadata").and_then(Value::as_object_mut) {
        put(metadata, "ownerReferences", owners);
        put(metadata, "finalizers", finalizers);
    }
    desired
}

/// The first list, and what of the second one is not in it.
fn joined(mut first: Vec<Value>, second: &[Value], same: impl Fn(&Value, &Value) -> bool) -> Vec<Value> {
    for one in second {
        if !first.iter().any(|known| same(known, one)) {
            first.push(one.clone());
        }
    }
    first
}

fn put(metadata: &mut Map<String, Value>, field: &str, items: Vec<Value>) {
    if items.is_empty() {
        metadata.remove(field);
    } else {
        metadata.insert(field.to_owned(), items.into());
    }
}

/// Whether two references mean the same owner, whatever its UID: group, kind and name.
pub(crate) fn same_owner(one: &Value, other: &Value) -> bool {
    let group = |owner: &Value| {
        let version = text(owner, "/apiVersion");
        version
            .split_once('/')
            .map(|(group, _)| group.to_owned())
            .unwrap_or_default()
    };
    one["kind"] == other["kind"] && one["name"] == other["name"] && group(one) == group(other)
}

/// What goes over the wire for an object that lives: what it should be, for exactly the version that was seen.
pub(crate) fn as_update(desired: &Value, live: &Value) -> Value {
    let mut body = desired.clone();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["uid", "resourceVersion"] {
            let seen = live.get("metadata").and_then(|seen| seen.get(field)).cloned();
            metadata.insert(field.to_owned(), seen.unwrap_or_default());
        }
    }
    body
}

/// Digest of an essence, to see later whether somebody else wrote. A number that is not finite cannot come from JSON.
pub(crate) fn fingerprint(essence: &Value) -> String {
    canonical_json(essence)
        .map(|text| digest(&text).replace("sha256:", ""))
        .unwrap_or_default()
}

/// The status, where there is one with something in it.
pub(crate) fn status(object: &Value) -> Option<&Value> {
    object.get("status").filter(|status| !is_empty(status))
}

/// The object with this status.
pub(crate) fn with_status(object: &Value, status: &Value) -> Value {
    let mut body = object.clone();
    if let Some(members) = body.as_object_mut() {
        members.insert("status".to_owned(), status.clone());
    }
    body
}

/// When somebody began to delete it.
pub(crate) fn deleted_since(object: &Value) -> Option<&str> {
    object.pointer("/metadata/deletionTimestamp").and_then(Value::as_str)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// A text of an object, empty where there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A list of an object, empty where there is none.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn clusters() -> Resource {
        Resource::new("kubermatic.k8c.io", "v1", "clusters", "Cluster", false)
    }

    #[test]
    fn only_what_the_server_writes_is_left_out() {
        let object = json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "7", "generation": 2, "labels": {},
            "finalizers": ["x"], "creationTimestamp": "t", "annotations": {"a": "b"}}, "spec": {"x": null}, "status": {"y": 1}});
        let expected = json!({"apiVersion": "kubermatic.k8c.io/v1", "kind": "Cluster",
            "metadata": {"name": "a", "finalizers": ["x"], "annotations": {"a": "b"}}, "spec": {"x": null}});
        assert_eq!(essence(&clusters(), &object, true), expected);
        assert_eq!(essence(&clusters(), &object, false)["status"], json!({"y": 1}));
    }

    #[test]
    fn finalizers_and_owners_of_what_lives_stay_and_dead_uids_go() {
        let owner = |name: &str, uid: &str| json!({"apiVersion": "a/v1", "kind": "P", "name": name, "uid": uid});
        let backup =
            json!({"metadata": {"name": "a", "finalizers": ["x", "y"], "ownerReferences": [owner("p", "old")]}});
        let live = json!({"metadata": {"name": "a", "finalizers": ["z", "y"],
            "ownerReferences": [owner("p", "old"), owner("q", "2")]}});
        let found = desired(&clusters(), &backup, Some(&live), &[owner("p", "new")], true);
        assert_eq!(found["metadata"]["finalizers"], json!(["z", "y", "x"]));
        assert_eq!(
            found["metadata"]["ownerReferences"],
            json!([owner("q", "2"), owner("p", "new")])
        );
        let alone = desired(&clusters(), &backup, None, &[], true);
        assert_eq!(alone["metadata"].get("ownerReferences"), None);
        assert_eq!(alone["metadata"]["finalizers"], json!(["x", "y"]));
    }
}
