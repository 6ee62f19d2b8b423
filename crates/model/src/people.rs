//! What people do: edits of the spec, of the limit, commands, and what messages tell them to do.

use kkp_upgrade_core::conditions::ConditionType;
use kkp_upgrade_core::reason::Reason;

use crate::state::{Release, State, Token, Upgrade};

/// Something that a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Edit {
    Pause,
    /// `git revert` of the target version, or its way back.
    Revert,
    SpecLimit,
    Abort,
    Retry,
    Release,
    Delete,
    /// Another limit on the KubermaticConfiguration.
    Limit,
    /// Takes our annotation off the KubermaticConfiguration.
    RemoveNote,
    RepairReleases,
}

/// A limit that a person sets.
const HUMAN: i64 = 50;

/// Carries the edit out; `None` where it makes no sense or admission refuses it.
pub(crate) fn edit(state: &State, index: usize, edit: Edit) -> Option<State> {
    let mut next = state.clone();
    let upgrade = next.upgrades.get_mut(index).filter(|upgrade| upgrade.present)?;
    let written = match edit {
        Edit::Pause => spec(upgrade, |upgrade| upgrade.paused = !upgrade.paused),
        Edit::Revert => {
            // Locked, the target may only go back to where the run came from.
            if upgrade.status.status.is_locked() && !upgrade.forward {
                return None;
            }
            spec(upgrade, |upgrade| upgrade.forward = !upgrade.forward)
        }
        Edit::SpecLimit => spec(upgrade, |upgrade| upgrade.limit = Some(5)),
        Edit::Abort => token(&mut upgrade.abort, upgrade.status.status.last_handled_abort.as_deref()),
        Edit::Retry => token(&mut upgrade.retry, upgrade.status.status.last_handled_retry.as_deref()),
        Edit::Release => token(
            &mut upgrade.release,
            upgrade.status.status.last_handled_release.as_deref(),
        ),
        Edit::Delete if upgrade.deleting => return None,
        Edit::Delete => {
            upgrade.deleting = true;
            upgrade.present = upgrade.finalizer;
            true
        }
        Edit::Limit if index == 0 && next.platform.field != Some(HUMAN) => {
            next.platform.field = Some(HUMAN);
            (next.truth.rightful, next.truth.ours) = (Some(HUMAN), false);
            next.configuration_written();
            return Some(next);
        }
        Edit::RemoveNote if index == 0 && next.platform.mark.is_some() => {
            next.platform.mark = None;
            next.configuration_written();
            return Some(next);
        }
        Edit::RepairReleases if index == 0 && next.platform.release != Release::Deployed && !at_work(&next) => {
            next.platform.release = Release::Deployed;
            return Some(next);
        }
        Edit::Limit | Edit::RemoveNote | Edit::RepairReleases => return None,
    };
    if !written {
        return None;
    }
    next.object_written(index);
    Some(next)
}

fn spec(upgrade: &mut Upgrade, change: impl FnOnce(&mut Upgrade)) -> bool {
    let before = upgrade.clone();
    change(upgrade);
    let changed = *upgrade != before;
    upgrade.generation += i64::from(changed);
    changed
}

fn token(value: &mut Token, answered: Option<&str>) -> bool {
    let new = Token::new(answered);
    let changed = *value != new;
    *value = new;
    changed
}

/// Whether an installer is at work.
pub(crate) fn at_work(state: &State) -> bool {
    state.attempts.iter().any(|attempt| {
        let pods = [attempt.job.map(|job| job.pod), attempt.orphan];
        attempt.installer && pods.into_iter().flatten().any(super::state::Pod::at_work)
    })
}

/// What a person does who reads the message of an upgrade that waits for one, and nothing else. `None` = nothing is asked.
pub(crate) fn follow_message(state: &State, index: usize) -> Option<State> {
    let upgrade = &state.upgrades[index];
    let status = &upgrade.status.status;
    let ready = status.condition(ConditionType::Ready)?;
    if !upgrade.present || upgrade.deleting {
        return None;
    }
    let mut next = state.clone();
    match ready.reason.parse::<Reason>().ok()? {
        Reason::Paused => edit(&next, index, Edit::Pause),
        Reason::DowngradeNotSupported => edit(&next, index, Edit::Revert),
        Reason::PreflightBlocked => {
            (next.platform.release, next.platform.blocker) = (Release::Deployed, false);
            (next != *state).then_some(next)
        }
        Reason::ThrottleContested => {
            let applied = status.throttle.as_ref().map(|throttle| i64::from(throttle.applied));
            if next.platform.field == applied {
                return edit(&next, index, Edit::Abort);
            }
            // The person gives the run its value back and still wants to have the old one in the end.
            next.truth.rightful = match &next.platform.mark {
                Some(mark) => mark.original,
                None => status
                    .throttle
                    .as_ref()
                    .and_then(|throttle| throttle.original.map(i64::from)),
            };
            (next.platform.field, next.truth.ours) = (applied, true);
            next.configuration_written();
            Some(next)
        }
        Reason::HeldAfterFailure
        | Reason::Aborted
        | Reason::BackupFailed
        | Reason::InstallerFailed
        | Reason::InstallerOutcomeUnknown => {
            next.platform.release = Release::Deployed;
            if !upgrade.forward && next.platform.touched {
                return edit(&next, index, Edit::Revert);
            }
            edit(&next, index, Edit::Retry)
        }
        _ => None,
    }
}
