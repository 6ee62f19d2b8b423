//! Tests of the slim types: leniency, secrets, the resource paths, and the read paths against KKP's schemas.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use kube::Resource;
use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Deserialize)]
struct ObjectList<K> {
    items: Vec<K>,
}

/// A Seed as KKP 2.31 writes it, reduced to what matters here.
const SEED: &str = include_str!("../../tests/fixtures/seed.yaml");
const CONFIGURATION: &str = include_str!("../../tests/fixtures/kubermaticconfiguration.yaml");

#[test]
fn a_real_seed_is_read() {
    let seed: Seed = serde_saphyr::from_str(SEED).unwrap();
    assert_eq!(seed.unreadable(), []);
    assert_eq!(seed.metadata.name.as_deref(), Some("kubermatic"));
    assert_eq!(seed.spec.kubeconfig.name.text(), "seed-kubeconfig");
    assert_eq!(
        seed.spec
            .datacenters
            .entries()
            .map(|(name, _)| name)
            .collect::<Vec<_>>(),
        ["lab"]
    );
    assert_eq!(seed.spec.nodeport_proxy.disable, Field::Unset);
    assert_eq!(seed.status.phase.text(), "Healthy");
    assert_eq!(seed.status.clusters, Field::Set(0));
    assert_eq!(seed.status.versions.kubermatic.text(), "v2.31.0");
    let condition = seed.status.conditions.entry("ResourcesReconciled");
    assert_eq!(condition.get().unwrap().reason.text(), "ReconcilingSuccess");
}

#[test]
fn a_real_configuration_is_read_without_its_secrets() {
    let configuration: KubermaticConfiguration = serde_saphyr::from_str(CONFIGURATION).unwrap();
    assert_eq!(configuration.unreadable(), []);
    assert_eq!(configuration.headless(), Field::Set(&true));
    assert_eq!(
        configuration.spec.seed_controller.maximum_parallel_reconciles,
        Field::Set(5)
    );
    assert_eq!(
        configuration.spec.auth.service_account_key,
        Field::Set(SecretText { length: 40 })
    );
    assert_eq!(configuration.status.kubermatic_edition.text(), "CE");
    let printed = format!("{configuration:?}");
    assert!(CONFIGURATION.contains("not-a-real-secret"));
    assert!(!printed.contains("not-a-real-secret"), "{printed}");
}

#[test]
fn one_odd_object_does_not_hide_the_others() {
    let document = json!({"apiVersion": "kubermatic.k8c.io/v1", "kind": "ClusterList", "metadata": {"resourceVersion": "7"}, "items": [
        {"metadata": {"name": "good"}, "spec": {"version": "1.33.1", "pause": false, "newField": {"a": [1]}}},
        {"metadata": {"name": "leaf"}, "spec": {"version": 1.33, "pause": "yes", "features": {"etcdLauncher": 1, "x": true}}},
        {"metadata": {"name": "section"}, "spec": {"cniPlugin": ["canal"], "clusterNetwork": null}, "status": "gone"},
        {"metadata": {"name": "map"}, "status": {"conditions": [{"type": "A"}], "versions": {"apiserver": {"a": {"b": []}}}}},
        {"metadata": {"name": "entry"}, "status": {"conditions": {"A": "True", "B": {"status": true}, "C": {"status": "True"}}}},
        {"metadata": {"name": "bare"}},
        {"metadata": {"name": "last"}, "spec": {"version": "1.34.0"}},
    ]});
    // Through text, as a client does it: reading on after a wrong type is where decoders go wrong.
    let clusters: ObjectList<Cluster> = serde_json::from_slice(&serde_json::to_vec(&document).unwrap()).unwrap();
    let reasons = |name: &str| -> Vec<String> {
        let found = clusters
            .items
            .iter()
            .find(|cluster| cluster.metadata.name.as_deref() == Some(name))
            .unwrap();
        found.unreadable().iter().map(ToString::to_string).collect()
    };
    assert_eq!(clusters.items.len(), 7);
    for name in ["good", "bare", "last"] {
        assert!(reasons(name).is_empty(), "{name}");
    }
    assert_eq!(
        reasons("leaf"),
        [
            "spec.version: expected string, found number",
            "spec.pause: expected boolean, found string",
            "spec.features.etcdLauncher: expected boolean, found number",
        ]
    );
    assert_eq!(
        reasons("section").first().unwrap(),
        "spec.cniPlugin.type: expected string, found a parent that is no object"
    );
    assert!(
        reasons("section").contains(&"status.conditions: expected object, found a parent that is no object".to_owned())
    );
    assert_eq!(
        reasons("map"),
        [
            "status.versions.apiserver: expected string, found object",
            "status.conditions: expected object, found array"
        ]
    );
    assert_eq!(
        reasons("entry"),
        [
            "status.conditions.A: expected object, found string",
            "status.conditions.B.status: expected string, found boolean"
        ]
    );
    let last = clusters.items.last().unwrap();
    assert_eq!(last.spec.version.text(), "1.34.0");
}

