//! What is created, updated, left and refused.

use serde_json::{Value, json};

use super::fake_backup::{Backup, identity};
use super::fake_cluster::{FakeCluster, Fault};
use crate::KeyPair;
use crate::restore::{Counts, RestoreError};

pub(super) fn crd(plural: &str, release: &str) -> Value {
    json!({"kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.kubermatic.k8c.io"),
        "annotations": {"app.kubernetes.io/version": release}},
        "spec": {"group": "kubermatic.k8c.io", "names": {"plural": plural}, "versions": [{"name": "v1"}]},
        "status": {"storedVersions": ["v1"], "conditions": [{"type": "Established", "status": "True"}]}})
}

pub(super) fn namespace(name: &str) -> Value {
    json!({"kind": "Namespace", "metadata": {"name": name, "uid": format!("old-{name}")}})
}

pub(super) fn secret(name: &str, content: &str) -> Value {
    json!({"kind": "Secret", "metadata": {"name": name, "namespace": "kubermatic", "uid": "s"}, "data": {"key": content}})
}

fn owned(mut object: Value, kind: &str, name: &str) -> Value {
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "kubermatic.k8c.io/v1", "kind": kind, "name": name,
        "uid": format!("old-{name}"), "controller": true}]);
    object
}

/// Writes that bring [`platform`] into an empty cluster: 12 creations, the status of User and Cluster, and the Namespace's owner,
/// which came after it.
pub(super) const WRITES: u64 = 15;

/// A platform with everything that has to come back in order.
pub(super) fn platform() -> Vec<Value> {
    let user = json!({"kind": "User", "metadata": {"name": "jane", "uid": "old-jane", "finalizers": ["kkp/cleanup"]},
        "spec": {"email": "jane@example.com"}, "status": {"lastSeen": "x"}});
    let project = json!({"kind": "Project", "metadata": {"name": "p1", "uid": "old-p1"}, "spec": {"name": "one"}});
    let cluster = json!({"kind": "Cluster", "metadata": {"name": "c1", "uid": "old-c1", "finalizers": ["kkp/nodes"]},
        "spec": {"version": "1.34.0"}, "status": {"namespaceName": "cluster-c1", "address": {"port": 6443}}});
    let addon =
        json!({"kind": "Addon", "metadata": {"name": "dns", "namespace": "cluster-c1"}, "spec": {"name": "dns"}});
    let webhook = json!({"kind": "ValidatingWebhookConfiguration", "metadata": {"name": "kubermatic-clusters"},
        "webhooks": [{"name": "clusters.kubermatic.io"}]});
    vec![
        namespace("kubermatic"),
        owned(namespace("cluster-c1"), "Cluster", "c1"),
        crd("users", "v2.30.6"),
        crd("projects", "v2.30.6"),
        crd("clusters", "v2.30.6"),
        crd("addons", "v2.30.6"),
        secret("dex", "b25l"),
        user,
        owned(project, "User", "jane"),
        owned(cluster, "Project", "p1"),
        owned(addon, "Cluster", "c1"),
        webhook,
    ]
}

fn counts(create: u64, update: u64, equal: u64, foreign: u64, refused: u64) -> Counts {
    Counts {
        create,
        update,
        equal,
        foreign,
        refused,
    }
}

#[tokio::test]
async fn an_empty_cluster_gets_everything_back_in_order_with_living_owners() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::default();
    let plan = cluster.plan(volume.path()).await;
    assert_eq!(plan.counts, counts(12, 0, 0, 0, 0));
    assert_eq!(cluster.writes(), Vec::<String>::new());
    let report = cluster.carry_out(volume.path()).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(cluster.content(), FakeCluster::with(&platform()).content());
    assert_eq!(cluster.garbage(), Vec::<String>::new());
    assert_eq!(report.written, Some(WRITES));
    assert_eq!(cluster.plan(volume.path()).await.counts, counts(0, 0, 12, 0, 0));
    let again = cluster.carry_out(volume.path()).await.unwrap();
    assert_eq!(again.written, Some(0));
}

