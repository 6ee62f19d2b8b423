//! Restores: nothing is deleted or taken apart, and what came back stays. That it is what the backup has (S15) needs the backup:
//! the tests of restores compare.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Property, Report, Seen, WRITERS};
use crate::event::{Identity, ObjectKey, Verb, Write};
use crate::expectations::Sources;
use crate::names;

/// How long the garbage collector may take to find an owner that does not exist (`guides/reliability.md` 2.2).
const COLLECTED_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// S16: a restore deletes nothing, takes no finalizer away, and writes over nothing that it has not seen.
pub(super) struct NothingTaken;

impl Property for NothingTaken {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.write().filter(|write| write.actor.identity == Identity::Restore) else {
            return;
        };
        match write.verb {
            Verb::Create => {}
            Verb::Delete => report.say("S16", &write.object, "deleted by a restore"),
            Verb::Update => updated(write, report),
        }
    }
}

fn updated(write: &Write, report: &mut Report) {
    if write.version_precondition.is_none() {
        report.say("S16", &write.object, "written by a restore without resourceVersion");
    }
    let (Some(before), Some(after)) = (&write.before, &write.after) else {
        return;
    };
    let kept = finalizers(after);
    for lost in finalizers(before).iter().filter(|finalizer| !kept.contains(finalizer)) {
        report.say(
            "S16",
            &write.object,
            format!("the finalizer {lost} was taken away by a restore"),
        );
    }
}

fn finalizers(object: &Value) -> Vec<&str> {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// S17: nothing that a restore has written is collected as garbage.
#[derive(Default)]
pub(super) struct NothingCollected {
    restored: BTreeMap<ObjectKey, Timestamp>,
}

impl Property for NothingCollected {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.write() else { return };
        if write.actor.identity == Identity::Restore {
            self.restored.insert(write.object.clone(), seen.time);
            return;
        }
        if write.verb != Verb::Delete || write.actor.name != names::GARBAGE_COLLECTOR {
            return;
        }
        let restored = self.restored.get(&write.object);
        if restored.is_some_and(|time| seen.time.duration_since(*time) <= COLLECTED_WITHIN) {
            report.say(
                "S17",
                &write.object,
                "collected as garbage after a restore: an owner of its does not exist",
            );
        }
    }
}
