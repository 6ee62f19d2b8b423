//! Preflight: every rule of the route, the plan, and the gates in front of the first change. Pure.

use super::throttle::{self, PutBack};
use super::{Decision, StepName, round::Round, verifying};
use crate::conditions::{ConditionType, Truth};
use crate::effect::{Effect, dependent_name};
use crate::facts::{Facts, Known, OtherUpgrade, PlatformFacts};
use crate::phase::Outcome;
use crate::plan::{self, Plan};
use crate::reason::Reason;
use crate::request::{Mode, Request, sha256};
use crate::rules::Finding;
use crate::status::{ConfigMapRef, HistoryEntry, Hop, PlanStatus};

pub(super) fn decide(mut round: Round<'_>) -> Decision {
    let Ok(request) = round.request else {
        return round.nothing();
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
    freeze_route(&mut round, request, platform);
    if already_there(request, platform) || round.step() == Some(StepName::PutBack) {
        return nothing_to_do(round, request, platform);
    }
    if round.status.path.is_empty() {
        let text = "the KubermaticConfiguration has no status.kubermaticVersion any more";
        return round.retrying(text);
    }
    if let Some(running) = platform.version.filter(|running| *running > request.target) {
        let text = format!(
            "the platform runs {running}; spec.targetVersion {} is older",
            request.target
        );
        return round.stalled(Reason::DowngradeNotSupported, &text);
    }
    if on_its_way(&round, request, platform) {
        let waiting = verifying::unconverged(platform).unwrap_or_default();
        let text = format!(
            "the master already runs {}; {}",
            request.target,
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
    round.status.from_version.as_deref() == Some(request.target.to_string().as_str())
        && platform.version == Some(request.target)
        && platform.evidence.is_proven()
}

/// The route is frozen at the first Preflight of the run: later version fields turn early and must not change it.
fn freeze_route(round: &mut Round<'_>, request: &Request, platform: &PlatformFacts) {
    if !round.status.path.is_empty() {
        return;
    }
    let Some(from) = platform.version else { return };
    let (from, to) = (from.to_string(), request.target.to_string());
    round.status.from_version = Some(from.clone());
    round.status.current_version.get_or_insert_with(|| from.clone());
    round.status.target_version = Some(to.clone());
    round.status.path = vec![from.clone(), to.clone()];
    round.status.hop = Some(Hop {
        index: 1,
        total: 1,
        from,
        to,
    });
}

/// Whether everything runs the target version, by evidence.
pub(super) fn all_proven(platform: &PlatformFacts) -> bool {
    platform.evidence.is_proven()
        && platform.seeds.iter().all(|seed| {
            seed.evidence.is_proven() && seed.clusters.value().is_some_and(super::verifying::seed_converged)
        })
}

fn already_there(request: &Request, platform: &PlatformFacts) -> bool {
    platform.version == Some(request.target) && all_proven(platform)
}

/// Everything runs the target: Done, but not before the limit is back that a KKPUpgrade left which is gone, with the
/// roll-out which that causes. The step says that this goes on: a platform that rolls out needs no installer.
fn nothing_to_do(mut round: Round<'_>, request: &Request, platform: &PlatformFacts) -> Decision {
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
        let text = throttle::rolling_out(platform).or_else(|| {
            (!already_there(request, platform)).then(|| "waiting for the roll-out of the limit".to_owned())
        });
        if let Some(text) = text {
            return round.watch(Reason::PuttingBack, &text);
        }
    }
    finish_at_once(round, request)
}

fn finish_at_once(mut round: Round<'_>, request: &Request) -> Decision {
    let text = format!("the platform already runs {}", request.target);
    round.advance(Outcome::AlreadyThere);
    round.status.current_version = Some(request.target.to_string());
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
        plan_digest: status.plan.as_ref().map(|plan| plan.digest.clone()),
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
    let hop = round.status.hop.clone().unwrap_or_default();
    let plan = Plan::make(
        &round.facts.object.uid,
        request,
        &round.status.path,
        &hop,
        platform,
        findings,
    );
    let (digest, text) = (plan.digest(), plan.to_yaml(findings));
    let content = sha256(text.as_bytes());
    let name = dependent_name(&round.facts.object.name, "plan");
    if round.status.plan.as_ref().is_none_or(|plan| plan.digest != digest) {
        round.event(false, Reason::RunningPreflight, format!("plan {digest}"));
    }
    let findings = plan::count(findings);
    round.status.plan = Some(PlanStatus {
        digest,
        config_map_ref: Some(ConfigMapRef { name: name.clone() }),
        findings,
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
        digest: content,
    })
}

/// The worst findings into status.
fn note_findings(round: &mut Round<'_>, findings: &[Finding]) {
    round.status.findings = findings.iter().take(10).map(plan::finding_status).collect();
    if let Some(plan) = round.status.plan.as_mut() {
        plan.findings = plan::count(findings);
    }
}

/// The gates in their order: paused, blockers, queue. (Consent and windows come with their fields.)
fn gates(mut round: Round<'_>, request: &Request, findings: &[Finding]) -> Decision {
    if (request.paused || request.mode == Mode::Plan || blocked(findings).is_some())
        && let Some(effect) = super::start::give_back_lease(&round)
    {
        return round.act(effect, Reason::RunningPreflight, "giving the platform's lease back");
    }
    if request.paused {
        return round.working(Reason::Paused, "paused before anything was changed");
    }
    if let Some(text) = blocked(findings) {
        return stop_at_blockers(round, findings, &text);
    }
    no_blocker_stands(&mut round);
    if request.mode == Mode::Plan {
        round.status.step = None;
        let hop = round.status.hop.clone().unwrap_or_default();
        return round.good(
            Reason::PlanReady,
            &format!("plan {} → {} is ready and nothing blocks it", hop.from, hop.to),
        );
    }
    queue(round)
}

/// What blocks, in a line; `None` = nothing.
fn blocked(findings: &[Finding]) -> Option<String> {
    let mut blockers = findings.iter().filter(|finding| finding.blocks());
    let first = blockers.next()?;
    let more = match blockers.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!("{}: {} {}{more}", first.rule, first.subject(), first.message))
}

/// The rules once more, before something that is not taken back: the round goes on with findings that were read and do
/// not block.
///
/// # Errors
/// The decision that ends the round otherwise; `reason` while the findings of this round are still to be read.
pub(super) fn ask_again(mut round: Round<'_>, reason: Reason) -> Result<Round<'_>, Box<Decision>> {
    let facts = round.facts;
    let findings = match &facts.findings {
        Known::Is(findings) => findings,
        Known::NotRead => return Err(Box::new(round.again(reason, "evaluating the rules once more"))),
        Known::Unknown(why) => {
            let text = format!("rules could not be evaluated: {why}");
            return Err(Box::new(round.retrying(&text)));
        }
    };
    note_findings(&mut round, findings);
    if let Some(text) = blocked(findings) {
        return Err(Box::new(stop_at_blockers(round, findings, &text)));
    }
    no_blocker_stands(&mut round);
    Ok(round)
}

/// Says that no blocker stands, here and wherever the rules are asked once more: one that stood there before is gone.
fn no_blocker_stands(round: &mut Round<'_>) {
    round.stage(
        ConditionType::PreflightPassed,
        Truth::True,
        Reason::PreflightPassed,
        "no blocker stands",
    );
}

/// Stalls on blockers; those that rest on unreadable facts alone are retried for a while first.
fn stop_at_blockers(mut round: Round<'_>, findings: &[Finding], text: &str) -> Decision {
    let may_pass = findings
        .iter()
        .filter(|finding| finding.blocks())
        .all(|finding| finding.transient);
    if may_pass {
        if round.unknown_for() < round.timing.unknown_grace {
            return round.working(Reason::Retrying, text);
        }
    } else {
        round.status.unknown_since = None;
    }
    round.stage(
        ConditionType::PreflightPassed,
        Truth::False,
        Reason::PreflightBlocked,
        text,
    );
    round.stalled(Reason::PreflightBlocked, text)
}

/// One upgrade at a time: the platform's lease, taken by compare-and-swap, oldest KKPUpgrade first.
fn queue(mut round: Round<'_>) -> Decision {
    let facts = round.facts;
    let (lease, others) = match (&facts.lease, &facts.others) {
        (Known::Is(lease), Known::Is(others)) => (lease, others),
        (lease, others) => {
            let text = format!(
                "cannot read who holds the platform: {}{}",
                lease.why_not(),
                others.why_not()
            );
            return round.retrying(&text);
        }
    };
    if lease.holder.as_deref() == Some(facts.object.uid.as_str()) {
        return enter_backup(round);
    }
    if let Some(other) = in_front(facts, lease.holder.as_deref(), others) {
        return round.working(
            Reason::AnotherUpgradeRunning,
            &format!("KKPUpgrade `{}` is first", other.name),
        );
    }
    // From before the first effect on: what only waits can be deleted at once.
    if !facts.object.finalizer {
        return round.act(
            Effect::AddFinalizer,
            Reason::RunningPreflight,
            "taking hold of the KKPUpgrade",
        );
    }
    round.enter_step(StepName::Queue, None);
    round.act(
        Effect::AcquireLease {
            resource_version: lease.resource_version.clone(),
        },
        Reason::RunningPreflight,
        "taking the platform's lease",
    )
}

/// Who comes before this KKPUpgrade: the live holder, or an older one that waits for nothing but the queue.
fn in_front<'a>(facts: &Facts, holder: Option<&str>, others: &'a [OtherUpgrade]) -> Option<&'a OtherUpgrade> {
    if let Some(running) = others
        .iter()
        .find(|other| Some(other.uid.as_str()) == holder && !other.terminal)
    {
        return Some(running);
    }
    let mine = (facts.object.created, facts.object.uid.as_str());
    others
        .iter()
        .filter(|other| other.waits_for_queue)
        .find(|other| (other.created, other.uid.as_str()) < mine)
}

/// The intent that enters Backup locks the spec.
fn enter_backup(mut round: Round<'_>) -> Decision {
    round.advance(Outcome::Succeeded);
    round.status.locked = Some(true);
    round.event(false, Reason::PreflightPassed, "preflight passed");
    round.again(Reason::BackingUp, "backing up")
}