#[tokio::test]
async fn webhook_configurations_come_last_wherever_the_archive_has_them() {
    let volume = tempfile::tempdir().unwrap();
    let mut objects = platform();
    objects.reverse();
    Backup::of(&objects).write(volume.path());
    let cluster = FakeCluster::default();
    cluster.carry_out(volume.path()).await.unwrap();
    let writes = cluster.writes();
    let created: Vec<&String> = writes.iter().filter(|write| write.starts_with("POST ")).collect();
    assert_eq!(created.len(), objects.len());
    assert!(created[0].ends_with("/namespaces"), "{created:?}");
    assert!(created[11].ends_with("/validatingwebhookconfigurations"), "{created:?}");
    assert_eq!(cluster.content(), FakeCluster::with(&platform()).content());
}

#[tokio::test]
async fn what_differs_is_updated_and_what_is_equal_is_not_written() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::with(&platform());
    let jane = platform()[7].clone();
    cluster.change(&secret("dex", ""), |live| live["data"]["key"] = "b3RoZXI=".into());
    cluster.change(&jane, |live| live["metadata"]["labels"] = json!({"x": "y"}));
    cluster.change(&jane, |live| live["status"] = json!({"lastSeen": "later"}));
    let plan = cluster.plan(volume.path()).await;
    assert_eq!(plan.counts, counts(0, 2, 10, 0, 0));
    assert!(
        plan.text().contains("update   secrets kubermatic/dex"),
        "{}",
        plan.text()
    );
    let report = cluster.carry_out(volume.path()).await.unwrap();
    assert_eq!(report.written, Some(2));
    let live = cluster.get(&jane).unwrap();
    assert_eq!(live["metadata"].get("labels"), None);
    // A status that somebody wrote since is theirs.
    assert_eq!(live["status"], json!({"lastSeen": "later"}));
    assert_eq!(cluster.get(&secret("dex", "")).unwrap()["data"]["key"], "b25l");
}

#[tokio::test]
async fn what_lives_beside_the_backup_is_never_touched() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::with(&platform());
    let newer = secret("newer", "bmV3");
    cluster.put(newer.clone());
    cluster.remove(&platform()[9]);
    let report = cluster.carry_out(volume.path()).await.unwrap();
    assert_eq!(cluster.get(&newer).unwrap()["data"]["key"], "bmV3");
    assert_eq!(report.counts.create, 1);
    // No verb but creating and replacing was ever used.
    assert!(
        cluster
            .writes()
            .iter()
            .all(|write| write.starts_with("POST ") || write.starts_with("PUT "))
    );
    // Who was owned by the Cluster that was gone is owned by the one that came back.
    assert_eq!(cluster.garbage(), Vec::<String>::new());
    assert_eq!(cluster.plan(volume.path()).await.counts.equal, 12);
}

#[tokio::test]
async fn an_owner_that_is_gone_for_good_is_left_off_and_told() {
    let volume = tempfile::tempdir().unwrap();
    let orphan = owned(secret("orphan", "eA=="), "Project", "gone");
    Backup::of(&[platform(), vec![orphan.clone()]].concat()).write(volume.path());
    let cluster = FakeCluster::with(&platform());
    let report = cluster.carry_out(volume.path()).await.unwrap();
    assert_eq!(cluster.get(&orphan).unwrap()["metadata"].get("ownerReferences"), None);
    let finding = &report.findings[0];
    assert!(
        finding.object.ends_with("orphan") && finding.reason.contains("Project gone"),
        "{finding:?}"
    );
}

