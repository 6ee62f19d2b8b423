//! Fixes: values that the operator writes into objects of KKP with a note of its own, where somebody has asked for that.

use serde::Deserialize;
use serde_json::Value;

use super::{Property, Report, Seen, WRITERS};
use crate::event::{ObjectKey, Verb, Write};
use crate::expectations::Sources;
use crate::names;

/// Kinds that may be fixed.
const KINDS: [&str; 4] = ["kubermaticconfigurations", "seeds", "clusters", "clustertemplates"];
/// The note as a path into the object.
const NOTE: &str = "/metadata/annotations/upgrade.k8c.io~1fix";

/// One note, as far as it is judged.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Note {
    pub(super) owner: String,
    rule: String,
    path: String,
    original: Value,
    applied: Value,
    #[serde(default)]
    throttled: bool,
}

fn notes(object: Option<&Value>) -> Vec<Note> {
    let text = object
        .and_then(|object| object.pointer("/metadata/annotations")?.get(names::FIX)?.as_str())
        .unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

/// `.spec.a["b.c/d"]` as a path into JSON.
fn pointer(path: &str) -> String {
    let mut pointer = String::new();
    let mut rest = path;
    while !rest.is_empty() {
        let (key, after) = if let Some(quoted) = rest.strip_prefix("[\"") {
            quoted.split_once("\"]").unwrap_or((quoted, ""))
        } else {
            let plain = rest.strip_prefix('.').unwrap_or(rest);
            plain.split_at(plain.find(['.', '[']).unwrap_or(plain.len()))
        };
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        rest = after;
    }
    pointer
}

fn may_be_fixed(key: &ObjectKey) -> bool {
    KINDS.iter().any(|resource| key.is(names::KKP_GROUP, resource))
}

/// Fields of the object that notes on it name, before or after the write; none = it is no write of a fix.
pub(super) fn fields(write: &Write) -> Vec<String> {
    if !may_be_fixed(&write.object) || write.verb == Verb::Create {
        return Vec::new();
    }
    let (before, after) = (notes(write.before.as_deref()), notes(write.after.as_deref()));
    if before == after {
        return Vec::new();
    }
    let paths = before.iter().chain(&after).map(|note| pointer(&note.path));
    paths.chain([NOTE.to_owned()]).collect()
}

/// Notes that a write has brought.
pub(super) fn added(write: &Write) -> Vec<Note> {
    if !may_be_fixed(&write.object) {
        return Vec::new();
    }
    let before = notes(write.before.as_deref());
    let after = notes(write.after.as_deref());
    after.into_iter().filter(|note| !before.contains(note)).collect()
}

/// Whether a note on the object says that the operator wrote this field, or it is a parent that was made to hold it.
pub(super) fn may_own(key: &ObjectKey, object: &Value, path: &str) -> bool {
    let notes = notes(Some(object));
    let note = format!("/metadata/annotations/{}", names::FIX);
    let unescaped = |note: &Note| pointer(&note.path).replace("~1", "/").replace("~0", "~");
    let allowed = notes.iter().map(unescaped).chain([note]);
    may_be_fixed(key)
        && allowed
            .into_iter()
            .any(|field| field == path || field.starts_with(&format!("{path}/")))
}

/// S18: a fix is made only where `spec.fixes` names its rule, and its note says what stood there and what stands there now.
pub(super) struct Consent;

impl Property for Consent {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.operator_write() else { return };
        for note in added(write) {
            let asked = seen
                .world
                .upgrade(&note.owner)
                .and_then(|upgrade| upgrade.spec("/fixes"));
            let asked = asked.and_then(Value::as_array).into_iter().flatten();
            if !asked.filter_map(Value::as_str).any(|rule| rule == note.rule) {
                let text = format!("fixed for rule {}, which spec.fixes does not name", note.rule);
                report.say("S18", &write.object, text);
            }
            let value = |object: &Option<std::sync::Arc<Value>>| {
                let found = object
                    .as_deref()
                    .and_then(|object| object.pointer(&pointer(&note.path)));
                found.cloned().unwrap_or_default()
            };
            let chained = notes(write.before.as_deref())
                .iter()
                .any(|old| old.path == note.path && old.original == note.original);
            if write.after.is_some() && value(&write.after) != note.applied {
                report.say(
                    "S18",
                    &write.object,
                    format!("the note about {} is not what stands there", note.path),
                );
            }
            if write.before.is_some() && !chained && value(&write.before) != note.original {
                report.say(
                    "S18",
                    &write.object,
                    format!("the note about {} is not what stood there", note.path),
                );
            }
        }
    }
}

/// S9: of the user clusters that the operator itself sends to another version, no more are on their way on a seed than the limit.
pub(super) struct Cap;

impl Property for Cap {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.operator_write().filter(|write| is_cluster(&write.object)) else {
            return;
        };
        for note in added(write).iter().filter(|note| note.throttled) {
            let upgrade = seen.world.upgrade(&note.owner);
            let limit = upgrade.and_then(|upgrade| upgrade.spec("/maximumParallelReconciles")?.as_u64());
            // Where no limit is asked for, the operator sends one after the other.
            let limit = limit.unwrap_or(1);
            let others = seen.world.of(names::KKP_GROUP, "clusters").filter(|(key, cluster)| {
                key.cluster == write.object.cluster && **key != write.object && is_on_its_way(cluster, &note.owner)
            });
            let with_this = others.fold(1_u64, |count, _| count + 1);
            if with_this > limit {
                let text = format!("sent to another version as number {with_this} at a time, the limit is {limit}");
                report.say("S9", &write.object, text);
            }
        }
    }
}

fn is_cluster(key: &ObjectKey) -> bool {
    key.is(names::KKP_GROUP, "clusters")
}

/// Whether the run's new version is wanted still and its control plane does not run it yet.
fn is_on_its_way(cluster: &Value, owner: &str) -> bool {
    let running = cluster.pointer("/status/versions/controlPlane");
    let wanted = |note: &Note| cluster.pointer(&pointer(&note.path)) == Some(&note.applied);
    notes(Some(cluster))
        .iter()
        .any(|note| note.throttled && note.owner == owner && wanted(note) && running != Some(&note.applied))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_notes_are_paths_into_objects() {
        assert_eq!(pointer(".spec.version"), "/spec/version");
        assert_eq!(
            pointer(".metadata.annotations[\"a.b/c\"]"),
            "/metadata/annotations/a.b~1c"
        );
        assert_eq!(pointer(".spec.gates[\"X\"].on"), "/spec/gates/X/on");
    }
}
