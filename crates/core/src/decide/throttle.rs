//! The limit on parallel reconciles: written with its note in one PATCH, watched, put back. Pure.
//!
//! The value reaches a seed only as a flag of its seed-controller-manager, so it is in force when that Deployment has
//! rolled out with it, never before.

use super::backup::still_fresh;
use super::{Decision, prepare, round::Round};
use crate::conditions::{ConditionType, Truth};
use crate::effect::Effect;
use crate::facts::{ConfigurationFacts, Known, PlatformFacts, ThrottleMark};
use crate::reason::Reason;
use crate::request::Request;
use crate::status::{Change, Throttle, message};

/// State while the write and its roll-out go on.
const APPLYING: &str = "Applying";
/// State while every seed runs with the limit.
const IN_FORCE: &str = "InForce";
/// State after somebody else changed the limit.
const CONTESTED: &str = "Contested";
/// State after a person asked to put the limit back at once.
pub(super) const RELEASED: &str = "Released";
/// State from the first write towards the old limit on, where the new one was still being written.
const RESTORING: &str = "Restoring";
/// State after the limit was put back.
pub(super) const RESTORED: &str = "Restored";

/// KKP's own limit where the field is not set or 0.
const KKP_DEFAULT: i64 = 10;

pub(super) fn decide(round: Round<'_>, request: &Request, platform: &PlatformFacts) -> Decision {
    let Some(limit) = request.maximum_parallel_reconciles else {
        let mut round = match still_fresh(round, request) {
            Ok(round) => round,
            Err(decision) => return *decision,
        };
        let text = "no limit was asked for: KKP's own stays";
        round.stage(
            ConditionType::Throttled,
            Truth::False,
            Reason::ThrottleNotRequested,
            text,
        );
        let (reason, text) = prepare::enter(&mut round, request);
        return round.again(reason, text);
    };
    let configuration = &platform.configuration;
    let mark = match &configuration.throttle_mark {
        Known::Is(mark) => mark.clone(),
        unknown => {
            let text = unreadable_note(configuration, unknown.why_not());
            return round.stalled(Reason::ThrottleContested, &text);
        }
    };
    let uid = round.facts.object.uid.clone();
    match mark {
        None if let Some(throttle) = round
            .status
            .throttle
            .clone()
            .filter(|throttle| [IN_FORCE, CONTESTED].contains(&throttle.state.as_str())) =>
        {
            if configuration.maximum_parallel_reconciles != Some(i64::from(throttle.applied)) {
                return contested(round, configuration);
            }
            // The value is ours and the note was lost: write it again, with the original that status remembers.
            let original = throttle.original.map(i64::from);
            set(round, request, configuration, original, i64::from(limit))
        }
        None => {
            // The note may be lost while the value is ours: status remembers what was there before.
            let value = configuration.maximum_parallel_reconciles;
            let ours = round
                .status
                .throttle
                .as_ref()
                .filter(|throttle| throttle.state != RESTORED && value == Some(i64::from(throttle.applied)));
            let original = ours.map_or(value, |throttle| throttle.original.map(i64::from));
            set(round, request, configuration, original, i64::from(limit))
        }
        Some(mark) if mark.owner == uid && configuration.maximum_parallel_reconciles != Some(mark.applied) => {
            contested(round, configuration)
        }
        Some(mark) if mark.owner != uid || mark.applied != i64::from(limit) => {
            // A run that has ended or vanished left its note (the lease is ours): its original is the true one, unless
            // a person has set another value since.
            let untouched = configuration.maximum_parallel_reconciles == Some(mark.applied);
            let original = if untouched {
                mark.original
            } else {
                configuration.maximum_parallel_reconciles
            };
            set(round, request, configuration, original, i64::from(limit))
        }
        Some(mark) => wait_for_seeds(round, request, platform, &mark),
    }
}

fn object(configuration: &ConfigurationFacts) -> String {
    format!(
        "KubermaticConfiguration {}/{}",
        configuration.namespace, configuration.name
    )
}

fn shown(value: Option<i64>) -> String {
    value.map_or_else(|| "unset".to_owned(), |value| value.to_string())
}

/// Writes the limit with a note of this run, that says what the limit was.
fn set(
    round: Round<'_>,
    request: &Request,
    configuration: &ConfigurationFacts,
    original: Option<i64>,
    applied: i64,
) -> Decision {
    // Only now: a run that waits for a person because of the limit must not make new backups every hour.
    let mut round = match still_fresh(round, request) {
        Ok(round) => round,
        Err(decision) => return *decision,
    };
    let mark = ThrottleMark {
        owner: round.facts.object.uid.clone(),
        original,
        applied,
    };
    note(&mut round, configuration, &mark, APPLYING);
    let text = format!("setting the limit from {} to {}", shown(mark.original), mark.applied);
    let resource_version = configuration.resource_version.clone();
    round.act(
        Effect::SetThrottle { mark, resource_version },
        Reason::Throttling,
        &text,
    )
}