#[tokio::test]
async fn what_is_being_deleted_or_would_go_back_is_refused_and_the_rest_is_done() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::with(&platform());
    cluster.change(&platform()[7], |live| {
        live["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z".into();
    });
    cluster.change(&platform()[3], |live| {
        live["metadata"]["annotations"]["app.kubernetes.io/version"] = "v2.31.0".into();
    });
    cluster.remove(&secret("dex", ""));
    let before = (cluster.get(&platform()[7]), cluster.get(&platform()[3]));
    let report = cluster.carry_out(volume.path()).await.unwrap();
    assert_eq!(report.counts, counts(1, 0, 9, 0, 2));
    assert_eq!((cluster.get(&platform()[7]), cluster.get(&platform()[3])), before);
    let text = report.text();
    assert!(
        text.contains("kkp/cleanup") && text.contains("CRDs only go forward"),
        "{text}"
    );
    let plan = cluster
        .restore(volume.path(), |arguments| arguments.crds_backward = true)
        .await
        .unwrap();
    assert_eq!(plan.counts, counts(0, 1, 10, 0, 1));
}

#[tokio::test]
async fn a_version_that_is_no_longer_served_is_named_with_the_way_out() {
    let volume = tempfile::tempdir().unwrap();
    let addon = platform().remove(10);
    Backup::of(&[addon]).write(volume.path());
    let cluster = FakeCluster::with(&platform());
    cluster.change(&crd("addons", ""), |live| {
        live["spec"]["versions"] = json!([{"name": "v2"}]);
    });
    let report = cluster.carry_out(volume.path()).await.unwrap();
    assert_eq!((report.counts.refused, report.written), (1, Some(0)));
    assert!(report.findings[0].reason.contains("only v2"), "{:?}", report.findings);
}

#[tokio::test]
async fn a_read_only_field_is_named_without_its_value() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::with(&platform());
    cluster.change(&secret("dex", ""), |live| live["data"]["key"] = "b3RoZXI=".into());
    cluster.on_call(|call| {
        let ours = call.address.ends_with("/dex") && *call.method == http::Method::PUT;
        if ours {
            Fault::Answer(422, "data: Invalid value: b25l: field is immutable")
        } else {
            Fault::None
        }
    });
    let report = cluster.carry_out(volume.path()).await.unwrap();
    assert_eq!(report.counts.refused, 1);
    let text = report.text();
    assert!(
        text.contains("secrets kubermatic/dex") && !text.contains("b25l"),
        "{text}"
    );
}

#[tokio::test]
async fn defaults_of_the_server_are_no_difference() {
    let volume = tempfile::tempdir().unwrap();
    let map = json!({"kind": "ConfigMap", "metadata": {"name": "m", "namespace": "kubermatic"}, "data": {"a": "b"}});
    Backup::of(&[map]).write(volume.path());
    let cluster = FakeCluster::with(&[namespace("kubermatic")]);
    cluster.state.lock().unwrap().defaults = true;
    assert_eq!(cluster.carry_out(volume.path()).await.unwrap().written, Some(1));
    assert_eq!(cluster.plan(volume.path()).await.counts, counts(0, 0, 1, 0, 0));
}

