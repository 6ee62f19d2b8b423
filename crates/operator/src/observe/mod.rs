//! Looks at the world, reading only. What cannot be read is `Unknown` with its reason, never a default.

mod cluster_pieces;
mod config_map;
mod configuration;
mod installer;
mod job;
mod platform;
mod queue;
mod releases;
mod rule_facts;
mod rules;
mod survey;
#[cfg(test)]
mod tests;
mod user_clusters;

use jiff::Timestamp;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::decide::Needs;
use kkp_upgrade_core::facts::{Facts, Known, ObjectFacts};
use kkp_upgrade_core::request::Request;
use kkp_upgrade_core::status::Status;
use kube::ResourceExt;

use crate::call::CallError;
use crate::context::{ABORT_ANNOTATION, Context, FINALIZER, RELEASE_ANNOTATION, RETRY_ANNOTATION};

pub(crate) use cluster_pieces::{Change, ClusterPieces};
pub use installer::operator_image;
pub(crate) use job::ended;
pub use job::error_lines;
pub(crate) use survey::{NAME, OBJECTS};

/// The KKPUpgrade's own metadata.
#[must_use]
pub fn object_facts(object: &KKPUpgradeObject) -> ObjectFacts {
    let annotation = |key: &str| object.annotations().get(key).cloned();
    ObjectFacts {
        uid: object.uid().unwrap_or_default(),
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or(0),
        created: object
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        deleting: object.metadata.deletion_timestamp.is_some(),
        finalizer: object.finalizers().iter().any(|finalizer| finalizer == FINALIZER),
        retry: annotation(RETRY_ANNOTATION),
        abort: annotation(ABORT_ANNOTATION),
        release: annotation(RELEASE_ANNOTATION),
    }
}

/// Everything that this round needs to know.
pub async fn all(
    context: &Context,
    object: &KKPUpgradeObject,
    request: Option<&Request>,
    status: &Status,
    needs: &Needs,
    now: Timestamp,
) -> Facts {
    let facts = object_facts(object);
    let found = configuration::find(context).await;
    let platform_namespace = match &found {
        Ok(found) => Known::Is(found.namespace.clone()),
        Err(error) => Known::Unknown(error.to_string()),
    };
    let (platform, findings) = match (&found, needs.platform) {
        (Ok(found), true) => platform::read(context, found, request, status, needs, now).await,
        (Err(error), true) => (Known::Unknown(error.to_string()), Known::Unknown(error.to_string())),
        (_, false) => (Known::NotRead, Known::NotRead),
    };
    let (lease, others) = if needs.queue {
        queue::read(context, &facts).await
    } else {
        (Known::NotRead, Known::NotRead)
    };
    let job = match &needs.job {
        Some(name) => known(job::read(context, name, status, &facts.uid).await),
        None => Known::NotRead,
    };
    let plan = match &needs.plan {
        Some(name) => known(config_map::read_digest(context, name, &facts.uid).await),
        None => Known::NotRead,
    };
    Facts {
        now,
        plan,
        refused: context.refusals.why(&facts.uid),
        holder: context.next_holder(),
        object: facts,
        platform_namespace,
        platform,
        findings,
        others,
        lease,
        job,
    }
}

/// A call's answer as a fact.
fn known<T>(result: Result<T, CallError>) -> Known<T> {
    result.map_or_else(|error| Known::Unknown(error.to_string()), Known::Is)
}
