//! Prepare: the fixes that `spec.fixes` asks for, one write at a time, before the installer. Pure.
//!
//! What was done stands on the objects, as a note in the same PATCH as the value: status may be lost at any point. Objects whose
//! change sets something in motion (user clusters that go to another Kubernetes version) are waited for, few at a time.

use serde_json::Value;

use super::gates::{blocked, no_blocker_stands, stop_at_blockers};
use super::preflight::note_findings;
use super::{Decision, StepName, fixes, round::Round, throttle};
use crate::effect::Effect;
use crate::facts::{Known, PlatformFacts};
use crate::fix::{FixIntent, FixMark, FixTarget, MarkedObject, ProposedFix, SeenObject, shown};
use crate::reason::Reason;
use crate::request::Request;
use crate::rules::{Finding, ItemKind};
use crate::status::message;

/// Most objects that are waited for at the same time, whatever the limit of a seed.
const MOST_MOVING: usize = 20;

/// Whether a fix of this hop is to be made.
pub(super) fn wanted<'f>(round: &Round<'_>, findings: &'f [Finding]) -> impl Iterator<Item = &'f Finding> + use<'f> {
    let hop = round.status.hop.clone().unwrap_or_default().to;
    findings
        .iter()
        .filter(move |finding| finding.is_to_be_fixed() && finding.hop.to.to_string() == hop)
}

/// After the limit: fixes where some are asked for, otherwise the installer.
pub(super) fn enter(round: &mut Round<'_>, request: &Request) -> (Reason, &'static str) {
    if request.fixes.is_empty() {
        round.enter_step(StepName::Master, Some(crate::plan::MASTER));
        return (Reason::UpgradingMaster, "upgrading the master");
    }
    round.enter_step(StepName::Prepare, None);
    (Reason::Preparing, "looking for what spec.fixes is to mend")
}

pub(super) fn decide(mut round: Round<'_>, request: &Request, platform: &PlatformFacts) -> Decision {
    if throttle::foreign_hand(&round, platform).is_some() {
        return throttle::contested(round, &platform.configuration);
    }
    let facts = round.facts;
    let marked = match &facts.marked {
        Known::Is(marked) => marked,
        unknown => {
            let text = format!("objects with notes about fixes cannot be read: {}", unknown.why_not());
            return round.retrying(&text);
        }
    };
    fixes::note(&mut round, marked);
    let moving = moving(&round, marked);
    let names: Vec<String> = moving.iter().map(|object| message(&object.target.subject())).collect();
    let moved = round.status.fixing != names;
    if moved {
        round.status.last_progress_time = Some(round.time());
        round.status.fixing.clone_from(&names);
        look_again(&mut round);
    }
    if request.paused {
        return round.working(Reason::Paused, "paused between fixes");
    }
    let findings = match &facts.findings {
        Known::Is(findings) => findings,
        Known::Unknown(why) => {
            let text = format!("rules could not be evaluated: {why}");
            return round.retrying(&text);
        }
        Known::NotRead if moved || moving.is_empty() => {
            look_again(&mut round);
            return round.again(Reason::Preparing, "looking for what spec.fixes is to mend");
        }
        Known::NotRead => return wait(round, &moving),
    };
    note_findings(&mut round, findings);
    fixes::note_pending(&mut round, findings);
    next(round, request, findings, &moving)
}

/// The next round evaluates the rules.
fn look_again(round: &mut Round<'_>) {
    if let Some(step) = round.status.step.as_mut() {
        step.target = None;
    }
}

/// Objects that a fix of this run has set in motion and that are not there yet.
fn moving<'m>(round: &Round<'_>, marked: &'m [MarkedObject]) -> Vec<&'m MarkedObject> {
    let ours = |mark: &FixMark| mark.throttled && mark.owner == round.facts.object.uid;
    let moves = |object: &&MarkedObject| {
        let marks = object.seen.marks.value();
        object.waiting.is_some() && marks.is_some_and(|marks| marks.iter().any(ours))
    };
    let mut moving: Vec<&MarkedObject> = marked.iter().filter(moves).collect();
    moving.sort_by(|one, other| one.target.cmp(&other.target));
    moving.truncate(MOST_MOVING);
    moving
}

/// The next write, or the wait for the ones before it, or the installer.
fn next(mut round: Round<'_>, request: &Request, findings: &[Finding], moving: &[&MarkedObject]) -> Decision {
    if let Some(text) = blocked(findings) {
        // What is on its way may look broken for a while: nothing new begins until it has arrived.
        if moving.is_empty() {
            return stop_at_blockers(round, findings, &text);
        }
        return wait(round, moving);
    }
    no_blocker_stands(&mut round);
    let mut candidates: Vec<&Finding> = wanted(&round, findings).collect();
    candidates.sort_by_key(|finding| (order(finding.kind), finding.rule.clone(), finding.target.clone()));
    let free = candidates.iter().find(|finding| has_room(finding, request, moving));
    match free {
        Some(finding) => write(round, finding),
        None if moving.is_empty() => {
            round.status.insights.clear();
            round.enter_step(StepName::Master, Some(crate::plan::MASTER));
            round.again(Reason::UpgradingMaster, "upgrading the master")
        }
        None => wait(round, moving),
    }
}

/// What takes long comes first; the configuration of the platform last, shortly before the installer.
const fn order(kind: ItemKind) -> u8 {
    match kind {
        ItemKind::Seed => 0,
        ItemKind::Cluster => 1,
        ItemKind::Platform => 3,
        _ => 2,
    }
}

