//! The admission rules of the generated CRD, evaluated without an API server.

use kube_cel::Validator;
use serde_json::{Value, json};

use crate::crd::{LOCKED_FIELDS, crd};

/// Every message with which the update from `old` to `new` is refused; a creation where there is no `old`.
fn refusals(new: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = serde_json::to_value(&crd().spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema).unwrap();
    match Validator::new().validate(&schema, new, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

fn object(spec: &Value, status: &Value) -> Value {
    json!({"apiVersion": "upgrade.k8c.io/v1alpha1", "kind": "KKPUpgrade", "metadata": {"name": "to-2-31"}, "spec": spec, "status": status})
}

fn running(spec: &Value) -> Value {
    object(
        spec,
        &json!({"observedGeneration": 1, "locked": true, "fromVersion": "2.30.6", "currentVersion": "2.30.7"}),
    )
}

fn full() -> Value {
    json!({
        "targetVersion": "2.31.0", "via": ["2.30.7"], "mode": "Upgrade", "edition": "CE",
        "backup": {"storage": {"persistentVolumeClaim": {"claimName": "backups"}}, "policy": "Required"},
        "installer": {"helmTimeoutSeconds": 600, "skipCharts": ["dex"]},
    })
}

/// Each locked field with another value than in [`full`].
fn edits() -> [(&'static str, Value); 6] {
    [
        ("targetVersion", json!("2.31.1")),
        ("mode", json!("Plan")),
        ("via", json!([])),
        ("edition", json!("EE")),
        ("backup", json!({"policy": "Skip"})),
        ("installer", json!({"helmTimeoutSeconds": 600, "skipCharts": []})),
    ]
}

fn with(spec: &Value, field: &str, value: &Value) -> Value {
    let mut spec = spec.clone();
    spec[field] = value.clone();
    spec
}

fn without(spec: &Value, field: &str) -> Value {
    let mut spec = spec.clone();
    spec.as_object_mut().unwrap().remove(field);
    spec
}

#[test]
fn a_locked_field_does_not_change_and_the_message_names_it() {
    assert_eq!(edits().map(|(field, _)| field), LOCKED_FIELDS);
    for (field, value) in edits() {
        let refused = refusals(&running(&with(&full(), field, &value)), Some(&running(&full())));
        assert_eq!(refused.len(), 1, "{field}: {refused:?}");
        assert!(
            refused[0].starts_with(&format!("`spec.{field}` must not change")),
            "{refused:?}"
        );
    }
}

#[test]
fn a_locked_optional_field_is_neither_added_nor_removed() {
    for field in ["edition", "via", "backup", "installer"] {
        let (with, without) = (running(&full()), running(&without(&full(), field)));
        assert_eq!(refusals(&without, Some(&with)).len(), 1, "{field} removed");
        assert_eq!(refusals(&with, Some(&without)).len(), 1, "{field} added");
    }
}

#[test]
fn the_default_mode_written_out_is_no_change() {
    assert_eq!(
        refusals(&running(&without(&full(), "mode")), Some(&running(&full()))),
        Vec::<String>::new()
    );
}

#[test]
fn every_field_may_change_while_nothing_is_locked() {
    for status in [
        json!({"observedGeneration": -1}),
        json!({"observedGeneration": 3, "locked": false, "fromVersion": "2.30.6"}),
    ] {
        for (field, value) in edits() {
            let (new, old) = (object(&with(&full(), field, &value), &status), object(&full(), &status));
            assert_eq!(refusals(&new, Some(&old)), Vec::<String>::new(), "{field}");
        }
    }
}

#[test]
fn pause_limit_approval_verification_risks_and_fixes_may_change_at_any_time() {
    for (field, value) in [
        ("paused", json!(true)),
        ("maximumParallelReconciles", json!(7)),
        ("approval", json!({"mode": "Manual"})),
        ("verification", json!({"soakSeconds": 0})),
        (
            "acceptedRisks",
            json!([{"rule": "a", "reason": "b", "expirationTime": "2026-12-01T00:00:00Z"}]),
        ),
        ("fixes", json!(["cluster-version-unsupported"])),
    ] {
        assert_eq!(
            refusals(&running(&with(&full(), field, &value)), Some(&running(&full()))),
            Vec::<String>::new(),
            "{field}"
        );
    }
}

#[test]
fn setting_the_target_back_is_allowed_with_whatever_git_reverts_beside_it() {
    for target in ["2.30.6", "v2.30.6", "2.30.7"] {
        let reverted = json!({"targetVersion": target, "mode": "Plan"});
        assert_eq!(
            refusals(&running(&reverted), Some(&running(&full()))),
            Vec::<String>::new(),
            "{target}"
        );
    }
}

#[test]
fn storage_is_exactly_one_kind() {
    let storage = |storage: Value| {
        object(
            &json!({"targetVersion": "2.31.0", "backup": {"storage": storage}}),
            &json!({"observedGeneration": -1}),
        )
    };
    let refused = refusals(&storage(json!({})), None);
    assert_eq!(
        refused,
        ["exactly one kind of storage must be set: `persistentVolumeClaim` or `s3`"]
    );
    let bucket = json!({"bucket": "backups", "credentialsSecretRef": {"name": "s3"}});
    let both = json!({"persistentVolumeClaim": {"claimName": "a"}, "s3": bucket.clone()});
    assert_eq!(refusals(&storage(both), None), refused);
    assert_eq!(
        refusals(&storage(json!({"s3": bucket.clone()})), None),
        Vec::<String>::new()
    );
    let mut path_style = bucket;
    path_style["pathStyle"] = json!(true);
    assert_eq!(
        refusals(&storage(json!({"s3": path_style})), None),
        ["pathStyle is only for an own endpoint: remove it, or set `endpoint`"]
    );
    assert_eq!(
        refusals(&storage(json!({"persistentVolumeClaim": {"claimName": "a"}})), None),
        Vec::<String>::new()
    );
}
