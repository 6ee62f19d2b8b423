//! Looks at the world, reading only. What cannot be read is `Unknown` with its reason, never a default.

mod backup_key;
mod capacity;
mod cluster_pieces;
mod config_map;
mod configuration;
mod entrance;
mod etcd;
mod inside;
mod installer;
mod job;
pub(crate) mod kinds;
mod login;
mod login_issuer;
mod marked;
mod objects;
mod observer;
mod place;
mod places;
mod platform;
mod queue;
mod recent;
mod releases;
mod rights;
mod rule_facts;
mod rules;
mod seed_item;
mod seeds;
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
use crate::catalogue::Snapshot;
use crate::context::{ABORT_ANNOTATION, APPROVE_ANNOTATION, Context, FINALIZER, RELEASE_ANNOTATION, RETRY_ANNOTATION};

pub(crate) use cluster_pieces::{Change, ClusterPieces};
pub use installer::operator_image;
pub(crate) use job::ended;
pub use job::error_lines;
pub use observer::{Observer, WriteChecks};
pub(crate) use recent::{RECENT, RecentLook};
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
        approve: annotation(APPROVE_ANNOTATION),
        approve_manager: manager_of(object, APPROVE_ANNOTATION),
    }
}

/// The field manager that says it wrote an annotation.
fn manager_of(object: &KKPUpgradeObject, annotation: &str) -> Option<String> {
    let wrote = |fields: &serde_json::Value| {
        let annotations = fields
            .get("f:metadata")
            .and_then(|metadata| metadata.get("f:annotations"));
        annotations.is_some_and(|annotations| annotations.get(format!("f:{annotation}")).is_some())
    };
    let entries = object.metadata.managed_fields.iter().flatten();
    let mut entries = entries.filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| wrote(&fields.0)));
    entries.next().and_then(|entry| entry.manager.clone())
}

/// Everything that this round of the operator needs to know.
pub async fn all(
    context: &Context,
    object: &KKPUpgradeObject,
    request: Option<&Request>,
    status: &Status,
    needs: &Needs,
    catalogue: &Known<Snapshot>,
    now: Timestamp,
) -> Facts {
    let facts = object_facts(object);
    Facts {
        refused: context.refusals.why(&facts.uid),
        refusal_stands: context.refusals.is_meant(&facts.uid),
        holder: context.next_holder(),
        ..look(&context.observer(catalogue), facts, request, status, needs, now).await
    }
}

/// Everything that can be read, by whomever. Only the operator is a holder and has been refused something.
pub async fn look(
    observer: &Observer<'_>,
    object: ObjectFacts,
    request: Option<&Request>,
    status: &Status,
    needs: &Needs,
    now: Timestamp,
) -> Facts {
    let found = configuration::find(observer).await;
    let platform_namespace = match &found {
        Ok(found) => Known::Is(found.namespace.clone()),
        Err(error) => Known::Unknown(error.to_string()),
    };
    let (platform, findings) = match (&found, needs.platform) {
        (Ok(found), true) => platform::read(observer, found, (&object.uid, request), status, needs, now).await,
        (Err(error), true) => (Known::Unknown(error.to_string()), Known::Unknown(error.to_string())),
        (_, false) => (Known::NotRead, Known::NotRead),
    };
    let etcd = match (&platform, needs.etcd) {
        (Known::Is(platform), Some(run)) => {
            Known::Is(Box::pin(etcd::read(observer, platform, (&object.uid, run))).await)
        }
        (unread, Some(_)) => Known::Unknown(unread.why_not().to_owned()),
        (_, None) => Known::NotRead,
    };
    let marked = match (&found, needs.marked) {
        (Ok(found), true) => known(Box::pin(marked::read(observer, found, status)).await),
        (Err(error), true) => Known::Unknown(error.to_string()),
        (_, false) => Known::NotRead,
    };
    let (lease, others) = if needs.queue {
        queue::read(observer, &object).await
    } else {
        (Known::NotRead, Known::NotRead)
    };
    let job = match &needs.job {
        Some(name) => known(job::read(observer, name, status, &object.uid).await),
        None => Known::NotRead,
    };
    let plan = match &needs.plan {
        Some(name) => known(config_map::read_digest(observer, name, &object.uid).await),
        None => Known::NotRead,
    };
    Facts {
        now,
        plan,
        refused: None,
        refusal_stands: false,
        holder: String::new(),
        object,
        marked,
        etcd,
        platform_namespace,
        platform,
        findings,
        catalogue: observer
            .catalogue
            .value()
            .map(|snapshot| snapshot.catalogue.identity().clone()),
        others,
        lease,
        job,
    }
}

/// A call's answer as a fact.
pub(crate) fn known<T>(result: Result<T, CallError>) -> Known<T> {
    result.map_or_else(|error| Known::Unknown(error.to_string()), Known::Is)
}
