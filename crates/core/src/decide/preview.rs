//! What Preflight would say to a request, asked by somebody who changes nothing: the very machine that runs an upgrade,
//! stopped where it would begin one. Pure.

use super::{Needs, decide, gates, needs, preflight};
use crate::effect::Effect;
use crate::facts::{Facts, Known, ObjectFacts};
use crate::phase::Phase;
use crate::plan::Plan;
use crate::request::{Request, SpecError};
use crate::status::Status;
use crate::timing::Timing;

/// Most rounds that a preview takes: Pending, Preflight, the plan, the gates, and one lease given back.
const ROUNDS: usize = 8;

/// What Preflight would say.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// Status as the operator would write it; its condition Ready says how the upgrade would stand.
    pub status: Status,
    /// The plan; `None` where the way ends before there is one.
    pub plan: Option<Plan>,
    /// What blocks, in a line.
    pub blocked: Option<String>,
    /// Whether the run would begin now: every gate in front of the first change is open.
    pub begins: bool,
}

/// The status that a preview begins with, and that it is observed for; `None` while a run is under way, which has a plan
/// already and is past asking.
#[must_use]
pub fn preview_basis(request: Option<&Request>, status: &Status) -> Option<Status> {
    if status.is_locked() || status.ending.is_some() {
        return None;
    }
    let same = request.is_some_and(|request| status.run_identity.as_deref() == Some(request.identity().as_str()));
    let kept = match status.phase() {
        Some(Phase::Preflight) if same => status.clone(),
        // As after a retry: the route stays frozen.
        Some(Phase::Failed | Phase::Aborted) if same => Status {
            step: None,
            failed_in: None,
            completion_time: None,
            ..status.clone()
        },
        _ => Status {
            observed_generation: status.observed_generation,
            current_version: status.current_version.clone(),
            throttle: status.throttle.clone(),
            changes: status.changes.clone(),
            ..Status::default()
        },
    };
    // A run that has no route yet gets one in Pending.
    let phase = if kept.hop.is_some() {
        Phase::Preflight
    } else {
        Phase::Pending
    };
    Some(Status {
        phase: Some(phase.to_string()),
        ..kept
    })
}

/// What has to be read for a preview.
#[must_use]
pub fn preview_needs(request: Option<&Request>, basis: &Status, object: &ObjectFacts) -> Needs {
    Needs {
        job: None,
        plan: None,
        ..needs(request, basis, &without_commands(object))
    }
}

/// The object as if nobody had given it a command; approval is none, it is part of what is asked.
pub(super) fn without_commands(object: &ObjectFacts) -> ObjectFacts {
    ObjectFacts {
        retry: None,
        abort: None,
        release: None,
        ..object.clone()
    }
}

/// What Preflight would say to `request`, by facts that were read for `basis`. Where the basis had no route, the preview ends
/// with it: its status is the basis of the next one ([`Preview::goes_on`]). Commands by annotation are not obeyed,
/// approval excepted.
#[must_use]
pub fn preview(request: Result<&Request, &SpecError>, basis: Status, facts: &Facts, timing: &Timing) -> Preview {
    let mut facts = facts.clone();
    facts.plan = Known::Is(None);
    facts.object = without_commands(&facts.object);
    let mut preview = Preview {
        status: basis,
        plan: None,
        blocked: None,
        begins: false,
    };
    for _ in 0..ROUNDS {
        let before = preview.status.phase();
        let decision = decide(request, &preview.status, &facts, timing);
        preview.status = decision.status;
        if before != Some(Phase::Preflight) && preview.status.phase() == Some(Phase::Preflight) {
            // The route is there: what belongs to its first hop has to be looked at now.
            break;
        }
        match decision.effect {
            Some(Effect::WritePlan { digest, .. }) => {
                preview.note_plan(request, &facts);
                facts.plan = Known::Is(Some(digest));
            }
            Some(Effect::ReleaseLease { .. }) => {
                if let Known::Is(lease) = &mut facts.lease {
                    lease.holder = None;
                }
            }
            Some(_) => {
                preview.begins = true;
                break;
            }
            None if decision.requeue.is_zero() && preview.status.phase() != Some(Phase::Backup) => {}
            None => {
                preview.begins = preview.status.phase() == Some(Phase::Backup);
                break;
            }
        }
    }
    preview
}

impl Preview {
    /// Whether the route has only now been made, for a basis without one: what it leads to has to be looked at anew.
    #[must_use]
    pub fn goes_on(&self, basis: &Status) -> bool {
        basis.hop.is_none() && self.status.phase() == Some(Phase::Preflight) && self.plan.is_none()
    }

    fn note_plan(&mut self, request: Result<&Request, &SpecError>, facts: &Facts) {
        if let (Ok(request), Known::Is(platform), Known::Is(findings)) = (request, &facts.platform, &facts.findings) {
            self.plan = Some(preflight::plan_of(
                &facts.object.uid,
                request,
                &self.status,
                platform,
                findings,
            ));
            self.blocked = gates::blocked(findings);
        }
    }
}