#[tokio::test]
async fn a_webhook_that_is_down_stops_everything_before_the_first_write() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::with(&platform()[..7]);
    cluster.on_call(|call| {
        let user = call.dry_run && call.address.ends_with("/users");
        if user {
            Fault::Answer(500, "failed calling webhook \"users.kubermatic.io\": no endpoints")
        } else {
            Fault::None
        }
    });
    let error = cluster.carry_out(volume.path()).await.unwrap_err();
    assert!(
        matches!(&error, RestoreError::Admission { object, .. } if object.contains("jane")),
        "{error}"
    );
    assert_eq!(cluster.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_status_that_is_not_accepted_is_told_by_the_plan() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let user_cluster = platform().remove(9);
    // Without a status; in the second turn with other content as well, which is not written without it.
    for content in [false, true] {
        let cluster = FakeCluster::with(&platform());
        cluster.change(&user_cluster, |live| {
            live.as_object_mut().unwrap().remove("status");
            if content {
                live["spec"]["version"] = "1.33.0".into();
            }
        });
        cluster.on_call(|call| {
            if call.address.ends_with("/clusters/c1/status") {
                Fault::Answer(422, "strict decoding error: unknown field \"status.address.port\"")
            } else {
                Fault::None
            }
        });
        let report = cluster.carry_out(volume.path()).await.unwrap();
        assert_eq!((report.counts, report.written), (counts(0, 0, 11, 0, 1), Some(0)));
        let finding = &report.findings[0];
        assert_eq!(finding.object, "clusters.kubermatic.k8c.io c1");
        assert!(
            finding.reason.starts_with("its status: ") && finding.reason.contains("status.address.port"),
            "{finding:?}"
        );
        cluster.heal();
        let report = cluster.carry_out(volume.path()).await.unwrap();
        assert_eq!((report.counts, report.findings), (counts(0, 1, 11, 0, 0), Vec::new()));
        let live = cluster.get(&user_cluster).unwrap();
        assert_eq!(live["status"], user_cluster["status"]);
        assert_eq!(live["spec"], user_cluster["spec"]);
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_converted_is_named() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::with(&platform());
    cluster.on_call(|call| {
        if call.address.ends_with("/users/jane") {
            let words =
                "conversion webhook for kubermatic.k8c.io/v2, Kind=User failed: Post \"https://kkp:443\": no endpoints";
            Fault::Answer(500, words)
        } else {
            Fault::None
        }
    });
    let error = cluster.carry_out(volume.path()).await.unwrap_err().to_string();
    assert!(error.starts_with("users.kubermatic.k8c.io jane: "), "{error}");
    assert!(error.contains("conversion webhook for kubermatic.k8c.io/v2"), "{error}");
    assert!(error.contains("run the same command again"), "{error}");
    assert_eq!(cluster.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn only_the_plan_that_was_read_is_carried_out() {
    let volume = tempfile::tempdir().unwrap();
    Backup::of(&platform()).write(volume.path());
    let cluster = FakeCluster::with(&platform());
    cluster.remove(&secret("dex", ""));
    let digest = cluster.plan(volume.path()).await.plan_digest;
    cluster.change(&platform()[7], |live| {
        live["spec"]["email"] = "other@example.com".into();
    });
    let error = cluster
        .restore(volume.path(), |arguments| arguments.confirm = Some(digest))
        .await
        .unwrap_err();
    assert!(matches!(error, RestoreError::PlanChanged { .. }), "{error}");
    assert_eq!(cluster.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn another_cluster_a_wrong_key_and_another_manifest_are_refused() {
    let volume = tempfile::tempdir().unwrap();
    let mut backup = Backup::of(&platform());
    backup.manifest.cluster_uid = "cluster-zero".to_owned();
    backup.write(volume.path());
    let cluster = FakeCluster::default();
    let error = cluster.restore(volume.path(), |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("--other-cluster cluster-zero"), "{error}");
    let wrong = cluster.restore(volume.path(), |arguments| {
        arguments.other_cluster = Some("cluster".to_owned());
    });
    assert!(matches!(wrong.await.unwrap_err(), RestoreError::OtherCluster { .. }));
    let named = |arguments: &mut crate::RestoreArguments| arguments.other_cluster = Some("cluster-zero".to_owned());
    assert_eq!(cluster.restore(volume.path(), named).await.unwrap().counts.create, 12);
    let wrong_key = cluster.restore(volume.path(), |arguments| {
        named(arguments);
        arguments.identity = identity(volume.path(), &KeyPair::generate());
    });
    let error = wrong_key.await.unwrap_err();
    assert!(error.to_string().contains("no key opens"), "{error}");
    let other = cluster.restore(volume.path(), |arguments| {
        arguments.manifest_digest = Some("sha256:0".to_owned());
    });
    assert!(matches!(other.await.unwrap_err(), RestoreError::NoSuchManifest { .. }));
}
