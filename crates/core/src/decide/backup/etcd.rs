//! Etcd backups of user clusters: KKP is asked for a few at a time, and waited for. Pure.
//!
//! What was asked for stands on the seeds, as objects with deterministic names: status holds counts, and may be lost at any
//! point. Once a run: a later hop finds what an earlier one had made, and asks for user clusters that are new.

use std::collections::BTreeMap;

use super::super::{Decision, StepName, round::Round};
use super::fail_for;
use crate::effect::{Effect, EtcdIntent};
use crate::etcd::{EtcdCluster, EtcdFacts, EtcdState, FAILED_RULE, OpenEtcd, config_name};
use crate::facts::{Known, PlatformFacts, SeedFacts};
use crate::reason::Reason;
use crate::request::{AcceptedRisk, Request};
use crate::status::{EtcdCounts, EtcdRun, message};
use crate::time::Time;

/// So many failed user clusters of a seed are not bad luck: nothing more is begun there.
const TOO_MANY: usize = 10;
/// Most texts about single user clusters.
const MOST_TOLD: usize = 10;

/// Notes on the way into Backup whether there is something to do; a retry of the run gives each cluster new attempts.
pub(in super::super) fn begin(round: &mut Round<'_>) {
    let wanted = round
        .request
        .is_ok_and(|request| request.backup.required && request.backup.user_cluster_etcd);
    let seeds = round.facts.platform.value().map_or(&[][..], |platform| &platform.seeds);
    let before = round.status.etcd_backups.as_ref().map_or(0, |run| run.attempts);
    round.status.etcd_backups = (wanted && seeds.iter().any(|seed| seed.etcd_destination.is_some())).then(|| EtcdRun {
        attempts: before
            .saturating_add(round.timing.etcd_backup_attempts.max(1))
            .min(1000),
        finished_time: None,
    });
}

/// Whether there are etcd backups to be made that were not seen finished.
pub(in super::super) fn is_due(status: &crate::status::Status) -> bool {
    status
        .etcd_backups
        .as_ref()
        .is_some_and(|run| run.finished_time.is_none())
}

pub(super) fn decide(mut round: Round<'_>, request: &Request, platform: &PlatformFacts) -> Decision {
    if round.step() != Some(StepName::EtcdBackups) {
        round.enter_step(StepName::EtcdBackups, None);
        return round.again(
            Reason::BackingUp,
            "looking for user clusters whose etcd is to be backed up",
        );
    }
    let facts = round.facts;
    let told = match &facts.etcd {
        Known::Is(told) => told,
        unknown => {
            let text = format!("etcd backups cannot be looked at: {}", unknown.why_not());
            return round.retrying(&text);
        }
    };
    let seeds = judge(&round, request, platform, told);
    note(&mut round, &seeds);
    if request.paused {
        return round.working(Reason::Paused, "paused between etcd backups");
    }
    if let Some(intent) = seeds.iter().find_map(|seed| next(&round, seed)) {
        return ask(round, intent);
    }
    finish(round, platform, told, &seeds)
}

/// What is known of the etcds of one seed.
struct Seed<'a> {
    facts: &'a SeedFacts,
    destination: &'a str,
    etcd: &'a EtcdFacts,
    /// Asked for, not ended, and still in time.
    running: Vec<&'a OpenEtcd>,
    /// Failed or too late, with attempts left.
    again: Vec<&'a OpenEtcd>,
    /// Failed or too late for good, and nobody accepts that; with the reason.
    failed: Vec<(&'a OpenEtcd, String)>,
    /// The same, accepted.
    accepted: usize,
}

