//! The beginning of a run, and the commands that people give. Pure.

use super::{Decision, hop, round::Round};
use crate::effect::Effect;
use crate::facts::{Known, ObjectFacts};
use crate::phase::{Outcome, Phase};
use crate::reason::Reason;
use crate::request::Request;
use crate::status::{Status, message};

/// What must be right before anything else is looked at: namespace and spec.
///
/// # Errors
/// The decision that ends the round, where one of them is wrong.
pub(super) fn place_and_spec(mut round: Round<'_>) -> Result<Round<'_>, Box<Decision>> {
    let first_look = round.status.phase.is_none();
    if first_look {
        // Commands that were there before the operator ever saw the object are old news (a restored or re-applied
        // object): they are answered, not executed.
        let object = &round.facts.object;
        round.status.last_handled_retry = object.retry.as_deref().map(message);
        round.status.last_handled_abort = object.abort.as_deref().map(message);
        round.status.last_handled_release = object.release.as_deref().map(message);
        round.status.phase = Some(Phase::Pending.to_string());
        let now = round.now();
        round.status.reset_stages(Reason::Pending, now);
    }
    if round.status.is_locked() || round.status.ending.is_some() {
        start_over_is_abort(&mut round);
        return Ok(round);
    }
    let object = &round.facts.object;
    if object.deleting || new_token(object.abort.as_ref(), round.status.last_handled_abort.as_ref()).is_some() {
        // The way out needs neither a right spec nor a readable platform: a finalizer must never hang on them.
        return Ok(round);
    }
    match &round.facts.platform_namespace {
        Known::Is(namespace) if *namespace != round.facts.object.namespace => {
            let text = format!(
                "a KKPUpgrade is honoured only in namespace `{namespace}`, where the KubermaticConfiguration is; this one is in `{}`",
                round.facts.object.namespace
            );
            return Err(Box::new(round.stalled(Reason::WrongNamespace, &text)));
        }
        Known::Is(_) => {}
        unknown => {
            let text = format!("cannot find the KubermaticConfiguration: {}", unknown.why_not());
            return Err(Box::new(round.retrying(&text)));
        }
    }
    match round.request {
        Err(error) => {
            let text = error.to_string();
            Err(Box::new(round.stalled(Reason::InvalidSpec, &text)))
        }
        Ok(request) => {
            begin_run(&mut round, request);
            Ok(round)
        }
    }
}

/// Whether the platform's lease is this KKPUpgrade's.
fn holds_lease(round: &Round<'_>) -> bool {
    let holder = round.facts.lease.value().and_then(|lease| lease.holder.as_deref());
    holder == Some(round.facts.object.uid.as_str())
}

/// The effect that gives the platform's lease back, where it is ours: who waits for a person holds nothing.
pub(super) fn give_back_lease(round: &Round<'_>) -> Option<Effect> {
    if !holds_lease(round) {
        return None;
    }
    let resource_version = round.facts.lease.value()?.resource_version.clone()?;
    Some(Effect::ReleaseLease { resource_version })
}

/// What is said when the platform's lease of a run was removed or written over.
pub(super) const LEASE_LOST: &str =
    "Lease kkp-upgrade-active was removed or written over by somebody else: taking it again";

/// The effect that takes the platform's lease again, where a run goes on and its lease is somebody else's or nobody's. It
/// is what tells the others to wait, and what is given back at the end.
pub(super) fn retake_lease(round: &Round<'_>) -> Option<Effect> {
    let runs = !matches!(round.phase(), Phase::Pending) && !round.phase().is_terminal();
    if !runs || !round.status.is_locked() || holds_lease(round) {
        return None;
    }
    let (lease, others) = (round.facts.lease.value()?, round.facts.others.value()?);
    // One that may run as well, by whatever accident, is not robbed: the two would take it from each other for ever.
    let robbed = others
        .iter()
        .any(|other| lease.holder.as_deref() == Some(&*other.uid) && !other.terminal);
    (!robbed).then(|| Effect::AcquireLease {
        resource_version: lease.resource_version.clone(),
    })
}

/// Starts a run where this spec asks for another one than status remembers.
fn begin_run(round: &mut Round<'_>, request: &Request) {
    let identity = request.identity();
    if round.status.run_identity.as_deref() == Some(identity.as_str()) {
        return;
    }
    let ended = round.phase().is_terminal();
    let works = round.status.step.as_ref().is_some_and(|step| step.job.is_some());
    if ended && (works || holds_lease(round)) {
        // The ended run gives the platform back first, and removes its Job: the new one may stop before it needs it.
        return;
    }
    let held = round.status.owes();
    if held {
        // What an ended run still holds stays noted; the new run adopts it.
        round.event(
            true,
            Reason::HeldAfterFailure,
            "the new run adopts what the last one left changed",
        );
    }
    round.advance(Outcome::NewRun);
    // Job names count from the run's number: a run that has started Jobs never shares it with another one.
    let run = if ended || round.status.run_id.is_none() || !round.status.targets.is_empty() {
        round.status.run().saturating_add(1)
    } else {
        round.status.run()
    };
    let status = &round.status;
    let fresh = Status {
        observed_generation: status.observed_generation,
        conditions: status.conditions.clone(),
        phase: Some(Phase::Pending.to_string()),
        run_id: Some(run),
        run_identity: Some(identity),
        current_version: status.current_version.clone(),
        target_version: Some(request.target.to_string()),
        throttle: status.throttle.clone().filter(|_| held),
        point_of_no_return: status.point_of_no_return.clone().filter(|_| held),
        changes: status
            .changes
            .iter()
            .filter(|change| !change.permanent)
            .cloned()
            .collect(),
        history: status.history.clone(),
        start_time: Some(round.time()),
        phase_start_time: Some(round.time()),
        last_progress_time: Some(round.time()),
        last_handled_retry: status.last_handled_retry.clone(),
        last_handled_abort: status.last_handled_abort.clone(),
        last_handled_release: status.last_handled_release.clone(),
        last_handled_approve: status.last_handled_approve.clone(),
        ..Status::default()
    };
    round.status = fresh;
    let now = round.now();
    round.status.reset_stages(Reason::Pending, now);
    round.event(
        false,
        Reason::Pending,
        format!("run {run}: upgrade to {} accepted", request.target),
    );
}

/// While locked, the only other target that admission lets through is the version the run came from: that is an abort
/// by Git.
fn start_over_is_abort(round: &mut Round<'_>) {
    let Ok(request) = round.request else { return };
    let target = request.target.to_string();
    let elsewhere = round.status.target_version.as_deref() != Some(target.as_str());
    if elsewhere && round.status.ending.is_none() && round.status.is_locked() {
        let text = format!("spec.targetVersion went back to {target}");
        if hop::out_of_reach(&round.status, request.target) {
            // The platform cannot follow: the run stays Aborted instead of starting over towards an older version.
            round.status.run_identity = Some(request.identity());
        }
        round.begin_ending(Phase::Aborted, Reason::Aborted, &text);
    }
}

/// Answers each command token once. Abort beats everything else.
pub(super) fn answer_commands(round: &mut Round<'_>) {
    let object = round.facts.object.clone();
    let mut aborted = false;
    let running = !round.phase().is_terminal();
    if object.deleting && running && round.status.ending.is_none() {
        round.begin_ending(Phase::Aborted, Reason::Aborted, "the KKPUpgrade is being deleted");
    }
    if let Some(token) = new_token(object.abort.as_ref(), round.status.last_handled_abort.as_ref()) {
        round.status.last_handled_abort = Some(token);
        aborted = true;
        if running && round.status.ending.is_none() {
            round.begin_ending(
                Phase::Aborted,
                Reason::Aborted,
                "aborted by annotation upgrade.k8c.io/abort",
            );
        }
    }
    if let Some(token) = new_token(object.retry.as_ref(), round.status.last_handled_retry.as_ref()) {
        round.status.last_handled_retry = Some(token);
        if matches!(round.phase(), Phase::Failed | Phase::Aborted) && !object.deleting && !aborted {
            retry(round);
        }
    }
    if let Some(token) = new_token(object.release.as_ref(), round.status.last_handled_release.as_ref()) {
        round.status.last_handled_release = Some(token);
        if round.phase().is_terminal()
            && let Some(throttle) = round.status.throttle.as_mut()
        {
            super::throttle::RELEASED.clone_into(&mut throttle.state);
        }
    }
}

/// Whether this round is the first to see that a run is to end.
pub(super) fn end_wanted(status: &Status, object: &ObjectFacts) -> bool {
    let running = status.phase().is_some_and(|phase| !phase.is_terminal());
    let aborted = new_token(object.abort.as_ref(), status.last_handled_abort.as_ref()).is_some();
    running && status.ending.is_none() && (aborted || object.deleting)
}

fn new_token(given: Option<&String>, handled: Option<&String>) -> Option<String> {
    // Cut like every text in status: a token over the schema's length would make each write fail.
    given
        .map(|token| message(token))
        .filter(|token| !token.is_empty() && handled != Some(token))
}

/// Goes back to Preflight of the same hop; what is proven done is not done again.
fn retry(round: &mut Round<'_>) {
    round.advance(Outcome::Retried);
    round.status.hop_start_time = None;
    round.status.ending = None;
    round.status.failed_in = None;
    round.status.fixing.clear();
    round.status.completion_time = None;
    let now = round.now();
    round.status.reset_stages(Reason::Pending, now);
    round.event(false, Reason::RunningPreflight, "retry: looking at the platform again");
}

/// Pending: what the versions alone can tell.
pub(super) fn pending(mut round: Round<'_>) -> Decision {
    let Ok(request) = round.request else {
        return round.nothing();
    };
    let platform = match &round.facts.platform {
        Known::Is(platform) => platform,
        unknown => {
            let text = format!("cannot read the platform: {}", unknown.why_not());
            return round.retrying(&text);
        }
    };
    let Some(running) = platform.version else {
        let text = "the KubermaticConfiguration has no status.kubermaticVersion yet: is the master-controller-manager running?";
        return round.retrying(text);
    };
    // What the platform says of itself turns early: it never moves a version that was verified before.
    round.status.current_version.get_or_insert_with(|| running.to_string());
    if request.target < running {
        if let Some(effect) = give_back_lease(&round) {
            return round.act(effect, Reason::Pending, "giving the platform's lease back");
        }
        let text = message(&format!(
            "the platform runs {running}; spec.targetVersion {} is older",
            request.target
        ));
        return round.stalled(Reason::DowngradeNotSupported, &text);
    }
    if platform.route.value().is_none() {
        let text = format!("the route cannot be made: {}", platform.route.why_not());
        return round.retrying(&text);
    }
    if let Some(text) = hop::wrong_via(platform) {
        return round.stalled(Reason::InvalidSpec, &text);
    }
    if round.before.phase.is_none() || round.before.run_identity != round.status.run_identity {
        // One write that shows the new run before the first long look.
        return round.again(Reason::Pending, &format!("upgrade to {} accepted", request.target));
    }
    round.advance(Outcome::Succeeded);
    hop::freeze(&mut round, request, platform);
    round.again(Reason::RunningPreflight, "reading master and seeds")
}