/// Whether the object is at rest, and its seed may have one more on its way.
fn has_room(finding: &Finding, request: &Request, moving: &[&MarkedObject]) -> bool {
    let target = target(finding);
    let throttled = finding.fix.as_ref().is_some_and(|fix| fix.throttled);
    let limit = request
        .maximum_parallel_reconciles
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(1);
    let here = moving
        .iter()
        .filter(|object| object.target.place() == target.place())
        .count();
    let rests = moving.iter().all(|object| object.target != target);
    rests && (!throttled || (here < limit && moving.len() < MOST_MOVING))
}

fn target(finding: &Finding) -> FixTarget {
    FixTarget {
        kind: finding.kind,
        name: finding.target.clone(),
    }
}

/// Waits for what is on its way; nothing moving for the progress deadline is Stalled.
fn wait(mut round: Round<'_>, moving: &[&MarkedObject]) -> Decision {
    let texts: Vec<String> = moving
        .iter()
        .map(|object| {
            let waiting = object.waiting.as_deref().unwrap_or_default();
            message(&format!("{}: {waiting}", object.target.subject()))
        })
        .collect();
    let first = texts.first().cloned().unwrap_or_default();
    if let Some(step) = round.status.step.as_mut() {
        step.target = moving.first().map(|object| object.target.object_name().to_owned());
    }
    round.status.insights = texts.into_iter().take(10).collect();
    round.watch(Reason::Preparing, &first)
}

/// Why a fix that is wanted cannot be written, for a person.
fn hindrance(finding: &Finding, fix: &ProposedFix, uid: &str) -> Result<(SeenObject, Option<Value>), String> {
    let name = target(finding).subject();
    let seen = fix
        .seen
        .clone()
        .ok_or_else(|| format!("{name}: the object was not read"))?;
    let current = seen
        .values
        .get(&fix.path)
        .cloned()
        .ok_or_else(|| format!("{name}: {} is no single value and is not written over", fix.path))?;
    let marks = match &seen.marks {
        Known::Is(marks) => marks,
        unknown => {
            let why = unknown.why_not();
            return Err(format!(
                "annotation {} of {name} cannot be read: {why}",
                crate::fix::FIX_ANNOTATION
            ));
        }
    };
    if current == fix.value {
        let value = shown(current.as_ref());
        return Err(format!(
            "{name}: {} is {value} already, and rule {} still fails",
            fix.path, finding.rule
        ));
    }
    let ours = marks.iter().find(|mark| mark.owner == uid && mark.path == fix.path);
    match ours {
        Some(mark) if mark.applied != current => Err(format!(
            "{name}: {} is {} and this run set {}: somebody else changed it",
            fix.path,
            shown(current.as_ref()),
            shown(mark.applied.as_ref())
        )),
        _ => Ok((seen, current)),
    }
}

/// The note about a fix, and all notes that are on the object with it.
fn notes(
    finding: &Finding,
    fix: &ProposedFix,
    seen: &SeenObject,
    current: Option<&Value>,
    uid: &str,
) -> (FixMark, Vec<FixMark>) {
    let mut marks = seen.marks.value().cloned().unwrap_or_default();
    // A note that stands there for what was last written has the true original: of an earlier step, or of a run that is gone.
    let known = marks
        .iter()
        .find(|mark| mark.path == fix.path && mark.applied.as_ref() == current);
    let original = match known {
        Some(mark) if mark.owner == uid || mark.temporary => mark.original.clone(),
        _ => current.cloned(),
    };
    let mark = FixMark {
        owner: uid.to_owned(),
        rule: finding.rule.clone(),
        path: fix.path.clone(),
        original,
        applied: fix.value.clone(),
        temporary: fix.temporary,
        throttled: fix.throttled,
    };
    marks.retain(|other| other.path != fix.path);
    marks.push(mark.clone());
    (mark, marks)
}

/// Writes one fix with its note, against the version that was read in this round.
fn write(mut round: Round<'_>, finding: &Finding) -> Decision {
    let uid = round.facts.object.uid.clone();
    let Some(fix) = &finding.fix else {
        return round.again(Reason::Preparing, "looking for what spec.fixes is to mend");
    };
    let (seen, current) = match hindrance(finding, fix, &uid) {
        Ok(seen) => seen,
        Err(text) => return round.stalled(Reason::FixContested, &text),
    };
    let (mark, marks) = notes(finding, fix, &seen, current.as_ref(), &uid);
    let target = target(finding);
    let (was, becomes) = (shown(current.as_ref()), shown(fix.value.as_ref()));
    let text = format!(
        "{}: {} from {was} to {becomes} ({})",
        target.subject(),
        fix.path,
        finding.rule
    );
    fixes::note_intent(&mut round, &target, &mark);
    let subject = message(&target.subject());
    if fix.throttled && !round.status.fixing.contains(&subject) {
        // Told from the intent on: it may be there before anybody looks again.
        round.status.fixing.push(subject);
    }
    let intent = FixIntent {
        target,
        resource_version: seen.resource_version,
        values: vec![(fix.path.clone(), fix.value.clone())],
        marks,
    };
    if let Some(step) = round.status.step.as_mut() {
        step.target = None;
    }
    let effect = Effect::WriteFix(Box::new(intent));
    if let Some(why) = round.facts.refused.clone().filter(|_| round.facts.refusal_stands) {
        return round.act_stalled(effect, Reason::FixRefused, &format!("{text}: {why}"));
    }
    round.event(false, Reason::Preparing, text.clone());
    round.act(effect, Reason::Preparing, &text)
}
