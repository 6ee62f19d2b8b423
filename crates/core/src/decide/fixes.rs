//! What status says about fixes, and putting the temporary ones back. Pure.

use std::collections::BTreeMap;

use super::round::Round;
use super::throttle::PutBack;
use crate::effect::Effect;
use crate::facts::Known;
use crate::fix::{FIX_ANNOTATION, FixIntent, FixMark, FixTarget, MarkedObject, shown};
use crate::reason::Reason;
use crate::rules::Finding;
use crate::status::{Change, FixCount, cut, message};

/// Most changes of fixes that status lists one by one, so that there is room for the limit and for how many more there are.
const LISTED: usize = 18;

fn change(target: &FixTarget, mark: &FixMark) -> Change {
    Change {
        object: message(&target.subject()),
        field: cut(mark.path.trim_start_matches('.'), 128),
        original: cut(&shown(mark.original.as_ref()), 64),
        applied: cut(&shown(mark.applied.as_ref()), 64),
        rule: Some(mark.rule.clone()),
        permanent: !mark.temporary,
    }
}

fn ours<'m>(uid: &str, marked: &'m [MarkedObject]) -> Vec<(&'m FixTarget, &'m FixMark)> {
    let of_object = |object: &'m MarkedObject| {
        let marks = object.seen.marks.value().into_iter().flatten();
        marks.map(move |mark| (&object.target, mark))
    };
    let all = marked.iter().flat_map(of_object);
    all.filter(|(_, mark)| mark.owner == uid).collect()
}

/// What stands on the objects, into status: there are no others that this run has changed.
pub(super) fn note(round: &mut Round<'_>, marked: &[MarkedObject]) {
    let mut ours = ours(&round.facts.object.uid, marked);
    ours.sort_by_key(|(target, mark)| (!mark.temporary, (*target).clone(), mark.path.clone()));
    let status = &mut round.status;
    status.changes.retain(|change| change.rule.is_none());
    let (listed, rest) = ours.split_at(ours.len().min(LISTED));
    status
        .changes
        .extend(listed.iter().map(|(target, mark)| change(target, mark)));
    if !rest.is_empty() {
        status.changes.push(Change {
            object: format!("{} more", rest.len()),
            field: format!("see annotation {FIX_ANNOTATION} of the objects"),
            rule: Some(String::new()),
            permanent: rest.iter().all(|(_, mark)| !mark.temporary),
            ..Change::default()
        });
    }
    let mut made: BTreeMap<&str, i32> = BTreeMap::new();
    for (_, mark) in &ours {
        *made.entry(&mark.rule).or_default() += 1;
    }
    for (rule, made) in made {
        count(&mut status.fixes, rule, |count| count.made = made);
    }
}

/// Changes the count of a rule, which is made where it is missing.
fn count(counts: &mut Vec<FixCount>, rule: &str, change: impl FnOnce(&mut FixCount)) {
    if let Some(known) = counts.iter_mut().find(|known| known.rule == rule) {
        return change(known);
    }
    let mut fresh = FixCount {
        rule: rule.to_owned(),
        ..FixCount::default()
    };
    change(&mut fresh);
    counts.push(fresh);
}

/// How much is still to be fixed, by rule.
pub(super) fn note_pending(round: &mut Round<'_>, findings: &[Finding]) {
    let mut pending: BTreeMap<&str, i32> = BTreeMap::new();
    for finding in super::prepare::wanted(round, findings) {
        *pending.entry(&finding.rule).or_default() += 1;
    }
    let counts = &mut round.status.fixes;
    for count in counts.iter_mut() {
        count.pending = 0;
    }
    for (rule, pending) in pending {
        count(counts, rule, |count| count.pending = pending);
    }
    counts.truncate(32);
}

/// The write that is about to be made: known before it happens, so that it is put back whatever becomes of the process.
pub(super) fn note_intent(round: &mut Round<'_>, target: &FixTarget, mark: &FixMark) {
    let change = change(target, mark);
    let changes = &mut round.status.changes;
    changes.retain(|other| other.object != change.object || other.field != change.field);
    // Where the list is full, what is temporary must not be missing: the rest stands on the objects.
    if changes.len() > LISTED {
        changes.pop();
    }
    changes.push(change);
}

/// The next action towards the values as they were. What somebody else has changed since stays; only our note goes.
pub(super) fn put_back(round: &mut Round<'_>) -> PutBack {
    if !round.status.owes_fixes() {
        return PutBack::Done;
    }
    let facts = round.facts;
    let marked = match &facts.marked {
        Known::Is(marked) => marked,
        unknown => {
            let why = unknown.why_not();
            return PutBack::Waiting(format!("objects with notes about fixes cannot be read: {why}"));
        }
    };
    note(round, marked);
    let uid = &facts.object.uid;
    let temporary = |mark: &&FixMark| mark.temporary && mark.owner == *uid;
    for object in marked {
        let Known::Is(marks) = &object.seen.marks else { continue };
        let (back, stay): (Vec<&FixMark>, Vec<&FixMark>) = marks.iter().partition(temporary);
        if back.is_empty() {
            continue;
        }
        let untouched = |mark: &&&FixMark| object.seen.values.get(&mark.path) == Some(&mark.applied);
        for mark in back.iter().filter(|mark| !untouched(mark)) {
            let text = format!(
                "{}: {} was changed by somebody else and stays",
                object.target.subject(),
                mark.path
            );
            round.event(true, Reason::PuttingBack, text);
        }
        let values = back.iter().filter(untouched);
        return PutBack::Effect(Effect::WriteFix(Box::new(FixIntent {
            target: object.target.clone(),
            resource_version: object.seen.resource_version.clone(),
            values: values.map(|mark| (mark.path.clone(), mark.original.clone())).collect(),
            marks: stay.into_iter().cloned().collect(),
        })));
    }
    PutBack::Done
}

/// The fixes of a run for its history, a line for each rule.
pub(super) fn summary(counts: &[FixCount]) -> Vec<String> {
    let made = counts.iter().filter(|count| count.made > 0);
    let lines = made.map(|count| format!("{}: {}", count.rule, count.made));
    lines.take(8).collect()
}
