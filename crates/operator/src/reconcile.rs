//! One round: read, decide, record the intent, carry it out. Talks to master and seeds through its parts only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::decide::{Decision, decide, needs};
use kkp_upgrade_core::facts::Facts;
use kkp_upgrade_core::request::{Request, SpecError};
use kkp_upgrade_core::rules::risk_problems;
use kkp_upgrade_core::status::Status;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};

use crate::call::CallError;
use crate::context::Context;
use crate::{execute, observe, record, watches};

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
    let request = request(context, &object);
    let now = Timestamp::now();
    let needs = needs(request.as_ref().ok(), &status, &observe::object_facts(&object));
    // Reading changes nothing, so it can be given up at any point.
    let facts = tokio::select! {
        biased;
        facts = Box::pin(observe::all(context, &object, request.as_ref().ok(), &status, &needs, now)) => facts,
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
        Err(error) if !error.is_conflict() => context.refusals.note(&facts.object.uid, error.to_string()),
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

/// The spec, parsed; accepted risks must name rules that exist.
fn request(context: &Context, object: &KKPUpgradeObject) -> Result<Request, SpecError> {
    let spec = object.parse_spec().map_err(|error| SpecError {
        field: String::new(),
        problem: error.to_string(),
    })?;
    let request = Request::try_from(&spec)?;
    match risk_problems(context.catalogue, &request.accepted_risks).first() {
        Some(problem) => Err(SpecError {
            field: "acceptedRisks".to_owned(),
            problem: problem.to_string(),
        }),
        None => Ok(request),
    }
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
