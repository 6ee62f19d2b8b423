//! The properties by name, for the checker.

use kkp_upgrade_core::conditions::ConditionType;
use kkp_upgrade_core::phase::Phase;
use stateright::Property;

use crate::actions::World;
use crate::checks::{Law, phase};
use crate::continuation::End;
use crate::mind::Seen;
use crate::state::{Operator, State};

pub(crate) fn all() -> Vec<Property<World>> {
    let mut properties = laws();
    properties.extend(ends());
    properties
}

macro_rules! law {
    ($name:literal, $law:ident) => {
        Property::always($name, |_, state: &State| state.broken & Law::$law.bit() == 0)
    };
}

fn laws() -> Vec<Property<World>> {
    vec![
        law!("an attempt's installer starts at most once", OneStart),
        law!("installers never overlap", NoOverlap),
        law!("nothing is written before every backup is verified", BackupsFirst),
        law!("the original limit is back or written down", LimitKept),
        law!("a person's limit is never written over", HumanWins),
        law!("Done only with evidence", DoneProven),
        law!("one upgrade past Preflight", OneAtATime),
        law!("phases change along the declared edges", Edges),
        law!("no installer on a failed or pending release", NoPurge),
        law!("unknown never passes", UnknownNeverPasses),
        law!("an effect only behind its committed intent", IntentFirst),
        law!("kstatus rules", Kstatus),
        law!("a running installer is never killed", NeverKilled),
        law!("an installer only with the limit in place", LimitInForce),
        law!("an installer only with the platform's lease", LeaseHeld),
        law!("nothing new once a run is ending", AbortStops),
        law!("quiet at the end", QuietAtTheEnd),
        law!("who has to act is told how", NextStepSaid),
    ]
}

fn ends() -> Vec<Property<World>> {
    vec![
        Property::always(
            "every state leads to an end or to a message",
            |world: &World, state: &State| {
                world.mind.note(state);
                state.broken != 0 || !matches!(world.end(state, false), End::Stuck | End::Broken)
            },
        ),
        Property::always(
            "abort leads to an end from everywhere",
            |world: &World, state: &State| {
                let before = &state.upgrades[0];
                // A command from before the first look is answered and not executed.
                let seen = before.status.status.phase().filter(|_| before.present);
                let running = seen.is_some_and(|phase| !phase.is_terminal());
                // Alone: with two upgrades the other one goes on after it.
                if state.broken != 0 || !running || state.upgrades.len() > 1 {
                    return true;
                }
                let end = world.end_of_abort(state);
                end.is_none_or(|end| matches!(end, End::Ended | End::Clean | End::Good))
            },
        ),
        Property::always(
            "who follows the messages gets to Done",
            |world: &World, state: &State| state.broken != 0 || world.end(state, true) == End::Good || gone(state),
        ),
    ]
}

/// A deleted upgrade may leave its limit, with a note; whether there is one, the law of the limit says.
fn gone(state: &State) -> bool {
    state.upgrades.iter().any(|upgrade| upgrade.deleting)
}

/// What must be reachable in some model of the whole suite, by name.
pub(crate) type Sometimes = (&'static str, fn(&State) -> bool);

/// Situations that show that the models are not empty.
pub(crate) const SITUATIONS: [Sometimes; 22] = [
    ("Done", |state| in_phase(state, Phase::Done)),
    ("Failed", |state| in_phase(state, Phase::Failed)),
    ("Aborted", |state| in_phase(state, Phase::Aborted)),
    ("Verifying", |state| in_phase(state, Phase::Verifying)),
    ("Stalled: blocked", |state| reason(state, "PreflightBlocked")),
    ("Stalled: limit contested", |state| reason(state, "ThrottleContested")),
    ("Stalled: no progress", |state| {
        reason(state, "ProgressDeadlineExceeded")
    }),
    ("Stalled: verification failed", |state| {
        reason(state, "VerificationFailed")
    }),
    ("Stalled: downgrade", |state| reason(state, "DowngradeNotSupported")),
    ("held after failure", |state| reason(state, "HeldAfterFailure")),
    ("paused", |state| {
        reason(state, "Paused") && World::has_waiting_person(state)
    }),
    ("retrying on what is unknown", |state| reason(state, "Retrying")),
    ("installer outcome unknown", |state| {
        state.upgrades.iter().any(|upgrade| {
            let failed = upgrade.status.status.failed_in.as_ref();
            failed.is_some_and(|failed| failed.reason == "InstallerOutcomeUnknown")
        })
    }),
    ("backup failed", |state| reason(state, "BackupFailed")),
    ("waits for another upgrade", |state| {
        reason(state, "AnotherUpgradeRunning")
    }),
    ("waits for a running installer", |state| {
        ready(state, |_, message: &str| message.contains("never killed"))
    }),
    ("deleted", |state| state.upgrades.iter().any(|upgrade| !upgrade.present)),
    ("left behind and written down", |state| state.truth.leftovers),
    ("already there", |state| reason(state, "AlreadyAtTarget")),
    ("two operators with an intent each", |state| {
        state
            .operators
            .iter()
            .filter(|operator| matches!(operator, Operator::Intended { .. }))
            .count()
            > 1
    }),
    ("an effect that will be refused", |state| {
        state
            .operators
            .iter()
            .any(|operator| matches!(operator, Operator::Decided { void: true, .. }))
    }),
    ("second run", |state| {
        state.upgrades.iter().any(|upgrade| upgrade.status.status.run() > 1)
    }),
];

/// Events that show the same.
pub(crate) const EVENTS: [(&str, Seen); 17] = [
    ("a status write is lost to another operator's", Seen::StatusWriteLost),
    ("an effect is refused by its precondition", Seen::EffectRefused),
    ("a Job is created that is there already", Seen::EffectRepeated),
    ("a crash between intent and effect", Seen::CrashBeforeEffect),
    ("a Pod takes its fence", Seen::FenceTakenByPod),
    ("the operator takes a fence", Seen::FenceTakenByOperator),
    ("a Pod finds its fence taken", Seen::FenceWasTaken),
    ("a Pod is not let through", Seen::PodRefused),
    ("an installer is killed by its node", Seen::InstallerKilled),
    ("a Job is removed by a person", Seen::JobRemoved),
    ("a Job is created under a name that had a Pod", Seen::JobCreatedAgain),
    ("the limit is put back", Seen::LimitRestored),
    ("a limit is adopted", Seen::LimitAdopted),
    ("a held lease is taken over", Seen::LeaseTakenOver),
    ("a failed run is retried", Seen::Retried),
    ("a backup is renewed", Seen::BackupRenewed),
    ("a Pod that cannot start is deleted", Seen::WaitingPodDeleted),
];

fn in_phase(state: &State, wanted: Phase) -> bool {
    state
        .upgrades
        .iter()
        .any(|upgrade| phase(&upgrade.status.status) == wanted)
}

fn reason(state: &State, wanted: &str) -> bool {
    ready(state, |reason: &str, _| reason == wanted)
}

fn ready(state: &State, wanted: impl Fn(&str, &str) -> bool) -> bool {
    state.upgrades.iter().any(|upgrade| {
        let ready = upgrade.status.status.condition(ConditionType::Ready);
        ready.is_some_and(|ready| wanted(&ready.reason, &ready.message))
    })
}
