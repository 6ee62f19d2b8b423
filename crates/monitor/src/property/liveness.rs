//! L1, L2, L3, as bounds: a run ends, says something while it works, and answers an abort.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{End, Property, Report, Seen};
use crate::upgrade::Upgrade;

/// L1: the run ends in time after the last thing that a person did.
#[derive(Default)]
pub(super) struct Ends {
    /// When each upgrade's spec or commands last changed.
    ordered: BTreeMap<String, Timestamp>,
}

impl Property for Ends {
    fn see(&mut self, seen: &Seen<'_>, _report: &mut Report) {
        let Some(after) = seen.upgrade() else { return };
        let annotations = |upgrade: &Upgrade| upgrade.object.pointer("/metadata/annotations").cloned();
        let ordered = seen.change().is_none_or(|(before, after)| {
            before.generation != after.generation || annotations(before) != annotations(after)
        });
        if ordered {
            self.ordered.insert(after.uid.clone(), seen.time);
        }
    }

    fn end(&mut self, end: &End<'_>, report: &mut Report) {
        let Some(bound) = end.expectations.terminal else { return };
        for upgrade in end.world.upgrades().filter(|upgrade| !upgrade.is_terminal()) {
            let Some(since) = self.ordered.get(&upgrade.uid) else {
                continue;
            };
            if end.time.duration_since(*since) > bound && !waits_for_people(upgrade) {
                let text = format!("is in {:?} after more than {bound:#}", upgrade.status.phase);
                report.say("L1", upgrade.title(), text);
            }
        }
    }
}

/// Whether the run waits for somebody, and says so.
fn waits_for_people(upgrade: &Upgrade) -> bool {
    let stalled = upgrade
        .status
        .conditions
        .iter()
        .any(|condition| condition.r#type == "Stalled");
    let waits = [
        "Paused",
        "AnotherUpgradeRunning",
        "AwaitingApproval",
        "WindowClosed",
        "PlanReady",
    ];
    stalled || waits.contains(&upgrade.reason())
}

/// L2: a run that works says something from time to time.
#[derive(Default)]
pub(super) struct NotSilent {
    /// When each upgrade's status was last written.
    said: BTreeMap<String, Timestamp>,
}

impl Property for NotSilent {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(after) = seen.upgrade() else { return };
        if let Some((before, _)) = seen.change() {
            self.check(before, seen.time, seen.expectations.silence, report);
        }
        self.said.insert(after.uid.clone(), seen.time);
    }

    fn end(&mut self, end: &End<'_>, report: &mut Report) {
        for upgrade in end.world.upgrades() {
            self.check(upgrade, end.time, end.expectations.silence, report);
        }
    }
}

impl NotSilent {
    fn check(&self, upgrade: &Upgrade, now: Timestamp, bound: SignedDuration, report: &mut Report) {
        let Some(said) = self.said.get(&upgrade.uid) else {
            return;
        };
        let silent = now.duration_since(*said);
        if silent > bound && !upgrade.is_terminal() && !waits_for_people(upgrade) {
            let text = format!(
                "said nothing for {silent:#} in {:?} and is not Stalled",
                upgrade.status.phase
            );
            report.say("L2", upgrade.title(), text);
        }
    }
}

/// L3: an abort is answered in time, in every phase.
#[derive(Default)]
pub(super) struct AbortAnswered {
    /// Upgrades with an abort that is not answered: since when.
    asked: BTreeMap<String, Timestamp>,
}

impl Property for AbortAnswered {
    fn see(&mut self, seen: &Seen<'_>, report: &mut Report) {
        let Some(after) = seen.upgrade() else { return };
        let given = after
            .command("abort")
            .map(|token| token.chars().take(64).collect::<String>());
        let answered = after.status.last_handled_abort.as_deref();
        let answered = answered.map(|token| token.chars().take(64).collect::<String>());
        let gone = seen.turn.is_some_and(|turn| turn.gone);
        if given.is_none() || given == answered || gone {
            let asked = self.asked.remove(&after.uid);
            if let Some(since) = asked {
                late(after, since, seen.time, seen.expectations.abort, report);
            }
        } else {
            self.asked.entry(after.uid.clone()).or_insert(seen.time);
        }
    }

    fn end(&mut self, end: &End<'_>, report: &mut Report) {
        for (uid, since) in &self.asked {
            if let Some(upgrade) = end.world.upgrade(uid) {
                late(upgrade, *since, end.time, end.expectations.abort, report);
            }
        }
    }
}

fn late(upgrade: &Upgrade, since: Timestamp, now: Timestamp, bound: SignedDuration, report: &mut Report) {
    let took = now.duration_since(since);
    if took > bound {
        report.say("L3", upgrade.title(), format!("an abort was not answered for {took:#}"));
    }
}
