//! How it goes on from a state when nothing goes wrong any more: the end that is reached, without and with people.
//!
//! A continuation is one fixed way: whatever an operator other than the first held in memory is gone, the first looks,
//! writes and acts until it has nothing to do, then the platform gets on, then time passes. It stops where nothing changes
//! any more; where people are asked for by a message, they do what it says, if people take part.

use kkp_upgrade_core::conditions::ConditionType;
use kkp_upgrade_core::phase::Phase;
use kkp_upgrade_core::reason::Reason;
use kkp_upgrade_core::status::Status;

use crate::actions::World;
use crate::checks::{self, phase};
use crate::effects::{carry, write};
use crate::facts::Sight;
use crate::people::{Edit, edit, follow_message};
use crate::platform::{make, progress};
use crate::recorded::{LONG, SHORT, fingerprint};
use crate::state::{Flap, Lease, Operator, Spent, State, Upgrade};

/// What a continuation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Every upgrade has ended, or says what a person has to do.
    Rest,
    /// Every upgrade has ended; what is left behind is said.
    Ended,
    /// Every upgrade has ended and nothing of it is left behind.
    Clean,
    /// Clean, and every upgrade that is still there is Done.
    Good,
    /// At rest and nobody knows why, or never at rest.
    Stuck,
    /// A law was broken on the way.
    Broken,
}

/// More steps than any continuation may need.
const PATIENCE: usize = 2_000;

impl World {
    /// Where it ends from here.
    pub(crate) fn end(&self, state: &State, people: bool) -> End {
        let mut state = state.clone();
        // What was used up of the bounds plays no part from here on.
        state.spent = Spent::default();
        let mut passed = Vec::new();
        let end = loop {
            let key = fingerprint(&(state.print(), people));
            if let Some(end) = self.mind.ends.get(&key) {
                break *end;
            }
            if passed.contains(&key) || passed.len() > PATIENCE {
                break End::Stuck;
            }
            passed.push(key);
            if state.broken != 0 {
                break End::Broken;
            }
            match self.onward(&state, people) {
                Some(mut next) => {
                    next.spent = Spent::default();
                    next.broken |= checks::standing(&next);
                    state = next;
                }
                None => break rest(&state),
            }
        };
        for key in passed {
            self.mind.ends.insert(key, end);
        }
        end
    }

    /// Where it ends when the first upgrade is aborted here.
    pub(crate) fn end_of_abort(&self, state: &State) -> Option<End> {
        edit(state, 0, Edit::Abort).map(|aborted| self.end(&aborted, false))
    }

    /// The next step of the continuation.
    pub(crate) fn onward(&self, state: &State, people: bool) -> Option<State> {
        if state
            .operators
            .iter()
            .skip(1)
            .any(|operator| *operator != Operator::Idle)
        {
            let mut next = state.clone();
            next.operators
                .iter_mut()
                .skip(1)
                .for_each(|operator| *operator = Operator::Idle);
            return Some(next);
        }
        match state.operators.first()? {
            Operator::Idle => {}
            Operator::Decided { .. } => return write(&self.mind, state, 0),
            Operator::Intended { .. } => return carry(&self.bounds, &self.mind, state, 0),
        }
        let mut looks = (0..state.upgrades.len()).filter_map(|upgrade| self.look(state, 0, upgrade, Sight::Clear));
        if let Some(next) = looks.next() {
            return Some(next);
        }
        if let Some(first) = progress(state).first() {
            return make(&self.bounds, &self.mind, state, *first);
        }
        if let Some(next) = self.tick(state, SHORT).or_else(|| self.tick(state, LONG)) {
            return Some(next);
        }
        let mut people = (0..state.upgrades.len()).filter(|_| people);
        people.find_map(|upgrade| follow_message(state, upgrade))
    }
}

/// What a state at rest is.
fn rest(state: &State) -> End {
    let there = || state.upgrades.iter().filter(|upgrade| upgrade.present);
    if !there().all(|upgrade| said(&upgrade.status.status)) {
        return End::Stuck;
    }
    if !there().all(ended) {
        return End::Rest;
    }
    if !clean(state) {
        return End::Ended;
    }
    let done = |upgrade: &Upgrade| phase(&upgrade.status.status) == Phase::Done;
    if there().all(done) { End::Good } else { End::Clean }
}

fn ended(upgrade: &Upgrade) -> bool {
    phase(&upgrade.status.status).is_terminal()
}

/// Whether the status of an upgrade at rest is an end, or says what it waits for and what a person does about it.
fn said(status: &Status) -> bool {
    let Some(ready) = status.condition(ConditionType::Ready) else {
        return false;
    };
    let reason = ready.reason.parse::<Reason>().ok();
    match ready.status.as_str() {
        "True" => phase(status) == Phase::Done,
        "False" => {
            reason.is_some_and(|reason| !reason.next_step().is_empty() && ready.message.contains(reason.next_step()))
        }
        _ => matches!(reason, Some(Reason::Paused | Reason::AnotherUpgradeRunning)),
    }
}

/// Whether nothing is left of runs that have ended: limit, note, lease, finalizer, Jobs of the current step.
fn clean(state: &State) -> bool {
    let platform = &state.platform;
    let limit = platform.mark.is_none() && platform.field == state.truth.rightful;
    let lease = !matches!(platform.lease, Lease::Held(holder) if state.upgrades[holder].present);
    let installer = !crate::people::at_work(state);
    let finalizer = state.upgrades.iter().all(|upgrade| !upgrade.finalizer);
    limit && lease && installer && finalizer && platform.flap == Flap::None
}
