//! Conditions of a KKPUpgrade: shape, kinds, and the one function that derives Ready, Reconciling and Stalled. Pure.
//!
//! kstatus (which Flux, Helm and kpt use) reads Reconciling and Stalled only while they are True, and never both; so they
//! are absent otherwise. Ready is always there: True when done, Unknown while working, False when a person has to act.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::reason::Reason;
use crate::status::{Status, message};
use crate::time::Time;

/// A condition in the shape of `metav1.Condition`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition.
    #[schemars(length(max = 64), regex(pattern = r"^[A-Za-z]+$"))]
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(length(max = 16))]
    pub status: String,
    /// Generation of the spec that this was observed for.
    pub observed_generation: i64,
    /// When `status` last changed.
    pub last_transition_time: Time,
    /// Why: one CamelCase word.
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,
    /// For people.
    #[schemars(length(max = 256))]
    pub message: String,
}

/// The kinds of condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Display, EnumString, IntoStaticStr, VariantArray)]
pub enum ConditionType {
    /// Summary: True when the upgrade is done.
    Ready,
    /// Present and True while the operator works or waits.
    Reconciling,
    /// Present and True while a person has to act.
    Stalled,
    /// The plan is made.
    Planned,
    /// Somebody has approved the plan, or nobody has to.
    Approved,
    /// Nothing blocks.
    PreflightPassed,
    /// Every target in scope has a verified backup.
    BackupVerified,
    /// The asked limit is in force.
    Throttled,
    /// The master runs the target version, by evidence.
    MasterUpgraded,
    /// Every seed runs the target version, by evidence.
    SeedsUpgraded,
    /// Every user cluster in scope was reconciled by the target version, by evidence.
    UserClustersConverged,
    /// All evidence held for the soak time.
    Verified,
}

/// The conditions that tell how far a run is, in order. Unknown at the start of each run.
pub const STAGES: [ConditionType; 9] = [
    ConditionType::Planned,
    ConditionType::Approved,
    ConditionType::PreflightPassed,
    ConditionType::BackupVerified,
    ConditionType::Throttled,
    ConditionType::MasterUpgraded,
    ConditionType::SeedsUpgraded,
    ConditionType::UserClustersConverged,
    ConditionType::Verified,
];

/// Value of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not decided yet.
    Unknown,
}

/// How the run stands: the row of the state table that Ready, Reconciling and Stalled are derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The operator works, or waits for something that passes by itself or by a person's free choice.
    Working,
    /// A person has to act; the operator goes on looking.
    Stalled,
    /// Ended without success.
    Ended,
    /// Ended well, or (`mode: Plan`) has nothing left to say.
    Good,
}

impl Status {
    /// The condition of this kind.
    #[must_use]
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        let name: &str = kind.into();
        self.conditions.iter().find(|condition| condition.r#type == name)
    }

    /// Whether the condition of this kind is True.
    #[must_use]
    pub fn is_true(&self, kind: ConditionType) -> bool {
        self.condition(kind).is_some_and(|condition| condition.status == "True")
    }

    /// Sets a condition; its transition time moves only when its value changes.
    pub fn set_condition(&mut self, kind: ConditionType, truth: Truth, reason: Reason, text: &str, now: Timestamp) {
        let (name, value): (&str, String) = (kind.into(), truth.to_string());
        let generation = self.observed_generation;
        if let Some(condition) = self.conditions.iter_mut().find(|condition| condition.r#type == name) {
            if condition.status != value {
                condition.last_transition_time = Time::new(now);
            }
            condition.status = value;
            condition.reason = reason.to_string();
            condition.message = message(text);
            condition.observed_generation = generation;
        } else {
            self.conditions.push(Condition {
                r#type: name.to_owned(),
                status: value,
                observed_generation: generation,
                last_transition_time: Time::new(now),
                reason: reason.to_string(),
                message: message(text),
            });
        }
    }

