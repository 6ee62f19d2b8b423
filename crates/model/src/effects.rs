//! What an operator's calls do: the fenced status write, and the effect by name or precondition.

use std::sync::Arc;

use kkp_upgrade_core::effect::{Effect, JobIntent};

use crate::bounds::Bounds;
use crate::checks::{self, installer};
use crate::mind::{Mind, Seen};
use crate::recorded::fingerprint;
use crate::state::{Attempt, Fence, Job, Lease, Mark, Operator, Pod, State};

/// The operator's status write commits: nobody has written the KKPUpgrade since it was read.
pub(crate) fn write(mind: &Mind, state: &State, operator: usize) -> Option<State> {
    let mut next = state.clone();
    let mind_of = next.operators.get_mut(operator)?;
    let Operator::Decided {
        upgrade,
        status,
        effect,
        void,
    } = std::mem::replace(mind_of, Operator::Idle)
    else {
        return None;
    };
    let written = next.upgrades.get_mut(upgrade)?;
    if written.status.status.run_id == status.status.run_id && written.status.status.failed_in.is_some() {
        let retried = status.status.failed_in.is_none();
        if retried {
            mind.saw(Seen::Retried);
        }
    }
    written.status = status;
    if next
        .operators
        .iter()
        .any(|other| matches!(other, Operator::Decided { upgrade: other, .. } if *other == upgrade))
    {
        mind.saw(Seen::StatusWriteLost);
    }
    next.object_written(upgrade);
    match effect {
        Some(_) if void => mind.saw(Seen::EffectRefused),
        Some(effect) => next.operators[operator] = Operator::Intended { upgrade, effect },
        None => {}
    }
    Some(next)
}

/// Targets that need a backup of their own, as bits: the master first.
pub(crate) fn all_targets(bounds: &Bounds) -> u8 {
    (1 << (bounds.seeds + 1)) - 1
}

/// The operator's effect reaches the API server.
pub(crate) fn carry(bounds: &Bounds, mind: &Mind, state: &State, operator: usize) -> Option<State> {
    let mut next = state.clone();
    let Operator::Intended { upgrade, effect } = std::mem::replace(next.operators.get_mut(operator)?, Operator::Idle)
    else {
        return None;
    };
    let effect = &effect.effect;
    next.broken |= checks::throttle(&next, upgrade, effect, all_targets(bounds));
    match effect {
        Effect::AddFinalizer | Effect::RemoveFinalizer => {
            finalizer(&mut next, upgrade, *effect == Effect::AddFinalizer);
        }
        Effect::WritePlan { digest, .. } => {
            if let Some(upgrade) = next.upgrades.get_mut(upgrade) {
                upgrade.plan = Some(digest.as_str().into());
            }
        }
        Effect::Leave { .. } => {
            next.truth.leftovers = true;
            finalizer(&mut next, upgrade, false);
        }
        Effect::DeleteWaitingPod { name, .. } => {
            // The precondition: whatever the node reports about the Pod makes it another version.
            let job = next.attempt(name).and_then(|attempt| attempt.job.as_mut());
            if let Some(job) = job.filter(|job| job.pod == Pod::Stuck) {
                job.pod = Pod::Failed;
                mind.saw(Seen::WaitingPodDeleted);
            }
        }
        Effect::AcquireLease { .. } => {
            if matches!(next.platform.lease, Lease::Held(_)) {
                mind.saw(Seen::LeaseTakenOver);
            }
            next.platform.lease = Lease::Held(upgrade);
            next.lease_written();
        }
        Effect::ReleaseLease { .. } => {
            next.platform.lease = Lease::Free;
            next.lease_written();
        }
        Effect::CreateJob(intent) => create(mind, &mut next, upgrade, intent, installer(effect).is_some()),
        Effect::DeleteJob { name, uid } => delete(&mut next, name, uid),
        Effect::TakeFence { job } => {
            let attempt = fenced(&mut next, job, upgrade);
            if attempt.fence == Fence::Absent {
                attempt.fence = Fence::Operator;
                mind.saw(Seen::FenceTakenByOperator);
            }
        }
        // No upgrade of the model asks for fixes, its seeds have no destination for etcd backups, and its platform has its key.
        Effect::WriteFix(_) | Effect::CreateBackupKey | Effect::CreateEtcdBackups(_) => {}
        Effect::SetThrottle { .. } | Effect::RestoreThrottle { .. } => limit(mind, &mut next, upgrade, effect),
    }
    next.tidy();
    Some(next)
}

