//! The way out of a run that fails or is aborted: no new work, Jobs terminal, what can be put back is put back. Pure.

use super::preflight::{all_proven, archive};
use super::throttle::PutBack;
use super::{Decision, StepName, deploying, fixes, hop, round::Round, throttle};
use crate::effect::Effect;
use crate::facts::{Fence, JobFacts, Known, PlatformFacts, WaitingPod};
use crate::phase::{Outcome, Phase};
use crate::reason::Reason;
use crate::status::{Ending, message};

/// How long a run that is ending waits for an unreadable platform before it ends with its marks left: a dead cluster
/// must not keep a KKPUpgrade from being deleted.
const LEAVE_AFTER: std::time::Duration = std::time::Duration::from_mins(1);

pub(super) fn put_back(mut round: Round<'_>) -> Decision {
    let ending = round.status.ending.clone().unwrap_or_default();
    if round.status.step.as_ref().is_some_and(|step| step.job.is_some()) {
        return settle_job(round, &ending);
    }
    if round.step() != Some(StepName::PutBack) {
        round.enter_step(StepName::PutBack, None);
    }
    if round.status.throttle.is_none() && is_ahead(&round) && !round.status.owes_fixes() {
        // Nothing was changed: an unreadable platform is no reason to wait.
        return finish(round, &ending);
    }
    let facts = round.facts;
    match &facts.platform {
        Known::Is(platform) => {
            note_point(&mut round, platform);
            if may_restore(&round, platform) {
                match fixes::put_back(&mut round) {
                    PutBack::Effect(effect) => return round.act(effect, Reason::Aborting, &ending.message),
                    PutBack::Waiting(text) if !left_alone(&round) => return round.watch(Reason::Aborting, &text),
                    PutBack::Waiting(_) | PutBack::Done => {}
                }
                match throttle::put_back(&mut round, platform, false) {
                    PutBack::Effect(effect) => return round.act(effect, Reason::Aborting, &ending.message),
                    PutBack::Waiting(text) if !left_alone(&round) => return round.watch(Reason::Aborting, &text),
                    PutBack::Waiting(_) | PutBack::Done => {}
                }
            }
            finish(round, &ending)
        }
        unknown => {
            if left_alone(&round) {
                return finish(round, &ending);
            }
            let text = format!("cannot read the platform to put things back: {}", unknown.why_not());
            round.watch(Reason::Aborting, &text)
        }
    }
}

/// Whether the put-back has waited long enough for what cannot be read.
fn left_alone(round: &Round<'_>) -> bool {
    let began = round.status.step.as_ref().and_then(|step| step.start_time);
    began.is_some_and(|time| time.elapsed(round.now()) > LEAVE_AFTER)
}

/// Whether the installer changed anything that cannot go back: its CRDs are the first thing that it writes. What
/// cannot be read counts as changed.
fn note_point(round: &mut Round<'_>, platform: &PlatformFacts) {
    let armed = round
        .status
        .point_of_no_return
        .as_ref()
        .is_some_and(|point| point.state == "Armed");
    if !armed {
        return;
    }
    let target = hop::target_text(&round.status);
    match &platform.crd_version {
        Known::Is(Some(version)) if version.trim_start_matches('v') != target => round.status.point_of_no_return = None,
        Known::Is(_) => deploying::passed(round, &format!("the master's CRDs are those of {target}")),
        unknown => deploying::passed(
            round,
            &format!("the master's CRDs cannot be read: {}", unknown.why_not()),
        ),
    }
}

/// Whether no installer may have started yet.
fn is_ahead(round: &Round<'_>) -> bool {
    let point = round.status.point_of_no_return.as_ref();
    point.is_none_or(|point| point.state == "Ahead")
}

/// Before the installer changed anything the limit goes back at once; after it only when no user cluster is on its way
/// any more, or a person asked for it: the new KKP version would roll every cluster at full speed.
pub(super) fn may_restore(round: &Round<'_>, platform: &PlatformFacts) -> bool {
    let released = round
        .status
        .throttle
        .as_ref()
        .is_some_and(|throttle| throttle.state == throttle::RELEASED);
    is_ahead(round) || released || all_proven(platform)
}