fn judge<'a>(
    round: &Round<'_>,
    request: &Request,
    platform: &'a PlatformFacts,
    told: &'a BTreeMap<String, Known<EtcdFacts>>,
) -> Vec<Seed<'a>> {
    let attempts = round.status.etcd_backups.as_ref().map_or(1, |run| run.attempts);
    let read = platform.seeds.iter().filter_map(|facts| {
        let etcd = told.get(&facts.name)?.value()?;
        Some((facts, facts.etcd_destination.as_deref()?, etcd))
    });
    read.map(|(facts, destination, etcd)| {
        let mut seed = Seed {
            facts,
            destination,
            etcd,
            running: Vec::new(),
            again: Vec::new(),
            failed: Vec::new(),
            accepted: 0,
        };
        for open in &etcd.open {
            match failure(round, open) {
                None => seed.running.push(open),
                Some(_) if open.attempt.number < attempts => seed.again.push(open),
                Some(_) if is_accepted(round, &request.accepted_risks, &facts.name, &open.cluster) => {
                    seed.accepted += 1;
                }
                Some(why) => seed.failed.push((open, why)),
            }
        }
        seed
    })
    .collect()
}

/// Why the attempt is lost; `None` = it may still come.
fn failure(round: &Round<'_>, open: &OpenEtcd) -> Option<String> {
    match &open.attempt.state {
        EtcdState::Completed => None,
        EtcdState::Failed(why) => Some(why.clone()),
        EtcdState::Running => {
            let deadline = round.timing.etcd_backup_deadline;
            let late = open
                .attempt
                .requested
                .is_none_or(|time| Time::new(time).elapsed(round.now()) > deadline);
            late.then(|| format!("not completed within {} s", deadline.as_secs()))
        }
    }
}

/// Whether somebody answers for this user cluster's failed backup, now.
fn is_accepted(round: &Round<'_>, risks: &[AcceptedRisk], seed: &str, cluster: &EtcdCluster) -> bool {
    let subject = subject(seed, cluster);
    let name = format!("{seed}/{}", cluster.name);
    risks.iter().any(|risk| {
        risk.rule == FAILED_RULE
            && risk.expiration_time > round.now()
            && (risk.targets.is_empty() || risk.targets.iter().any(|target| *target == subject || *target == name))
    })
}

fn subject(seed: &str, cluster: &EtcdCluster) -> String {
    format!("cluster {seed}/{}", cluster.name)
}

fn narrow(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Counts by seed, and what is waited for or has failed, by name.
fn note(round: &mut Round<'_>, seeds: &[Seed<'_>]) {
    let mut moved = false;
    let (mut failures, mut waits) = (Vec::new(), Vec::new());
    for seed in seeds {
        let counts = EtcdCounts {
            total: seed.etcd.total,
            completed: seed.etcd.completed,
            failed: narrow(seed.failed.len() + seed.accepted),
            left_out: seed.etcd.left_out,
        };
        round.status.update_target(&seed.facts.name, |target| {
            moved |= target
                .etcd_backups
                .is_none_or(|before| before.completed < counts.completed);
            target.etcd_backups = Some(counts);
        });
        let named = |open: &OpenEtcd| subject(&seed.facts.name, &open.cluster);
        failures.extend(
            seed.failed
                .iter()
                .map(|(open, why)| format!("{}: etcd backup failed: {why}", named(open))),
        );
        waits.extend(
            seed.running
                .iter()
                .map(|open| format!("{}: etcd backup is running", named(open))),
        );
    }
    if moved {
        round.status.last_progress_time = Some(round.time());
    }
    round.status.insights = failures
        .iter()
        .chain(&waits)
        .map(|text| message(text))
        .take(MOST_TOLD)
        .collect();
}

/// What may be asked for now: again what failed, then user clusters without an attempt, as many as there is room for.
fn next(round: &Round<'_>, seed: &Seed<'_>) -> Option<EtcdIntent> {
    let room = round
        .timing
        .etcd_backups_in_parallel
        .max(1)
        .saturating_sub(seed.running.len());
    if seed.failed.len() >= TOO_MANY {
        return None;
    }
    let again = seed
        .again
        .iter()
        .map(|open| (open.cluster.clone(), open.attempt.number.saturating_add(1)));
    let first = seed.etcd.next.iter().map(|cluster| (cluster.clone(), 1));
    let backups: Vec<(EtcdCluster, i32)> = again.chain(first).take(room).collect();
    (!backups.is_empty()).then(|| EtcdIntent {
        seed: seed.facts.name.clone(),
        destination: seed.destination.to_owned(),
        uid: round.facts.object.uid.clone(),
        run: round.status.run(),
        requested: round.now(),
        backups,
    })
}

