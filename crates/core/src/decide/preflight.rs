//! Preflight: the route, every rule of it, and the plan. Pure.

use super::gates::{blocked, gates};
use super::throttle::{self, PutBack};
use super::{Decision, StepName, hop, round::Round, verifying};
use crate::conditions::{ConditionType, Truth};
use crate::effect::{Effect, dependent_name};
use crate::facts::{Facts, Known, PlatformFacts};
use crate::phase::Outcome;
use crate::plan::{self, Plan};
use crate::plan_document::{ExpectedDuration, ForGood, PlanDocument};
use crate::reason::Reason;
use crate::request::{Mode, Request, sha256};
use crate::rules::Finding;
use crate::status::{ConfigMapRef, HistoryEntry, PlanStatus, Status};
use crate::version::KkpVersion;

pub(super) fn decide(mut round: Round<'_>) -> Decision {
    let request = match round.request {
        Ok(request) => request,
        Err(error) => return round.stalled(Reason::InvalidSpec, &error.to_string()),
    };
    let facts = round.facts;
    let (platform, findings) = match (&facts.platform, &facts.findings) {
        (Known::Is(platform), Known::Is(findings)) => (platform, findings),
        (Known::Is(_), unknown) => {
            let text = format!("rules could not be evaluated: {}", unknown.why_not());
            return round.retrying(&text);
        }
        (unknown, _) => {
            let text = format!("cannot read the platform: {}", unknown.why_not());
            return round.retrying(&text);
        }
    };
    let Some(target) = hop::target(&round.status) else {
        // A run that was ended before it had one, and is retried.
        return take_route(round, request, platform);
    };
    if already_there(target, platform) || round.step() == Some(StepName::PutBack) {
        return nothing_to_do(round, request, platform, target);
    }
    if let Some(running) = platform.version.filter(|running| *running > target) {
        return overtaken(round, request, platform, running);
    }
    if on_its_way(&round, request, platform) {
        let waiting = verifying::unconverged(platform).unwrap_or_default();
        let text = format!(
            "the master already runs {target}; {}",
            waiting.first().map_or("seeds are rolling out", String::as_str)
        );
        round.status.insights = waiting;
        return round.watch(Reason::ConvergingUserClusters, &text);
    }
    baseline(&mut round, platform);
    let in_place = match &facts.plan {
        Known::Is(in_place) => in_place.as_deref(),
        unknown => {
            let text = format!("cannot read the plan's ConfigMap: {}", unknown.why_not());
            return round.retrying(&text);
        }
    };
    if let Some(effect) = record_findings(&mut round, request, platform, findings, in_place) {
        let blocked = blocked(findings).filter(|_| {
            let stalled = round.before.condition(ConditionType::Stalled);
            stalled.is_some_and(|condition| condition.reason == Reason::PreflightBlocked.to_string())
        });
        return match blocked {
            Some(text) => round.act_blocked(effect, &text),
            None => round.act(effect, Reason::RunningPreflight, "writing the plan"),
        };
    }
    gates(round, request, findings)
}

/// A run that came when the master had been upgraded already: its installer has nothing to do, so seeds and user clusters
/// are waited for, and nothing is started.
fn on_its_way(round: &Round<'_>, request: &Request, platform: &PlatformFacts) -> bool {
    hop::is_last(&round.status)
        && round.status.from_version.as_deref() == Some(request.target.to_string().as_str())
        && platform.version == Some(request.target)
        && platform.evidence.is_proven()
}

/// Whether everything runs the target version, by evidence.
pub(super) fn all_proven(platform: &PlatformFacts) -> bool {
    platform.evidence.is_proven()
        && platform.seeds.iter().all(|seed| {
            seed.evidence.is_proven() && seed.clusters.value().is_some_and(super::verifying::seed_converged)
        })
}

fn already_there(target: KkpVersion, platform: &PlatformFacts) -> bool {
    platform.version == Some(target) && all_proven(platform)
}

/// Somebody else has upgraded the platform past the hop. Before a run has changed anything it takes its route anew.
fn overtaken(round: Round<'_>, request: &Request, platform: &PlatformFacts, running: KkpVersion) -> Decision {
    if running > request.target {
        let text = format!(
            "the platform runs {running}; spec.targetVersion {} is older",
            request.target
        );
        return round.stalled(Reason::DowngradeNotSupported, &text);
    }
    if round.status.is_locked() {
        let text = format!(
            "the platform runs {running}, and the run is on its way to {}: abort it, and start another",
            hop::target_text(&round.status)
        );
        return round.stalled(Reason::PreflightBlocked, &text);
    }
    take_route(round, request, platform)
}

/// Makes the route, or makes it anew, before anything is looked at that depends on it.
fn take_route(mut round: Round<'_>, request: &Request, platform: &PlatformFacts) -> Decision {
    if platform.version.is_none() {
        let text = "the KubermaticConfiguration has no status.kubermaticVersion any more";
        return round.retrying(text);
    }
    if platform.route.value().is_none() {
        let text = format!("the route cannot be made: {}", platform.route.why_not());
        return round.retrying(&text);
    }
    if let Some(text) = hop::wrong_via(platform) {
        return round.stalled(Reason::InvalidSpec, &text);
    }
    round.status.path.clear();
    hop::freeze(&mut round, request, platform);
    round.again(Reason::RunningPreflight, "the route is made")
}

