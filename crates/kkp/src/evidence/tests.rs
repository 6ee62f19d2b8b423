//! Tables: each item of evidence, each lie of a half-done upgrade, and the helpers around them.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::samples::*;
use super::*;
use crate::types::Cluster;

const SEED_CONTROLLER: &str = include_str!("../../tests/fixtures/deployment-seed-controller-manager.yaml");

type Judge = fn(&str, &Value) -> Evidence;

/// Applies changes to a document and gives the evidence.
fn after(judge: Judge, mut document: Value, changes: &[(&str, Value)]) -> Evidence {
    for (pointer, value) in changes {
        set(&mut document, pointer, value.clone());
    }
    judge(TARGET, &document)
}

fn expect_missing(evidence: &Evidence, part: &str) {
    let Evidence::NotYet { missing } = evidence else {
        panic!("{part}: {evidence:?}")
    };
    assert!(
        missing.iter().any(|reason| reason.contains(part)),
        "{part}: {missing:?}"
    );
}

fn expect_unknown(evidence: &Evidence, part: &str) {
    let Evidence::Unknown { why } = evidence else {
        panic!("{part}: {evidence:?}")
    };
    assert!(why.contains(part), "{part}: {why}");
}

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

#[test]
fn addons_count_only_where_they_are_and_only_since_they_have_a_version() {
    let mut document = cluster_document(TARGET);
    set(&mut document, "/addons", json!([]));
    document["cluster"]["status"]["conditions"]
        .as_object_mut()
        .unwrap()
        .remove(user_cluster::ADDON_CONDITION);
    assert_eq!(judge_cluster(TARGET, &document), Evidence::Proven);
    set(&mut document, "/addons", json!([addon("canal", TARGET)]));
    expect_missing(&judge_cluster(TARGET, &document), "no condition AddonController");

    let unversioned = json!([{"metadata": {"name": "canal"}, "status": {"conditions": {}}}]);
    for (tag, proven) in [("v2.25.18", true), ("v2.26.0", false)] {
        let mut document = cluster_document(tag);
        set(&mut document, "/addons", unversioned.clone());
        assert_eq!(judge_cluster(tag, &document).is_proven(), proven, "{tag}");
    }
    expect_unknown(
        &after(judge_cluster, cluster_document(TARGET), &[("/addons", Value::Null)]),
        "Addons",
    );
    expect_unknown(
        &after(judge_cluster, cluster_document(TARGET), &[("/addons", json!({}))]),
        "Addons",
    );
}

#[test]
fn clusters_that_kkp_leaves_alone_are_set_apart() {
    let apart = |changes: &[(&str, Value)]| {
        let mut document = cluster_document(OLD);
        for (pointer, value) in changes {
            set(&mut document, pointer, value.clone());
        }
        verdict(TARGET, &document)
    };
    for (pointer, value, reason) in [
        (
            "/cluster/metadata/deletionTimestamp",
            json!("2026-11-21T00:00:00Z"),
            SetApart::Deleting,
        ),
        ("/cluster/spec/pause", json!(true), SetApart::Paused),
        (
            "/cluster/metadata/labels/worker-name",
            json!("dev"),
            SetApart::OtherWorkerName("dev".to_owned()),
        ),
    ] {
        assert_eq!(apart(&[(pointer, value)]), ClusterVerdict::SetApart(reason));
    }
    for (pointer, value) in [
        ("/cluster/spec/pause", json!(false)),
        ("/cluster/metadata/labels/worker-name", json!("")),
    ] {
        assert!(
            matches!(apart(&[(pointer, value)]), ClusterVerdict::Judged(_)),
            "{pointer}"
        );
    }
    // Whether it is paused is unknown: neither set apart nor proven.
    let odd = after(
        judge_cluster,
        cluster_document(TARGET),
        &[("/cluster/spec/pause", json!("yes"))],
    );
    expect_unknown(&odd, "spec.pause");
    let own: Cluster = serde_json::from_value(json!({"metadata": {"labels": {"worker-name": "dev"}}})).unwrap();
    assert_eq!(set_apart(&own, "dev"), None);
    assert_eq!(
        set_apart(&Cluster::default(), "dev"),
        Some(SetApart::OtherWorkerName(String::new()))
    );
}

#[test]
fn unreadable_pieces_of_a_cluster_are_unknown() {
    for (pointer, value, part) in [
        ("/cluster/status/conditions", json!([]), "condition ClusterController"),
        ("/cluster/status", json!(7), "condition ClusterController"),
        (
            "/cluster/status/conditions/SeedResourcesUpToDate/status",
            json!(true),
            "SeedResourcesUpToDate",
        ),
        (
            "/cluster/status/conditions/SeedResourcesUpToDate",
            json!("True"),
            "SeedResourcesUpToDate",
        ),
        ("/controller/status", json!("x"), "usercluster-controller"),
        (
            "/addons/0/status/conditions/AddonReconciledSuccessfully",
            json!(1),
            "Addon canal",
        ),
    ] {
        expect_unknown(
            &after(judge_cluster, cluster_document(TARGET), &[(pointer, value)]),
            part,
        );
    }
    // With something missing as well, both are named.
    let changes = [
        ("/cluster/status/conditions/SeedResourcesUpToDate", json!("True")),
        ("/controller", Value::Null),
    ];
    let evidence = after(judge_cluster, cluster_document(TARGET), &changes);
    expect_missing(&evidence, "usercluster-controller: not found");
    expect_missing(&evidence, "could not be read: condition SeedResourcesUpToDate");
}

