//! Histories with etcd backups: ordered once in phase Backup and left alone, and what breaks that.

use serde_json::{Value, json};

use super::breaking::{breaks, keeps};
use super::story::{Story, UID, by, deletion, set, write};
use crate::{Identity, ObjectKey, Verb, Write};

fn place(cluster: &str, name: &str) -> ObjectKey {
    ObjectKey {
        cluster: "eu".to_owned(),
        group: "kubermatic.k8c.io".to_owned(),
        resource: "etcdbackupconfigs".to_owned(),
        namespace: format!("cluster-{cluster}"),
        name: name.to_owned(),
    }
}

fn config(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut config = json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {
        "upgrade.k8c.io/upgrade-uid": UID, "upgrade.k8c.io/run": format!("{UID}.1")}},
        "spec": {"name": name, "destination": "s3"}});
    change(&mut config);
    config
}

fn order(cluster: &str, name: &str) -> Write {
    changed(cluster, name, |_| {})
}

fn changed(cluster: &str, name: &str, change: impl FnOnce(&mut Value)) -> Write {
    let mut write = write(
        Identity::Other,
        Verb::Create,
        place(cluster, name),
        config(name, change),
    );
    write.actor = by(Identity::Operator);
    write
}

fn completed(cluster: &str, name: &str, phase: &str) -> Write {
    let status = json!({"currentBackups": [{"backupPhase": phase}]});
    let after = config(name, |config| set(config, "/status", status));
    write(Identity::Other, Verb::Update, place(cluster, name), after)
}

/// A whole run with these writes behind the backup of the master, in this order.
fn story(writes: Vec<Write>) -> Story {
    let mut story = Story::whole();
    for write in writes.into_iter().rev() {
        story = story.then_write("backed-up", write);
    }
    story
}

#[test]
fn an_order_of_each_cluster_and_one_more_after_a_failure_are_kept() {
    keeps(&story(vec![
        order("a", "kkpu-0123456789-1"),
        order("b", "kkpu-0123456789-1"),
        completed("a", "kkpu-0123456789-1", "Completed"),
        completed("b", "kkpu-0123456789-1", "Failed"),
        order("b", "kkpu-0123456789-2"),
    ]));
}

#[test]
fn a_second_order_of_an_attempt_or_after_a_completed_one_breaks() {
    let twice = vec![order("a", "kkpu-0123456789-1"), order("a", "kkpu-9876543210-1")];
    breaks("S18", "ordered twice", &story(twice));
    let needless = vec![
        order("a", "kkpu-0123456789-1"),
        completed("a", "kkpu-0123456789-1", "Completed"),
        order("a", "kkpu-0123456789-2"),
    ];
    breaks("S18", "has a completed one", &story(needless));
}

#[test]
fn an_order_that_is_written_again_or_deleted_breaks() {
    let mut again = completed("a", "kkpu-0123456789-1", "Completed");
    again.actor = by(Identity::Operator);
    breaks(
        "S18",
        "written again",
        &story(vec![order("a", "kkpu-0123456789-1"), again]),
    );
    let gone = deletion(
        Identity::Operator,
        place("a", "kkpu-0123456789-1"),
        Some("uid-kkpu-0123456789-1"),
    );
    breaks("S3", "deleted by", &story(vec![order("a", "kkpu-0123456789-1"), gone]));
}

#[test]
fn an_order_without_consent_at_the_wrong_time_or_with_a_schedule_breaks() {
    let late = Story::whole().then_write("seed-limit", order("a", "kkpu-0123456789-1"));
    breaks("S18", "not in its phase Backup", &late);
    let disabled = story(vec![order("a", "kkpu-0123456789-1")]).edit("order", "finalizer-off", |object| {
        set(object, "/spec/backup", json!({"userClusterEtcd": "Disabled"}));
    });
    breaks("S18", "is Disabled", &disabled);
    let scheduled = changed("a", "kkpu-0123456789-1", |config| {
        set(config, "/spec/schedule", json!("@every 20m"));
    });
    breaks("S18", "with a schedule", &story(vec![scheduled]));
    let nobody = changed("a", "kkpu-0123456789-1", |config| {
        set(config, "/metadata/labels", json!({}));
    });
    breaks("S18", "does not exist", &story(vec![nobody]));
}
