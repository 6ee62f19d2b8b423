//! Backup: one verified backup for every cluster in scope, then the blockers again. Pure.

mod etcd;
mod job;
mod result;

use std::time::Duration;

use jiff::Timestamp;

pub(super) use etcd::{begin as begin_etcd, is_due as etcd_is_due};
use job::{Destination, intent, recipients, without_key};
use result::{BackupResult, drifted, record};

use super::gates::ask_again;
use super::{Decision, StepName, round::Round};
use crate::conditions::{ConditionType, Truth};
use crate::effect::{Effect, JobIntent};
use crate::facts::{JobFacts, Known, PlatformFacts};
use crate::phase::{Outcome, Phase};
use crate::plan::MASTER;
use crate::reason::Reason;
use crate::request::Request;
use crate::status::{BackupRecord, Status};
use crate::time::Time;
use crate::timing::Timing;

/// Whether every target that needs a backup of its own has one, as far as status tells.
pub(super) fn complete(request: &Request, status: &Status) -> bool {
    !request.backup.required
        || (!status.targets.is_empty() && status.targets.iter().all(|target| target.state != NEEDS_BACKUP))
}

/// State of a target whose backup is still to be made.
const NEEDS_BACKUP: &str = "Pending";
/// State of a target that is covered by a verified backup.
const BACKED_UP: &str = "BackedUp";

/// Only the operator's own clock counts: that of the Job's node may be wrong in either direction.
fn fresh(backup: &BackupRecord, now: Timestamp, longest_age: Duration) -> bool {
    backup.start_time.is_some_and(|time| time.elapsed(now) < longest_age)
}

/// How old a backup may be. Where one round over all targets takes longer than the usual limit, the first would be too
/// old before the last is made, for ever: then twice the length of such a round is the limit.
fn longest_age(status: &Status, timing: &Timing) -> Duration {
    let durations = status.targets.iter().filter_map(|target| {
        let backup = target.backup.as_ref()?;
        Some(backup.start_time?.elapsed(backup.verified_time?.timestamp()))
    });
    timing.backup_max_age.max(durations.sum::<Duration>().saturating_mul(2))
}

/// The first target whose backup has to be renewed.
fn too_old(round: &Round<'_>, request: &Request) -> Option<String> {
    if !request.backup.required {
        return None;
    }
    let (now, longest_age) = (round.now(), longest_age(&round.status, round.timing));
    let old = round.status.targets.iter().find(|target| {
        let backup = target.backup.as_ref();
        backup.is_some_and(|backup| !fresh(backup, now, longest_age))
    });
    old.map(|target| target.name.clone())
}

/// Nothing is touched on the strength of a backup that is too old: a run that waited for that long renews it first.
///
/// # Errors
/// The decision that leads back to the backups.
pub(super) fn still_fresh<'a>(mut round: Round<'a>, request: &Request) -> Result<Round<'a>, Box<Decision>> {
    let Some(target) = too_old(&round, request) else {
        return Ok(round);
    };
    round.advance(Outcome::Outdated);
    let text = format!("the backup of {target} has become too old while the run waited: it is made again");
    round.event(false, Reason::BackingUp, text.clone());
    Err(Box::new(round.again(Reason::BackingUp, &text)))
}

pub(super) fn decide(round: Round<'_>) -> Decision {
    let (mut round, request, platform) = match round.opening() {
        Ok(opening) => opening,
        Err(decision) => return *decision,
    };
    if !request.backup.required {
        round.stage(
            ConditionType::BackupVerified,
            Truth::False,
            Reason::BackupSkipped,
            "no backup was made: policy Skip, accepted",
        );
        return look_again(round, request, platform);
    }
    if round.status.step.as_ref().is_some_and(|step| step.job.is_some()) {
        return follow_job(round, request, platform);
    }
    if let Some(unreachable) = scope(&mut round, platform) {
        return round.retrying(&unreachable);
    }
    let next = round.status.targets.iter().find(|target| target.state == NEEDS_BACKUP);
    match next.map(|target| target.name.clone()) {
        Some(target) => start_job(round, request, platform, &target),
        None if etcd_is_due(&round.status) => etcd::decide(round, request, platform),
        None => look_again(round, request, platform),
    }
}