/// No new effect, and a running installer is never killed: the Job has to be terminal, or its fence taken by us so that
/// its main program can never start.
fn settle_job(mut round: Round<'_>, ending: &Ending) -> Decision {
    let name = round
        .status
        .step
        .as_ref()
        .and_then(|step| step.job.clone())
        .unwrap_or_default();
    let backup = round.step() == Some(StepName::Backup);
    match &round.facts.job {
        // A Pod may outlive its Job for a moment, and have asked already whether it is wanted.
        Known::Is(JobFacts::Absent { fence: Fence::Absent }) if !backup => {
            round.act(Effect::TakeFence { job: name }, Reason::Aborting, &ending.message)
        }
        Known::Is(JobFacts::Absent { .. } | JobFacts::Foreign) => {
            if let Some(step) = round.status.step.as_mut() {
                step.job = None;
                step.intent = None;
            }
            round.again(Reason::Aborting, &ending.message)
        }
        Known::Is(JobFacts::Succeeded { uid, .. } | JobFacts::Failed { uid, .. }) => {
            let effect = Effect::DeleteJob { name, uid: uid.clone() };
            round.act(effect, Reason::Aborting, &ending.message)
        }
        // A backup only reads: it may be stopped at any point.
        Known::Is(JobFacts::Running { uid, .. }) if backup => {
            let effect = Effect::DeleteJob { name, uid: uid.clone() };
            round.act(effect, Reason::Aborting, &ending.message)
        }
        Known::Is(JobFacts::Running { uid, fence, waiting }) => {
            if let Some(effect) = removal(&name, uid, *fence, waiting.as_ref()) {
                return round.act(effect, Reason::Aborting, &ending.message);
            }
            let text = format!(
                "{}; waiting for the running installer (Job {name}), which is never killed",
                ending.message
            );
            round.watch(Reason::Aborting, &text)
        }
        unknown => {
            let text = format!("cannot read Job {name}: {}", unknown.why_not());
            round.watch(Reason::Aborting, &text)
        }
    }
}

/// The next action towards the end of an installer that has not started; `None` = it may run, and is waited for.
fn removal(job: &str, uid: &str, fence: Fence, waiting: Option<&WaitingPod>) -> Option<Effect> {
    match (fence, waiting) {
        (Fence::Absent, _) => Some(Effect::TakeFence { job: job.to_owned() }),
        (Fence::Operator, _) => Some(Effect::DeleteJob {
            name: job.to_owned(),
            uid: uid.to_owned(),
        }),
        // Let through, and its main program cannot start (an image that cannot be pulled, for example): there is nothing
        // to wait for. The node may have started it since: then the precondition is lost.
        (Fence::Pod, Some(pod)) => Some(Effect::DeleteWaitingPod {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            resource_version: pod.resource_version.clone(),
        }),
        (Fence::Pod, None) => None,
    }
}

/// A spec that went back to a version which the platform cannot follow to starts no run towards it.
fn stay_where_it_is(round: &mut Round<'_>) {
    if let Ok(request) = round.request
        && hop::out_of_reach(&round.status, request.target)
        && round.status.target_version.as_deref() != Some(request.target.to_string().as_str())
    {
        round.status.run_identity = Some(request.identity());
    }
}

fn finish(mut round: Round<'_>, ending: &Ending) -> Decision {
    let failed = ending.result == Phase::Failed.to_string();
    let reason = ending.reason.parse().unwrap_or(Reason::Aborted);
    round.advance(if failed { Outcome::Failed } else { Outcome::Aborted });
    round.status.ending = None;
    stay_where_it_is(&mut round);
    archive(&mut round, &ending.result, reason);
    let held = round.status.owes();
    let text = if held {
        message(&format!(
            "{}; what status.changes lists stays until user clusters have settled",
            ending.message
        ))
    } else {
        ending.message.clone()
    };
    let mut decision = round.ended(if held { Reason::HeldAfterFailure } else { reason }, &text);
    decision.requeue = std::time::Duration::ZERO;
    decision
}