/// A limit as status has it.
fn narrow(limit: i64) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

fn note(round: &mut Round<'_>, configuration: &ConfigurationFacts, mark: &ThrottleMark, state: &str) {
    round.status.throttle = Some(Throttle {
        original: mark.original.map(narrow),
        applied: narrow(mark.applied),
        state: state.to_owned(),
    });
    let change = Change {
        object: message(&object(configuration)),
        field: "spec.seedController.maximumParallelReconciles".to_owned(),
        original: shown(mark.original),
        applied: mark.applied.to_string(),
        ..Change::default()
    };
    round.status.changes.retain(|other| other.rule.is_some());
    round.status.changes.insert(0, change);
}

fn wait_for_seeds(mut round: Round<'_>, request: &Request, platform: &PlatformFacts, mark: &ThrottleMark) -> Decision {
    note(&mut round, &platform.configuration, mark, APPLYING);
    let missing = not_in_force(platform, mark.applied);
    if !missing.is_empty() {
        let text = format!("waiting for the limit {} on {}", mark.applied, missing.join(", "));
        round.status.insights = missing.iter().take(10).map(|text| message(text)).collect();
        return round.watch(Reason::Throttling, &text);
    }
    let text = format!("at most {} user clusters per seed", mark.applied);
    note(&mut round, &platform.configuration, mark, IN_FORCE);
    round.stage(ConditionType::Throttled, Truth::True, Reason::ThrottleInForce, &text);
    round.event(false, Reason::ThrottleInForce, text);
    let (reason, text) = prepare::enter(&mut round, request);
    round.again(reason, text)
}

/// Seeds whose seed-controller-manager does not run with this limit yet.
fn not_in_force(platform: &PlatformFacts, limit: i64) -> Vec<String> {
    let missing = platform
        .seeds
        .iter()
        .filter(|seed| seed.limit_in_force != Known::Is(Some(limit)));
    missing
        .map(|seed| match &seed.limit_in_force {
            Known::Is(_) => format!("seed {}", seed.name),
            unknown => format!("seed {} ({})", seed.name, unknown.why_not()),
        })
        .collect()
}

/// Whether somebody else changed what this run wrote; the text says what stands where.
pub(super) fn foreign_hand(round: &Round<'_>, platform: &PlatformFacts) -> Option<String> {
    let throttle = round
        .status
        .throttle
        .as_ref()
        .filter(|throttle| throttle.state != RESTORED)?;
    let configuration = &platform.configuration;
    let ours = configuration
        .throttle_mark
        .value()
        .and_then(Option::as_ref)
        .is_some_and(|mark| mark.owner == round.facts.object.uid);
    let value = configuration.maximum_parallel_reconciles;
    if ours && value == Some(i64::from(throttle.applied)) {
        return None;
    }
    Some(format!(
        "{} has maximumParallelReconciles {} and this run set {}{}",
        object(configuration),
        shown(value),
        throttle.applied,
        if ours {
            ""
        } else {
            "; our annotation upgrade.k8c.io/throttle is gone"
        }
    ))
}

/// Stalls because of a foreign hand; the value is never written over.
pub(super) fn contested(mut round: Round<'_>, configuration: &ConfigurationFacts) -> Decision {
    if let Some(throttle) = round.status.throttle.as_mut() {
        CONTESTED.clone_into(&mut throttle.state);
    }
    let applied = round.status.throttle.as_ref().map_or(0, |throttle| throttle.applied);
    let text = format!(
        "{} has maximumParallelReconciles {}, this run set {applied}",
        object(configuration),
        shown(configuration.maximum_parallel_reconciles)
    );
    round.stage(ConditionType::Throttled, Truth::False, Reason::ThrottleContested, &text);
    // What was waited for until now is not what the run waits for any more.
    round.status.insights.clear();
    round.stalled(Reason::ThrottleContested, &text)
}

/// After a foreign hand has put value and note back, the limit counts as ours again.
pub(super) fn settle(round: &mut Round<'_>, platform: &PlatformFacts) {
    if foreign_hand(round, platform).is_none()
        && let Some(throttle) = round.status.throttle.as_mut()
        && throttle.state == CONTESTED
    {
        IN_FORCE.clone_into(&mut throttle.state);
        let text = format!("at most {} user clusters per seed", throttle.applied);
        round.stage(ConditionType::Throttled, Truth::True, Reason::ThrottleInForce, &text);
    }
}

/// What putting the limit back needs next.
pub(super) enum PutBack {
    /// Nothing is borrowed, and seeds run with what stands in the configuration.
    Done,
    /// This effect.
    Effect(Effect),
    /// The roll-out of the old value is still going on.
    Waiting(String),
}

