//! How an upgrade would stand, in one word for programs and one line for people. Pure.

use kkp_upgrade_core::conditions::ConditionType;
use kkp_upgrade_core::decide::Preview;
use kkp_upgrade_core::reason::Reason;
use kkp_upgrade_core::rules::Finding;
use serde::Serialize;

use crate::console::Mark;
use crate::permission::is_explained;

/// How an upgrade would stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display)]
pub(crate) enum State {
    /// Every gate in front of the first change is open, or the plan of `mode: Plan` is ready.
    Ready,
    /// The platform runs the target already.
    NothingToDo,
    /// Nothing blocks, and a person or another upgrade is waited for.
    Waiting,
    /// Blockers stand that nobody has accepted.
    Blocked,
    /// The request cannot be carried out as it stands.
    Refused,
    /// What was seen is not enough for a verdict.
    Unclear,
    /// A run is under way: it has its plan.
    UnderWay,
}

impl State {
    pub(super) const fn mark(self) -> Mark {
        match self {
            Self::Ready | Self::NothingToDo => Mark::Good,
            Self::Waiting => Mark::Warning,
            Self::Blocked | Self::Refused => Mark::Bad,
            Self::Unclear => Mark::Unknown,
            Self::UnderWay => Mark::Info,
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::NothingToDo => "NOTHING TO DO",
            Self::Waiting => "WAITING",
            Self::Blocked => "BLOCKED",
            Self::Refused => "REFUSED",
            Self::Unclear => "UNCLEAR",
            Self::UnderWay => "UNDER WAY",
        }
    }
}

/// How an upgrade would stand, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    pub(crate) state: State,
    /// Reason that condition Ready would have; see the reference of reasons.
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Verdict {
    /// What a preview says, with findings in which missing rights are named.
    pub(super) fn of(preview: &Preview, findings: &[Finding]) -> Self {
        let ready = preview.status.condition(ConditionType::Ready);
        let (reason, message) = ready.map_or_else(
            || (String::new(), String::new()),
            |ready| (ready.reason.clone(), ready.message.clone()),
        );
        if preview.blocked.is_some() {
            return Self::blocked(findings);
        }
        let state = match reason.parse::<Reason>() {
            _ if preview.begins => State::Ready,
            Ok(Reason::PlanReady) => State::Ready,
            Ok(Reason::AlreadyAtTarget) => State::NothingToDo,
            Ok(Reason::AwaitingApproval | Reason::Paused | Reason::AnotherUpgradeRunning) => State::Waiting,
            Ok(Reason::ConvergingUserClusters) => State::UnderWay,
            Ok(Reason::InvalidSpec | Reason::WrongNamespace | Reason::DowngradeNotSupported) => State::Refused,
            Ok(_) | Err(_) => State::Unclear,
        };
        let message = if preview.begins {
            "nothing blocks: the operator would begin".to_owned()
        } else {
            message
        };
        Self { state, reason, message }
    }

    fn blocked(findings: &[Finding]) -> Self {
        let (unseen, real): (Vec<&Finding>, Vec<&Finding>) = findings
            .iter()
            .filter(|finding| finding.blocks())
            .partition(|finding| is_explained(finding));
        let (state, which) = if real.is_empty() {
            (State::Unclear, unseen)
        } else {
            (State::Blocked, real)
        };
        let more = which.len().saturating_sub(1);
        let more = if more == 0 {
            String::new()
        } else {
            format!(" (and {more} more)")
        };
        let message = which.first().map_or_else(String::new, |first| {
            format!("{}: {} {}{more}", first.rule, first.subject(), first.message)
        });
        Self {
            state,
            reason: Reason::PreflightBlocked.to_string(),
            message,
        }
    }
}
