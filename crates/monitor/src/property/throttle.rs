//! S8: the limit on parallel reconciles. Original and value change in one write; the original comes back; nobody else's
//! value is ever written over; the installer runs only with the limit in force.

use std::collections::BTreeMap;

use kkp_upgrade_core::conditions::ConditionType;
use kkp_upgrade_core::phase::Phase;
use serde_json::Value;

use super::gate::{note, uid_of_job};
use super::{BOTH, End, Property, Report, Seen, WRITERS};
use crate::event::Write;
use crate::expectations::Sources;
use crate::names;
use crate::upgrade::Upgrade;
use crate::world::World;

/// The note as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    owner: String,
    original: Option<i64>,
    applied: Option<i64>,
}

fn read(configuration: Option<&Value>) -> Option<Note> {
    let note = note(configuration)?;
    Some(Note {
        owner: note.get("owner")?.as_str()?.to_owned(),
        original: note.get("original").and_then(Value::as_i64),
        applied: note.get("applied").and_then(Value::as_i64),
    })
}

fn limit(configuration: Option<&Value>) -> Option<i64> {
    configuration?.pointer(names::LIMIT)?.as_i64()
}

fn shown(value: Option<i64>) -> String {
    value.map_or_else(|| "unset".to_owned(), |value| value.to_string())
}

fn is_configuration(write: &Write) -> bool {
    write.object.is(names::KKP_GROUP, "kubermaticconfigurations")
}

/// S8 on every write of the limit, and at the end of each run.
#[derive(Default)]
pub(super) struct Limit {
    /// Value before the first write, by UID of the upgrade that wrote it.
    originals: BTreeMap<String, Option<i64>>,
    /// The value that somebody else wrote last, as people read it; `None` = nobody did.
    foreign: Option<String>,
}

impl Property for Limit {
    fn needs(&self) -> Sources {
        WRITERS
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        if let Some(write) = seen.write().filter(|write| is_configuration(write)) {
            self.see_write(write, seen, report);
        }
        let Some((before, after)) = seen.change() else { return };
        if before.phase() != Some(Phase::Done) && after.phase() == Some(Phase::Done) {
            self.put_back(after, "Done", seen.world, report);
        }
        let gone = seen.turn.is_some_and(|turn| turn.gone);
        if gone && !after.status.owes() {
            self.put_back(after, "deleted", seen.world, report);
        }
    }

    fn end(&mut self, end: &End<'_>, report: &mut Report) {
        for upgrade in end.world.upgrades().filter(|upgrade| upgrade.is_terminal()) {
            let held = upgrade.reason() == "HeldAfterFailure" && upgrade.status.owes();
            if !held && upgrade.status.step.is_none() {
                self.put_back(upgrade, "terminal and at rest", end.world, report);
            }
        }
    }
}

impl Limit {
    fn see_write(&mut self, write: &Write, seen: &Seen<'_>, report: &mut Report) {
        let (before, after) = (write.before.as_deref(), write.after.as_deref());
        if before.is_none() || after.is_none() {
            return;
        }
        let (old, new) = (read(before), read(after));
        let (was, is) = (limit(before), limit(after));
        if !write.actor.is_operator() {
            if was != is {
                self.foreign = Some(shown(is));
            }
            return;
        }
        if was == is && old == new {
            return;
        }
        if write.version_precondition.is_none() {
            report.say(
                "S8",
                &write.object,
                "written without the resourceVersion that it was decided from",
            );
        }
        match (old, new) {
            (Some(old), None) => restored(write, &old, (was, is), report),
            (old, Some(new)) => self.set(write, (old, &new), (was, is), seen, report),
            (None, None) if is_remembered(seen.world, was, is) => {}
            (None, None) => {
                let text = format!(
                    "changed from {} to {} without a note of what it was",
                    shown(was),
                    shown(is)
                );
                report.say("S8", &write.object, text);
            }
        }
    }

    fn set(
        &mut self,
        write: &Write,
        (old, new): (Option<Note>, &Note),
        (was, is): (Option<i64>, Option<i64>),
        seen: &Seen<'_>,
        report: &mut Report,
    ) {
        if is != new.applied {
            let text = format!(
                "limit is {} and the note in the same write says {}",
                shown(is),
                shown(new.applied)
            );
            report.say("S8", &write.object, text);
        }
        let own = old.as_ref().is_some_and(|old| old.owner == new.owner);
        if own && old.as_ref().is_some_and(|old| old.applied != was) {
            let text = format!("{} was somebody else's value and was written over", shown(was));
            report.say("S8", &write.object, text);
        }
        // What stands there is the original, unless a note, or the status of the very run, says that it is ours.
        let noted = old.filter(|old| old.applied == was).map(|old| old.original);
        let remembered = seen.world.upgrade(&new.owner).and_then(|upgrade| {
            let throttle = upgrade.status.throttle.as_ref()?;
            let ours = was == Some(i64::from(throttle.applied)) && noted.is_none();
            ours.then(|| throttle.original.map(i64::from))
        });
        let original = noted.or(remembered).unwrap_or(was);
        if new.original != original {
            let text = format!(
                "the note says that {} was there before, and it was {}",
                shown(new.original),
                shown(original)
            );
            report.say("S8", &write.object, text);
        }
        self.originals.entry(new.owner.clone()).or_insert(original);
    }