/// Everything runs the target: Done, but not before the limit is back that a KKPUpgrade left which is gone, with the
/// roll-out which that causes. The step says that this goes on: a platform that rolls out needs no installer.
fn nothing_to_do(mut round: Round<'_>, request: &Request, platform: &PlatformFacts, target: KkpVersion) -> Decision {
    if request.mode == Mode::Upgrade && !request.paused {
        match throttle::inherited(&round, platform) {
            PutBack::Effect(effect) => {
                round.enter_step(StepName::PutBack, None);
                let text = "putting back the limit that an earlier KKPUpgrade left";
                return round.act(effect, Reason::PuttingBack, text);
            }
            PutBack::Waiting(text) => return round.working(Reason::PuttingBack, &text),
            PutBack::Done => {}
        }
    }
    if round.step() == Some(StepName::PutBack) {
        let text = throttle::rolling_out(platform)
            .or_else(|| (!already_there(target, platform)).then(|| "waiting for the roll-out of the limit".to_owned()));
        if let Some(text) = text {
            return round.watch(Reason::PuttingBack, &text);
        }
    }
    finish_at_once(round, target)
}

fn finish_at_once(mut round: Round<'_>, target: KkpVersion) -> Decision {
    if !hop::is_last(&round.status) {
        hop::begin_next(&mut round);
        return round.again(Reason::NextHop, &format!("the platform already runs {target}"));
    }
    let text = format!("the platform already runs {target}");
    round.advance(Outcome::AlreadyThere);
    round.status.current_version = Some(target.to_string());
    round.event(false, Reason::AlreadyAtTarget, text.clone());
    archive(&mut round, "Done", Reason::AlreadyAtTarget);
    round.good(Reason::AlreadyAtTarget, &text)
}

/// Writes the run into the history, newest first.
pub(super) fn archive(round: &mut Round<'_>, result: &str, reason: Reason) {
    let status = &mut round.status;
    let entry = HistoryEntry {
        run_id: status.run(),
        from: status.from_version.clone(),
        to: status.target_version.clone().unwrap_or_default(),
        result: result.to_owned(),
        reason: reason.to_string(),
        start_time: status.start_time,
        completion_time: status.completion_time,
        hop_seconds: status.hop_seconds.clone(),
        plan_digest: status.plan.as_ref().map(|plan| plan.digest.clone()),
        approved_by: status
            .plan
            .as_ref()
            .and_then(|plan| Some(plan.approved_by.as_ref()?.by.clone())),
        fixes: super::fixes::summary(&status.fixes),
    };
    status.history.insert(0, entry);
    status.history.truncate(10);
}

/// User clusters that are unhealthy before anything was changed are not our regression. Kept over a retry: what the
/// first attempt broke must not become the new normal.
fn baseline(round: &mut Round<'_>, platform: &PlatformFacts) {
    let attempted = round
        .status
        .targets
        .iter()
        .any(|target| target.attempts.unwrap_or(0) > 0);
    if !attempted {
        round.status.unhealthy_before = platform
            .seeds
            .iter()
            .flat_map(|seed| seed.unhealthy.clone())
            .take(100)
            .collect();
    }
}

/// Findings and plan into status; the effect that writes the plan's ConfigMap, where it changed.
fn record_findings(
    round: &mut Round<'_>,
    request: &Request,
    platform: &PlatformFacts,
    findings: &[Finding],
    in_place: Option<&str>,
) -> Option<Effect> {
    note_findings(round, findings);
    let plan = plan_of(&round.facts.object.uid, request, &round.status, platform, findings);
    let digest = plan.digest();
    let document = PlanDocument {
        digest: Some(digest.clone()),
        catalogue: round.facts.catalogue.as_ref(),
        expected_duration: ExpectedDuration::of(&plan, &earlier_hops(round.facts, &round.status)),
        point_of_no_return: ForGood::on(&platform.route),
        plan: &plan,
        findings,
    };
    let (text, page) = (document.to_yaml(), document.to_markdown());
    let content = sha256(format!("{text}\n{page}").as_bytes());
    let name = dependent_name(&round.facts.object.name, "plan");
    if round.status.plan.as_ref().is_none_or(|plan| plan.digest != digest) {
        round.event(false, Reason::RunningPreflight, format!("plan {digest}"));
    }
    let findings = plan::count(findings);
    round.status.plan = Some(PlanStatus {
        digest,
        parts: plan.parts(),
        config_map_ref: Some(ConfigMapRef { name: name.clone() }),
        findings,
        ..round.status.plan.take().unwrap_or_default()
    });
    round.stage(
        ConditionType::Planned,
        Truth::True,
        Reason::PlanReady,
        &format!("plan in ConfigMap {name}"),
    );
    (in_place != Some(content.as_str())).then_some(Effect::WritePlan {
        name,
        plan: text,
        page,
        digest: content,
    })
}

/// How long earlier hops on this platform took, in seconds: of this run, of runs before it, and of other KKPUpgrades.
#[must_use]
pub fn earlier_hops(facts: &Facts, status: &Status) -> Vec<i64> {
    let others = facts.others.value().into_iter().flatten();
    let others = others.flat_map(|other| other.hop_seconds.iter().copied());
    let earlier = hop::hop_seconds(&status.history).into_iter();
    status
        .hop_seconds
        .iter()
        .copied()
        .chain(earlier)
        .chain(others)
        .collect()
}

/// The plan of the hop that status says comes next.
pub(super) fn plan_of(
    uid: &str,
    request: &Request,
    status: &Status,
    platform: &PlatformFacts,
    findings: &[Finding],
) -> Plan {
    let hop = status.hop.clone().unwrap_or_default();
    Plan::make(uid, request, &status.path, &hop, platform, findings)
}

/// The worst findings into status.
pub(super) fn note_findings(round: &mut Round<'_>, findings: &[Finding]) {
    round.status.findings = findings.iter().take(10).map(plan::finding_status).collect();
    round.status.catalogue.clone_from(&round.facts.catalogue);
    if let Some(plan) = round.status.plan.as_mut() {
        plan.findings = plan::count(findings);
    }
}
