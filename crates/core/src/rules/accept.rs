//! Consent of the administrator to findings, by rule, with an end. Pure.

use jiff::Timestamp;

use super::catalogue::Catalogue;
use super::finding::{Acceptance, Finding, MESSAGE_BYTES, cut, sort};

/// One entry of `spec.acceptedRisks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedRisk {
    /// Id of the rule.
    pub rule: String,
    /// Targets that it is for, as findings name them (`eu` or `seed eu`); empty = all of them.
    pub targets: Vec<String>,
    /// Why.
    pub reason: String,
    /// From then on it counts no more.
    pub expiration_time: Timestamp,
}

impl AcceptedRisk {
    /// An undecided rule is covered only by name of its target: consent to "all" is consent to what was seen, not to
    /// what could not be read.
    fn covers(&self, finding: &Finding) -> bool {
        let named = || {
            self.targets
                .iter()
                .any(|target| *target == finding.target || *target == finding.subject())
        };
        self.rule == finding.rule
            && if self.targets.is_empty() {
                !finding.unknown
            } else {
                named()
            }
    }
}

/// Why an accepted risk cannot be honoured: the spec is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RiskProblem {
    /// There is no such rule.
    #[error("acceptedRisks: there is no rule `{0}`: remove the entry or correct its name")]
    UnknownRule(String),
    /// The rule guards something that consent cannot make safe.
    #[error("acceptedRisks: rule `{0}` cannot be accepted: remove the entry and solve the finding")]
    NotAcceptable(String),
}

/// Entries that make the spec invalid: unknown rules, and rules that cannot be accepted.
#[must_use]
pub fn risk_problems(catalogue: &Catalogue, risks: &[AcceptedRisk]) -> Vec<RiskProblem> {
    let problem = |risk: &AcceptedRisk| match catalogue.rule(&risk.rule) {
        None => Some(RiskProblem::UnknownRule(risk.rule.clone())),
        Some(rule) if !rule.acceptable => Some(RiskProblem::NotAcceptable(risk.rule.clone())),
        Some(_) => None,
    };
    risks.iter().filter_map(problem).collect()
}

/// Marks findings that a risk covers and sorts them anew. A risk that has run out does not count and is named in the
/// message of the finding that it would have covered.
#[must_use]
pub fn accept(mut findings: Vec<Finding>, risks: &[AcceptedRisk], now: Timestamp) -> Vec<Finding> {
    for finding in findings.iter_mut().filter(|finding| finding.acceptable) {
        let covering = || risks.iter().filter(|risk| risk.covers(finding));
        if let Some(risk) = covering()
            .filter(|risk| risk.expiration_time > now)
            .max_by_key(|risk| risk.expiration_time)
        {
            finding.accepted = Some(Acceptance {
                reason: risk.reason.clone(),
                expiration_time: risk.expiration_time,
            });
        } else if let Some(end) = covering().map(|risk| risk.expiration_time).max() {
            let note = format!(" (accepted until {end}, which has passed)");
            finding.message = cut(&finding.message, MESSAGE_BYTES.saturating_sub(note.len())) + &note;
        }
    }
    sort(&mut findings);
    findings
}
