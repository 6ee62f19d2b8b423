//! S14: quiet at rest: a run that has ended, or is paused, changes nothing of the platform and hardly its own status.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::gate::{changes_platform, note};
use super::{Property, Report, Seen, WRITERS, fixes};
use crate::event::Identity;
use crate::expectations::Sources;
use crate::upgrade::Upgrade;

const WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// S14.
#[derive(Default)]
pub(super) struct Quiet {
    /// When each resting upgrade's status was written without an edge.
    writes: BTreeMap<String, Vec<Timestamp>>,
}

impl Property for Quiet {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        platform(seen, report);
        let Some((before, after)) = seen.change() else { return };
        let of_operator = seen.operator_write().is_some();
        if !of_operator || !rests(before) || !rests(after) || has_edge(before, after) {
            // A person's word, or an effect and its record, is a reason to write.
            self.writes.remove(&after.uid);
            return;
        }
        let writes = self.writes.entry(after.uid.clone()).or_default();
        writes.push(seen.time);
        writes.retain(|time| seen.time.duration_since(*time) < WINDOW);
        if writes.len() > seen.expectations.writes_at_rest {
            let text = format!(
                "{} writes without an edge of a status at rest within ten minutes",
                writes.len()
            );
            report.say("S14", after.title(), text);
        }
    }
}

fn rests(upgrade: &Upgrade) -> bool {
    let waits = upgrade.is_paused() && upgrade.reason() == "Paused";
    (upgrade.is_terminal() && !upgrade.status.owes()) || waits
}

/// Whether more changed than counts, messages and clocks.
fn has_edge(before: &Upgrade, after: &Upgrade) -> bool {
    let spec = before.generation != after.generation || before.deleting != after.deleting;
    let metadata = |upgrade: &Upgrade| {
        let mut metadata = upgrade.object.get("metadata").cloned().unwrap_or(Value::Null);
        if let Some(fields) = metadata.as_object_mut() {
            fields.remove("resourceVersion");
            fields.remove("managedFields");
        }
        metadata
    };
    let status = |upgrade: &Upgrade| {
        let mut status = upgrade.status.clone();
        status.progress = None;
        status.insights.clear();
        status.last_progress_time = None;
        for target in &mut status.targets {
            target.message.clear();
            target.user_clusters = None;
        }
        for condition in &mut status.conditions {
            condition.message.clear();
        }
        status
    };
    spec || metadata(before) != metadata(after) || status(before) != status(after)
}

/// No platform write for a run that has ended or rests.
fn platform(seen: &Seen<'_>, report: &mut Report) {
    let Some(write) = seen.write().filter(|write| changes_platform(write)) else {
        return;
    };
    if write.actor.identity == Identity::Operator {
        let limit = || note(write.after.as_deref()).and_then(|note| Some(note.get("owner")?.as_str()?.to_owned()));
        let fix = fixes::added(write).into_iter().next();
        let owner = fix.map_or_else(limit, |fix| Some(fix.owner));
        let upgrade = owner.and_then(|uid| seen.world.upgrade(&uid));
        if let Some(upgrade) = upgrade.filter(|upgrade| rests(upgrade) || upgrade.is_terminal()) {
            let text = format!("written for {}, which is at rest", upgrade.title());
            report.say("S14", &write.object, text);
        }
        return;
    }
    let active = seen.world.upgrades().any(Upgrade::is_past_preflight);
    if !active && seen.world.upgrades().next().is_some() {
        report.say(
            "S14",
            &write.object,
            format!("written by {} while no run goes on", write.actor.name),
        );
    }
}