fn finalizer(next: &mut State, index: usize, present: bool) {
    let upgrade = &mut next.upgrades[index];
    if upgrade.finalizer == present {
        return;
    }
    upgrade.finalizer = present;
    upgrade.present = present || !upgrade.deleting;
    next.object_written(index);
}

fn limit(mind: &Mind, next: &mut State, index: usize, effect: &Effect) {
    match effect {
        Effect::SetThrottle { mark, .. } => {
            if next.platform.mark.as_ref().is_some_and(|mark| mark.owner != index) {
                mind.saw(Seen::LimitAdopted);
            }
            next.platform.field = Some(mark.applied);
            next.platform.mark = Some(Mark {
                owner: index,
                original: mark.original,
                applied: mark.applied,
            });
            next.truth.ours = true;
        }
        Effect::RestoreThrottle {
            original, write_value, ..
        } => {
            if *write_value {
                next.platform.field = *original;
                next.truth.ours = false;
                mind.saw(Seen::LimitRestored);
            }
            next.platform.mark = None;
        }
        _ => {}
    }
    next.configuration_written();
}

/// The attempt of this name, which a fence alone makes too.
fn fenced<'a>(next: &'a mut State, name: &str, owner: usize) -> &'a mut Attempt {
    let place = next.attempts.partition_point(|attempt| *attempt.name < *name);
    if next.attempts.get(place).is_none_or(|attempt| &*attempt.name != name) {
        let attempt = Attempt {
            name: Arc::from(name),
            digest: Arc::from(""),
            target: Arc::from(""),
            installer: true,
            owner,
            job: None,
            orphan: None,
            fence: Fence::Absent,
            starts: 0,
        };
        next.attempts.insert(place, attempt);
    }
    &mut next.attempts[place]
}

fn create(mind: &Mind, next: &mut State, owner: usize, intent: &JobIntent, installer: bool) {
    let attempt = fenced(next, &intent.name, owner);
    if attempt.job.is_some() {
        mind.saw(Seen::EffectRepeated);
        return;
    }
    if attempt.starts > 0 || attempt.fence != Fence::Absent || attempt.orphan.is_some() {
        mind.saw(Seen::JobCreatedAgain);
    }
    attempt.digest = Arc::from(intent.digest());
    attempt.target = Arc::from(&*intent.target);
    attempt.installer = installer;
    let uid = fresh_uid(next, &intent.name);
    if let Some(attempt) = next.attempt(&intent.name) {
        attempt.job = Some(Job { uid, pod: Pod::Waiting });
    }
}

/// A UID that nobody remembers from an earlier Job of this name.
fn fresh_uid(next: &State, job: &str) -> u8 {
    let remembered = |wanted: u8| {
        next.operators.iter().any(|operator| {
            let effect = match operator {
                Operator::Idle | Operator::Decided { effect: None, .. } => return false,
                Operator::Decided {
                    effect: Some(effect), ..
                }
                | Operator::Intended { effect, .. } => &effect.effect,
            };
            matches!(effect, Effect::DeleteJob { name, uid } if name == job && *uid == wanted.to_string())
        })
    };
    (0..u8::MAX).find(|uid| !remembered(*uid)).unwrap_or(u8::MAX)
}

fn delete(next: &mut State, name: &str, uid: &str) {
    let mut killed = false;
    if let Some(attempt) = next.attempt(name)
        && attempt.job.is_some_and(|job| job.uid.to_string() == uid)
        && let Some(job) = attempt.job.take()
    {
        killed = attempt.installer && job.pod.at_work();
        // The Pod has some seconds left before it is killed.
        attempt.orphan = attempt
            .orphan
            .or(Some(job.pod).filter(|pod| attempt.installer && matches!(pod, Pod::Waiting | Pod::Checked)));
    }
    next.broken |= checks::Law::NeverKilled.unless(!killed);
}

impl State {
    /// Forgets attempts that can have no consequence any more: backups that are over and put away.
    pub(crate) fn tidy(&mut self) {
        self.attempts
            .retain(|attempt| attempt.installer || attempt.job.is_some() || attempt.orphan.is_some());
    }

    pub(crate) fn print(&self) -> u64 {
        fingerprint(self)
    }
}
