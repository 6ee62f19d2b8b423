//! Table: what a control plane misses of a Kubernetes version.

use serde_json::{Value, json};

use super::control_plane_missing;
use crate::types::Cluster;

fn cluster(changes: &[(&str, Value)]) -> Cluster {
    let up = "HealthStatusUp";
    let mut document = json!({
        "metadata": {"name": "x"},
        "spec": {"version": "1.33.0"},
        "status": {
            "versions": {"controlPlane": "1.33.0", "apiserver": "1.33.0"},
            "conditions": {"SeedResourcesUpToDate": {"status": "True", "kubermaticVersion": "v2.30.6"}},
            "extendedHealth": {"etcd": up, "controller": up, "apiserver": up, "scheduler": up,
                "cloudProviderInfrastructure": up, "userClusterControllerManager": up, "machineController": up},
        },
    });
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

fn missing(changes: &[(&str, Value)]) -> Option<String> {
    control_plane_missing(&cluster(changes), "1.33.0", false)
}

#[test]
fn a_control_plane_that_runs_the_version_misses_nothing() {
    assert_eq!(missing(&[]), None);
    assert_eq!(missing(&[("/status/versions/apiserver", json!("v1.33.0"))]), None);
}

#[test]
fn each_piece_counts() {
    for (pointer, value, part) in [
        (
            "/status/versions/controlPlane",
            json!("1.32.13"),
            "control plane is at 1.32.13",
        ),
        (
            "/status/versions/controlPlane",
            Value::Null,
            "control plane is at no version",
        ),
        (
            "/status/versions/apiserver",
            json!("1.32.13"),
            "API server is at 1.32.13",
        ),
        (
            "/status/conditions/SeedResourcesUpToDate/status",
            json!("False"),
            "rolling out",
        ),
        ("/status/conditions/SeedResourcesUpToDate", Value::Null, "rolling out"),
        (
            "/status/extendedHealth/etcd",
            json!("HealthStatusDown"),
            "not healthy: etcd",
        ),
        ("/spec/pause", json!(true), "paused"),
    ] {
        let found = missing(&[(pointer, value)]).unwrap_or_default();
        assert!(found.contains(part), "{pointer}: {found}");
    }
}

#[test]
fn nobody_is_waited_for_whom_nobody_brings_there() {
    let behind = ("/status/versions/controlPlane", json!("1.32.13"));
    let deleted = ("/metadata/deletionTimestamp", json!("2026-11-21T00:00:00Z"));
    assert_eq!(missing(&[behind.clone(), deleted]), None);
    assert_eq!(missing(&[behind, ("/spec/version", json!("1.34.1"))]), None);
}

#[test]
fn health_that_was_bad_before_is_left_out() {
    let ill = cluster(&[("/status/extendedHealth/etcd", json!("HealthStatusDown"))]);
    assert_eq!(control_plane_missing(&ill, "1.33.0", true), None);
}
