//! What is read from the API server, and what a bad answer leads to.

use serde_json::json;

use super::fake_api::{CLUSTERS, CRDS, FakeApi, MAPS, cluster, crd, failure};
use super::plaintext;
use crate::{
    AttemptFolder, BackupError, Drift, ReadLimits, compare_at_revision, compare_unchanged, read_back, write_snapshot,
};

const SECRETS: &str = "/api/v1/namespaces/kubermatic/secrets";

type Forgery = fn(&mut Vec<serde_json::Value>);

fn volume() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn entries(folder: &crate::AttemptFolder) -> Vec<String> {
    let list = std::fs::read_dir(folder.path()).unwrap();
    list.map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn lists_are_paged_and_exact() {
    let (api, volume) = (FakeApi::platform(), volume());
    let (_, written) = api.snapshot(volume.path()).await;
    let manifest = written.unwrap().written.manifest;
    assert_eq!(manifest.objects, 10);
    let log = api.change(|state| state.log.clone());
    // Before the pin, namespaces of user clusters are looked up: that list is not at the pinned revision.
    let from = log.iter().position(|line| line.contains("Exact")).unwrap();
    let read: Vec<&String> = log[from..]
        .iter()
        .filter(|line| line.starts_with(CLUSTERS) && (line.contains("Exact") || line.contains("continue=")))
        .collect();
    assert_eq!(read.len(), 3, "{log:?}");
    assert!(
        read[0].contains(&format!(
            "limit=3&resourceVersion={}&resourceVersionMatch=Exact",
            manifest.revision
        )),
        "{}",
        read[0]
    );
    assert!(
        read[1].contains("continue=") && !read[1].contains("resourceVersion="),
        "{}",
        read[1]
    );
}

#[tokio::test]
async fn a_page_that_is_too_long_is_asked_for_again_with_fewer_objects() {
    let (api, volume) = (FakeApi::platform(), volume());
    let secret = |name: String, length: usize| json!({"metadata": {"name": name, "namespace": "kubermatic", "resourceVersion": "1"}, "data": {"value": "x".repeat(length)}});
    api.change(|state| {
        state.write(SECRETS, |secrets| {
            secrets.extend((0..60).map(|number| secret(format!("a{number:02}"), 10)));
            // Each of them is longer than a page may be.
            secrets.extend((0..9).map(|number| secret(format!("b{number}"), 100_000)));
        });
    });
    let mut snapshots = Vec::new();
    for longest in [u64::MAX - 1, 50_000] {
        api.change(|state| state.log.clear());
        let source = api.source_with(ReadLimits {
            longest,
            ..ReadLimits::default()
        });
        let folder = AttemptFolder::claim(volume.path(), "run-1", "master").unwrap();
        let snapshot = write_snapshot(&source, &api.request().await, &folder).await.unwrap();
        snapshots.push(snapshot.ledger.content_digest().to_owned());
        let log = api.change(|state| state.log.clone());
        // Two looks for the revision, and then the list.
        let lists = log.iter().filter(|line| line.starts_with(SECRETS)).skip(2);
        let sizes: Vec<u32> = lists
            .filter_map(|line| line.split(['?', '&']).find_map(|pair| pair.strip_prefix("limit=")))
            .map(|size| size.parse().unwrap())
            .collect();
        if longest == 50_000 {
            assert_eq!(
                sizes[..4],
                [20, 80, 10, 40],
                "the page that ended in large ones was asked for again"
            );
            let alone = sizes.iter().filter(|size| **size == 1).count();
            assert!(alone >= 9, "each of the large ones alone: {sizes:?}");
            assert!(sizes.len() < 40, "{sizes:?}");
        } else {
            assert_eq!(sizes, [20, 80], "nothing is asked for twice");
        }
    }
    assert_eq!(snapshots[0], snapshots[1]);
}

#[tokio::test]
async fn writes_in_between_do_not_show() {
    let (api, volume) = (FakeApi::platform(), volume());
    let (mut once, mut pinned) = (true, false);
    api.on_request(move |address, state| {
        pinned |= address.contains("Exact");
        if pinned && address.contains("continue=") && std::mem::take(&mut once) {
            state.write(CLUSTERS, |clusters| {
                clusters.clear();
                clusters.push(cluster("c9", "later"));
            });
        }
        None
    });
    let (_, written) = api.snapshot(volume.path()).await;
    let snapshot = written.unwrap();
    let manifest = &snapshot.written.manifest;
    let clusters = manifest.kinds.iter().find(|kind| kind.plural == "clusters").unwrap();
    assert_eq!(clusters.count, 7);
    assert!(!api.change(|state| state.history.last_key_value().unwrap().1[CLUSTERS].len() == 7));
    compare_at_revision(&api.source(2), manifest, &snapshot.ledger)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_kind_that_another_etcd_keeps_is_read_and_compared_at_its_own_revision() {
    // Behind the one of all other kinds, and far ahead of it.
    for own in [3, 9000] {
        let (api, volume) = (FakeApi::platform(), volume());
        api.change(|state| state.keep_elsewhere(MAPS, own));
        let (folder, written) = api.snapshot(volume.path()).await;
        let snapshot = written.unwrap();
        let manifest = &snapshot.written.manifest;
        let own = own.to_string();
        let others = manifest.kinds.iter().filter(|kind| kind.revision != manifest.revision);
        let others: Vec<_> = others
            .map(|kind| (&*kind.plural, &*kind.revision, kind.count))
            .collect();
        assert_eq!(others, [("configmaps", &*own, 1)]);
        let exact = format!("limit=3&resourceVersion={own}&resourceVersionMatch=Exact");
        let asked = || {
            let mut log = api.change(|state| std::mem::take(&mut state.log));
            log.retain(|line| line.starts_with(MAPS) && line.contains("Exact"));
            log
        };
        let lists = asked();
        assert!(lists.len() == 1 && lists[0].contains(&exact), "{lists:?}");
        // What is written there afterwards is of another moment.
        let later = json!({"metadata": {"name": "later", "namespace": "kubermatic"}});
        api.change(|state| state.elsewhere.get_mut(MAPS).unwrap().add(MAPS, later));
        compare_at_revision(&api.source(3), manifest, &snapshot.ledger)
            .await
            .unwrap();
        assert_eq!(asked(), lists);
        let expected = Drift {
            compared: 10,
            created: 1,
            ..Drift::default()
        };
        let drift = compare_unchanged(&api.source(3), manifest, &snapshot.ledger).await;
        assert_eq!(drift.unwrap(), expected);
        assert_eq!(&read_back(&folder, &snapshot).await.unwrap().manifest, manifest);
    }
}

#[tokio::test]
async fn another_moment_than_asked_for_is_refused() {
    let (api, volume) = (FakeApi::platform(), volume());
    api.on_request(|address, _| {
        let forged = address.starts_with(CLUSTERS) && address.contains("Exact");
        forged.then(|| (200, json!({"metadata": {"resourceVersion": "999"}, "items": []})))
    });
    let (folder, written) = api.snapshot(volume.path()).await;
    let error = written.unwrap_err();
    assert!(
        matches!(&error, BackupError::RevisionMismatch { answered, page: 1, .. } if answered == "999"),
        "{error}"
    );
    assert!(entries(&folder).is_empty(), "a partial file is left over");
}

#[tokio::test]
async fn compaction_in_the_middle_of_a_list_is_told_apart() {
    let (api, volume) = (FakeApi::platform(), volume());
    let mut pinned = false;
    api.on_request(move |address, state| {
        pinned |= address.contains("Exact");
        if pinned && address.contains("continue=") {
            state.write(CLUSTERS, |_| {});
            state.compacted = state.revision;
        }
        None
    });
    let (folder, written) = api.snapshot(volume.path()).await;
    let error = written.unwrap_err();
    assert!(error.is_expired(), "{error}");
    assert!(
        error.to_string().contains("clusters.kubermatic.k8c.io") && error.to_string().contains("page 2"),
        "{error}"
    );
    assert!(entries(&folder).is_empty(), "a partial file is left over");
}

#[tokio::test]
async fn refusals_name_the_kind_and_the_way_out() {
    let (api, volume) = (FakeApi::platform(), volume());
    api.on_request(|address, _| {
        (address.starts_with(CLUSTERS) && address.contains("Exact"))
            .then(|| (403, failure(403, "Forbidden", "clusters is forbidden")))
    });
    let error = api.snapshot(volume.path()).await.1.unwrap_err().to_string();
    for word in ["clusters.kubermatic.k8c.io", "page 1", "is forbidden", "grant"] {
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn content_never_gets_into_messages() {
    let bad_answers = [
        json!("hunter2"),
        json!({"metadata": {"resourceVersion": "REV"}, "items": ["hunter2"]}),
        json!({"metadata": {"resourceVersion": "REV"}, "items": [{"metadata": {"namespace": "x"}, "data": "hunter2"}]}),
        json!({"metadata": {"resourceVersion": "REV"}, "items": {"hunter2": 1}}),
        json!({"metadata": {"resourceVersion": "REV"}, "items": [cluster("a", "hunter2"), cluster("a", "hunter2")]}),
    ];
    for bad in bad_answers {
        let (api, volume) = (FakeApi::platform(), volume());
        let revision = api.change(|state| state.revision).to_string();
        let bad: serde_json::Value = serde_json::from_str(&bad.to_string().replace("REV", &revision)).unwrap();
        api.on_request(move |address, _| {
            (address.starts_with(CLUSTERS) && address.contains("Exact")).then(|| (200, bad.clone()))
        });
        let error = api.snapshot(volume.path()).await.1.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        assert!(error.to_string().contains("clusters"), "{error}");
    }
}

#[tokio::test]
async fn new_kinds_and_groups_come_by_themselves_and_foreign_ones_stay_out() {
    let (api, volume) = (FakeApi::platform(), volume());
    api.change(|state| {
        state.add_kind("apps.kubermatic.k8c.io", "v2", "gadgets", "Gadget");
        // Offered by a version that is not the preferred one only.
        state.add_kind("apps.kubermatic.k8c.io", "v1alpha1", "widgets", "Widget");
        state.add("/apis/apps.kubermatic.k8c.io/v1alpha1/widgets", cluster("w", "x"));
        state.add_kind("example.com", "v1", "foreigners", "Foreigner");
        state.add("/apis/example.com/v1/foreigners", cluster("f", "x"));
        let offers = state.documents.get_mut("/apis/kubermatic.k8c.io/v1").unwrap();
        offers["resources"].as_array_mut().unwrap().push(
            json!({"name": "reviews", "kind": "Review", "namespaced": false, "singularName": "", "verbs": ["create"]}),
        );
    });
    let manifest = api.snapshot(volume.path()).await.1.unwrap().written.manifest;
    let kinds: Vec<(&str, &str, u64)> = manifest
        .kinds
        .iter()
        .map(|kind| (kind.plural.as_str(), kind.version.as_str(), kind.count))
        .collect();
    assert_eq!(
        kinds,
        [
            // What tells the scope.
            ("clusters", "v1", 7),
            ("namespaces", "v1", 1),
            ("configmaps", "v1", 1),
            ("secrets", "v1", 0),
            ("mutatingwebhookconfigurations", "v1", 0),
            ("validatingwebhookconfigurations", "v1", 0),
            ("customresourcedefinitions", "v1", 3),
            ("widgets", "v1alpha1", 1),
            ("gadgets", "v2", 0),
            ("ingresses", "v1", 0),
            ("clusterrolebindings", "v1", 0),
            ("clusterroles", "v1", 0),
            ("rolebindings", "v1", 0),
            ("roles", "v1", 0),
        ]
    );
    let omitted: Vec<&str> = manifest.omitted.iter().map(|omission| omission.what.as_str()).collect();
    assert!(
        omitted.contains(&"API groups example.com") && omitted.contains(&"reviews.kubermatic.k8c.io (v1)"),
        "{omitted:?}"
    );
}

#[tokio::test]
async fn a_crd_whose_objects_cannot_be_read_is_never_overlooked() {
    let (api, volume) = (FakeApi::platform(), volume());
    api.change(|state| {
        let mut dead = crd("kubermatic.k8c.io", "ghosts", "v1");
        dead["status"]["conditions"][0]["status"] = "False".into();
        state.add(CRDS, dead);
    });
    let manifest = api.snapshot(volume.path()).await.1.unwrap().written.manifest;
    assert!(
        manifest
            .omitted
            .iter()
            .any(|omission| omission.what.contains("ghosts.kubermatic.k8c.io"))
    );
    api.change(|state| state.add(CRDS, crd("kubermatic.k8c.io", "newcomers", "v1")));
    let error = api.snapshot(volume.path()).await.1.unwrap_err();
    assert!(
        matches!(&error, BackupError::NotDiscovered { name } if name == "newcomers.kubermatic.k8c.io"),
        "{error}"
    );
}

#[tokio::test]
async fn the_same_platform_gives_the_same_content() {
    let (api, volume) = (FakeApi::platform(), volume());
    let (first, one) = api.snapshot(volume.path()).await;
    // A write elsewhere moves the revision, and nothing that is in scope.
    api.change(|state| state.add_secret("default", "foreign", "x"));
    let (folder, other) = api.snapshot(volume.path()).await;
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_ne!(one.written.manifest.revision, other.written.manifest.revision);
    assert_eq!(one.ledger.content_digest(), other.ledger.content_digest());
    assert_eq!(plaintext(&first), plaintext(&folder));
    // Encrypted for the same recipient, with keys of their own.
    assert_ne!(
        one.written.manifest.archive.digest,
        other.written.manifest.archive.digest
    );
    assert_eq!(
        read_back(&folder, &other).await.unwrap().manifest,
        other.written.manifest
    );
    api.change(|state| state.add_secret("kubermatic", "new", "x"));
    let changed = api.snapshot(volume.path()).await.1.unwrap();
    assert_ne!(changed.ledger.content_digest(), other.ledger.content_digest());
}

#[tokio::test]
async fn a_difference_at_the_same_revision_is_found() {
    let (api, volume) = (FakeApi::platform(), volume());
    let snapshot = api.snapshot(volume.path()).await.1.unwrap();
    let manifest = &snapshot.written.manifest;
    let forgeries: [(Forgery, &str); 3] = [
        (
            |clusters| clusters[3]["spec"]["note"] = "forged".into(),
            "another content",
        ),
        (|clusters| drop(clusters.remove(3)), "in the backup only"),
        (|clusters| clusters.push(cluster("c9", "x")), "not in the backup"),
    ];
    for (forge, expected) in forgeries {
        let forged = FakeApi::platform();
        forged.change(|state| {
            let at = manifest.revision.parse().unwrap();
            forge(state.history.get_mut(&at).unwrap().get_mut(CLUSTERS).unwrap());
        });
        let error = compare_at_revision(&forged.source(3), manifest, &snapshot.ledger)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, BackupError::LiveMismatch { difference, .. } if *difference == expected),
            "{error}"
        );
        assert!(error.to_string().contains("/clusters/"), "{error}");
    }
}
