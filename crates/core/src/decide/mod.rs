//! The decision of one round: facts in, new status and at most one effect out. Pure.
//!
//! `decide` is the whole machine. The shell carries out what it says and never branches on a phase.

mod backup;
mod consent;
mod deploying;
mod ending;
mod fixes;
mod gates;
mod hop;
mod identity;
mod needs;
mod preflight;
mod prepare;
mod preview;
mod retention;
mod round;
mod start;
mod terminal;
#[cfg(test)]
mod tests;
mod throttle;
mod verifying;
mod views;

use std::time::Duration;

use crate::effect::Effect;
use crate::facts::Facts;
use crate::phase::Phase;
use crate::reason::Reason;
use crate::request::{Request, SpecError};
use crate::status::Status;
use crate::timing::Timing;

pub use hop::hop_seconds;
pub use needs::{Needs, RuleNeeds, needs, waits_for_queue};
pub use preflight::earlier_hops;
pub use preview::{Preview, preview, preview_basis, preview_needs};
pub use round::significant_change;

use round::Round;

/// What is to be done now.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a decision that is not recorded has not been made"]
pub struct Decision {
    /// The whole new status; written before the effect, against the resourceVersion it was decided from.
    pub status: Status,
    /// At most one effect.
    pub effect: Option<Effect>,
    /// When to look again if nothing is reported earlier; zero = at once.
    pub requeue: Duration,
    /// What people are told, once each.
    pub events: Vec<Event>,
}

impl Decision {
    /// Whether a run goes on, so that changes on the platform are worth to be told.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.status.phase().is_some_and(|phase| !phase.is_terminal()) || self.status.is_locked()
    }

    /// Whether the run was over before, with everything given back, and stays so: no Job of it is wanted any more.
    #[must_use]
    pub fn leaves_at_rest(&self, before: &Status) -> bool {
        before.has_ended() && before.step.is_none() && self.effect.is_none() && before.phase == self.status.phase
    }
}

/// An event on the KKPUpgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whether it is a warning.
    pub warning: bool,
    /// Reason, from the one list of reasons.
    pub reason: Reason,
    /// For people.
    pub note: String,
    /// The Seed that it is about, where it is about one.
    pub seed: Option<String>,
}

/// The step inside a phase: the cursor in `status.step.name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantNames)]
pub(crate) enum StepName {
    /// Waiting for the platform's lease.
    Queue,
    /// Backup of one target.
    Backup,
    /// Etcds of user clusters are backed up by KKP.
    EtcdBackups,
    /// The limit is written and rolled out.
    Throttle,
    /// Fixes that were asked for are made.
    Prepare,
    /// The installer runs on the master.
    Master,
    /// Master components roll out.
    MasterEvidence,
    /// Seeds roll out.
    Seeds,
    /// User clusters converge.
    UserClusters,
    /// All evidence is watched for the soak time.
    Verify,
    /// What was borrowed is put back.
    PutBack,
    /// Older backups are removed, after the run is done.
    Retention,
}

/// Names of all steps, as `status.step.name` has them.
#[must_use]
pub const fn step_names() -> &'static [&'static str] {
    <StepName as strum::VariantNames>::VARIANTS
}

/// What status says about where the run is and this program does not know: to guess could start something twice.
fn unknown_cursor(status: &Status) -> Option<String> {
    let phase = status.phase.as_deref().filter(|phase| phase.parse::<Phase>().is_err());
    let step = status.step.as_ref().map(|step| step.name.as_str());
    let step = step.filter(|step| !step.is_empty() && step.parse::<StepName>().is_err());
    match (phase, step) {
        (Some(phase), _) => Some(format!("status.phase `{phase}` is none that this operator knows")),
        (None, Some(step)) => Some(format!("status.step.name `{step}` is none that this operator knows")),
        (None, None) => None,
    }
}

/// Decides one round.
///
/// `request` is the parsed spec or what is wrong with it; `status` is the freshly read status that the answer will be
/// written against.
pub fn decide(request: Result<&Request, &SpecError>, status: &Status, facts: &Facts, timing: &Timing) -> Decision {
    let facts = identity::checked(status, facts);
    let mut decision = step(request, status, &facts, timing);
    identity::note(status, &mut decision.status, &facts);
    decision
}

fn step(request: Result<&Request, &SpecError>, status: &Status, facts: &Facts, timing: &Timing) -> Decision {
    let round = Round::new(request, status, facts, timing);
    if facts.object.deleting && !facts.object.finalizer {
        return round.nothing();
    }
    let mut round = match start::place_and_spec(round) {
        Ok(round) => round,
        Err(decision) => return *decision,
    };
    start::answer_commands(&mut round);
    if round.status.ending.is_some() {
        return ending::put_back(round);
    }
    if let Some(text) = unknown_cursor(status) {
        return round.stalled(Reason::UnknownStatus, &text);
    }
    if let Some(effect) = start::retake_lease(&round) {
        round.event(true, Reason::Retrying, start::LEASE_LOST);
        return round.act(effect, Reason::Retrying, start::LEASE_LOST);
    }
    match round.phase() {
        Phase::Pending => start::pending(round),
        Phase::Preflight => preflight::decide(round),
        Phase::Backup => backup::decide(round),
        Phase::Deploying => deploying::decide(round),
        Phase::Verifying => verifying::decide(round),
        Phase::Done | Phase::Failed | Phase::Aborted => terminal::decide(round),
    }
}
