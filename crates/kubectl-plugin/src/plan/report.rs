//! What a plan tells, as one document with stable keys. Pure.

use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::decide::earlier_hops;
use kkp_upgrade_core::facts::Known;
use kkp_upgrade_core::plan::{Plan, count};
use kkp_upgrade_core::plan_document::{ExpectedDuration, ForGood, POINT_OF_NO_RETURN};
use kkp_upgrade_core::reason::Reason;
use kkp_upgrade_core::rules::{Acceptance, Finding, Severity};
use kkp_upgrade_core::status::{CatalogueStatus, FindingCounts, PlanStatus, Status};
use kube::ResourceExt;
use serde::Serialize;

use super::ask::Asked;
use super::look::{Seen, Sight};
use super::verdict::{State, Verdict};
use crate::exit::Exit;

/// What a plan tells.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) verdict: Verdict,
    /// Versions of the route, the running one first.
    pub(crate) path: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plan: Option<Plan>,
    /// There only where the KKPUpgrade can be approved with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    /// Why there is none, where there is a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest_missing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operator_plan: Option<OperatorPlan>,
    pub(crate) counts: FindingCounts,
    pub(crate) findings: Vec<FindingEntry>,
    /// How long the rest of the route may take.
    pub(crate) expected_duration: ExpectedDuration,
    pub(crate) point_of_no_return: ForGood,
    /// The catalogue that the findings come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) catalogue: Option<CatalogueStatus>,
    /// Rights that were missing.
    pub(crate) not_permitted: Vec<String>,
    /// What was not looked at, each with the reason.
    pub(crate) not_looked_at: Vec<String>,
    /// What to do next.
    pub(crate) next: String,
    #[serde(skip)]
    pub(crate) raw: Vec<Finding>,
}

/// The plan that the operator has written, beside this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OperatorPlan {
    pub(crate) digest: String,
    /// Parts in which the two differ; empty = they are the same plan.
    pub(crate) differs_in: Vec<String>,
}

/// One finding.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FindingEntry {
    pub(crate) rule: String,
    /// `blocker`, `warning`, `toBeFixed` (`spec.fixes` asks for it), `later` (it counts at a later hop), `accepted` or `info`.
    pub(crate) severity: &'static str,
    /// The hop that it counts at.
    pub(crate) hop: String,
    pub(crate) target: String,
    pub(crate) message: String,
    pub(crate) remedy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) docs: Option<String>,
    /// The rule could not be decided, which counts as much as its failure.
    pub(crate) unknown: bool,
    pub(crate) acceptable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accepted: Option<Acceptance>,
}

impl Report {
    pub(super) fn make(seen: Seen, asked: &Asked) -> Self {
        let Seen {
            object,
            status,
            facts,
            preview,
            sight,
        } = seen;
        let earlier = earlier_hops(&facts, &status);
        let expected_duration = ExpectedDuration(
            preview
                .plan
                .as_ref()
                .and_then(|plan| ExpectedDuration::of(plan, &earlier).0),
        );
        let point_of_no_return = facts
            .platform
            .value()
            .map_or_else(|| ForGood::on(&Known::NotRead), |platform| ForGood::on(&platform.route));
        let catalogue = facts.catalogue.clone();
        let raw = facts.findings.value().cloned().unwrap_or_default();
        let verdict = Verdict::of(&preview, &raw);
        let plan = preview.plan;
        let operator_plan = plan
            .as_ref()
            .and_then(|plan| OperatorPlan::beside(plan, status.plan.as_ref()?));
        let (digest, digest_missing) = match &plan {
            Some(plan) => match approvable(plan, &sight, operator_plan.as_ref()) {
                Ok(digest) => (Some(digest), None),
                Err(why) => (None, Some(why)),
            },
            None => (None, None),
        };
        let path = preview.status.path;
        let mut report = Self {
            name: object.name_any(),
            namespace: object.namespace().unwrap_or_default(),
            verdict,
            expected_duration,
            point_of_no_return,
            path,
            plan,
            digest,
            digest_missing,
            operator_plan,
            counts: count(&raw),
            findings: raw.iter().map(FindingEntry::of).collect(),
            catalogue,
            not_permitted: sight.rights.into_iter().collect(),
            not_looked_at: sight.unseen,
            next: String::new(),
            raw,
        };
        report.next = report.next_step(asked);
        report
    }

    /// A run has its plan, and is past asking.
    pub(super) fn of_a_run_under_way(object: &KKPUpgradeObject, status: &Status) -> Self {
        let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
        let phase = status.phase.as_deref().unwrap_or("Pending");
        let step = status.step.as_ref().map_or("", |step| step.name.as_str());
        let at = if step.is_empty() {
            phase.to_owned()
        } else {
            format!("{phase}, step {step}")
        };
        let digest = status.plan.as_ref().map(|plan| plan.digest.clone()).unwrap_or_default();
        Self {
            verdict: Verdict {
                state: State::UnderWay,
                reason: phase.to_owned(),
                message: format!("the run is in phase {at}, by plan {digest}"),
            },
            path: status.path.clone(),
            plan: None,
            digest: None,
            digest_missing: None,
            operator_plan: None,
            counts: FindingCounts::default(),
            findings: Vec::new(),
            expected_duration: ExpectedDuration(None),
            point_of_no_return: ForGood {
                meaning: POINT_OF_NO_RETURN,
                for_good: Vec::new(),
            },
            catalogue: None,
            not_permitted: Vec::new(),
            not_looked_at: Vec::new(),
            next: format!("kubectl describe kkpu {name} -n {namespace}"),
            name,
            namespace,
            raw: Vec::new(),
        }
    }

