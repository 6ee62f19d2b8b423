//! What a round has to look at: decided here, so that the shell never branches on a phase. Pure.

use super::{StepName, backup};
use crate::conditions::ConditionType;
use crate::effect::dependent_name;
use crate::facts::ObjectFacts;
use crate::phase::Phase;
use crate::request::{Mode, Request};
use crate::status::Status;
use crate::version::KkpVersion;

/// What the next round has to read beyond the KKPUpgrade itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// The KubermaticConfiguration and the Seeds, and whether each seed answers.
    pub platform: bool,
    /// Evidence of master, seeds and user clusters for this version.
    pub evidence: Option<KkpVersion>,
    /// All rules of the route from the first to the second version (the first as the platform says when `None`).
    pub rules: Option<(Option<KkpVersion>, KkpVersion)>,
    /// Image, flags and values of the installer for this version.
    pub installer: Option<KkpVersion>,
    /// The Job of this name and its fence.
    pub job: Option<String>,
    /// The platform's lease and the other `KKPUpgrade`s.
    pub queue: bool,
    /// The plan's ConfigMap of this name.
    pub plan: Option<String>,
}

/// What the next round has to read.
#[must_use]
pub fn needs(request: Option<&Request>, status: &Status, object: &ObjectFacts) -> Needs {
    let target = run_target(request, status);
    let job = status.step.as_ref().and_then(|step| step.job.clone());
    let mut needs = Needs {
        platform: true,
        job,
        queue: true,
        ..Needs::default()
    };
    if super::start::end_wanted(status, object) {
        // Answered at once, whatever can be read: a dead seed must not keep an abort waiting.
        needs.platform = false;
        return needs;
    }
    if status.ending.is_some() || object.deleting {
        needs.evidence = target;
        return needs;
    }
    let step: Option<StepName> = status.step.as_ref().and_then(|step| step.name.parse().ok());
    let from = status.from_version.as_deref().and_then(|text| text.parse().ok());
    let all = |needs: &mut Needs| {
        needs.evidence = target;
        needs.rules = target.map(|target| (from, target));
        needs.installer = target;
    };
    match status.phase().unwrap_or(Phase::Pending) {
        Phase::Pending => {}
        Phase::Preflight => {
            all(&mut needs);
            needs.plan = Some(dependent_name(&object.name, "plan"));
        }
        Phase::Backup => {
            needs.installer = target;
            if needs.job.is_none() && request.is_some_and(|request| backup::complete(request, status)) {
                all(&mut needs);
            }
        }
        Phase::Deploying => {
            needs.evidence = target;
            needs.installer = target;
            if step == Some(StepName::Master) && needs.job.is_none() {
                all(&mut needs);
            }
        }
        Phase::Verifying => needs.evidence = target,
        Phase::Done | Phase::Failed | Phase::Aborted => {
            needs.platform = !status.changes.is_empty();
            needs.evidence = target.filter(|_| !status.changes.is_empty());
        }
    }
    needs
}

/// The version that evidence is about: a locked run keeps its own when the spec goes back (which means abort).
fn run_target(request: Option<&Request>, status: &Status) -> Option<KkpVersion> {
    let recorded = status.target_version.as_deref().and_then(|text| text.parse().ok());
    if status.is_locked() || status.has_ended() {
        recorded.or(request.map(|request| request.target))
    } else {
        request.map(|request| request.target).or(recorded)
    }
}

/// Whether a KKPUpgrade with this request and status has only the queue in front of it.
#[must_use]
pub fn waits_for_queue(request: Option<&Request>, status: &Status) -> bool {
    request.is_some_and(|request| request.mode == Mode::Upgrade && !request.paused)
        && status.phase() == Some(Phase::Preflight)
        && status.is_true(ConditionType::PreflightPassed)
        && status.condition(ConditionType::Stalled).is_none()
}
