//! The limit on parallel reconciles, and our note of what it was, in one PATCH. Talks to the cluster; must never write one
//! without the other, nor against another version of the KubermaticConfiguration than the one that was observed.

use kkp_upgrade_core::facts::{Facts, ThrottleMark};
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::configurations;
use crate::call::{CallError, call};
use crate::context::{FIELD_MANAGER, THROTTLE_ANNOTATION};

/// The merge patch that writes the limit and our note.
///
/// # Errors
/// When the note has no JSON form; then nothing may be written.
pub fn set_body(mark: &ThrottleMark, resource_version: &str) -> Result<Value, CallError> {
    let note = serde_json::to_string(mark)
        .map_err(|error| CallError::unusable("write the note about the limit", error.to_string()))?;
    Ok(json!({
        "metadata": {"resourceVersion": resource_version, "annotations": {THROTTLE_ANNOTATION: note}},
        "spec": {"seedController": {"maximumParallelReconciles": mark.applied}},
    }))
}

/// The merge patch that takes our note off, and puts the limit back where `write_value`; a limit that was not set before is
/// removed.
#[must_use]
pub fn restore_body(original: Option<i64>, write_value: bool, resource_version: &str) -> Value {
    let mut body = json!({
        "metadata": {"resourceVersion": resource_version, "annotations": {THROTTLE_ANNOTATION: null}},
    });
    if write_value && let Some(body) = body.as_object_mut() {
        let spec = json!({"seedController": {"maximumParallelReconciles": original}});
        body.insert("spec".to_owned(), spec);
    }
    body
}

/// Sends the patch to the KubermaticConfiguration that was observed.
///
/// # Errors
/// A conflict when somebody else wrote it first; otherwise when the server refuses or does not answer.
pub async fn patch(client: Client, facts: &Facts, body: &Value) -> Result<(), CallError> {
    let Some(platform) = facts.platform.value() else {
        let problem = format!("the platform was not read: {}", facts.platform.why_not());
        return Err(CallError::unusable("patch the KubermaticConfiguration", problem));
    };
    let (namespace, name) = (&platform.configuration.namespace, &platform.configuration.name);
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let what = format!("patch KubermaticConfiguration {namespace}/{name}");
    let patch = Patch::Merge(body);
    call(what, configurations(client, namespace).patch(name, &parameters, &patch))
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: &str = "/spec/seedController/maximumParallelReconciles";

    #[test]
    fn value_note_and_precondition_are_one_patch() {
        let mark = ThrottleMark {
            owner: "u".to_owned(),
            original: None,
            applied: 3,
        };
        let body = set_body(&mark, "41").unwrap();
        assert_eq!(body["metadata"]["resourceVersion"], "41");
        assert_eq!(body.pointer(LIMIT), Some(&json!(3)));
        let note = body["metadata"]["annotations"][THROTTLE_ANNOTATION].as_str().unwrap();
        assert_eq!(serde_json::from_str::<ThrottleMark>(note).unwrap(), mark);
    }

    #[test]
    fn an_unset_original_removes_the_field() {
        let body = restore_body(None, true, "42");
        assert_eq!(body.pointer(LIMIT), Some(&Value::Null));
        assert_eq!(body["metadata"]["annotations"], json!({THROTTLE_ANNOTATION: null}));
        assert_eq!(body["metadata"]["resourceVersion"], "42");
        assert_eq!(restore_body(Some(10), true, "42").pointer(LIMIT), Some(&json!(10)));
    }

    #[test]
    fn somebody_elses_value_is_left_alone() {
        let body = restore_body(Some(10), false, "42");
        assert_eq!(body.get("spec"), None);
        assert_eq!(body["metadata"]["annotations"], json!({THROTTLE_ANNOTATION: null}));
    }
}