    /// Takes a condition away.
    pub fn clear_condition(&mut self, kind: ConditionType) {
        let name: &str = kind.into();
        self.conditions.retain(|condition| condition.r#type != name);
    }

    /// Sets all stage conditions to Unknown: a run begins.
    pub fn reset_stages(&mut self, reason: Reason, now: Timestamp) {
        for stage in STAGES {
            self.set_condition(stage, Truth::Unknown, reason, "not decided yet", now);
        }
    }

    /// Derives Ready, Reconciling and Stalled from how the run stands, and brings every condition to this generation.
    pub fn set_standing(&mut self, standing: Standing, reason: Reason, text: &str, now: Timestamp) {
        let (ready, other) = match standing {
            Standing::Working => (Truth::Unknown, Some(ConditionType::Reconciling)),
            Standing::Stalled | Standing::Ended => (Truth::False, Some(ConditionType::Stalled)),
            Standing::Good => (Truth::True, None),
        };
        self.set_condition(ConditionType::Ready, ready, reason, text, now);
        for kind in [ConditionType::Reconciling, ConditionType::Stalled] {
            if other == Some(kind) {
                self.set_condition(kind, Truth::True, reason, text, now);
            } else {
                self.clear_condition(kind);
            }
        }
        let generation = self.observed_generation;
        for condition in &mut self.conditions {
            condition.observed_generation = generation;
        }
    }
}

/// What is wrong with a status by the rules of kstatus and of the Kubernetes API conventions; empty = nothing.
/// Tests run this on every status that they see written.
#[must_use]
pub fn kstatus_violations(generation: i64, status: &Status) -> Vec<String> {
    let mut wrong = Vec::new();
    if status.observed_generation == -1 {
        return wrong; // the schema default: nobody has looked at the object yet, which kstatus reads as in progress
    }
    if status.observed_generation > generation {
        wrong.push(format!(
            "observedGeneration {} is ahead of generation {generation}",
            status.observed_generation
        ));
    }
    let mut seen = std::collections::BTreeSet::new();
    for condition in &status.conditions {
        if !seen.insert(condition.r#type.as_str()) {
            wrong.push(format!("condition {} stands twice", condition.r#type));
        }
        if condition.r#type.parse::<ConditionType>().is_err() {
            wrong.push(format!("condition type {} is not declared", condition.r#type));
        }
        if condition.reason.parse::<Reason>().is_err() {
            wrong.push(format!(
                "condition {}: reason `{}` is not declared",
                condition.r#type, condition.reason
            ));
        }
        if condition.status.parse::<Truth>().is_err() {
            wrong.push(format!(
                "condition {}: status `{}` is no truth value",
                condition.r#type, condition.status
            ));
        }
        if condition.observed_generation != status.observed_generation {
            wrong.push(format!(
                "condition {} was not brought to this generation",
                condition.r#type
            ));
        }
    }
    let (reconciling, stalled) = (
        status.condition(ConditionType::Reconciling),
        status.condition(ConditionType::Stalled),
    );
    if reconciling.is_some() && stalled.is_some() {
        wrong.push("Reconciling and Stalled together".to_owned());
    }
    for condition in [reconciling, stalled].into_iter().flatten() {
        if condition.status != "True" {
            wrong.push(format!("{} is there and not True", condition.r#type));
        }
    }
    let Some(ready) = status.condition(ConditionType::Ready) else {
        wrong.push("Ready is missing".to_owned());
        return wrong;
    };
    let expected = match (reconciling, stalled) {
        (Some(_), _) => "Unknown",
        (None, Some(_)) => "False",
        (None, None) => "True",
    };
    if ready.status != expected {
        wrong.push(format!("Ready is {} and must be {expected} here", ready.status));
    }
    if let Some(copied) = reconciling.or(stalled)
        && (copied.reason != ready.reason || copied.message != ready.message)
    {
        wrong.push(format!("Ready does not copy reason and message of {}", copied.r#type));
    }
    if status.phase().is_some_and(crate::phase::Phase::is_terminal) && reconciling.is_some() {
        wrong.push("a terminal phase and Reconciling".to_owned());
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn every_standing_is_right_for_kstatus() {
        for standing in [Standing::Working, Standing::Stalled, Standing::Ended, Standing::Good] {
            let mut status = Status {
                observed_generation: 3,
                ..Status::default()
            };
            status.reset_stages(Reason::Pending, at(0));
            // From every earlier standing: what was left over must not survive.
            for earlier in [Standing::Good, Standing::Working, Standing::Stalled] {
                status.set_standing(earlier, Reason::RunningPreflight, "before", at(1));
                status.set_standing(standing, Reason::RunningPreflight, "now", at(2));
                assert_eq!(
                    kstatus_violations(3, &status),
                    Vec::<String>::new(),
                    "{standing:?} after {earlier:?}"
                );
            }
        }
    }

    #[test]
    fn the_check_sees_what_is_wrong() {
        let mut status = Status {
            observed_generation: 3,
            ..Status::default()
        };
        assert_eq!(kstatus_violations(3, &status), ["Ready is missing"]);
        status.set_standing(Standing::Working, Reason::Paused, "paused", at(0));
        status.set_condition(ConditionType::Stalled, Truth::True, Reason::Paused, "paused", at(0));
        assert!(
            kstatus_violations(3, &status)
                .iter()
                .any(|text| text.contains("together"))
        );
        status.clear_condition(ConditionType::Stalled);
        status.set_condition(ConditionType::Ready, Truth::False, Reason::Paused, "other", at(0));
        assert_eq!(kstatus_violations(2, &status).len(), 3);
    }

    #[test]
    fn the_transition_time_moves_only_with_the_value() {
        let mut status = Status::default();
        status.set_condition(ConditionType::Planned, Truth::Unknown, Reason::Pending, "a", at(0));
        status.set_condition(ConditionType::Planned, Truth::Unknown, Reason::Retrying, "b", at(5));
        assert_eq!(status.conditions[0].last_transition_time, Time::new(at(0)));
        status.set_condition(ConditionType::Planned, Truth::True, Reason::PlanReady, "c", at(9));
        assert_eq!(status.conditions[0].last_transition_time, Time::new(at(9)));
    }
}
