//! Tables: each item of the master's evidence, and each lie of a half-done upgrade.

use serde_json::{Value, json};

use super::samples::*;
use super::*;

#[test]
fn complete_evidence_proves_and_old_evidence_does_not() {
    for (judge, document) in [
        (judge_master as Judge, master_document as fn(&str) -> Value),
        (judge_seed, seed_document),
        (judge_cluster, cluster_document),
    ] {
        assert_eq!(judge(TARGET, &document(TARGET)), Evidence::Proven);
        assert_eq!(judge("2.31.0", &document(TARGET)), Evidence::Proven);
        assert!(matches!(judge(TARGET, &document(OLD)), Evidence::NotYet { .. }));
        assert!(matches!(judge(OLD, &document(TARGET)), Evidence::NotYet { .. }));
        expect_unknown(&judge("latest", &document("latest")), "is no version");
    }
}

#[test]
fn every_item_of_the_master_is_needed() {
    let image = "/spec/template/spec/containers/0/image";
    let rows: &[(&str, Value, &str)] = &[
        (
            &format!("/deployments/0{image}"),
            json!("a/kubermatic:v2.30.6"),
            "kubermatic-operator: container main at v2.30.6",
        ),
        (
            &format!("/deployments/1{image}"),
            json!("a/kubermatic:v2.30.6"),
            "kubermatic-master-controller-manager",
        ),
        (
            &format!("/deployments/2{image}"),
            json!("a/kubermatic"),
            "without a tag",
        ),
        (
            &format!("/deployments/3{image}"),
            json!("a/dashboard:v2.30.6"),
            "kubermatic-api",
        ),
        (
            &format!("/deployments/4{image}"),
            json!("::"),
            "kubermatic-dashboard: container main: image reference",
        ),
        (
            "/deployments/1/metadata/name",
            json!("other"),
            "kubermatic-master-controller-manager: not found",
        ),
        (
            "/deployments/0/metadata/generation",
            json!(5),
            "newest generation not observed",
        ),
        ("/deployments/0/spec/replicas", json!(3), "2 of 3 replicas updated"),
        (
            "/deployments/0/status/updatedReplicas",
            json!(1),
            "1 of 2 replicas updated",
        ),
        ("/deployments/0/status/readyReplicas", json!(0), "0 of 2 replicas ready"),
        (
            "/deployments/0/status/availableReplicas",
            json!(1),
            "1 of 2 replicas available",
        ),
        ("/deployments/0/status/replicas", json!(3), "1 old replicas left"),
        (
            "/deployments/0/metadata/deletionTimestamp",
            json!("2026-11-21T00:00:00Z"),
            "being deleted",
        ),
        (
            "/crd/annotations/app.kubernetes.io~1version",
            json!(OLD),
            "CRD clusters.kubermatic.k8c.io: at v2.30.6",
        ),
        ("/crd/annotations", json!({}), "no annotation"),
        ("/crd", Value::Null, "CRD clusters.kubermatic.k8c.io: not found"),
        (
            "/configuration/status/kubermaticVersion",
            json!(OLD),
            "status at v2.30.6",
        ),
        ("/configuration", Value::Null, "KubermaticConfiguration: not found"),
        ("/deployments", Value::Null, "Deployments: not found"),
    ];
    for (pointer, value, part) in rows {
        expect_missing(
            &after(judge_master, master_document(TARGET), &[(pointer, value.clone())]),
            part,
        );
    }
}

#[test]
fn scaling_to_zero_proves_nothing_for_a_controller() {
    let zero = |index: usize| -> Vec<(String, Value)> {
        [
            "spec/replicas",
            "status/replicas",
            "status/updatedReplicas",
            "status/readyReplicas",
            "status/availableReplicas",
        ]
        .map(|path| (format!("/deployments/{index}/{path}"), json!(0)))
        .to_vec()
    };
    let evidence = |index: usize| {
        let changes = zero(index);
        let changes: Vec<(&str, Value)> = changes
            .iter()
            .map(|(path, value)| (path.as_str(), value.clone()))
            .collect();
        after(judge_master, master_document(TARGET), &changes)
    };
    expect_missing(&evidence(2), "kubermatic-webhook: scaled to zero");
    assert_eq!(evidence(4), Evidence::Proven);
}

