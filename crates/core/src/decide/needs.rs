//! What a round has to look at: decided here, so that the shell never branches on a phase. Pure.

use super::{StepName, backup, hop};
use crate::conditions::ConditionType;
use crate::effect::dependent_name;
use crate::facts::ObjectFacts;
use crate::phase::Phase;
use crate::request::{Mode, Request};
use crate::rules::Stage;
use crate::status::Status;
use crate::version::KkpVersion;

/// What the next round has to read beyond the KKPUpgrade itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing to read, on its own")]
pub struct Needs {
    /// The KubermaticConfiguration and the Seeds, and whether each seed answers.
    pub platform: bool,
    /// Evidence of master, seeds and user clusters for this version.
    pub evidence: Option<KkpVersion>,
    /// Rules of the hop.
    pub rules: Option<RuleNeeds>,
    /// Image, flags and values of the installer for this version.
    pub installer: Option<KkpVersion>,
    /// The Job of this name and its fence.
    pub job: Option<String>,
    /// The platform's lease and the other `KKPUpgrade`s.
    pub queue: bool,
    /// The way from what runs to what is wanted.
    pub route: bool,
    /// The plan's ConfigMap of this name.
    pub plan: Option<String>,
    /// Objects with notes of fixes on them.
    pub marked: bool,
    /// What seeds tell about the etcd backups of the run with this number.
    pub etcd: Option<i64>,
    /// A look at the platform and its rules of some seconds ago will do, where it was for the same question: what is decided
    /// on it is looked at again before anything is touched.
    pub recent: bool,
}

/// Which rules the next round has to evaluate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleNeeds {
    /// The version that ran before; `None` = as the platform says.
    pub from: Option<KkpVersion>,
    /// Hops behind this one (from, to), to be told early.
    pub ahead: Vec<(KkpVersion, KkpVersion)>,
    /// The version to get to.
    pub to: KkpVersion,
    /// Stages.
    pub stages: &'static [Stage],
}

/// Rules before anything is touched.
const BEFORE: &[Stage] = &[Stage::Preflight];
/// Rules once everything is at the target: what must hold, and what is left to do.
const AFTER: &[Stage] = &[Stage::Verify, Stage::Post];

/// What the next round has to read.
#[must_use]
pub fn needs(request: Option<&Request>, status: &Status, object: &ObjectFacts) -> Needs {
    let target = hop_target(request, status);
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
        needs.marked = status.owes_fixes();
        return needs;
    }
    let step: Option<StepName> = status.step.as_ref().and_then(|step| step.name.parse().ok());
    let from = status.hop.as_ref().and_then(|hop| hop.from.parse().ok());
    let rules = |stages| {
        let ahead = Vec::new();
        target.map(|to| RuleNeeds {
            from,
            ahead,
            to,
            stages,
        })
    };
    let all = |needs: &mut Needs| {
        needs.evidence = target;
        needs.rules = rules(BEFORE);
        needs.installer = target;
    };
    match status.phase().unwrap_or(Phase::Pending) {
        Phase::Pending => needs.route = true,
        Phase::Preflight => {
            all(&mut needs);
            needs.route = true;
            if let Some(rules) = needs.rules.as_mut() {
                rules.ahead = hop::ahead(status);
            }
            needs.plan = Some(dependent_name(&object.name, "plan"));
            needs.recent = is_planned(status);
        }
        Phase::Backup => {
            needs.installer = target;
            let complete = request.is_some_and(|request| backup::complete(request, status));
            if step == Some(StepName::EtcdBackups) {
                needs.etcd = Some(status.run());
            } else if needs.job.is_none() && complete && !backup::etcd_is_due(status) {
                all(&mut needs);
            }
        }
        Phase::Deploying => {
            needs.evidence = target;
            needs.installer = target;
            needs.marked = step == Some(StepName::Prepare);
            // While something is on its way, what is still to be fixed can wait for it.
            let waits = status.step.as_ref().is_some_and(|step| step.target.is_some());
            let looks = !waits && request.is_none_or(|request| !request.paused);
            if (step == Some(StepName::Master) && needs.job.is_none()) || (needs.marked && looks) {
                all(&mut needs);
            }
        }
        Phase::Verifying => {
            needs.evidence = target;
            needs.rules = rules(AFTER).filter(|_| step != Some(StepName::PutBack));
            needs.marked = step == Some(StepName::PutBack) && status.owes_fixes();
        }
        Phase::Done | Phase::Failed | Phase::Aborted => {
            // Where backups lie, and which clusters they are of.
            needs.platform = status.owes() || step == Some(StepName::Retention);
            needs.evidence = target.filter(|_| status.owes());
            needs.marked = status.owes_fixes();
        }
    }
    needs
}

/// Whether the plan is written and nothing blocks it: what is left before the first backup are our own locks.
fn is_planned(status: &Status) -> bool {
    let plan = status.plan.as_ref();
    plan.is_some_and(|plan| plan.findings.blockers == 0) && status.is_true(ConditionType::Planned)
}

/// The version that evidence is about: that of the present hop, whatever the spec says meanwhile.
fn hop_target(request: Option<&Request>, status: &Status) -> Option<KkpVersion> {
    hop::target(status).or(request.map(|request| request.target))
}

/// Whether a KKPUpgrade with this request and status has only the queue in front of it.
#[must_use]
pub fn waits_for_queue(request: Option<&Request>, status: &Status) -> bool {
    request.is_some_and(|request| request.mode == Mode::Upgrade && !request.paused)
        && status.phase() == Some(Phase::Preflight)
        && status.is_true(ConditionType::PreflightPassed)
        && status.is_true(ConditionType::Approved)
        && status.condition(ConditionType::Stalled).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::Truth;
    use crate::reason::Reason;
    use crate::status::{FindingCounts, PlanStatus};

    fn rests_on_the_last_look(phase: &str, blockers: i32, planned: bool) -> bool {
        let findings = FindingCounts {
            blockers,
            ..FindingCounts::default()
        };
        let plan = PlanStatus {
            findings,
            ..PlanStatus::default()
        };
        let mut status = Status {
            phase: Some(phase.to_owned()),
            plan: Some(plan),
            ..Status::default()
        };
        let truth = if planned { Truth::True } else { Truth::Unknown };
        let now = jiff::Timestamp::UNIX_EPOCH;
        status.set_condition(ConditionType::Planned, truth, Reason::PlanReady, "plan", now);
        let object = ObjectFacts {
            uid: "u".to_owned(),
            name: "up".to_owned(),
            namespace: "kubermatic".to_owned(),
            generation: 1,
            created: now,
            deleting: false,
            finalizer: false,
            retry: None,
            abort: None,
            release: None,
            approve: None,
            approve_manager: None,
        };
        needs(None, &status, &object).recent
    }

    #[test]
    fn only_our_own_locks_may_rest_on_an_earlier_look() {
        assert!(rests_on_the_last_look("Preflight", 0, true));
        assert!(
            !rests_on_the_last_look("Preflight", 1, true),
            "a mended blocker is seen at once"
        );
        assert!(!rests_on_the_last_look("Preflight", 0, false));
        for phase in ["Pending", "Backup", "Deploying", "Verifying", "Done"] {
            assert!(!rests_on_the_last_look(phase, 0, true), "{phase}");
        }
    }
}
