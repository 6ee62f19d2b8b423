//! What must be true of every decision and of every effect at the moment it commits.

use kkp_upgrade_core::conditions::{ConditionType, kstatus_violations};
use kkp_upgrade_core::decide::Decision;
use kkp_upgrade_core::effect::{Effect, JobIntent, JobWork, job_name};
use kkp_upgrade_core::phase::{Outcome, Phase};
use kkp_upgrade_core::reason::Reason;
use kkp_upgrade_core::status::Status;
use strum::VariantArray as _;

use crate::facts::{HOLDER, uid};
use crate::state::{Flap, Lease, Pod, Release, State};

/// What must hold always; the bit of each marks the state in which it was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Law {
    OneStart,
    NoOverlap,
    BackupsFirst,
    LimitKept,
    HumanWins,
    DoneProven,
    OneAtATime,
    Edges,
    NoPurge,
    UnknownNeverPasses,
    IntentFirst,
    Kstatus,
    NeverKilled,
    LimitInForce,
    LeaseHeld,
    AbortStops,
    QuietAtTheEnd,
    NextStepSaid,
}

impl Law {
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The bit, where the law does not hold.
    pub(crate) const fn unless(self, holds: bool) -> u32 {
        if holds { 0 } else { self.bit() }
    }
}

pub(crate) fn phase(status: &Status) -> Phase {
    status.phase().unwrap_or(Phase::Pending)
}

/// Whether the platform's truth is that of the version that this upgrade asks for.
fn proven(state: &State, index: usize) -> bool {
    let platform = &state.platform;
    let there = if state.upgrades[index].forward {
        platform.converged == 3
    } else {
        !platform.touched
    };
    there && platform.flap == Flap::None
}

/// The laws that a decision breaks by itself.
pub(crate) fn decision(state: &State, index: usize, decision: &Decision) -> u32 {
    let upgrade = &state.upgrades[index];
    let (before, after) = (&upgrade.status.status, &decision.status);
    let (old, new) = (phase(before), phase(after));
    let mut broken = Law::Kstatus.unless(kstatus_violations(upgrade.generation, after).is_empty());
    let edge = Outcome::VARIANTS.iter().any(|outcome| old.next(*outcome) == Some(new));
    broken |= Law::Edges.unless(old == new || edge);
    broken |= Law::DoneProven.unless(new != Phase::Done || old == Phase::Done || proven(state, index));
    if let Some(ready) = after.condition(ConditionType::Ready)
        && ready.status == "False"
    {
        let reason = ready.reason.parse::<Reason>().map_or("", Reason::next_step);
        broken |= Law::NextStepSaid.unless(!reason.is_empty() && ready.message.contains(reason));
    }
    let Some(effect) = &decision.effect else { return broken };
    broken |= Law::IntentFirst.unless(intended(after, effect));
    let putting_away = matches!(
        effect,
        Effect::DeleteJob { .. }
            | Effect::TakeFence { .. }
            | Effect::RestoreThrottle { .. }
            | Effect::ReleaseLease { .. }
            | Effect::RemoveFinalizer
            | Effect::DeleteWaitingPod { .. }
            | Effect::Leave { .. }
    ) || overtakes(state, effect);
    let ending = after.ending.is_some() || upgrade.deleting;
    broken |= Law::AbortStops.unless(!ending || putting_away);
    let job = matches!(
        effect,
        Effect::DeleteJob { .. } | Effect::TakeFence { .. } | Effect::DeleteWaitingPod { .. }
    );
    broken |= Law::QuietAtTheEnd.unless(!new.is_terminal() || (putting_away && !job));
    if installer(effect).is_some() {
        let applied = after.throttle.as_ref().map(|throttle| i64::from(throttle.applied));
        // A limit that is asked for later counts for the next run.
        let asked = after.condition(ConditionType::Throttled);
        let none = asked.is_some_and(|condition| condition.reason == Reason::ThrottleNotRequested.to_string());
        let in_force = none || (applied.is_some() && state.platform.field == applied);
        broken |= Law::LimitInForce.unless(in_force);
    }
    broken
}

/// A write of the limit that keeps its value: makes a late write of an overtaken process lose.
fn overtakes(state: &State, effect: &Effect) -> bool {
    matches!(effect, Effect::SetThrottle { mark, .. }
        if mark.original == state.platform.field && mark.applied == mark.original.unwrap_or(10))
}

/// The intent of an installer.
pub(crate) fn installer(effect: &Effect) -> Option<&JobIntent> {
    match effect {
        Effect::CreateJob(intent) if matches!(intent.work, JobWork::Installer { .. }) => Some(intent),
        _ => None,
    }
}