    /// How the process ends.
    pub(crate) fn exit(&self, detailed: bool, on_wait: bool) -> Exit {
        let to_do = if detailed { Exit::Differences } else { Exit::Done };
        match self.verdict.state {
            State::NothingToDo | State::UnderWay => Exit::Done,
            State::Waiting if on_wait => Exit::Waits,
            State::Ready | State::Waiting => to_do,
            State::Blocked | State::Refused => Exit::Blocked,
            State::Unclear if self.not_permitted.is_empty() => Exit::Unexpected,
            State::Unclear => Exit::NotFound,
        }
    }

    fn next_step(&self, asked: &Asked) -> String {
        let kkpu = format!("kkpu {} -n {}", self.name, self.namespace);
        let reason = self.verdict.reason.parse::<Reason>().ok();
        match (self.verdict.state, asked, reason) {
            (State::Blocked, ..) => {
                let first = self.raw.iter().find(|finding| finding.blocks());
                let rule = first.map_or("", |finding| finding.rule.as_str());
                format!("kubectl kkp-upgrade rules {rule}")
            }
            (State::Unclear, ..) if !self.not_permitted.is_empty() => {
                "ask for the rights that were missing (deploy/reader), then plan again".to_owned()
            }
            (State::Waiting, Asked::Named(_), Some(Reason::AwaitingApproval)) => {
                let own = self.operator_plan.as_ref().map(|plan| &plan.digest);
                match self.digest.as_ref().or(own) {
                    Some(digest) => format!("kubectl annotate --overwrite {kkpu} upgrade.k8c.io/approve={digest}"),
                    None => "wait until the operator has written its plan, then plan again".to_owned(),
                }
            }
            (State::Waiting, Asked::Named(_), Some(Reason::Paused)) => {
                format!(r#"kubectl patch {kkpu} --type=merge -p '{{"spec":{{"paused":false}}}}'"#)
            }
            (State::Ready | State::Waiting, Asked::Given { apply, .. }, _) => apply.clone(),
            (State::Ready, Asked::Named(_), Some(Reason::PlanReady)) => {
                format!(r#"kubectl patch {kkpu} --type=merge -p '{{"spec":{{"mode":"Upgrade"}}}}'"#)
            }
            (State::Ready | State::Waiting | State::UnderWay, Asked::Named(_), _) => {
                format!("kubectl get {kkpu} -o wide -w")
            }
            (State::NothingToDo, ..) => "nothing".to_owned(),
            (State::Refused | State::Unclear | State::UnderWay, _, reason) => reason
                .map(Reason::next_step)
                .filter(|next| !next.is_empty())
                .unwrap_or("see what the verdict names, then plan again")
                .to_owned(),
        }
    }
}

/// The digest that the KKPUpgrade can be approved with, or why there is none: a plan that may differ from the operator's must
/// never look like it.
fn approvable(plan: &Plan, sight: &Sight, operator: Option<&OperatorPlan>) -> Result<String, String> {
    if plan.upgrade.is_empty() {
        return Err("this plan belongs to no KKPUpgrade of the cluster".to_owned());
    }
    if !sight.rights.is_empty() {
        return Err("rights were missing, so the operator's plan may be another one".to_owned());
    }
    if let Some(operator) = operator.filter(|operator| !operator.differs_in.is_empty()) {
        return Err(format!(
            "the operator's plan {} differs in: {}",
            operator.digest,
            operator.differs_in.join(", ")
        ));
    }
    Ok(plan.digest())
}

impl OperatorPlan {
    fn beside(plan: &Plan, written: &PlanStatus) -> Option<Self> {
        if written.digest.is_empty() {
            return None;
        }
        let parts = plan.parts().into_iter();
        let mut differs_in: Vec<String> = parts
            .filter(|part| !written.parts.contains(part))
            .map(|part| part.name)
            .collect();
        if differs_in.is_empty() && plan.digest() != written.digest {
            differs_in.push("what only another version of the operator knows".to_owned());
        }
        Some(Self {
            digest: written.digest.clone(),
            differs_in,
        })
    }
}

impl FindingEntry {
    fn of(finding: &Finding) -> Self {
        Self {
            rule: finding.rule.clone(),
            severity: match (finding.severity, &finding.accepted) {
                (Severity::Blocker | Severity::Warning, Some(_)) => "accepted",
                (Severity::Blocker | Severity::Warning, None) if finding.ahead => "later",
                (Severity::Blocker | Severity::Warning, None) if finding.is_to_be_fixed() => "toBeFixed",
                (Severity::Blocker, None) => "blocker",
                (Severity::Warning, None) => "warning",
                (Severity::Info, _) => "info",
            },
            hop: finding.hop.to_string(),
            target: finding.subject(),
            message: finding.message.clone(),
            remedy: finding.remedy.clone(),
            docs: finding.docs.clone(),
            unknown: finding.unknown,
            acceptable: finding.acceptable,
            accepted: finding.accepted.clone(),
        }
    }
}