#[test]
fn overrides_of_api_and_dashboard_are_honoured() {
    let image = |index: usize| format!("/deployments/{index}/spec/template/spec/containers/0/image");
    let (api, dashboard) = (image(3), image(4));
    let judge = |changes: &[(&str, Value)]| after(judge_master, master_document(TARGET), changes);
    let pinned = ("/configuration/spec/api/dockerTag", json!("v2.29.9"));
    expect_missing(
        &judge(std::slice::from_ref(&pinned)),
        "kubermatic-api: container main at v2.31.0, wanted v2.29.9",
    );
    assert_eq!(
        judge(&[pinned.clone(), (&api, json!("a/dashboard:v2.29.9"))]),
        Evidence::Proven
    );
    let suffix = ("/configuration/spec/ui/dockerTagSuffix", json!("brand"));
    expect_missing(&judge(std::slice::from_ref(&suffix)), "wanted v2.31.0-brand");
    assert_eq!(
        judge(&[suffix, (&dashboard, json!("a/dashboard:v2.31.0-brand"))]),
        Evidence::Proven
    );
    let both = ("/configuration/spec/api/dockerTagSuffix", json!("ignored"));
    assert_eq!(
        judge(&[pinned, both, (&api, json!("a/dashboard:v2.29.9"))]),
        Evidence::Proven
    );
    expect_unknown(
        &judge(&[("/configuration/spec/ui/dockerTag", json!(231))]),
        "tag override in spec.ui",
    );
}

#[test]
fn a_headless_platform_has_no_api_and_no_dashboard() {
    let mut document = master_document(TARGET);
    document["deployments"].as_array_mut().unwrap().truncate(3);
    expect_missing(&judge_master(TARGET, &document), "kubermatic-api: not found");
    set(
        &mut document,
        "/configuration/spec/featureGates/HeadlessInstallation",
        json!(true),
    );
    assert_eq!(judge_master(TARGET, &document), Evidence::Proven);
    set(
        &mut document,
        "/configuration/spec/featureGates/HeadlessInstallation",
        json!(false),
    );
    expect_missing(&judge_master(TARGET, &document), "kubermatic-dashboard: not found");
    set(
        &mut document,
        "/configuration/spec/featureGates/HeadlessInstallation",
        json!("yes"),
    );
    expect_unknown(&judge_master(TARGET, &document), "HeadlessInstallation");
}

#[test]
fn lies_of_a_half_done_upgrade_are_seen_through() {
    // The configuration says the new version while the operator's Deployment is the old one.
    let mut master = master_document(OLD);
    set(&mut master, "/configuration/status/kubermaticVersion", json!(TARGET));
    set(
        &mut master,
        "/crd/annotations/app.kubernetes.io~1version",
        json!(TARGET),
    );
    expect_missing(
        &judge_master(TARGET, &master),
        "kubermatic-operator: container main at v2.30.6",
    );

    // The Seed says the new version, CRDs are new, conditions kept their old True: nothing was rolled.
    let mut seed = seed_document(OLD);
    set(&mut seed, "/seed/status/versions/kubermatic", json!(TARGET));
    set(&mut seed, "/seed/status/phase", json!("Healthy"));
    set(&mut seed, "/crd/annotations/app.kubernetes.io~1version", json!(TARGET));
    expect_missing(&judge_seed(TARGET, &seed), "kubermatic-seed-controller-manager");

    // The condition of the resources is stamped at once by the new controller, before anything was reconciled.
    let mut cluster = cluster_document(OLD);
    set(
        &mut cluster,
        "/cluster/status/conditions/SeedResourcesUpToDate/kubermaticVersion",
        json!(TARGET),
    );
    expect_missing(
        &judge_cluster(TARGET, &cluster),
        "ClusterControllerReconciledSuccessfully: at v2.30.6",
    );

    // A throttled Cluster has its condition False with the new version.
    let throttled = (
        "/cluster/status/conditions/ClusterControllerReconciledSuccessfully/status",
        json!("False"),
    );
    expect_missing(
        &after(judge_cluster, cluster_document(TARGET), &[throttled]),
        "not True",
    );

    // The shared Addon condition is True at the target because one of two Addons is through.
    let late = ("/addons/1", addon("csi", OLD));
    expect_missing(
        &after(judge_cluster, cluster_document(TARGET), &[late]),
        "Addon csi: at v2.30.6",
    );

    // All conditions are new, the controller inside the cluster's namespace is not.
    let image = (
        "/controller/spec/template/spec/containers/0/image",
        json!("quay.io/kubermatic/kubermatic:v2.30.6"),
    );
    expect_missing(
        &after(judge_cluster, cluster_document(TARGET), &[image]),
        "usercluster-controller",
    );
}
