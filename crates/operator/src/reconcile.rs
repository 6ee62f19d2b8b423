//! One round: read, decide, record the intent, carry it out. Talks to master and seeds through its parts only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::decide::{Decision, decide, needs};
use kkp_upgrade_core::facts::{Facts, Known};
use kkp_upgrade_core::request::{Request, SpecError};
use kkp_upgrade_core::status::Status;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};

use crate::call::CallError;
use crate::context::Context;
use crate::{catalogue, execute, observe, record, watches};

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A status that this program cannot read is never written over: it may be a newer operator's.
    #[error("{0}")]
    Status(#[from] kkp_upgrade_api::ParseError),
}

/// Shortest pause between two rounds of one object: lets the watch deliver what the round has just written.
const BREATH: Duration = Duration::from_millis(20);

/// One round for one KKPUpgrade.
///
/// # Errors
/// When something could not be read or written; the round is made again.
pub async fn reconcile(object: Arc<KKPUpgradeObject>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    context.health.beat();
    let result = Box::pin(round(&object, &context)).await;
    let label = match &result {
        Ok(_) => "success",
        Err(ReconcileError::Call(error)) if error.is_conflict() => "conflict",
        Err(_) => "error",
    };
    context.metrics.reconciled(began.elapsed(), label);
    result
}

async fn round(object: &KKPUpgradeObject, context: &Context) -> Result<Action, ReconcileError> {
    let Some(object) = record::fresh(context, object).await? else {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        context.metrics.forget(&namespace, &name);
        context.trigger.forget(&namespace, &name);
        context.refusals.forget(&object.uid().unwrap_or_default());
        return Ok(Action::await_change());
    };
    let status = object.parse_status()?.unwrap_or_default();
    // Reading changes nothing, so it can be given up at any point.
    let (request, facts) = tokio::select! {
        biased;
        seen = Box::pin(look(context, &object, &status)) => seen,
        () = context.trigger.end_wanted(&object) => return Ok(Action::requeue(BREATH)),
    };
    let decision = decide(request.as_ref(), &status, &facts, &context.timing);
    let intent = record::intent(context, &object, &status, &decision).await?;
    record::events(context, &object, &decision.events).await;
    if let Some(intent) = intent {
        tracing::debug!(upgrade = %object.name_any(), effect = ?intent.effect, "carrying out");
        carry_out(context, &intent, &facts).await?;
        context.trigger.all();
    }
    after(context, &object, &status, &decision).await;
    Ok(Action::requeue(decision.requeue.max(BREATH)))
}

/// Carries the effect out, and remembers a refusal for the next round's status. A lost race is none: everything is
/// decided again.
async fn carry_out(context: &Context, intent: &record::Intent<'_>, facts: &Facts) -> Result<(), CallError> {
    let result = execute::run(context, &intent.object, facts, intent.effect).await;
    match &result {
        Err(error) if !error.is_conflict() => {
            let meant = matches!(error.code(), Some(400 | 403 | 422));
            context.refusals.note(&facts.object.uid, error.to_string(), meant);
        }
        _ => context.refusals.forget(&facts.object.uid),
    }
    result
}

/// What people and watches get from a round that has been recorded.
async fn after(context: &Context, object: &KKPUpgradeObject, before: &Status, decision: &Decision) {
    if before.phase != decision.status.phase {
        // The end of one run is the beginning of the next one's turn.
        context.trigger.all();
    }
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    context.metrics.observe_status(&namespace, &name, &decision.status);
    watches::follow_seeds(context, &watches::key(&namespace, &name), decision.goes_on()).await;
    let uid = object.uid().unwrap_or_default();
    if decision.leaves_at_rest(before) {
        let jobs = Api::<Job>::namespaced(context.client.clone(), &context.namespace);
        if let Err(error) = execute::job::remove_late(&jobs, &uid).await {
            tracing::warn!(upgrade = name, %error, "late Jobs could not be removed");
        }
    }
}

/// Everything that this round needs to know, by one catalogue.
async fn look(context: &Context, object: &KKPUpgradeObject, status: &Status) -> (Result<Request, SpecError>, Facts) {
    let now = Timestamp::now();
    let spec = request(object);
    let own = observe::object_facts(object);
    let needed = needs(spec.as_ref().ok(), status, &own);
    let evaluates = needed.rules.is_some() || needed.route;
    let names_rules = spec
        .as_ref()
        .is_ok_and(|request| !request.accepted_risks.is_empty() || !request.fixes.is_empty());
    let catalogue = if evaluates || names_rules {
        observe::known(catalogue::read(context).await)
    } else {
        Known::NotRead
    };
    let request = spec.and_then(|request| catalogue::check_rules(request, &catalogue));
    let valid = request.as_ref().ok();
    let needs = needs(valid, status, &own);
    let facts = Box::pin(observe::all(context, object, valid, status, &needs, &catalogue, now)).await;
    (request, facts)
}

/// The spec, parsed.
///
/// # Errors
/// The first field that cannot be carried out.
pub fn request(object: &KKPUpgradeObject) -> Result<Request, SpecError> {
    let spec = object.parse_spec().map_err(|error| SpecError {
        field: String::new(),
        problem: error.to_string(),
    })?;
    Request::try_from(&spec)
}

/// What to do after an error: a lost race is looked at again at once, everything else after a pause.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "the signature that the controller calls")]
pub fn error_policy(object: Arc<KKPUpgradeObject>, error: &ReconcileError, context: Arc<Context>) -> Action {
    match error {
        ReconcileError::Call(error) if error.is_conflict() => Action::requeue(BREATH),
        ReconcileError::Call(error) => {
            tracing::warn!(upgrade = %object.name_any(), %error, "a round failed");
            let pause = context.refusals.pause(&object.uid().unwrap_or_default());
            Action::requeue(pause.unwrap_or(context.timing.poll.min(Duration::from_secs(5))))
        }
        ReconcileError::Status(error) => {
            tracing::error!(upgrade = %object.name_any(), %error, "left alone");
            Action::requeue(context.timing.resync)
        }
    }
}