/// Every cluster once: a seed whose cluster is the master's (same `kube-system` UID) is covered by the master's backup.
/// Tells which seed cannot be identified: an unread seed must not slip through without a backup.
fn scope(round: &mut Round<'_>, platform: &PlatformFacts) -> Option<String> {
    // The record decides, never the state: an ended run shows states of the roll-out for targets without a backup.
    round.status.update_target(MASTER, |target| {
        if target.backup.is_none() {
            NEEDS_BACKUP.clone_into(&mut target.state);
        }
    });
    let mut covered = vec![platform.cluster_uid.as_str()];
    for seed in &platform.seeds {
        let Some(uid) = seed.cluster_uid.as_deref() else {
            return Some(format!(
                "seed `{}` cannot be backed up: {}",
                seed.name,
                seed.reachable.why_not()
            ));
        };
        let shared = covered.contains(&uid);
        covered.push(uid);
        round.status.update_target(&seed.name, |target| {
            if target.backup.is_none() {
                let state = if shared { BACKED_UP } else { NEEDS_BACKUP };
                state.clone_into(&mut target.state);
            }
        });
    }
    None
}

fn start_job(mut round: Round<'_>, request: &Request, platform: &PlatformFacts, target: &str) -> Decision {
    if request.paused {
        return round.working(Reason::Paused, "paused between two backups");
    }
    if let Some(time) = round.status.step.as_ref().and_then(|step| step.retry_time)
        && time.timestamp() > round.now()
    {
        let text = format!("backup of {target} is tried again at {}", time.timestamp());
        return round.working(Reason::Retrying, &text);
    }
    let Some(storage) = platform.backup_storage.clone() else {
        round.begin_ending(
            Phase::Failed,
            Reason::BackupFailed,
            "no backup storage is configured any more",
        );
        return round.again(Reason::Aborting, "ending the run");
    };
    let recipients = match recipients(request, platform) {
        Ok(recipients) => recipients,
        Err(key) => return without_key(round, key),
    };
    let attempt = round
        .status
        .target(target)
        .and_then(|target| target.backup_attempts)
        .unwrap_or(0)
        .saturating_add(1);
    round.status.update_target(target, |target| {
        target.backup_attempts = Some(attempt);
        NEEDS_BACKUP.clone_into(&mut target.state);
    });
    round.enter_step(StepName::Backup, Some(target));
    let to = Destination { storage, recipients };
    let intent = intent(&round, platform, to, target, attempt);
    set_job(&mut round.status, &intent);
    let text = format!("backing up {target}");
    round.act(Effect::CreateJob(Box::new(intent)), Reason::BackingUp, &text)
}

/// Names the Job in the step, before it is created.
pub(super) fn set_job(status: &mut Status, intent: &JobIntent) {
    let step = status.step.get_or_insert_default();
    step.attempt = Some(intent.attempt);
    step.job = Some(intent.name.clone());
    step.intent = Some(intent.digest());
}

fn follow_job(mut round: Round<'_>, request: &Request, platform: &PlatformFacts) -> Decision {
    let step = round.status.step.clone().unwrap_or_default();
    let (target, job) = (
        step.target.clone().unwrap_or_default(),
        step.job.clone().unwrap_or_default(),
    );
    let done = round
        .status
        .target(&target)
        .is_some_and(|target| target.state == BACKED_UP && target.backup.is_some());
    match &round.facts.job {
        Known::Is(JobFacts::Absent { .. }) if done || step.retry_time.is_some() => {
            if let Some(step) = round.status.step.as_mut() {
                step.job = None;
                step.intent = None;
            }
            round.again(Reason::BackingUp, "going on to the next backup")
        }
        Known::Is(JobFacts::Absent { .. }) => recreate(round, request, platform, &target),
        Known::Is(JobFacts::Foreign) => {
            let text = format!("Job {job} exists and was not made for this backup: remove it, then retry");
            fail(round, &text)
        }
        Known::Is(JobFacts::Running { waiting, .. }) => {
            let text = match waiting {
                Some(pod) => format!("backup of {target}: Job {job} cannot start: {}", pod.why),
                None => format!("backing up {target}"),
            };
            round.watch(Reason::BackingUp, &text)
        }
        Known::Is(JobFacts::Succeeded { uid, message }) => match BackupResult::proving(message) {
            Ok(result) => {
                record(&mut round, &target, result);
                let text = format!("backup of {target} verified");
                round.act(
                    Effect::DeleteJob {
                        name: job,
                        uid: uid.clone(),
                    },
                    Reason::BackingUp,
                    &text,
                )
            }
            Err(why) => attempt_failed(round, &target, job, uid, why),
        },
        Known::Is(JobFacts::Failed { uid, message }) => attempt_failed(round, &target, job, uid, message),
        unknown => {
            let text = format!("cannot read Job {job}: {}", unknown.why_not());
            round.retrying(&text)
        }
    }
}

