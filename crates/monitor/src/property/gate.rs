//! S1, S2, S3: nothing is changed before the platform was looked at and backed up; a backup counts only when it was
//! verified; backups stay.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use kkp_upgrade_core::conditions::ConditionType;
use kkp_upgrade_core::phase::Phase;
use kkp_upgrade_core::status::BackupRecord;
use kkp_upgrade_core::time::Time;
use serde_json::Value;

use super::{Property, Report, Seen, WRITERS, fixes};
use crate::event::{Identity, Verb, Write};
use crate::expectations::Sources;
use crate::names;
use crate::upgrade::Upgrade;
use crate::world::World;

/// A backup that is older than this when Deploying begins, or an installer is started, had to be made anew.
const OLDEST_BACKUP: SignedDuration = SignedDuration::from_secs(3600 + 60);

/// S1: the first change of the platform comes after Preflight passed and every target was backed up.
pub(super) struct Gate;

impl Property for Gate {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.write().filter(|write| changes_platform(write)) else {
            return;
        };
        let Some(uid) = on_behalf_of(write, seen.world, &seen.expectations.master) else {
            if write.actor.identity == Identity::Installer {
                let text = format!("written by {}, of whose Job nothing is known", write.actor.name);
                report.say("S1", &write.object, text);
            }
            return;
        };
        let Some(upgrade) = seen.world.upgrade(&uid) else {
            let text = format!("written for KKPUpgrade {uid}, which does not exist");
            return report.say("S1", &write.object, text);
        };
        if !upgrade.is_true(ConditionType::PreflightPassed) {
            let text = format!("written for {} before its Preflight passed", upgrade.title());
            report.say("S1", &write.object, text);
        }
        for problem in not_backed_up(upgrade, seen.world, &seen.expectations.master) {
            let text = format!("written for {}: {problem}", upgrade.title());
            report.say("S1", &write.object, text);
        }
    }
}

/// Whether a write of ours changes the platform for good, instead of noting something or putting something back.
pub(super) fn changes_platform(write: &Write) -> bool {
    match write.actor.identity {
        Identity::Operator => {
            let limited = write.object.is(names::KKP_GROUP, "kubermaticconfigurations");
            (limited && note(write.after.as_deref()).is_some()) || !fixes::added(write).is_empty()
        }
        // The Job's own fence is not the platform's.
        Identity::Installer => !is_fence(write),
        _ => false,
    }
}

/// Whether it is the ConfigMap by which a Job's Pod takes its right to run.
pub(super) fn is_fence(write: &Write) -> bool {
    let owner = |value: &Value| {
        value
            .pointer("/metadata/annotations")
            .and_then(|all| all.get(names::FENCE_OWNER))
            .is_some()
    };
    write.verb == Verb::Create && write.object.is("", "configmaps") && write.after.as_deref().is_some_and(owner)
}

/// Our note about the limit.
pub(super) fn note(configuration: Option<&Value>) -> Option<Value> {
    let text = configuration?
        .pointer("/metadata/annotations")?
        .get(names::THROTTLE)?
        .as_str()?;
    serde_json::from_str(text).ok()
}

/// UID of the `KKPUpgrade` that a write was made for.
fn on_behalf_of(write: &Write, world: &World, master: &str) -> Option<String> {
    if write.actor.is_operator() {
        if let Some(added) = fixes::added(write).into_iter().next() {
            return Some(added.owner);
        }
        let note = note(write.after.as_deref())?;
        return Some(note.get("owner")?.as_str()?.to_owned());
    }
    let job = write.actor.pod.as_deref()?.rsplit_once('-')?.0;
    uid_of_job(world, master, job)
}

/// UID of the `KKPUpgrade` that a Job belongs to.
pub(super) fn uid_of_job(world: &World, master: &str, job: &str) -> Option<String> {
    let of_this_name = |key: &crate::event::ObjectKey| key.cluster == master && key.name == job;
    let (_, job) = world.of("batch", "jobs").find(|(key, _)| of_this_name(key))?;
    Some(label(job, names::UPGRADE_LABEL)?.to_owned())
}

/// Value of a label.
pub(super) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/labels")?.get(key)?.as_str()
}

/// What is missing until every cluster in scope has a verified backup.
fn not_backed_up(upgrade: &Upgrade, world: &World, master: &str) -> Vec<String> {
    if upgrade.spec("/backup/policy").and_then(Value::as_str) == Some("Skip") {
        let accepted = upgrade.spec("/acceptedRisks").and_then(Value::as_array);
        let rule = |risk: &Value| risk.get("rule").and_then(Value::as_str) == Some("backup-skipped");
        return if accepted.is_some_and(|risks| risks.iter().any(rule)) {
            Vec::new()
        } else {
            vec!["no backup, and nobody accepted the risk `backup-skipped`".to_owned()]
        };
    }
    if !upgrade.is_true(ConditionType::BackupVerified) {
        return vec!["BackupVerified is not True".to_owned()];
    }
    // A seed on the master's cluster is covered by the master's backup; one with a cluster of its own is not.
    let needs_its_own = |name: &str| name == "master" || (name != master && world.clusters().contains(name));
    let targets = &upgrade.status.targets;
    let mut missing: Vec<String> = targets
        .iter()
        .filter(|target| needs_its_own(&target.name) && target.backup.is_none())
        .map(|target| format!("{} has no verified backup", target.name))
        .collect();
    if targets.iter().all(|target| target.name != "master") {
        missing.push("master is not among the targets".to_owned());
    }
    missing
}

