//! Tables: evidence of user clusters, and Clusters that are set apart.

use serde_json::{Value, json};

use super::samples::*;
use super::*;
use crate::types::Cluster;

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
