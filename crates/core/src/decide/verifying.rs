//! Verifying: all evidence at once, held for the soak time; then the limit goes back. Pure.

use super::gates::blocked;
use super::preflight::{all_proven, archive, note_findings};
use super::throttle::PutBack;
use super::{Decision, StepName, fixes, hop, retention, round::Round, throttle};
use crate::conditions::{ConditionType, Truth};
use crate::facts::{Known, PlatformFacts};
use crate::phase::Outcome;
use crate::reason::Reason;
use crate::status::{ClusterCounts, message};

/// Whether nothing of this seed is waited for any more. Paused, deleting, foreign and before-unhealthy clusters are set
/// apart; a cluster that became unhealthy is not.
pub(super) fn seed_converged(counts: &ClusterCounts) -> bool {
    counts.failing == 0 && open(counts) == 0
}

fn open(counts: &ClusterCounts) -> i32 {
    counts.total - counts.converged - counts.paused - counts.deleting - counts.foreign - counts.unhealthy_before
}

/// What is still waited for, a line per seed and then per cluster; `None` = nothing.
pub(super) fn unconverged(platform: &PlatformFacts) -> Option<Vec<String>> {
    let mut waiting = Vec::new();
    for seed in &platform.seeds {
        match &seed.clusters {
            Known::Is(counts) if seed_converged(counts) => {}
            Known::Is(counts) => {
                waiting.push(format!(
                    "seed {}: {} of {} user clusters to go",
                    seed.name,
                    open(counts).max(counts.failing),
                    counts.total
                ));
            }
            unknown => waiting.push(message(&format!(
                "seed {}: user clusters cannot be read: {}",
                seed.name,
                unknown.why_not()
            ))),
        }
    }
    if waiting.is_empty() {
        return None;
    }
    waiting.extend(
        platform
            .seeds
            .iter()
            .flat_map(|seed| seed.lagging.iter().map(|text| message(text))),
    );
    waiting.truncate(10);
    Some(waiting)
}

/// Moves the progress clock when more targets or clusters are done than status shows.
pub(super) fn note_progress(round: &mut Round<'_>, platform: &PlatformFacts) {
    let converged: i32 = platform
        .seeds
        .iter()
        .filter_map(|seed| seed.clusters.value())
        .map(|counts| counts.converged)
        .sum();
    let done = i32::try_from(platform.seeds.iter().filter(|seed| seed.evidence.is_proven()).count())
        .unwrap_or(i32::MAX - 1)
        + i32::from(platform.evidence.is_proven());
    let before = round.before.progress.as_ref();
    let moved =
        before.is_none_or(|progress| converged > progress.user_clusters.converged || done > progress.targets_done);
    if moved {
        round.status.last_progress_time = Some(round.time());
    }
}

pub(super) fn decide(mut round: Round<'_>) -> Decision {
    if round.facts.platform.value().is_none() {
        round.status.evidence_since = None;
    }
    let (round, request, platform) = match round.opening() {
        Ok(opening) => opening,
        Err(decision) => return *decision,
    };
    if round.step() == Some(StepName::PutBack) {
        return put_back(round, platform);
    }
    if !all_proven(platform) {
        let missing = missing(platform);
        return not_verified(round, &missing);
    }
    let mut round = match rules_hold(round) {
        Ok(round) => round,
        Err(decision) => return *decision,
    };
    let since = *round
        .status
        .evidence_since
        .get_or_insert(crate::time::Time::new(round.facts.now));
    let held = since.elapsed(round.now());
    if held < request.soak {
        let text = format!(
            "evidence has held for {} of {} s",
            held.as_secs(),
            request.soak.as_secs()
        );
        let rest = request.soak.saturating_sub(held).min(round.timing.poll);
        let mut decision = round.working(Reason::Verifying, &text);
        decision.requeue = rest;
        return decision;
    }
    if request.paused {
        return round.working(Reason::Paused, "paused before the limit is put back");
    }
    let text = format!("all evidence held for {} s", request.soak.as_secs());
    round.stage(ConditionType::Verified, Truth::True, Reason::EvidenceHeld, &text);
    round.event(false, Reason::EvidenceHeld, text);
    round.enter_step(StepName::PutBack, None);
    round.again(Reason::PuttingBack, "putting the limit back")
}

