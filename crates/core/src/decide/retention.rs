//! After Done: a Job removes older backups. Whatever becomes of it, the run has ended well. Pure.
//!
//! There is a Job only where the backups of this run found more than are to be kept. It asks again, live, before each removal.

use std::time::Duration;

use super::backup::set_job;
use super::{Decision, StepName, round::Round};
use crate::effect::{Effect, JobIntent, JobWork, job_name};
use crate::facts::{JobFacts, Known, PlatformFacts};
use crate::plan::MASTER;
use crate::reason::Reason;
use crate::request::Storage;
use crate::status::{RetentionRecord, Step, message};
use crate::time::Time;

/// Longest that older backups are removed for, from the end of the run; what is left then goes the next time.
const PATIENCE: Duration = Duration::from_mins(30);

/// What a Job says that ended well.
#[derive(serde::Deserialize)]
struct RetentionResult {
    removed: i64,
    kept: i64,
    #[serde(default)]
    problem: Option<String>,
}

/// Makes it the step behind the end of a run, where there is more than is to be kept.
pub(super) fn begin(round: &mut Round<'_>) {
    let keep = i64::from(round.timing.backups_to_keep);
    let stored = |target: &crate::status::Target| target.backup.as_ref().and_then(|backup| backup.stored);
    let more = round
        .status
        .targets
        .iter()
        .filter_map(stored)
        .any(|stored| stored > keep);
    if keep > 0 && more {
        round.enter_step(StepName::Retention, None);
    }
}

/// How the round goes on: `Ok` when there is nothing to do any more.
///
/// # Errors
/// The decision that ends the round, as long as there is.
pub(super) fn decide<'a>(mut round: Round<'a>, reason: Reason, text: &str) -> Result<Round<'a>, Box<Decision>> {
    if round.step() != Some(StepName::Retention) {
        return Ok(round);
    }
    let step = round.status.step.clone().unwrap_or_default();
    let deed = match &step.job {
        Some(job) => follow(&mut round, &step, job),
        None => start(&mut round, &step),
    };
    match deed {
        Deed::Act(effect) => Err(Box::new(round.act(*effect, reason, text))),
        Deed::Wait(pause) => {
            let mut decision = round.good(reason, text);
            decision.requeue = pause;
            Err(Box::new(decision))
        }
        Deed::End => {
            round.status.step = None;
            Ok(round)
        }
    }
}

enum Deed {
    Act(Box<Effect>),
    Wait(Duration),
    End,
}

/// Whether somebody wants something else by now: the KKPUpgrade is to go, or another run is asked for.
fn is_unwanted(round: &Round<'_>) -> bool {
    let other = |identity: String| round.status.run_identity.as_deref() != Some(identity.as_str());
    round.facts.object.deleting || round.request.is_ok_and(|request| other(request.identity()))
}

fn is_late(round: &Round<'_>, step: &Step) -> bool {
    step.start_time.is_some_and(|time| time.elapsed(round.now()) > PATIENCE)
}

fn start(round: &mut Round<'_>, step: &Step) -> Deed {
    if is_unwanted(round) || round.status.retention.is_some() {
        return Deed::End;
    }
    if is_late(round, step) {
        return give_up(round, "nothing could be begun within 30 minutes");
    }
    let now = round.now();
    if step.retry_time.is_some_and(|time| time.timestamp() > now) {
        return Deed::Wait(round.timing.poll);
    }
    let attempt = step.attempt.unwrap_or(0).saturating_add(1);
    create(round, attempt)
}

/// Names the Job and asks for it; the same attempt always gives the same one.
fn create(round: &mut Round<'_>, attempt: i32) -> Deed {
    let facts = round.facts;
    let Known::Is(platform) = &facts.platform else {
        return Deed::Wait(round.timing.poll);
    };
    let Some(storage) = platform.backup_storage.clone() else {
        return give_up(round, "no backup storage is configured any more");
    };
    let intent = intent(round, platform, storage, attempt);
    set_job(&mut round.status, &intent);
    if let Some(step) = round.status.step.as_mut() {
        step.retry_time = None;
    }
    Deed::Act(Box::new(Effect::CreateJob(Box::new(intent))))
}