fn ask(mut round: Round<'_>, intent: EtcdIntent) -> Decision {
    let names: Vec<String> = intent.backups.iter().map(|(cluster, _)| cluster.name.clone()).collect();
    let text = message(&format!(
        "backing up etcd of user clusters of seed {}: {}",
        intent.seed,
        names.join(", ")
    ));
    if round.facts.refused.is_none() {
        round.status.last_progress_time = Some(round.time());
    }
    if let Some(step) = round.status.step.as_mut() {
        step.target = Some(intent.seed.clone());
    }
    round.act(Effect::CreateEtcdBackups(Box::new(intent)), Reason::BackingUp, &text)
}

/// Nothing can be asked for: waits, gives up, or goes on.
fn finish(
    mut round: Round<'_>,
    platform: &PlatformFacts,
    told: &BTreeMap<String, Known<EtcdFacts>>,
    seeds: &[Seed<'_>],
) -> Decision {
    let total: i32 = seeds.iter().map(|seed| seed.etcd.total).sum();
    let completed: i32 = seeds.iter().map(|seed| seed.etcd.completed).sum();
    let running: usize = seeds.iter().map(|seed| seed.running.len()).sum();
    if running > 0 {
        let text = format!("{completed} of {total} user clusters have an etcd backup, {running} are running");
        return round.watch(Reason::BackingUp, &text);
    }
    let failed: usize = seeds.iter().map(|seed| seed.failed.len()).sum();
    let first = seeds.iter().find_map(|seed| Some((seed, seed.failed.first()?)));
    if let Some((seed, (open, why))) = first {
        return given_up(round, seed, open, why, failed);
    }
    if let Some((seed, why)) = unread(platform, told) {
        let text = format!("etcd backups of seed {seed} cannot be looked at: {why}");
        return round.retrying(&text);
    }
    let accepted: usize = seeds.iter().map(|seed| seed.accepted).sum();
    let left_out: i32 = seeds.iter().map(|seed| seed.etcd.left_out).sum();
    let text = format!(
        "{completed} of {total} user clusters have an etcd backup; {accepted} failed and accepted, {left_out} left out (paused, being deleted, another worker's or not set up)"
    );
    round.event(accepted > 0, Reason::BackupVerified, text.clone());
    let now = round.time();
    if let Some(run) = round.status.etcd_backups.as_mut() {
        run.finished_time = Some(now);
    }
    round.status.step = None;
    round.status.insights.clear();
    round.again(Reason::BackingUp, &text)
}

/// The first seed that could not be looked at, and why.
fn unread<'a>(platform: &'a PlatformFacts, told: &'a BTreeMap<String, Known<EtcdFacts>>) -> Option<(&'a str, &'a str)> {
    let mut seeds = platform.seeds.iter().filter(|seed| seed.etcd_destination.is_some());
    seeds.find_map(|seed| match told.get(&seed.name) {
        Some(Known::Is(_)) => None,
        Some(unknown) => Some((seed.name.as_str(), unknown.why_not())),
        None => Some((seed.name.as_str(), "not read in this round")),
    })
}

fn given_up(round: Round<'_>, seed: &Seed<'_>, open: &OpenEtcd, why: &str, failed: usize) -> Decision {
    let name = config_name(&round.facts.object.uid, round.status.run(), open.attempt.number);
    let more = match failed {
        1 => String::new(),
        failed => format!(" ({} more)", failed - 1),
    };
    let text = format!(
        "{}{more}: EtcdBackupConfig {}/{name} failed: {why}",
        subject(&seed.facts.name, &open.cluster),
        open.cluster.namespace
    );
    fail_for(round, Reason::EtcdBackupFailed, &text)
}