    /// The run is over and says that nothing of it is left: is it so?
    fn put_back(&self, upgrade: &Upgrade, when: &str, world: &World, report: &mut Report) {
        let Some(original) = self.originals.get(&upgrade.uid) else {
            return;
        };
        let configurations = world.of(names::KKP_GROUP, "kubermaticconfigurations");
        for (key, configuration) in configurations {
            let (note, value) = (read(Some(configuration)), limit(Some(configuration)));
            if note.as_ref().is_some_and(|note| note.owner == upgrade.uid) {
                report.say(
                    "S8",
                    key,
                    format!("{} is {when} and its note is still there", upgrade.title()),
                );
            }
            // Another run's value, or a person's, is not ours to judge.
            if note.is_none() && value != *original && self.foreign != Some(shown(value)) {
                let text = format!(
                    "{} is {when} and the limit is {} instead of {}",
                    upgrade.title(),
                    shown(value),
                    shown(*original)
                );
                report.say("S8", key, text);
            }
        }
    }
}

/// Whether a run's status says that this value is its own and that one was there before: the note itself may be lost.
fn is_remembered(world: &World, was: Option<i64>, is: Option<i64>) -> bool {
    let throttles = world.upgrades().filter_map(|upgrade| upgrade.status.throttle.as_ref());
    let mut remembered =
        throttles.map(|throttle| (Some(i64::from(throttle.applied)), throttle.original.map(i64::from)));
    remembered.any(|values| values == (was, is))
}

/// The note was taken off: the value is the original, or somebody else's that was left alone.
fn restored(write: &Write, note: &Note, (was, is): (Option<i64>, Option<i64>), report: &mut Report) {
    let foreign = was != note.applied;
    if foreign && is != was {
        let text = format!(
            "{} was somebody else's value and was written over with {}",
            shown(was),
            shown(is)
        );
        report.say("S8", &write.object, text);
    }
    if !foreign && is != note.original {
        let text = format!("put back to {} where {} was before", shown(is), shown(note.original));
        report.say("S8", &write.object, text);
    }
}

/// S8, second half: when our installer starts, the limit that was asked for stands in the configuration and in the
/// arguments of every seed's controller.
pub(super) struct LimitInForce;

impl Property for LimitInForce {
    fn needs(&self) -> Sources {
        BOTH
    }

    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(record) = seen.installer().filter(|record| record.event == "start") else {
            return;
        };
        let Some((job, _)) = record.pod.rsplit_once('-') else {
            return;
        };
        let Some(upgrade) =
            uid_of_job(seen.world, &seen.expectations.master, job).and_then(|uid| seen.world.upgrade(&uid))
        else {
            return;
        };
        let Some(asked) = upgrade.spec("/maximumParallelReconciles").and_then(Value::as_i64) else {
            return;
        };
        let object = format!("installer in Pod {}", record.pod);
        if !upgrade.is_true(ConditionType::Throttled) {
            report.say(
                "S8",
                &object,
                format!("started before {} had Throttled True", upgrade.title()),
            );
        }
        for (key, deployment) in seen.world.of("apps", "deployments") {
            if key.name == "kubermatic-seed-controller-manager" && flag(deployment).is_some_and(|value| value > asked) {
                report.say(
                    "S8",
                    &object,
                    format!("started while {key} ran with another limit than {asked}"),
                );
            }
        }
    }
}

/// The limit in the arguments of a seed-controller-manager (KKP source, `pkg/controller/operator/seed/resources`).
fn flag(deployment: &Value) -> Option<i64> {
    let containers = deployment.pointer("/spec/template/spec/containers")?.as_array()?;
    let arguments = containers
        .iter()
        .filter_map(|container| container.get("args")?.as_array())
        .flatten();
    arguments
        .filter_map(Value::as_str)
        .find_map(|argument| argument.trim_start_matches('-').strip_prefix("max-parallel-reconcile="))?
        .parse()
        .ok()
}