fn intent(round: &Round<'_>, platform: &PlatformFacts, storage: Storage, attempt: i32) -> JobIntent {
    let (status, uid) = (&round.status, round.facts.object.uid.clone());
    let hop = status.hop.clone().unwrap_or_default();
    let step = "retention";
    let seeds = status
        .seed_clusters
        .iter()
        .map(|known| (known.seed.clone(), known.cluster_uid.clone()));
    let master = (MASTER.to_owned(), platform.cluster_uid.clone());
    JobIntent {
        name: job_name(&uid, status.run(), &hop.to, step, MASTER, attempt),
        run: status.run(),
        hop: hop.to,
        step: step.to_owned(),
        target: MASTER.to_owned(),
        attempt,
        plan: status.plan.as_ref().map(|plan| plan.digest.clone()).unwrap_or_default(),
        work: JobWork::Retention {
            storage,
            keep: round.timing.backups_to_keep,
            clusters: std::iter::once(master).chain(seeds).collect(),
        },
        uid,
    }
}

fn follow(round: &mut Round<'_>, step: &Step, job: &str) -> Deed {
    let facts = round.facts;
    let over = is_unwanted(round) || round.status.retention.is_some();
    match &facts.job {
        Known::Is(JobFacts::Absent { .. }) | Known::Unknown(_) | Known::NotRead if over => Deed::End,
        Known::Is(JobFacts::Absent { .. }) => absent(round, step, job),
        Known::Is(JobFacts::Foreign) => {
            let text = format!("Job {job} exists and was not made for this: remove it");
            give_up(round, &text)
        }
        // It may be stopped at any point.
        Known::Is(JobFacts::Running { uid, .. }) if over => remove(job, uid),
        Known::Is(JobFacts::Running { uid, waiting, .. }) if is_late(round, step) => {
            let why = waiting.as_ref().map_or("", |pod| pod.why.as_str());
            let text = format!("Job {job} did not end within 30 minutes {why}");
            record(round, 0, 0, Some(text.trim_end()));
            remove(job, uid)
        }
        Known::Is(JobFacts::Succeeded { uid, message }) => {
            match serde_json::from_str::<RetentionResult>(message) {
                Ok(result) => record(round, result.removed, result.kept, result.problem.as_deref()),
                Err(_) => record(round, 0, 0, Some("the Job ended well and did not say what it did")),
            }
            remove(job, uid)
        }
        Known::Is(JobFacts::Failed { uid, message }) => {
            failed(round, step, message);
            remove(job, uid)
        }
        Known::Is(JobFacts::Running { .. }) | Known::Unknown(_) | Known::NotRead => Deed::Wait(round.timing.poll),
    }
}

/// Not created yet, or removed after it failed.
fn absent(round: &mut Round<'_>, step: &Step, job: &str) -> Deed {
    let facts = round.facts;
    if step.retry_time.is_some() {
        if let Some(step) = round.status.step.as_mut() {
            step.job = None;
            step.intent = None;
        }
        return Deed::Wait(Duration::ZERO);
    }
    if is_late(round, step) || facts.refusal_stands {
        let why = facts.refused.clone();
        return give_up(round, &why.unwrap_or_else(|| format!("Job {job} could not be created")));
    }
    create(round, step.attempt.unwrap_or(1))
}

fn remove(job: &str, uid: &str) -> Deed {
    Deed::Act(Box::new(Effect::DeleteJob {
        name: job.to_owned(),
        uid: uid.to_owned(),
    }))
}

/// Another attempt after a pause, or the record that it failed.
fn failed(round: &mut Round<'_>, step: &Step, why: &str) {
    let attempt = step.attempt.unwrap_or(1);
    if attempt >= round.timing.backup_attempts {
        return record(round, 0, 0, Some(why));
    }
    let pause = round
        .timing
        .retry_pause
        .saturating_mul(1 << attempt.saturating_sub(1).clamp(0, 10));
    let until = round.now().checked_add(pause).unwrap_or(round.now());
    if let Some(step) = round.status.step.as_mut() {
        step.retry_time.get_or_insert(Time::new(until));
    }
}

fn give_up(round: &mut Round<'_>, why: &str) -> Deed {
    record(round, 0, 0, Some(why));
    Deed::End
}

/// What became of it, once: what is read again says nothing new.
fn record(round: &mut Round<'_>, removed: i64, kept: i64, problem: Option<&str>) {
    if round.status.retention.is_some() {
        return;
    }
    if removed > 0 {
        let text = format!("{removed} older backups removed; {kept} verified ones stay");
        round.event(false, Reason::BackupsRemoved, text);
    }
    if let Some(problem) = problem {
        let text = format!("older backups stay: {problem}");
        round.event(true, Reason::BackupRetentionFailed, text);
    }
    round.status.retention = Some(RetentionRecord {
        removed: removed.max(0),
        kept: kept.max(0),
        problem: problem.map(message),
        time: Some(round.time()),
    });
}
