//! The gates in front of the first change, and of what is not taken back: pause, blockers, consent, queue. Pure.

use super::consent::{self, Consent};
use super::preflight::note_findings;
use super::{Decision, StepName, hop, round::Round};
use crate::conditions::{ConditionType, Truth};
use crate::effect::Effect;
use crate::facts::{Facts, Known, OtherUpgrade};
use crate::phase::Outcome;
use crate::reason::Reason;
use crate::request::{Mode, Request};
use crate::rules::Finding;

/// The gates in their order: paused, blockers, consent, queue. (Windows come with their field.)
pub(super) fn gates(mut round: Round<'_>, request: &Request, findings: &[Finding]) -> Decision {
    let asked = request.mode == Mode::Upgrade && blocked(findings).is_none();
    let consent = if asked {
        consent::ask(&mut round, request)
    } else {
        Consent::Given
    };
    // A run that has begun keeps the platform between two hops: nobody else may change it half-way.
    let waits = request.paused || !asked || matches!(consent, Consent::Missing(_));
    if waits
        && !round.status.is_locked()
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
    match consent {
        Consent::Given => queue(round),
        Consent::Missing(text) => round.working(Reason::AwaitingApproval, &text),
    }
}

/// What blocks, in a line; `None` = nothing.
pub(super) fn blocked(findings: &[Finding]) -> Option<String> {
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
pub(super) fn no_blocker_stands(round: &mut Round<'_>) {
    round.stage(
        ConditionType::PreflightPassed,
        Truth::True,
        Reason::PreflightPassed,
        "no blocker stands",
    );
}

/// Stalls on blockers; those that rest on unreadable facts alone are retried for a while first.
pub(super) fn stop_at_blockers(mut round: Round<'_>, findings: &[Finding], text: &str) -> Decision {
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
    hop::begin_work(&mut round);
    super::backup::begin_etcd(&mut round);
    round.event(false, Reason::PreflightPassed, "preflight passed");
    round.again(Reason::BackingUp, "backing up")
}