/// S2: a backup is recorded only from a Job that ended well, with digest, objects and time; it is fresh when Deploying
/// begins, and when an installer is started.
#[derive(Default)]
pub(super) struct VerifiedBackup {
    /// (UID, target) of backup Jobs that are complete.
    complete: BTreeSet<(String, String)>,
}

impl Property for VerifiedBackup {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        if let Some(write) = seen.write()
            && write.object.is("batch", "jobs")
            && let Some(job) = write.after.as_deref()
            && label(job, names::STEP_LABEL) == Some("backup")
            && is_condition_true(job, "Complete")
            && let (Some(uid), Some(target)) = (label(job, names::UPGRADE_LABEL), label(job, names::TARGET_LABEL))
        {
            self.complete.insert((uid.to_owned(), target.to_owned()));
        }
        if let Some(write) = seen.write()
            && write.verb == Verb::Create
            && write.object.is("batch", "jobs")
            && let Some(job) = write.after.as_deref()
            && label(job, names::STEP_LABEL) == Some("installer")
            && let Some(upgrade) = label(job, names::UPGRADE_LABEL).and_then(|uid| seen.world.upgrade(uid))
        {
            old_backups("the installer is started", upgrade, seen, report);
        }
        let Some((before, after)) = seen.change() else { return };
        if before.status.hop != after.status.hop {
            // Each hop has backups of its own.
            self.complete.retain(|(uid, _)| *uid != after.uid);
        }
        for target in &after.status.targets {
            let Some(record) = &target.backup else { continue };
            let earlier = before
                .status
                .target(&target.name)
                .and_then(|target| target.backup.as_ref());
            if earlier == Some(record) {
                continue;
            }
            // A label takes 63 characters of a name.
            let name: String = target.name.chars().take(63).collect();
            if !self.complete.contains(&(after.uid.clone(), name)) {
                let text = format!(
                    "backup of {} recorded, and no backup Job of it is Complete",
                    target.name
                );
                report.say("S2", after.title(), text);
            }
            if !is_whole(record) {
                let text = format!("backup of {} recorded without digest, objects or time", target.name);
                report.say("S2", after.title(), text);
            }
        }
        if before.phase() == Some(Phase::Backup) && after.phase() == Some(Phase::Deploying) {
            old_backups("Deploying begins", after, seen, report);
        }
    }
}

/// Says which backups had to be made anew before this.
fn old_backups(what: &str, upgrade: &Upgrade, seen: &Seen<'_>, report: &mut Report) {
    let old = |record: &BackupRecord| {
        let verified = record.verified_time.map(Time::timestamp);
        verified.is_some_and(|time| seen.time.duration_since(time) > OLDEST_BACKUP)
    };
    let targets = upgrade.status.targets.iter();
    for target in targets.filter(|target| target.backup.as_ref().is_some_and(old)) {
        let text = format!("{what} with a backup of {} that is older than an hour", target.name);
        report.say("S2", upgrade.title(), text);
    }
}

fn is_whole(record: &BackupRecord) -> bool {
    let digest = record.digest.strip_prefix("sha256:").unwrap_or_default();
    digest.len() == 64 && record.objects > 0 && record.verified_time.is_some() && !record.location.is_empty()
}

/// Whether a condition of a built-in object is True.
pub(super) fn is_condition_true(object: &Value, kind: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let is = |condition: &Value| {
        condition.get("type").and_then(Value::as_str) == Some(kind)
            && condition.get("status").and_then(Value::as_str) == Some("True")
    };
    conditions.is_some_and(|all| all.iter().any(is))
}

/// S3: no place holds two backups, none belongs to the `KKPUpgrade`, and nobody of ours deletes volumes or etcd backups.
#[derive(Default)]
pub(super) struct BackupsStay {
    /// Digest by place.
    places: BTreeMap<String, String>,
}

impl Property for BackupsStay {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        if let Some(upgrade) = seen.upgrade() {
            let records = upgrade
                .status
                .targets
                .iter()
                .filter_map(|target| target.backup.as_ref());
            for record in records {
                let first = self
                    .places
                    .entry(record.location.clone())
                    .or_insert_with(|| record.digest.clone());
                if *first != record.digest {
                    let text = format!("two backups at {}: one was written over", record.location);
                    report.say("S3", upgrade.title(), text);
                }
            }
        }
        let Some(write) = seen.write().filter(|write| write.actor.is_ours()) else {
            return;
        };
        let keeps = ["persistentvolumeclaims", "persistentvolumes", "etcdbackupconfigs"];
        if write.verb == Verb::Delete && keeps.contains(&write.object.resource.as_str()) {
            report.say("S3", &write.object, format!("deleted by {}", write.actor.name));
        }
        if write.object.is("batch", "jobs")
            && let Some(job) = write.after.as_deref()
            && job.pointer("/metadata/ownerReferences").is_some()
        {
            report.say(
                "S3",
                &write.object,
                "has an owner: deleting that would kill it and what it writes",
            );
        }
    }
}