fn seed_controller(arguments: &[&str]) -> Deployment {
    let mut document = deployment(
        "kubermatic-seed-controller-manager",
        &[("controller-manager", "a:v2.31.0")],
    );
    set(&mut document, "/spec/template/spec/containers/0/args", json!(arguments));
    serde_json::from_value(document).unwrap()
}

#[test]
fn the_throttle_is_read_from_the_flag_as_go_does() {
    for (arguments, expected) in [
        (&["-max-parallel-reconcile=5"] as &[&str], Some(5)),
        (&["--max-parallel-reconcile=5", "-v=2"], Some(5)),
        (&["-max-parallel-reconcile", "7"], Some(7)),
        (&["-max-parallel-reconcile=5", "-max-parallel-reconcile=6"], Some(6)),
        (&["-max-parallel-reconcile=-1"], None),
        (&["-max-parallel-reconcile=many"], None),
        (&["-max-parallel-reconcile"], None),
        (&["-max-parallel-reconciles=5"], None),
        (&["max-parallel-reconcile=5"], None),
        (&[], None),
    ] {
        assert_eq!(seed_throttle(&seed_controller(arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn a_throttle_that_is_not_rolled_out_is_not_in_force() {
    let mut real: Deployment = serde_saphyr::from_str(SEED_CONTROLLER).unwrap();
    assert_eq!(rolled_out(&real), Err("0 of 1 replicas ready".to_owned()));
    assert_eq!(seed_throttle(&real), None);
    assert_eq!(seed_worker_name(&real), "");
    let status = real.status.as_mut().unwrap();
    status.ready_replicas = Some(1);
    status.available_replicas = Some(1);
    assert_eq!(seed_throttle(&real), Some(10));
    real.metadata.generation = Some(2);
    assert_eq!(seed_throttle(&real), None);
    assert_eq!(seed_worker_name(&seed_controller(&["-worker-name=dev"])), "dev");
}

fn cluster_with_health(health: &Value, version: &str) -> Cluster {
    let conditions = json!({"ClusterControllerReconciledSuccessfully": {"kubermaticVersion": version}});
    serde_json::from_value(json!({"metadata": {}, "status": {"extendedHealth": health, "conditions": conditions}}))
        .unwrap()
}

#[test]
fn health_follows_the_rule_of_kkp() {
    let parts = [
        "etcd",
        "controller",
        "apiserver",
        "scheduler",
        "cloudProviderInfrastructure",
        "userClusterControllerManager",
        "machineController",
    ];
    let all_up = json!(
        parts
            .iter()
            .map(|part| ((*part).to_owned(), json!("HealthStatusUp")))
            .collect::<serde_json::Map<_, _>>()
    );
    assert!(cluster_health(&cluster_with_health(&all_up, TARGET)).is_healthy());
    for part in parts {
        for (state, expected) in [
            ("HealthStatusDown", true),
            ("HealthStatusProvisioning", true),
            ("", part != "machineController"),
        ] {
            let mut health = all_up.clone();
            health[part] = json!(state);
            let judged = cluster_health(&cluster_with_health(&health, TARGET));
            let named = judged.unhealthy
                == [UnhealthyPart {
                    name: part,
                    status: state.to_owned(),
                }];
            assert_eq!(named, expected, "{part} {state}: {judged:?}");
        }
    }
    let mut unused = all_up;
    unused.as_object_mut().unwrap().remove("machineController");
    assert!(cluster_health(&cluster_with_health(&unused, "v2.26.0")).is_healthy());
    assert!(!cluster_health(&cluster_with_health(&unused, "v2.25.18")).is_healthy());
    unused["machineController"] = json!(7);
    assert!(!cluster_health(&cluster_with_health(&unused, TARGET)).is_healthy());
    assert_eq!(cluster_health(&Cluster::default()).unhealthy.len(), 6);
}

#[test]
fn all_clusters_that_are_not_up_to_date_are_stuck() {
    let cluster = |name: &str, conditions: Value, pause: bool| -> Cluster {
        let document =
            json!({"metadata": {"name": name}, "spec": {"pause": pause}, "status": {"conditions": conditions}});
        serde_json::from_value(document).unwrap()
    };
    let clusters = [
        cluster(
            "fine",
            json!({"SeedResourcesUpToDate": {"status": "True", "kubermaticVersion": OLD}}),
            false,
        ),
        cluster("behind", json!({"SeedResourcesUpToDate": {"status": "False"}}), false),
        cluster("paused", json!({"SeedResourcesUpToDate": {"status": "False"}}), true),
        cluster("new", json!({}), false),
        cluster("odd", json!("x"), false),
    ];
    assert_eq!(stuck_clusters(&clusters), ["behind", "paused", "new", "odd"]);
}
