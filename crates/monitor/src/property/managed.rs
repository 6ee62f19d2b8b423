//! S18 and S8 as far as objects tell by themselves: which fields the operator owns, and whether its note is gone.

use kkp_upgrade_core::phase::Phase;
use serde_json::Value;

use super::gate::note;
use super::{Property, Report, Seen, fixes};
use crate::event::{ObjectKey, What};
use crate::names;

/// S18: of the platform's configuration the operator owns the limit and its note; of a `KKPUpgrade` never the spec.
pub(super) struct OwnedFields;

impl Property for OwnedFields {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let (key, object) = match seen.what {
            What::Write(write) => (&write.object, write.after.as_deref()),
            What::Seen(key, value) => (key, Some(&**value)),
            What::Lost(_) | What::Installer(_) => return,
        };
        let Some(object) = object else { return };
        for path in owned(object)
            .into_iter()
            .filter(|path| !may_own(key, path) && !fixes::may_own(key, object, path))
        {
            report.say("S18", key, format!("the operator owns {path}, which is not its own"));
        }
    }
}

fn may_own(key: &ObjectKey, path: &str) -> bool {
    if key.is(names::KKP_GROUP, "kubermaticconfigurations") {
        let ours = [
            "/metadata/annotations/upgrade.k8c.io/throttle",
            "/spec/seedController/maximumParallelReconciles",
        ];
        // Parents that were made only to hold them.
        return ours.contains(&path) || ["/metadata/annotations", "/spec/seedController"].contains(&path);
    }
    if key.is(names::GROUP, "kkpupgrades") {
        return path.starts_with("/status") || path.starts_with("/metadata/finalizers");
    }
    !key.is(names::KKP_GROUP, "seeds")
}

/// Paths of the fields that the operator owns, from `metadata.managedFields`.
fn owned(object: &Value) -> Vec<String> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let of_operator = |entry: &&Value| entry.get("manager").and_then(Value::as_str) == Some(names::FIELD_MANAGER);
    let mut paths = Vec::new();
    for entry in entries.into_iter().flatten().filter(of_operator) {
        if let Some(fields) = entry.get("fieldsV1") {
            leaves(fields, "", &mut paths);
        }
    }
    paths
}

fn leaves(fields: &Value, path: &str, found: &mut Vec<String>) {
    let Some(fields) = fields.as_object() else { return };
    let below = fields
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("f:")?, value)));
    let mut is_leaf = true;
    for (name, value) in below {
        is_leaf = false;
        leaves(value, &format!("{path}/{name}"), found);
    }
    if is_leaf && !path.is_empty() {
        found.push(path.to_owned());
    }
}

/// S8: a run that says Done has taken its note off.
pub(super) struct NoteGone;

impl Property for NoteGone {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        // Where writers are known, the whole of S8 is judged.
        let Some(upgrade) = seen.upgrade().filter(|_| !seen.expectations.sources.writers) else {
            return;
        };
        if upgrade.phase() != Some(Phase::Done) {
            return;
        }
        for (key, configuration) in seen.world.of(names::KKP_GROUP, "kubermaticconfigurations") {
            let owner = note(Some(configuration)).and_then(|note| Some(note.get("owner")?.as_str()?.to_owned()));
            if owner.as_ref() == Some(&upgrade.uid) {
                report.say(
                    "S8",
                    key,
                    format!("{} is Done and its note is still there", upgrade.title()),
                );
            }
        }
    }
}
