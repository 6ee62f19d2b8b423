//! Tables: evidence of seeds.

use serde_json::{Value, json};

use super::samples::*;
use super::*;

#[test]
fn every_item_of_a_seed_is_needed() {
    let image = "/spec/template/spec/containers/0/image";
    let rows: &[(&str, Value, &str)] = &[
        (
            &format!("/deployments/0{image}"),
            json!("a:v2.30.6"),
            "kubermatic-seed-controller-manager",
        ),
        (
            &format!("/deployments/1{image}"),
            json!("a:v2.30.6"),
            "kubermatic-webhook",
        ),
        (
            &format!("/deployments/2{image}"),
            json!("a:v2.30.6"),
            "nodeport-proxy-envoy",
        ),
        (
            "/deployments/2/spec/template/spec/initContainers/0/image",
            json!("a:v2.30.6"),
            "nodeport-proxy-envoy",
        ),
        (
            "/deployments/2/spec/template/spec/containers/0/name",
            json!("envoy"),
            "no container to judge",
        ),
        (
            &format!("/deployments/3{image}"),
            json!("a:v2.30.6"),
            "nodeport-proxy-updater",
        ),
        (
            "/crd/annotations/app.kubernetes.io~1version",
            json!("v2.31.1"),
            "at v2.31.1, wanted v2.31.0",
        ),
        (
            "/seed/status/conditions/ResourcesReconciled/status",
            json!("False"),
            "ResourcesReconciled not True",
        ),
        (
            "/seed/status/conditions/KubeconfigValid/status",
            json!("Unknown"),
            "KubeconfigValid not True",
        ),
        ("/seed/status/conditions", json!({}), "no condition ResourcesReconciled"),
        (
            "/seed/metadata/annotations/kubermatic.k8c.io~1skip-reconciling",
            json!(""),
            "held by annotation",
        ),
        (
            "/seed/metadata/deletionTimestamp",
            json!("2026-11-21T00:00:00Z"),
            "being deleted",
        ),
        ("/seed", Value::Null, "Seed: not found"),
    ];
    for (pointer, value, part) in rows {
        expect_missing(
            &after(judge_seed, seed_document(TARGET), &[(pointer, value.clone())]),
            part,
        );
    }
    for (pointer, value, part) in [
        ("/seed/status/conditions", json!([]), "condition KubeconfigValid"),
        (
            "/seed/status/conditions/KubeconfigValid/status",
            json!(true),
            "status of condition KubeconfigValid",
        ),
        ("/seed/spec/nodeportProxy/disable", json!("no"), "nodeportProxy"),
        ("/deployments", json!("x"), "Deployments"),
    ] {
        expect_unknown(&after(judge_seed, seed_document(TARGET), &[(pointer, value)]), part);
    }
}

#[test]
fn the_node_port_proxy_has_two_tags_and_may_be_off() {
    let mut document = seed_document(TARGET);
    let containers = document
        .pointer_mut("/deployments/2/spec/template/spec/containers")
        .unwrap()
        .as_array_mut()
        .unwrap();
    containers.push(json!({"name": "envoy", "image": "docker.io/envoyproxy/envoy:v1.37.0"}));
    assert_eq!(judge_seed(TARGET, &document), Evidence::Proven);
    document["deployments"].as_array_mut().unwrap().truncate(2);
    expect_missing(&judge_seed(TARGET, &document), "nodeport-proxy-envoy: not found");
    set(&mut document, "/seed/spec/nodeportProxy/disable", json!(true));
    assert_eq!(judge_seed(TARGET, &document), Evidence::Proven);
}

#[test]
fn the_community_edition_reconciles_one_seed() {
    assert!(is_reconciled_by("CE", "kubermatic"));
    assert!(!is_reconciled_by("CE", "eu"));
    assert!(!is_reconciled_by("", "eu"));
    assert!(is_reconciled_by("EE", "eu"));
}
