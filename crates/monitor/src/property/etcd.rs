//! Orders for etcd backups: one-shot `EtcdBackupConfigs` of a run in its phase Backup, one of each user cluster and attempt, never
//! written again. Deleting one deletes its backups, see [`BackupsStay`](super::gate::BackupsStay).

use kkp_upgrade_core::phase::Phase;
use serde_json::Value;

use super::gate::label;
use super::{Property, Report, Seen, WRITERS};
use crate::event::{ObjectKey, Verb, Write};
use crate::expectations::Sources;
use crate::names;

/// Whether it is an order for etcd backups.
pub(super) fn is_order(key: &ObjectKey) -> bool {
    key.is(names::KKP_GROUP, "etcdbackupconfigs")
}

/// S18: etcd backups are ordered once, by consent, and their orders are left alone.
pub(super) struct Orders;

impl Property for Orders {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.operator_write().filter(|write| is_order(&write.object)) else {
            return;
        };
        match (write.verb, write.after.as_deref()) {
            (Verb::Create, Some(made)) => created(write, made, seen, report),
            // A deletion is S3's.
            (Verb::Delete | Verb::Create, _) => {}
            (Verb::Update, _) => report.say("S18", &write.object, "an order for an etcd backup was written again"),
        }
    }
}

fn created(write: &Write, made: &Value, seen: &Seen<'_>, report: &mut Report) {
    let uid = label(made, names::UPGRADE_LABEL).unwrap_or_default();
    let schedule = made
        .pointer("/spec/schedule")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !schedule.is_empty() {
        report.say("S18", &write.object, "an etcd backup was ordered with a schedule");
    }
    let Some(upgrade) = seen.world.upgrade(uid) else {
        return report.say(
            "S18",
            &write.object,
            "an etcd backup was ordered for a KKPUpgrade that does not exist",
        );
    };
    if upgrade.phase() != Some(Phase::Backup) || upgrade.status.ending.is_some() {
        let text = format!(
            "an etcd backup was ordered for {}, which is not in its phase Backup",
            upgrade.title()
        );
        report.say("S18", &write.object, text);
    }
    if upgrade.spec("/backup/userClusterEtcd").and_then(Value::as_str) == Some("Disabled") {
        report.say(
            "S18",
            &write.object,
            "an etcd backup was ordered, and spec.backup.userClusterEtcd is Disabled",
        );
    }
    match label(made, names::RUN_LABEL) {
        Some(run) => only_one(write, run, seen, report),
        None => report.say(
            "S18",
            &write.object,
            "an etcd backup was ordered without the label of a run",
        ),
    }
}

/// Against the other orders of this run for the same user cluster.
fn only_one(write: &Write, run: &str, seen: &Seen<'_>, report: &mut Report) {
    for (key, other) in seen.world.of(names::KKP_GROUP, "etcdbackupconfigs") {
        let same = key.cluster == write.object.cluster && key.namespace == write.object.namespace;
        if !same || label(other, names::RUN_LABEL) != Some(run) {
            continue;
        }
        if attempt(&key.name) == attempt(&write.object.name) {
            report.say(
                "S18",
                &write.object,
                "an etcd backup was ordered twice for one run and attempt",
            );
        }
        if is_completed(other) {
            report.say(
                "S18",
                &write.object,
                "an etcd backup was ordered though this run has a completed one",
            );
        }
    }
}

/// The number behind the last dash.
fn attempt(name: &str) -> &str {
    name.rsplit('-').next().unwrap_or_default()
}

fn is_completed(config: &Value) -> bool {
    let backups = config.pointer("/status/currentBackups").and_then(Value::as_array);
    let going = config.pointer("/metadata/deletionTimestamp").is_some();
    let completed = |backup: &Value| backup.get("backupPhase").and_then(Value::as_str) == Some("Completed");
    !going && backups.into_iter().flatten().any(completed)
}