fn recreate(mut round: Round<'_>, request: &Request, platform: &PlatformFacts, target: &str) -> Decision {
    let attempt = round.status.step.as_ref().and_then(|step| step.attempt).unwrap_or(1);
    let Some(storage) = platform.backup_storage.clone() else {
        return start_job(round, request, platform, target);
    };
    let recipients = match recipients(request, platform) {
        Ok(recipients) => recipients,
        Err(key) => return without_key(round, key),
    };
    let intent = intent(&round, platform, Destination { storage, recipients }, target, attempt);
    set_job(&mut round.status, &intent);
    let text = format!("backing up {target}");
    round.act(Effect::CreateJob(Box::new(intent)), Reason::BackingUp, &text)
}

fn attempt_failed(mut round: Round<'_>, target: &str, job: String, uid: &str, why: &str) -> Decision {
    // Attempts are numbered through retries of the run; each of them gets the full number.
    let attempts = round.timing.backup_attempts.max(1);
    let attempt = round.status.step.as_ref().and_then(|step| step.attempt).unwrap_or(1);
    let nth = attempt.saturating_sub(1).rem_euclid(attempts) + 1;
    let text = format!("backup of {target} failed (attempt {nth} of {attempts}): {why}");
    if nth == attempts {
        return fail(round, &text);
    }
    let pause = round.timing.retry_pause.saturating_mul(1 << (nth - 1).clamp(0, 10));
    let until = round.now().checked_add(pause).unwrap_or(round.now());
    if let Some(step) = round.status.step.as_mut()
        && step.retry_time.is_none()
    {
        step.retry_time = Some(Time::new(until));
    }
    round.act(
        Effect::DeleteJob {
            name: job,
            uid: uid.to_owned(),
        },
        Reason::Retrying,
        &text,
    )
}

fn fail(round: Round<'_>, text: &str) -> Decision {
    fail_for(round, Reason::BackupFailed, text)
}

fn fail_for(mut round: Round<'_>, reason: Reason, text: &str) -> Decision {
    round.stage(ConditionType::BackupVerified, Truth::False, reason, text);
    round.begin_ending(Phase::Failed, reason, text);
    round.again(Reason::Aborting, text)
}

/// With everything backed up, the blockers are evaluated once more before the first change.
fn look_again(mut round: Round<'_>, request: &Request, platform: &PlatformFacts) -> Decision {
    if request.backup.required {
        let count = round
            .status
            .targets
            .iter()
            .filter(|target| target.backup.is_some())
            .count();
        let drifts = round.status.targets.iter().filter_map(|target| {
            let drift = target.backup.as_ref()?.drift.as_ref()?;
            Some(format!("; {}: {}", target.name, drifted(drift)))
        });
        let text = format!("{count} verified backups{}", drifts.collect::<String>());
        round.stage(
            ConditionType::BackupVerified,
            Truth::True,
            Reason::BackupVerified,
            &text,
        );
    }
    let mut round = match ask_again(round, Reason::BackingUp) {
        Ok(round) => round,
        Err(decision) => return *decision,
    };
    if request.paused {
        return round.working(Reason::Paused, "paused after the backup");
    }
    // Only now: a run that waits for a person must not make new backups every hour.
    if let Some(target) = too_old(&round, request) {
        return start_job(round, request, platform, &target);
    }
    round.advance(Outcome::Succeeded);
    round.enter_step(StepName::Throttle, None);
    round.again(Reason::Throttling, "setting the limit")
}