#[test]
fn secrets_of_the_metadata_are_dropped() {
    let cluster: Cluster = serde_json::from_value(json!({"metadata": {
        "name": "a",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "secret", "kept": "yes"},
        "managedFields": [{"manager": "kubectl"}],
    }}))
    .unwrap();
    assert_eq!(
        cluster.metadata.annotations,
        Some(BTreeMap::from([("kept".to_owned(), "yes".to_owned())]))
    );
    assert_eq!(cluster.metadata.managed_fields, None);
}

/// What `Api::list` and a reflector ask of a type.
fn is_readable<K>()
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let read: fn(kube::Client) -> kube::Api<K> = kube::Api::all;
    // The list and the watch event are what a client decodes the type in.
    let list: kube::core::ObjectList<K> =
        serde_json::from_value(json!({"metadata": {}, "items": [{"metadata": {"name": "a"}, "spec": 1}]})).unwrap();
    let event: kube::core::WatchEvent<K> =
        serde_json::from_value(json!({"type": "ADDED", "object": {"metadata": {"name": "a"}, "status": []}})).unwrap();
    assert_eq!(list.items.len(), 1);
    assert!(matches!(event, kube::core::WatchEvent::Added(_)));
    let _ = read;
}

#[test]
fn the_kinds_can_be_read_by_a_client() {
    is_readable::<KubermaticConfiguration>();
    is_readable::<Seed>();
    is_readable::<Cluster>();
    is_readable::<Addon>();
}

#[test]
fn the_api_paths_are_those_of_kkp() {
    assert_eq!(
        Seed::url_path(&(), Some("kubermatic")),
        "/apis/kubermatic.k8c.io/v1/namespaces/kubermatic/seeds"
    );
    assert_eq!(Cluster::url_path(&(), None), "/apis/kubermatic.k8c.io/v1/clusters");
    assert_eq!(
        Addon::url_path(&(), Some("cluster-a")),
        "/apis/kubermatic.k8c.io/v1/namespaces/cluster-a/addons"
    );
    assert_eq!(
        KubermaticConfiguration::url_path(&(), Some("kubermatic")),
        "/apis/kubermatic.k8c.io/v1/namespaces/kubermatic/kubermaticconfigurations"
    );
    assert_eq!(Seed::kind(&()), "Seed");
    assert_eq!(Cluster::api_version(&()), "kubermatic.k8c.io/v1");
}