/// The note as status remembers it, where somebody took it off and left our value.
fn lost_note(round: &Round<'_>, configuration: &ConfigurationFacts, throttle: &Throttle) -> Option<ThrottleMark> {
    let mark = ThrottleMark {
        owner: round.facts.object.uid.clone(),
        original: throttle.original.map(i64::from),
        applied: i64::from(throttle.applied),
    };
    let over = throttle.state == RESTORED || mark.original == Some(mark.applied);
    (!over && configuration.maximum_parallel_reconciles == Some(mark.applied)).then_some(mark)
}

/// The write of the limit was intended and is not to be seen: a process that was thought dead may still make it, against
/// the version that it read. A write that keeps the value and is put back like any other makes that version an old one.
fn overtake(round: &mut Round<'_>, configuration: &ConfigurationFacts) -> Effect {
    let original = configuration.maximum_parallel_reconciles;
    let mark = ThrottleMark {
        owner: round.facts.object.uid.clone(),
        original,
        applied: original.unwrap_or(KKP_DEFAULT),
    };
    if let Some(throttle) = round.status.throttle.as_mut() {
        throttle.original = original.map(narrow);
    }
    let resource_version = configuration.resource_version.clone();
    Effect::SetThrottle { mark, resource_version }
}

/// Puts back what a note says, and takes the note off. A value that is not the note's own is a person's, and stays.
fn restore(configuration: &ConfigurationFacts, mark: &ThrottleMark) -> Effect {
    Effect::RestoreThrottle {
        original: mark.original,
        write_value: configuration.maximum_parallel_reconciles == Some(mark.applied),
        resource_version: configuration.resource_version.clone(),
    }
}

/// The next action towards the limit as it was. A value that is not ours is left alone (a human wins).
pub(super) fn put_back(round: &mut Round<'_>, platform: &PlatformFacts, wait: bool) -> PutBack {
    let Some(throttle) = round.status.throttle.clone() else {
        return PutBack::Done;
    };
    let configuration = &platform.configuration;
    let mark = match &configuration.throttle_mark {
        Known::Is(Some(mark)) => Some(mark.clone()).filter(|mark| mark.owner == round.facts.object.uid),
        Known::Is(None) => match lost_note(round, configuration, &throttle) {
            None if throttle.state == APPLYING => return PutBack::Effect(overtake(round, configuration)),
            lost => lost,
        },
        // What stood there before is forgotten only with a note that was read and is gone.
        unknown => {
            return PutBack::Waiting(unreadable_note(configuration, unknown.why_not()));
        }
    };
    if let Some(mark) = mark {
        if let Some(throttle) = round
            .status
            .throttle
            .as_mut()
            .filter(|throttle| throttle.state == APPLYING)
        {
            RESTORING.clone_into(&mut throttle.state);
        }
        return PutBack::Effect(restore(configuration, &mark));
    }
    if throttle.state != RESTORED {
        let text = format!("limit is {} again", shown(configuration.maximum_parallel_reconciles));
        round.status.throttle = Some(Throttle {
            state: RESTORED.to_owned(),
            ..throttle
        });
        round.status.changes.retain(|change| change.rule.is_some());
        round.stage(ConditionType::Throttled, Truth::False, Reason::ThrottleRestored, &text);
        round.event(false, Reason::ThrottleRestored, text);
    }
    match rolling_out(platform) {
        Some(text) if wait => PutBack::Waiting(text),
        _ => PutBack::Done,
    }
}

/// The limit that a KKPUpgrade left which is gone, where nothing is left to upgrade: its original has to go back all the
/// same. A mark of one that still exists is its own business.
pub(super) fn inherited(round: &Round<'_>, platform: &PlatformFacts) -> PutBack {
    let configuration = &platform.configuration;
    let mark = match &configuration.throttle_mark {
        Known::Is(mark) => mark.as_ref(),
        unknown => return PutBack::Waiting(unreadable_note(configuration, unknown.why_not())),
    };
    let Some(mark) = mark.filter(|mark| mark.owner != round.facts.object.uid) else {
        return PutBack::Done;
    };
    match &round.facts.others {
        Known::Is(others) if others.iter().any(|other| other.uid == mark.owner) => PutBack::Done,
        Known::Is(_) => PutBack::Effect(restore(configuration, mark)),
        unknown => PutBack::Waiting(format!("cannot read the other KKPUpgrades: {}", unknown.why_not())),
    }
}

/// Why the limit's roll-out after a put-back is not over; `None` = it is.
pub(super) fn rolling_out(platform: &PlatformFacts) -> Option<String> {
    let limit = platform
        .configuration
        .maximum_parallel_reconciles
        .filter(|limit| *limit != 0)
        .unwrap_or(KKP_DEFAULT);
    let missing = not_in_force(platform, limit);
    (!missing.is_empty()).then(|| format!("waiting for the limit {limit} on {}", missing.join(", ")))
}

fn unreadable_note(configuration: &ConfigurationFacts, why: &str) -> String {
    format!(
        "annotation upgrade.k8c.io/throttle of {} cannot be read: {why}",
        object(configuration)
    )
}