/// The rules about a platform at the target: what blocks is missing evidence, the rest says what is left to do.
fn rules_hold(mut round: Round<'_>) -> Result<Round<'_>, Box<Decision>> {
    let facts = round.facts;
    let findings = match &facts.findings {
        Known::Is(findings) => findings,
        Known::NotRead => {
            return Err(Box::new(
                round.again(Reason::Verifying, "evaluating the rules of a platform at the target"),
            ));
        }
        Known::Unknown(why) => {
            round.status.evidence_since = None;
            let text = format!("rules could not be evaluated: {why}");
            return Err(Box::new(round.retrying(&text)));
        }
    };
    note_findings(&mut round, findings);
    if let Some(text) = blocked(findings) {
        return Err(Box::new(not_verified(round, &[text])));
    }
    // A warning that could not be decided is worth another look, not a run that never ends.
    let Some(undecided) = findings.iter().find(|finding| finding.unknown) else {
        round.status.unknown_since = None;
        return Ok(round);
    };
    if round.unknown_for() < round.timing.unknown_grace {
        let text = format!("{}: {} {}", undecided.rule, undecided.subject(), undecided.message);
        return Err(Box::new(round.working(Reason::Retrying, &text)));
    }
    Ok(round)
}

fn missing(platform: &PlatformFacts) -> Vec<String> {
    let mut missing: Vec<String> = Vec::new();
    if !platform.evidence.is_proven() {
        missing.push(format!("master: {}", platform.evidence.missing()));
    }
    let seeds = platform.seeds.iter().filter(|seed| !seed.evidence.is_proven());
    missing.extend(seeds.map(|seed| format!("seed {}: {}", seed.name, seed.evidence.missing())));
    missing.extend(unconverged(platform).unwrap_or_default());
    missing
}

/// Evidence that was there is missing: the soak starts over; after a while a person has to look.
fn not_verified(mut round: Round<'_>, missing: &[String]) -> Decision {
    if round.status.evidence_since.take().is_some() {
        round.status.last_progress_time = Some(round.time());
    }
    round.status.insights = missing.iter().take(10).map(|text| message(text)).collect();
    let text = format!("evidence is missing: {}", missing.first().cloned().unwrap_or_default());
    let lasting = round
        .status
        .last_progress_time
        .is_some_and(|time| time.elapsed(round.now()) > round.timing.unknown_grace);
    if lasting {
        round.stage(ConditionType::Verified, Truth::False, Reason::VerificationFailed, &text);
        return round.stalled(Reason::VerificationFailed, &text);
    }
    round.working(Reason::Verifying, &text)
}

/// Putting the limit back rolls every seed-controller-manager once more: Done waits for that.
fn put_back(mut round: Round<'_>, platform: &PlatformFacts) -> Decision {
    match fixes::put_back(&mut round) {
        PutBack::Effect(effect) => return round.act(effect, Reason::PuttingBack, "putting temporary fixes back"),
        PutBack::Waiting(text) => return round.watch(Reason::PuttingBack, &text),
        PutBack::Done => {}
    }
    match throttle::put_back(&mut round, platform, true) {
        PutBack::Effect(effect) => return round.act(effect, Reason::PuttingBack, "putting the limit back"),
        PutBack::Waiting(text) => return round.watch(Reason::PuttingBack, &text),
        PutBack::Done => {}
    }
    if !all_proven(platform) {
        let mut missing = unconverged(platform).unwrap_or_default();
        missing.extend(
            platform
                .seeds
                .iter()
                .filter(|s| !s.evidence.is_proven())
                .map(|s| format!("seed {}: {}", s.name, s.evidence.missing())),
        );
        let text = format!(
            "waiting for the roll-out after the limit was put back: {}",
            missing.first().cloned().unwrap_or_default()
        );
        return round.watch(Reason::PuttingBack, &text);
    }
    let target = hop::target_text(&round.status);
    let text = format!("the platform runs {target}");
    if !hop::is_last(&round.status) {
        hop::begin_next(&mut round);
        return round.again(Reason::NextHop, &text);
    }
    hop::end_work(&mut round);
    round.advance(Outcome::Succeeded);
    round.status.current_version = Some(target);
    retention::begin(&mut round);
    archive(&mut round, "Done", Reason::UpgradeSucceeded);
    round.event(false, Reason::UpgradeSucceeded, text.clone());
    let mut decision = round.good(Reason::UpgradeSucceeded, &text);
    // The lease and the finalizer are given back after this write, in the next round.
    decision.requeue = std::time::Duration::ZERO;
    decision
}