fn all_read_paths() -> [(&'static str, Vec<ReadPath>); 4] {
    [
        ("KubermaticConfiguration", KubermaticConfiguration::read_paths()),
        ("Seed", Seed::read_paths()),
        ("Cluster", Cluster::read_paths()),
        ("Addon", Addon::read_paths()),
    ]
}

#[test]
fn read_paths_are_complete_and_unique() {
    for (kind, paths) in all_read_paths() {
        let unique: BTreeSet<&str> = paths.iter().map(|path| path.path.as_str()).collect();
        assert_eq!(unique.len(), paths.len(), "{kind}");
    }
    let cluster = Cluster::read_paths();
    for (path, expected) in [
        ("spec", "object"),
        ("spec.pause", "boolean"),
        ("spec.features{}", "boolean"),
        ("status.conditions{}.kubermaticVersion", "string"),
        ("status.extendedHealth.etcd", "string"),
    ] {
        assert!(
            cluster.contains(&ReadPath {
                path: path.to_owned(),
                expected
            }),
            "{path}"
        );
    }
    for (kind, path, _) in READ_SINCE {
        let paths = all_read_paths();
        let known = paths.iter().find(|(name, _)| name == kind).unwrap();
        assert!(
            known.1.iter().any(|read| read.path == *path),
            "{kind} {path} is not read at all"
        );
    }
}

#[derive(Deserialize)]
struct SchemaKind {
    #[serde(default)]
    fields: BTreeMap<String, String>,
}

/// What differs between the read paths and one release's schema.
fn schema_differences(minor: u64, schema: &BTreeMap<String, SchemaKind>) -> Vec<String> {
    let mut differences = Vec::new();
    for (kind, paths) in all_read_paths() {
        let Some(known) = schema.get(&format!("kubermatic.k8c.io/v1/{kind}")) else {
            differences.push(format!("2.{minor}: {kind} is missing"));
            continue;
        };
        for ReadPath { path, expected } in paths {
            let since = READ_SINCE
                .iter()
                .find(|(since_kind, since_path, _)| *since_kind == kind && *since_path == path);
            let exists = since.is_none_or(|(_, _, first)| minor >= *first);
            let found = known.fields.get(&path).and_then(|found| found.split(' ').next());
            if found != exists.then_some(expected) {
                differences.push(format!(
                    "2.{minor}: {kind} {path}: read as {expected}, schema has {found:?}, exists: {exists}"
                ));
            }
        }
    }
    differences
}

#[test]
fn read_paths_exist_in_the_schemas_of_every_release() {
    let Some(folder) = std::env::var_os("KKP_FIELDS_DIR") else {
        // Past the test's captured output.
        let note = "SKIPPED read_paths_exist_in_the_schemas_of_every_release: KKP_FIELDS_DIR names no folder with v2.NN.yaml files\n";
        drop(std::io::stderr().write_all(note.as_bytes()));
        return;
    };
    let mut checked = 0;
    for minor in 23..=99 {
        let path = Path::new(&folder).join(format!("v2.{minor}.yaml"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let schema: BTreeMap<String, SchemaKind> = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(schema_differences(minor, &schema), [""; 0]);
        checked += 1;
    }
    assert!(
        checked > 0,
        "KKP_FIELDS_DIR={} holds no v2.NN.yaml",
        folder.to_string_lossy()
    );
}

#[test]
fn a_schema_that_differs_is_noticed() {
    let mut schema: BTreeMap<String, SchemaKind> = BTreeMap::new();
    for (kind, paths) in all_read_paths() {
        let fields = paths
            .into_iter()
            .map(|read| (read.path, read.expected.to_owned()))
            .collect();
        schema.insert(format!("kubermatic.k8c.io/v1/{kind}"), SchemaKind { fields });
    }
    assert_eq!(schema_differences(31, &schema), [""; 0]);
    assert_eq!(schema_differences(25, &schema).len(), READ_SINCE.len());
    let cluster = schema.get_mut("kubermatic.k8c.io/v1/Cluster").unwrap();
    cluster.fields.insert("spec.pause".to_owned(), "string".to_owned());
    cluster.fields.remove("status.namespaceName");
    assert_eq!(schema_differences(31, &schema).len(), 2);
    schema.remove("kubermatic.k8c.io/v1/Addon");
    assert_eq!(schema_differences(31, &schema).len(), 3);
}
