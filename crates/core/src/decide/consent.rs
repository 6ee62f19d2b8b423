//! Consent: with `approval.mode: Manual` nothing is changed before somebody has approved exactly this plan. Pure.

use super::round::Round;
use crate::conditions::{ConditionType, Truth};
use crate::reason::Reason;
use crate::request::Request;
use crate::status::{Approval, PlanAwaiting, PlanStatus, message};

/// Whether the run may go on.
pub(super) enum Consent {
    /// Nobody has to be asked, or somebody has approved this plan.
    Given,
    /// Somebody has to approve; how.
    Missing(String),
}

/// Who gave consent by annotation; it stays given when the annotation is taken away.
const BY_ANNOTATION: &str = "annotation upgrade.k8c.io/approve";
/// Who gave consent by Git; it is withdrawn with the entry.
const BY_SPEC: &str = "spec.approval.digests";

/// Asks for consent to the plan of this round, and records who gave it.
pub(super) fn ask(round: &mut Round<'_>, request: &Request) -> Consent {
    let Some(mut plan) = round.status.plan.clone() else {
        return Consent::Missing("there is no plan to approve yet".to_owned());
    };
    plan.awaiting = None;
    if !request.approval.manual {
        plan.approved_by = None;
        round.status.plan = Some(plan);
        round.stage(
            ConditionType::Approved,
            Truth::True,
            Reason::ApprovalNotRequired,
            "spec.approval.mode is Automatic",
        );
        return Consent::Given;
    }
    if let Some(token) = &round.facts.object.approve {
        round.status.last_handled_approve = Some(message(token));
    }
    match approver(round, request, &plan) {
        Some(by) => given(round, plan, &by),
        None => missing(round, plan),
    }
}

/// Who has approved the plan as it is now.
fn approver(round: &Round<'_>, request: &Request, plan: &PlanStatus) -> Option<String> {
    let object = &round.facts.object;
    if request.approval.digests.contains(&plan.digest) {
        return Some(BY_SPEC.to_owned());
    }
    if object.approve.as_deref() == Some(plan.digest.as_str()) {
        let manager = object.approve_manager.as_ref();
        return Some(manager.map_or_else(
            || BY_ANNOTATION.to_owned(),
            |manager| format!("{BY_ANNOTATION}, written by {manager}"),
        ));
    }
    let recorded = plan.approved_by.as_ref();
    let recorded = recorded.filter(|approval| approval.digest == plan.digest && approval.by.starts_with(BY_ANNOTATION));
    recorded.map(|approval| approval.by.clone())
}

fn given(round: &mut Round<'_>, mut plan: PlanStatus, by: &str) -> Consent {
    let known = plan
        .approved_by
        .as_ref()
        .is_some_and(|approval| approval.digest == plan.digest && approval.by == message(by));
    let text = format!("plan approved by {by}");
    if !known {
        plan.approved_by = Some(Approval {
            digest: plan.digest.clone(),
            by: message(by),
            time: Some(round.time()),
            parts: plan.parts.clone(),
        });
        round.event(false, Reason::Approved, text.clone());
    }
    round.status.plan = Some(plan);
    round.stage(ConditionType::Approved, Truth::True, Reason::Approved, &text);
    Consent::Given
}

fn missing(round: &mut Round<'_>, mut plan: PlanStatus) -> Consent {
    let digest = &plan.digest;
    let approved = plan
        .approved_by
        .as_ref()
        .filter(|approval| approval.digest != plan.digest);
    let text = match (approved, &round.facts.object.approve) {
        (Some(approval), _) => format!(
            "the approved plan changed ({}) and is {digest} now",
            changed(approval, &plan)
        ),
        (None, Some(_)) => format!("the annotation approves another plan than {digest}"),
        (None, None) => format!("plan {digest} waits for approval"),
    };
    let hop = round.status.hop.clone().unwrap_or_default();
    plan.awaiting = Some(PlanAwaiting {
        hop: format!("{} → {}", hop.from, hop.to),
        digest: plan.digest.clone(),
    });
    round.status.plan = Some(plan);
    round.stage(ConditionType::Approved, Truth::Unknown, Reason::AwaitingApproval, &text);
    Consent::Missing(text)
}

/// The parts of the plan that differ from what was approved.
fn changed(approval: &Approval, plan: &PlanStatus) -> String {
    let parts: Vec<&str> = plan
        .parts
        .iter()
        .filter(|part| !approval.parts.contains(part))
        .map(|part| part.name.as_str())
        .collect();
    parts.join(", ")
}
