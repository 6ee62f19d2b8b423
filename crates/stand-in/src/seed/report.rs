//! The wrapper around the controllers of user clusters: condition X is True if the reconciliation made no error and asked for
//! no other turn, at the version of this process. So a throttled cluster shows False with the **new** version
//! (KKP source, pkg/controller/util, `ClusterReconcileWrapper`). Paused and foreign clusters are not touched.

use std::future::Future;
use std::time::Duration;

use kube::api::DynamicObject;
use kube::runtime::controller::Action;

use super::context::Context;
use crate::Error;
use crate::apply::set_condition;
use crate::condition::Statement;

/// What a reconciliation came to.
pub(super) enum Outcome {
    /// All is as it should be.
    Done,
    /// Another turn is needed.
    Again(Duration),
}

/// Also a finished cluster is looked at now and then: the script may have changed.
const SAFETY_NET: Duration = Duration::from_secs(5);

/// Runs one reconciliation and writes its condition.
pub(super) async fn reported(
    context: &Context,
    cluster: &DynamicObject,
    condition: &str,
    reconciliation: impl Future<Output = Result<Outcome, Error>>,
) -> Result<Action, Error> {
    if !context.is_ours(cluster) {
        return Ok(Action::requeue(SAFETY_NET));
    }
    let outcome = reconciliation.await;
    if cluster.metadata.deletion_timestamp.is_none() {
        let message = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let statement = Statement {
            status: matches!(outcome, Ok(Outcome::Done)),
            reason: if message.is_empty() { "" } else { "ReconcilingError" },
            message: &message,
            kubermatic_version: Some(context.version()),
        };
        set_condition(&context.api(), cluster, condition, statement).await?;
    }
    outcome.map(|outcome| match outcome {
        Outcome::Done => Action::requeue(SAFETY_NET),
        Outcome::Again(after) => Action::requeue(after),
    })
}
