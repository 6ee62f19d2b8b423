//! S18: we write only what is ours: our own objects, and of the platform one value with its note. What we delete is ours,
//! and named by its UID.

use std::collections::BTreeSet;

use serde_json::Value;

use super::gate::{is_fence, label};
use super::{Property, Report, Seen, WRITERS, etcd, fixes};
use crate::event::{Identity, Verb, Write};
use crate::expectations::Sources;
use crate::names;

/// S18: no field of anybody else's.
pub(super) struct OnlyOurs;

impl Property for OnlyOurs {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.write() else { return };
        match write.actor.identity {
            Identity::Operator => operator(write, seen, report),
            Identity::Backup => {
                report.say("S18", &write.object, "written by a backup Job, which only reads");
            }
            // The installer is KKP's and writes what it likes; its Job's own fence is checked like ours.
            Identity::Installer if is_fence(write) => labelled(write, report),
            _ => {}
        }
    }
}

/// Of a `KubermaticConfiguration` we write the limit and our note about it.
const CONFIGURATION: [&str; 2] = [names::LIMIT, "/metadata/annotations/upgrade.k8c.io~1throttle"];

fn operator(write: &Write, seen: &Seen<'_>, report: &mut Report) {
    if write.verb == Verb::Delete {
        return;
    }
    let object = &write.object;
    let noted = fixes::fields(write);
    if !noted.is_empty() {
        let mut allowed: Vec<&str> = noted.iter().map(String::as_str).collect();
        if object.is(names::KKP_GROUP, "kubermaticconfigurations") {
            allowed.extend(CONFIGURATION);
        }
        return fields(write, &allowed, report);
    }
    if write.verb == Verb::Create && etcd::is_order(object) {
        // Whether it may be made is judged with the others of its run.
        return labelled(write, report);
    }
    if object.cluster != seen.expectations.master {
        return report.say("S18", object, "written by the operator on a seed, which it only reads");
    }
    match (object.group.as_str(), object.resource.as_str()) {
        ("upgrade.k8c.io", "kkpupgrades") => upgrade(write, report),
        ("kubermatic.k8c.io", "kubermaticconfigurations") => {
            fields(write, &CONFIGURATION, report);
        }
        ("batch", "jobs") if write.verb == Verb::Create => labelled(write, report),
        ("", "configmaps") => labelled(write, report),
        ("coordination.k8s.io", "leases")
            if [names::ACTIVE_LEASE, names::LEADER_LEASE].contains(&object.name.as_str()) => {}
        ("" | "events.k8s.io", "events") => {}
        // Made once, of no KKPUpgrade, and never written again: older backups need the key that stands there.
        ("", "secrets") if write.verb == Verb::Create && object.name == names::BACKUP_KEY => {}
        _ => report.say("S18", object, "written by the operator, whose it is not"),
    }
}

/// Of a `KKPUpgrade` we write status, and our finalizer; never the spec.
fn upgrade(write: &Write, report: &mut Report) {
    if write.verb == Verb::Create {
        return report.say("S18", &write.object, "created by the operator");
    }
    if write.subresource.as_deref() == Some("status") {
        fields(write, &["/status"], report);
        return;
    }
    fields(write, &["/metadata/finalizers"], report);
    let others = |value: &Option<std::sync::Arc<Value>>| -> BTreeSet<String> {
        let finalizers = value.as_deref().and_then(|value| value.pointer("/metadata/finalizers"));
        let all = finalizers.and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str)
            .filter(|one| *one != names::FINALIZER)
            .map(str::to_owned)
            .collect()
    };
    if write.before.is_some() && write.after.is_some() && others(&write.before) != others(&write.after) {
        report.say("S18", &write.object, "somebody else's finalizer was touched");
    }
}

/// An object of ours carries the UID of its `KKPUpgrade`, also before we write it again.
fn labelled(write: &Write, report: &mut Report) {
    for object in [&write.before, &write.after].into_iter().flatten() {
        if label(object, names::UPGRADE_LABEL).is_none() {
            return report.say(
                "S18",
                &write.object,
                "written by us without the label of a KKPUpgrade on it",
            );
        }
    }
}

/// Only these fields may differ.
fn fields(write: &Write, allowed: &[&str], report: &mut Report) {
    let (Some(before), Some(after)) = (&write.before, &write.after) else {
        return;
    };
    for path in differences(before, after) {
        let fine = allowed.iter().any(|allowed| {
            path == *allowed || path.starts_with(&format!("{allowed}/")) || is_parent_made(&path, allowed, before)
        });
        if !fine {
            report.say(
                "S18",
                &write.object,
                format!("{path} was changed by {}", write.actor.name),
            );
        }
    }
}

/// Whether a parent of an allowed field was made only to hold it, or went when it was empty.
fn is_parent_made(path: &str, allowed: &str, before: &Value) -> bool {
    allowed.starts_with(&format!("{path}/"))
        && before
            .pointer(path)
            .is_none_or(|value| value.as_object().is_some_and(|fields| fields.len() <= 1))
}

/// Fields that the server itself moves with every write.
const BOOKKEEPING: [&str; 4] = [
    "/metadata/resourceVersion",
    "/metadata/managedFields",
    "/metadata/generation",
    "/metadata/deletionTimestamp",
];

/// Paths at which two objects differ, the server's bookkeeping apart.
pub(super) fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(before, after, "", &mut found);
    found.retain(|path| !BOOKKEEPING.contains(&path.as_str()));
    found
}

fn walk(before: &Value, after: &Value, path: &str, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let below = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => walk(old, new, &below, found),
                    _ => found.push(below),
                }
            }
        }
        _ if before != after => found.push(path.to_owned()),
        _ => {}
    }
}

/// S18: what the operator deletes is a Job of its own, by UID, or the Pod of one that has not started, as it was seen.
pub(super) struct Deletes;

impl Property for Deletes {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.operator_write().filter(|write| write.verb == Verb::Delete) else {
            return;
        };
        if write.object.is("", "pods") {
            if has_started(write.after.as_deref().or(write.before.as_deref())) {
                report.say(
                    "S18",
                    &write.object,
                    "deleted by the operator after its program had started",
                );
            }
            if write.version_precondition.is_none() {
                report.say(
                    "S18",
                    &write.object,
                    "deleted without the version that was seen as precondition",
                );
            }
        } else if !write.object.is("batch", "jobs") {
            return report.say(
                "S18",
                &write.object,
                "deleted by the operator, which deletes nothing but its Jobs and their Pods",
            );
        }
        if write.uid_precondition.is_none() {
            report.say("S18", &write.object, "deleted without its UID as precondition");
        }
        let ours = |object: &Value| label(object, names::UPGRADE_LABEL).is_some();
        if write.before.as_deref().is_some_and(|object| !ours(object)) {
            report.say("S18", &write.object, "deleted by the operator, whose it is not");
        }
    }
}

/// Whether a main container of the Pod runs or has run; a Pod that is not known counts as started.
fn has_started(pod: Option<&Value>) -> bool {
    let Some(pod) = pod else { return true };
    let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
    let lives = |status: &Value| {
        ["/state/running", "/state/terminated", "/lastState/terminated"]
            .iter()
            .any(|path| status.pointer(path).is_some())
    };
    statuses.into_iter().flatten().any(lives)
}
