//! Puts our finalizer on a KKPUpgrade and takes it off. Talks to the cluster; never touches anybody else's finalizer.

use kkp_upgrade_api::KKPUpgradeObject;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::call::{CallError, call};
use crate::context::{FIELD_MANAGER, FINALIZER};

/// Sets the finalizer where `present`, else removes it.
///
/// # Errors
/// When the server refuses, does not answer, or somebody else wrote the object first. Removing it from an object that is
/// gone is no error.
pub async fn set(client: Client, object: &KKPUpgradeObject, present: bool) -> Result<(), CallError> {
    let Some(body) = body(object, present) else {
        return Ok(());
    };
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    let objects = Api::<KKPUpgradeObject>::namespaced(client, &namespace);
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(body);
    let what = format!("write the finalizer of KKPUpgrade {namespace}/{name}");
    match call(what, objects.patch(&name, &parameters, &patch)).await {
        Err(error) if error.is_not_found() && !present => Ok(()),
        answer => answer.map(drop),
    }
}

/// The merge patch; `None` where nothing is to be changed.
fn body(object: &KKPUpgradeObject, present: bool) -> Option<Value> {
    if object.finalizers().iter().any(|finalizer| finalizer == FINALIZER) == present {
        return None;
    }
    let others = object
        .finalizers()
        .iter()
        .filter(|finalizer| *finalizer != FINALIZER)
        .cloned();
    let finalizers: Vec<String> = others.chain(present.then(|| FINALIZER.to_owned())).collect();
    // A merge patch replaces the whole list, so it must rest on the very version that was read.
    Some(json!({"metadata": {
        "uid": object.uid(),
        "resourceVersion": object.resource_version(),
        "finalizers": finalizers,
    }}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(finalizers: &[&str]) -> KKPUpgradeObject {
        serde_json::from_value(json!({
            "metadata": {"name": "up", "namespace": "kubermatic", "uid": "u", "resourceVersion": "7", "finalizers": finalizers},
        }))
        .unwrap()
    }

    #[test]
    fn other_finalizers_stay_and_the_version_read_is_the_precondition() {
        let added = body(&object(&["a", "b"]), true).unwrap();
        assert_eq!(
            added,
            json!({"metadata": {"uid": "u", "resourceVersion": "7", "finalizers": ["a", "b", FINALIZER]}})
        );
        let removed = body(&object(&["a", FINALIZER, "b"]), false).unwrap();
        assert_eq!(removed["metadata"]["finalizers"], json!(["a", "b"]));
        assert_eq!(removed["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn what_is_so_already_is_not_written() {
        assert_eq!(body(&object(&["a"]), false), None);
        assert_eq!(body(&object(&[FINALIZER]), true), None);
    }
}
