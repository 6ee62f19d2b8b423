//! A counterexample for people: the way to it, and how it goes on from there, a line per state.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kkp_upgrade_core::conditions::ConditionType;
use stateright::Path;

use crate::actions::{Action, World};
use crate::people::{Edit, edit};
use crate::recorded::fingerprint;
use crate::state::{Operator, Sealed, State};

/// The way of a counterexample, and its continuations: without people, with people, after an abort.
pub(crate) fn explain(world: &World, path: &Path<State, Action>) -> String {
    let mut text = String::new();
    for (state, action) in path.clone().into_vec() {
        let _ = writeln!(text, "  {}", brief(&state));
        if let Some(action) = action {
            let _ = writeln!(text, "-- {action:?}");
        }
    }
    let last = path.last_state();
    continuation(world, last, false, "alone", &mut text);
    continuation(world, last, true, "with people", &mut text);
    if let Some(aborted) = edit(last, 0, Edit::Abort) {
        continuation(world, &aborted, false, "aborted", &mut text);
    }
    text
}

fn continuation(world: &World, from: &State, people: bool, name: &str, text: &mut String) {
    let (mut state, mut seen) = (from.clone(), BTreeSet::new());
    let _ = writeln!(text, "== {name}: {:?}", world.end(from, people));
    for _ in 0..400 {
        let _ = writeln!(text, "  {}", brief(&state));
        if state.broken != 0 || !seen.insert(fingerprint(&state)) {
            break;
        }
        match world.onward(&state, people) {
            Some(mut next) => {
                next.spent = from.spent.clone();
                state = next;
            }
            None => break,
        }
    }
}

fn word(effect: &Sealed) -> String {
    format!("{:?}", effect.effect).chars().take(80).collect()
}

fn brief(state: &State) -> String {
    let mut text = String::new();
    for upgrade in &state.upgrades {
        let status = &upgrade.status.status;
        let ready = status.condition(ConditionType::Ready);
        let step = status.step.clone().unwrap_or_default();
        let _ = write!(
            text,
            "{}{}[{} {}/{} {:?}: {}] ",
            if upgrade.present { "" } else { "gone " },
            if upgrade.deleting { "deleting " } else { "" },
            status.phase.as_deref().unwrap_or("-"),
            step.name,
            step.job.unwrap_or_default(),
            status
                .throttle
                .as_ref()
                .map(|throttle| (throttle.original, &throttle.state)),
            ready
                .map(|ready| format!("{} {}", ready.reason, ready.message))
                .unwrap_or_default(),
        );
    }
    for operator in &state.operators {
        let _ = match operator {
            Operator::Idle => write!(text, "- "),
            Operator::Decided { effect, void, .. } => {
                write!(
                    text,
                    "decided {:?} void={void} ",
                    effect.as_ref().map(|effect| word(effect))
                )
            }
            Operator::Intended { effect, .. } => write!(text, "intended {} ", word(effect)),
        };
    }
    let _ = write!(text, "{:?} ", state.platform);
    for attempt in &state.attempts {
        let _ = write!(
            text,
            "{} {:?} {:?} {:?} ",
            attempt.name, attempt.job, attempt.orphan, attempt.fence
        );
    }
    let _ = write!(text, "broken={:b}", state.broken);
    text
}
