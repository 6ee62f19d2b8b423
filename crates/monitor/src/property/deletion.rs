//! L4: a deletion ends. L7: no step is taken twice.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::gate::{is_condition_true, label};
use super::{End, Property, Report, Seen};
use crate::event::Verb;
use crate::names;

/// L4, second half: a deletion ends in time after the last Job of the run is over.
#[derive(Default)]
pub(super) struct DeletionEnds {
    /// When the deletion was asked for, by UID.
    asked: BTreeMap<String, Timestamp>,
    /// Jobs that are not over, with the UID they belong to.
    running: BTreeMap<String, String>,
    /// When the last Job of a UID was over.
    over: BTreeMap<String, Timestamp>,
}

impl Property for DeletionEnds {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        self.jobs(seen);
        let Some(turn) = seen.turn else { return };
        let Some(upgrade) = turn.after.as_ref().or(turn.before.as_ref()) else {
            return;
        };
        if turn.gone {
            if let Some(since) = self.asked.remove(&upgrade.uid) {
                self.late(
                    &upgrade.uid,
                    upgrade.title(),
                    (since, seen.time),
                    seen.expectations.deletion,
                    report,
                );
            }
            if upgrade.is_past_preflight() {
                report.say("L4", upgrade.title(), "is gone in the middle of its run");
            }
        } else if upgrade.deleting.is_some() {
            self.asked.entry(upgrade.uid.clone()).or_insert(seen.time);
        }
    }

    fn end(&mut self, end: &End<'_>, report: &mut Report) {
        for (uid, since) in &self.asked {
            let Some(upgrade) = end.world.upgrade(uid).filter(|upgrade| upgrade.finalizer) else {
                continue;
            };
            self.late(
                uid,
                upgrade.title(),
                (*since, end.time),
                end.expectations.deletion,
                report,
            );
        }
    }
}

impl DeletionEnds {
    fn jobs(&mut self, seen: &Seen<'_>) {
        let Some(write) = seen.write().filter(|write| write.object.is("batch", "jobs")) else {
            return;
        };
        let Some(job) = write.after.as_deref().or(write.before.as_deref()) else {
            return;
        };
        let Some(uid) = label(job, names::UPGRADE_LABEL) else {
            return;
        };
        let ended = is_condition_true(job, "Complete") || is_condition_true(job, "Failed");
        if write.gone || ended {
            if self.running.remove(&write.object.name).is_some() {
                self.over.insert(uid.to_owned(), seen.time);
            }
        } else {
            self.running.insert(write.object.name.clone(), uid.to_owned());
        }
    }

    fn late(
        &self,
        uid: &str,
        title: String,
        (since, now): (Timestamp, Timestamp),
        bound: SignedDuration,
        report: &mut Report,
    ) {
        if self.running.values().any(|of| of == uid) {
            return;
        }
        let since = self.over.get(uid).map_or(since, |over| since.max(*over));
        let took = now.duration_since(since);
        if took > bound {
            report.say("L4", title, format!("its deletion took {took:#} with no Job running"));
        }
    }
}

/// L7: a Job's name stands for one attempt of one step: it is never made twice.
#[derive(Default)]
pub(super) struct NothingTwice {
    made: BTreeSet<(String, String)>,
}

impl Property for NothingTwice {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(write) = seen.write() else { return };
        if write.verb != Verb::Create || !write.object.is("batch", "jobs") {
            return;
        }
        let uid = write
            .after
            .as_deref()
            .and_then(|job| label(job, names::UPGRADE_LABEL).map(str::to_owned));
        let Some(uid) = uid else { return };
        if !self.made.insert((uid, write.object.name.clone())) {
            report.say("L7", &write.object, "created a second time: its step was taken already");
        }
        let owned = write
            .after
            .as_deref()
            .and_then(|job| job.pointer("/spec/backoffLimit"))
            .and_then(Value::as_i64);
        if owned != Some(0) {
            report.say(
                "L7",
                &write.object,
                "may start its Pod again by itself: backoffLimit is not 0",
            );
        }
    }
}
