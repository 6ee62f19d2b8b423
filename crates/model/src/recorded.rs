//! A status as the model keeps it: times as ages, and only what `decide` reads or people act on.
//!
//! The clock of the model stands still: time passes by making every time in status older. Ages beyond the largest
//! bound that the core compares with are one age, so that the number of statuses is finite.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use kkp_upgrade_core::conditions::{ConditionType, STAGES};
use kkp_upgrade_core::status::Status;
use kkp_upgrade_core::time::Time;

/// The instant that every observation is made at.
pub(crate) const NOW: i64 = 1_800_000_000;
/// A tick that is longer than soak, grace and pause, and shorter than the progress deadline.
pub(crate) const SHORT: i64 = 70;
/// A tick that is longer than everything, the age of a backup included.
pub(crate) const LONG: i64 = 3_700;
/// From here on an age counts as past the progress deadline.
const SILENT: i64 = 140;
/// From here on an age counts as [`LONG`].
const OLD: i64 = 3_600;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// An age, in the few values that differ for the core.
pub(crate) fn age_class(age: i64) -> i64 {
    match age {
        OLD.. => LONG,
        SILENT.. => SILENT,
        age => age,
    }
}

/// A status with its fingerprint: states share it and are compared by the fingerprint.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) status: Status,
    print: u64,
}

impl Recorded {
    pub(crate) fn new(status: Status) -> Self {
        Self::older(status, 0)
    }

    pub(crate) fn older(mut status: Status, by: i64) -> Self {
        age(&mut status, by);
        forget(&mut status);
        let print = fingerprint(&serde_json::to_vec(&status).unwrap());
        Self { status, print }
    }
}

pub(crate) fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl PartialEq for Recorded {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl Eq for Recorded {}

impl Hash for Recorded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print.hash(state);
    }
}

/// Times that the core compares with the clock grow older.
fn age(status: &mut Status, by: i64) {
    let older = |time: &mut Option<Time>| {
        if let Some(time) = time {
            let seconds = age_class(NOW - time.timestamp().as_second() + by);
            *time = Time::new(Timestamp::from_second(NOW - seconds).unwrap());
        }
    };
    older(&mut status.last_progress_time);
    older(&mut status.evidence_since);
    older(&mut status.unknown_since);
    for target in &mut status.targets {
        if let Some(backup) = &mut target.backup {
            older(&mut backup.start_time);
            older(&mut backup.verified_time);
        }
    }
    if let Some(step) = &mut status.step {
        older(&mut step.start_time);
        if step
            .retry_time
            .is_some_and(|time| time.timestamp().as_second() - by <= NOW)
        {
            step.retry_time = step
                .retry_time
                .map(|_| Time::new(Timestamp::from_second(NOW - SILENT).unwrap()));
        }
    }
}

/// What is written for people alone: no decision reads it, so two statuses that differ in it are one state.
fn forget(status: &mut Status) {
    let constant = Some(Time::new(now()));
    status.insights.clear();
    status.findings.clear();
    status.history.truncate(1);
    for entry in &mut status.history {
        (entry.start_time, entry.completion_time, entry.plan_digest) = (None, None, None);
    }
    for time in [
        &mut status.start_time,
        &mut status.phase_start_time,
        &mut status.completion_time,
    ] {
        *time = time.and(constant);
    }
    if let Some(point) = &mut status.point_of_no_return {
        point.time = point.time.and(constant);
        point.reason.clear();
    }
    if let Some(step) = &mut status.step
        && step.holder.is_some()
    {
        step.holder = Some("-".to_owned());
    }
    for condition in &mut status.conditions {
        condition.last_transition_time = Time::new(now());
        if STAGES
            .map(|kind: ConditionType| kind.to_string())
            .contains(&condition.r#type)
        {
            condition.message.clear();
        }
    }
}