/// Whether status says everything that a restarted operator has to know about this effect.
fn intended(status: &Status, effect: &Effect) -> bool {
    let Some(step) = status
        .step
        .as_ref()
        .filter(|step| step.holder.as_deref() == Some(HOLDER))
    else {
        return false;
    };
    match effect {
        Effect::CreateJob(intent) => {
            let name = job_name(
                &intent.uid,
                status.run(),
                &intent.hop,
                &intent.step,
                &intent.target,
                intent.attempt,
            );
            let armed = status
                .point_of_no_return
                .as_ref()
                .is_some_and(|point| point.state != "Ahead");
            step.job.as_ref() == Some(&intent.name)
                && intent.name == name
                && step.intent == Some(intent.digest())
                && step.attempt == Some(intent.attempt)
                && (installer(effect).is_none() || armed)
        }
        Effect::SetThrottle { mark, .. } => {
            let noted = status.throttle.as_ref();
            // A write that only overtakes another one keeps the value that stands there.
            let keeps = mark.applied == mark.original.unwrap_or(10);
            noted.is_some_and(|noted| {
                noted.original.map(i64::from) == mark.original && (keeps || i64::from(noted.applied) == mark.applied)
            }) && !status.changes.is_empty()
        }
        Effect::TakeFence { job } | Effect::DeleteJob { name: job, .. } => step.job.as_ref() == Some(job),
        _ => true,
    }
}

/// A round that could not read something must not get further than one that could.
pub(crate) fn blind(before: &Status, blind: &Decision, clear: &Decision) -> u32 {
    let starts = |decision: &Decision| match &decision.effect {
        Some(effect @ (Effect::CreateJob(_) | Effect::SetThrottle { .. } | Effect::AcquireLease { .. })) => {
            Some(effect.clone())
        }
        _ => None,
    };
    let (old, new) = (phase(before), phase(&blind.status));
    let passed = !matches!(new, Phase::Failed | Phase::Aborted) && new != old && new != phase(&clear.status);
    let started = starts(blind).is_some() && starts(blind) != starts(clear);
    Law::UnknownNeverPasses.unless(!passed && !started)
}

/// The laws that this state breaks, whatever led to it.
pub(crate) fn standing(state: &State) -> u32 {
    let at_work = |pod: Option<Pod>| pod.is_some_and(Pod::at_work);
    let pods = state.attempts.iter().filter(|attempt| attempt.installer);
    let working: usize = pods
        .map(|attempt| usize::from(at_work(attempt.job.map(|job| job.pod))) + usize::from(at_work(attempt.orphan)))
        .sum();
    let past = state.upgrades.iter().filter(|upgrade| {
        upgrade.present
            && matches!(
                phase(&upgrade.status.status),
                Phase::Backup | Phase::Deploying | Phase::Verifying
            )
    });
    Law::NoOverlap.unless(working <= 1) | Law::OneAtATime.unless(past.count() <= 1) | limit(state)
}

/// The value from before is written down as long as ours stands; after the end it is back.
fn limit(state: &State) -> u32 {
    let (platform, truth) = (&state.platform, &state.truth);
    if !truth.ours || platform.field == truth.rightful {
        return 0;
    }
    let in_note = platform
        .mark
        .as_ref()
        .is_some_and(|mark| mark.original == truth.rightful);
    let in_status = state.upgrades.iter().any(|upgrade| {
        let status = &upgrade.status.status;
        upgrade.present
            && !status.changes.is_empty()
            && status
                .throttle
                .as_ref()
                .is_some_and(|noted| noted.original.map(i64::from) == truth.rightful)
    });
    Law::LimitKept.unless(in_note || in_status || truth.leftovers)
}

/// The laws that the start of an installer breaks: asked when its fence is taken.
pub(crate) fn start(state: &State, owner: usize, starts: u8, all_targets: u8) -> u32 {
    Law::OneStart.unless(starts == 1)
        | Law::NoPurge.unless(state.platform.release == Release::Deployed)
        | Law::BackupsFirst.unless(state.truth.backed[owner] & all_targets == all_targets)
        | Law::LeaseHeld.unless(state.platform.lease == Lease::Held(owner))
}

/// The laws that writing or restoring the limit breaks.
pub(crate) fn throttle(state: &State, owner: usize, effect: &Effect, all_targets: u8) -> u32 {
    match effect {
        Effect::SetThrottle { mark, .. } => {
            Law::BackupsFirst.unless(state.truth.backed[owner] & all_targets == all_targets)
                | Law::LeaseHeld.unless(state.platform.lease == Lease::Held(owner))
                | Law::HumanWins.unless(mark.owner == uid(owner) && mark.original == state.truth.rightful)
        }
        Effect::RestoreThrottle {
            original, write_value, ..
        } => Law::HumanWins.unless(!write_value || (state.truth.ours && *original == state.truth.rightful)),
        _ => 0,
    }
}
