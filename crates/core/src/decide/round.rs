//! One round of deciding: the status as it will be, and the ways a round can end. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{Decision, Event, StepName, views};
use crate::conditions::{ConditionType, Standing, Truth};
use crate::effect::Effect;
use crate::facts::{Facts, Known, PlatformFacts};
use crate::phase::{Outcome, Phase};
use crate::reason::Reason;
use crate::request::{Request, SpecError};
use crate::status::{Ending, FailedIn, MESSAGE_BYTES, Status, Step, cut, message};
use crate::time::Time;
use crate::timing::Timing;

/// Most requests that a step holds in flight at a time is one; this is the state of making that decision.
pub(super) struct Round<'a> {
    pub(super) request: Result<&'a Request, &'a SpecError>,
    pub(super) before: &'a Status,
    pub(super) status: Status,
    pub(super) facts: &'a Facts,
    pub(super) timing: &'a Timing,
    events: Vec<Event>,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        request: Result<&'a Request, &'a SpecError>,
        before: &'a Status,
        facts: &'a Facts,
        timing: &'a Timing,
    ) -> Self {
        let mut status = before.clone();
        status.observed_generation = facts.object.generation;
        Self {
            request,
            before,
            status,
            facts,
            timing,
            events: Vec::new(),
        }
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.facts.now
    }

    pub(super) fn time(&self) -> Time {
        Time::new(self.facts.now)
    }

    pub(super) fn phase(&self) -> Phase {
        self.status.phase().unwrap_or(Phase::Pending)
    }

    pub(super) fn step(&self) -> Option<StepName> {
        self.status.step.as_ref().and_then(|step| step.name.parse().ok())
    }

    /// Makes `name` the current step; its clock and the progress clock start now.
    pub(super) fn enter_step(&mut self, name: StepName, target: Option<&str>) {
        let start_time = Some(self.time());
        self.status.step = Some(Step {
            name: name.to_string(),
            target: target.map(str::to_owned),
            start_time,
            holder: self.status.step.as_ref().and_then(|step| step.holder.clone()),
            ..Step::default()
        });
        self.status.last_progress_time = start_time;
    }

    pub(super) fn event(&mut self, warning: bool, reason: Reason, note: impl Into<String>) {
        let note = note.into();
        self.events.push(Event {
            warning,
            reason,
            note,
            seed: None,
        });
    }

    /// An event about one target; events of the same reason about several Seeds stay several.
    pub(super) fn event_about(&mut self, target: &str, reason: Reason, note: impl Into<String>) {
        let seed = (target != crate::plan::MASTER).then(|| target.to_owned());
        self.events.push(Event {
            warning: false,
            reason,
            note: note.into(),
            seed,
        });
    }

    pub(super) fn stage(&mut self, kind: ConditionType, truth: Truth, reason: Reason, text: &str) {
        let now = self.now();
        self.status.set_condition(kind, truth, reason, text, now);
    }

    /// Takes the transition that `outcome` means; a transition that does not exist is a defect that stops the run
    /// where it is instead of guessing.
    pub(super) fn advance(&mut self, outcome: Outcome) {
        let Some(next) = self.phase().next(outcome) else { return };
        self.status.phase = Some(next.to_string());
        self.status.phase_start_time = Some(self.time());
        self.status.last_progress_time = Some(self.time());
        self.status.step = None;
        self.status.evidence_since = None;
        self.status.unknown_since = None;
        self.status.insights.clear();
        if next.is_terminal() {
            self.status.completion_time = Some(self.time());
            self.status.locked = None;
        }
    }

    /// Notes how the run will end; what was borrowed is put back first.
    pub(super) fn begin_ending(&mut self, phase: Phase, reason: Reason, text: &str) {
        let text = message(text);
        if phase == Phase::Failed {
            let step = self.status.step.clone().unwrap_or_default();
            self.status.failed_in = Some(FailedIn {
                phase: self.phase().to_string(),
                step: step.name,
                target: step.target,
                attempt: step.attempt,
                reason: reason.to_string(),
                message: text.clone(),
            });
        }
        self.event(phase == Phase::Failed, reason, text.clone());
        self.status.ending = Some(Ending {
            result: phase.to_string(),
            reason: reason.to_string(),
            message: text,
        });
    }

    /// Ends the round: the operator works on, or waits for something.
    pub(super) fn working(self, reason: Reason, text: &str) -> Decision {
        let poll = self.timing.poll;
        self.stand(Standing::Working, reason, text, poll)
    }

    /// Ends the round: it waits for something that moves by itself. Nothing moving for the progress deadline is Stalled,
    /// and still watched.
    pub(super) fn watch(self, reason: Reason, text: &str) -> Decision {
        let deadline = self.progress_deadline();
        let silent = self
            .status
            .last_progress_time
            .is_some_and(|time| time.elapsed(self.now()) > deadline);
        if silent {
            let text = format!("no progress for {} s: {text}", deadline.as_secs());
            return self.stalled(Reason::ProgressDeadlineExceeded, &text);
        }
        self.working(reason, text)
    }

    /// Ends the round: something could not be read or done, and most of that passes by itself. What lasts is Stalled:
    /// before anything is changed after the grace, in a run after the progress deadline.
    pub(super) fn retrying(mut self, text: &str) -> Decision {
        let unknown_for = self.unknown_for();
        let (patience, reason) = if self.status.is_locked() || self.status.ending.is_some() {
            (self.progress_deadline(), Reason::ProgressDeadlineExceeded)
        } else {
            (self.timing.unknown_grace, Reason::PreflightBlocked)
        };
        if unknown_for >= patience {
            return self.stalled(reason, text);
        }
        self.working(Reason::Retrying, text)
    }

    /// For how long something has been unknown; the clock starts now where it does not run yet.
    pub(super) fn unknown_for(&mut self) -> Duration {
        let now = self.facts.now;
        self.status.unknown_since.get_or_insert(Time::new(now)).elapsed(now)
    }

    fn progress_deadline(&self) -> Duration {
        self.request
            .map_or(Duration::from_mins(30), |request| request.progress_deadline)
    }

    /// The spec and the platform, which every phase of a run needs.
    ///
    /// # Errors
    /// The decision that ends the round, where one of them cannot be read.
    pub(super) fn opening(self) -> Result<(Self, &'a Request, &'a PlatformFacts), Box<Decision>> {
        let request = match self.request {
            Ok(request) => request,
            Err(error) => return Err(Box::new(self.stalled(Reason::InvalidSpec, &error.to_string()))),
        };
        let facts = self.facts;
        match &facts.platform {
            Known::Is(platform) => Ok((self, request, platform)),
            unknown => {
                let text = format!("cannot read the platform: {}", unknown.why_not());
                Err(Box::new(self.retrying(&text)))
            }
        }
    }

    /// Ends the round like [`Round::working`] and looks again at once: the next decision needs other facts.
    pub(super) fn again(self, reason: Reason, text: &str) -> Decision {
        self.stand(Standing::Working, reason, text, Duration::ZERO)
    }

    /// Ends the round: a person has to act.
    pub(super) fn stalled(mut self, reason: Reason, text: &str) -> Decision {
        let name = reason.to_string();
        if self
            .before
            .condition(ConditionType::Stalled)
            .is_none_or(|condition| condition.reason != name)
        {
            self.event(true, reason, text);
        }
        let resync = self.timing.resync;
        self.stand(Standing::Stalled, reason, text, resync)
    }

    /// Ends the round of a run that has ended without success.
    pub(super) fn ended(self, reason: Reason, text: &str) -> Decision {
        let resync = self.timing.resync;
        self.stand(Standing::Ended, reason, text, resync)
    }

    /// Ends the round of a run that has ended well, or of a plan that is ready.
    pub(super) fn good(self, reason: Reason, text: &str) -> Decision {
        let resync = self.timing.resync;
        self.stand(Standing::Good, reason, text, resync)
    }

    /// Ends the round with an effect: the status that names it is written first, by this very process.
    pub(super) fn act(mut self, effect: Effect, reason: Reason, text: &str) -> Decision {
        let holder = self.facts.holder.clone();
        if let Some(step) = self.status.step.as_mut() {
            step.holder = Some(holder);
        } else {
            // An effect outside a step (finalizer, plan, lease) is named all the same.
            self.status.step = Some(Step {
                name: StepName::Queue.to_string(),
                holder: Some(holder),
                ..Step::default()
            });
        }
        let standing = match self.status.condition(ConditionType::Stalled) {
            Some(_) if self.phase().is_terminal() => Standing::Ended,
            _ if self.phase() == Phase::Done => Standing::Good,
            _ if self.phase().is_terminal() => Standing::Ended,
            _ => Standing::Working,
        };
        let mut decision = match &self.facts.refused {
            Some(why) if standing == Standing::Working => self.retrying(&format!("{text}: {why}")),
            _ => self.stand(standing, reason, text, Duration::ZERO),
        };
        decision.requeue = Duration::ZERO;
        decision.effect = Some(effect);
        decision
    }

    /// Ends the round with an effect that a person has to make possible first; it is tried all the same.
    pub(super) fn act_stalled(mut self, effect: Effect, reason: Reason, text: &str) -> Decision {
        let holder = Some(self.facts.holder.clone());
        if let Some(step) = self.status.step.as_mut() {
            step.holder = holder;
        }
        let mut decision = self.stalled(reason, text);
        decision.requeue = Duration::ZERO;
        decision.effect = Some(effect);
        decision
    }

    /// Ends the round with an effect that changes nothing about how the run stands: a blocked upgrade whose plan is
    /// written anew stays blocked.
    pub(super) fn act_blocked(mut self, effect: Effect, text: &str) -> Decision {
        let holder = Some(self.facts.holder.clone());
        self.status.step = Some(Step {
            name: StepName::Queue.to_string(),
            holder,
            ..Step::default()
        });
        let mut decision = self.stand(Standing::Stalled, Reason::PreflightBlocked, text, Duration::ZERO);
        decision.effect = Some(effect);
        decision
    }

    /// Ends the round without touching anything.
    pub(super) fn nothing(self) -> Decision {
        Decision {
            status: self.before.clone(),
            effect: None,
            requeue: self.timing.resync,
            events: Vec::new(),
        }
    }

    fn stand(mut self, standing: Standing, reason: Reason, text: &str, requeue: Duration) -> Decision {
        let now = self.now();
        let next = reason.next_step();
        if standing != Standing::Stalled && reason != Reason::Retrying {
            self.status.unknown_since = None;
        }
        let text = match standing {
            Standing::Stalled | Standing::Ended if !next.is_empty() && !text.contains(next) => {
                with_next_step(text, next)
            }
            Standing::Working if matches!(reason, Reason::Paused | Reason::AwaitingApproval) => {
                with_next_step(text, next)
            }
            _ => text.to_owned(),
        };
        views::refresh(&mut self);
        self.status.set_standing(standing, reason, &text, now);
        Decision {
            status: self.status,
            effect: None,
            requeue,
            events: self.events,
        }
    }
}

/// The text with what a person does about it behind it; a long text is cut, the next step never.
fn with_next_step(text: &str, next: &str) -> String {
    let room = MESSAGE_BYTES.saturating_sub(next.len() + "; ".len());
    format!("{}; {next}", cut(text, room))
}

/// Whether the difference between two statuses is an edge, which is written at once, or only counts, messages and
/// clocks that moved, which are written at most every few seconds.
#[must_use]
pub fn significant_change(old: &Status, new: &Status) -> bool {
    let essence = |status: &Status| {
        let mut essence = status.clone();
        essence.progress = None;
        essence.insights.clear();
        essence.last_progress_time = None;
        for target in &mut essence.targets {
            target.message.clear();
            target.user_clusters = None;
            target.etcd_backups = None;
        }
        for condition in &mut essence.conditions {
            condition.message.clear();
        }
        for finding in &mut essence.findings {
            finding.message.clear();
        }
        essence
    };
    essence(old) != essence(new)
}
