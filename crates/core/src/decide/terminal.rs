//! After the end: give back lease and finalizer, and put the limit back once that is safe. Pure.

use super::ending::may_restore;
use super::throttle::PutBack;
use super::{Decision, StepName, fixes, retention, round::Round, throttle};
use crate::conditions::{ConditionType, Truth};
use crate::effect::{Effect, dependent_name};
use crate::facts::Known;
use crate::phase::Phase;
use crate::reason::Reason;

pub(super) fn decide(mut round: Round<'_>) -> Decision {
    let (reason, text) = verdict(&round);
    if let Some(effect) = put_back(&mut round) {
        round.enter_step(StepName::PutBack, None);
        return round.act(effect, Reason::HeldAfterFailure, &text);
    }
    let mut round = match retention::decide(round, reason, &text) {
        Ok(round) => round,
        Err(decision) => return *decision,
    };
    let held = round.status.owes();
    // What is held is said in every status of the end, not only in the last one.
    let reason = if held && round.phase() != Phase::Done {
        Reason::HeldAfterFailure
    } else {
        reason
    };
    let facts = round.facts;
    let uid = Some(facts.object.uid.as_str());
    if let Known::Is(lease) = &facts.lease
        && lease.holder.as_deref() == uid
        && let Some(resource_version) = lease.resource_version.clone()
    {
        round.enter_step(StepName::PutBack, None);
        return round.act(Effect::ReleaseLease { resource_version }, reason, &text);
    }
    if facts.object.finalizer && (!held || facts.object.deleting) {
        round.enter_step(StepName::PutBack, None);
        if held {
            return leave(round, &text);
        }
        return round.act(Effect::RemoveFinalizer, reason, &text);
    }
    round.status.step = None;
    match round.phase() {
        Phase::Done => round.good(reason, &text),
        _ => round.ended(reason, &text),
    }
}

/// The reason and message that the end was recorded with.
fn verdict(round: &Round<'_>) -> (Reason, String) {
    let last = round.status.history.first();
    let reason = last
        .and_then(|entry| entry.reason.parse().ok())
        .unwrap_or(Reason::Aborted);
    let text = match round.phase() {
        Phase::Done => format!(
            "the platform runs {}",
            round.status.target_version.clone().unwrap_or_default()
        ),
        _ => round
            .status
            .failed_in
            .as_ref()
            .map(|failed| failed.message.clone())
            .or_else(|| {
                round
                    .before
                    .condition(ConditionType::Ready)
                    .map(|ready| strip_next_step(&ready.message))
            })
            .unwrap_or_default(),
    };
    (reason, text)
}

/// The message without the next step that every ended status carries behind it.
fn strip_next_step(text: &str) -> String {
    text.split("; ").next().unwrap_or(text).to_owned()
}

/// The limit of a run that ended without success goes back when nothing is on its way any more.
fn put_back(round: &mut Round<'_>) -> Option<Effect> {
    if !round.status.owes() {
        return None;
    }
    let platform = round.facts.platform.value()?;
    if !may_restore(round, platform) {
        return None;
    }
    match fixes::put_back(round) {
        PutBack::Effect(effect) => return Some(effect),
        PutBack::Waiting(_) | PutBack::Done => {}
    }
    let platform = round.facts.platform.value()?;
    match throttle::put_back(round, platform, false) {
        PutBack::Effect(effect) => Some(effect),
        PutBack::Waiting(_) | PutBack::Done => None,
    }
}

/// The KKPUpgrade goes and its limit stays: a note says so, and the next KKPUpgrade adopts the mark.
fn leave(mut round: Round<'_>, text: &str) -> Decision {
    let lines: Vec<String> = round
        .status
        .changes
        .iter()
        .filter(|change| !change.permanent)
        .map(|change| {
            format!(
                "{} {}: {} (was {})",
                change.object, change.field, change.applied, change.original
            )
        })
        .collect();
    let body = format!(
        "Left changed by KKPUpgrade {}: {}\n",
        round.facts.object.name,
        lines.join("; ")
    );
    let name = dependent_name(&round.facts.object.name, "leftovers");
    round.stage(ConditionType::Throttled, Truth::True, Reason::HeldAfterFailure, &body);
    round.event(true, Reason::HeldAfterFailure, body.clone());
    round.act(Effect::Leave { name, text: body }, Reason::HeldAfterFailure, text)
}
