//! The only writer of a KKPUpgrade's status, and of its events. Talks to the master.
//!
//! Status is replaced as a whole, against the UID and resourceVersion that it was decided from: a write that comes too
//! late loses with a conflict, and everything is decided again.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kkp_upgrade_api::KKPUpgradeObject;
use kkp_upgrade_core::decide::{Decision, Event, significant_change};
use kkp_upgrade_core::effect::Effect;
use kkp_upgrade_core::status::Status;
use kube::api::PostParams;
use kube::runtime::events::{Event as KubernetesEvent, EventType};
use kube::{Api, Resource, ResourceExt};

use crate::call::{CallError, call};
use crate::context::{Context, FIELD_MANAGER};
use crate::lock;

/// Counts and messages alone are written at most this often.
const SMALL_CHANGES: Duration = Duration::from_secs(15);

/// When each status was last written by this process, by UID.
#[derive(Default)]
pub struct WriteClock(Mutex<BTreeMap<String, Instant>>);

impl WriteClock {
    fn due(&self, uid: &str) -> bool {
        let times = lock(&self.0);
        times.get(uid).is_none_or(|time| time.elapsed() >= SMALL_CHANGES)
    }

    fn note(&self, uid: &str) {
        lock(&self.0).insert(uid.to_owned(), Instant::now());
    }
}

/// An effect whose intent the API server has accepted. Only [`intent`] makes one, so no effect runs without it.
pub struct Intent<'a> {
    /// The KKPUpgrade as it is after the write.
    pub object: KKPUpgradeObject,
    /// What may now be done.
    pub effect: &'a Effect,
}

/// Writes the decided status where it differs, and always before an effect.
///
/// # Errors
/// When the write is refused; a conflict means that the world has moved on.
pub async fn intent<'a>(
    context: &Context,
    object: &KKPUpgradeObject,
    before: &Status,
    decision: &'a Decision,
) -> Result<Option<Intent<'a>>, CallError> {
    let uid = object.uid().unwrap_or_default();
    let first = object.status.is_null() || before.observed_generation != decision.status.observed_generation;
    let changed = first || *before != decision.status;
    let urgent = first || significant_change(before, &decision.status) || decision.effect.is_some();
    let written = if changed && (urgent || context.writes.due(&uid)) {
        let written = write(context, object, &decision.status).await?;
        context.writes.note(&uid);
        Some(written)
    } else {
        None
    };
    Ok(match (&decision.effect, written) {
        (Some(effect), Some(object)) => Some(Intent { object, effect }),
        _ => None,
    })
}

async fn write(context: &Context, object: &KKPUpgradeObject, status: &Status) -> Result<KKPUpgradeObject, CallError> {
    let name = object.name_any();
    let what = format!("status of KKPUpgrade {name}");
    let status = serde_json::to_value(status).map_err(|error| CallError::unusable(&what, error.to_string()))?;
    let mut body = serde_json::to_value(object).map_err(|error| CallError::unusable(&what, error.to_string()))?;
    if let Some(body) = body.as_object_mut() {
        body.insert("apiVersion".to_owned(), KKPUpgradeObject::api_version(&()).into());
        body.insert("kind".to_owned(), KKPUpgradeObject::kind(&()).into());
        body.insert("status".to_owned(), status);
    }
    let body = serde_json::to_vec(&body).map_err(|error| CallError::unusable(&what, error.to_string()))?;
    let request = kube::core::Request::new(KKPUpgradeObject::url_path(&(), object.namespace().as_deref()));
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let request = request
        .replace_subresource("status", &name, &parameters, body)
        .map_err(|error| CallError::unusable(&what, error.to_string()))?;
    call(what, context.client.request::<KKPUpgradeObject>(request)).await
}

/// Tells people. An event that cannot be written is logged and never stops a run.
pub async fn events(context: &Context, object: &KKPUpgradeObject, events: &[Event]) {
    let reference = object.object_ref(&());
    for event in events {
        tracing::info!(upgrade = %object.name_any(), reason = %event.reason, "{}", event.note);
        let published = KubernetesEvent {
            type_: if event.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: event.reason.to_string(),
            note: Some(kkp_upgrade_core::status::message(&event.note)),
            action: "Upgrade".to_owned(),
            secondary: event.seed.as_ref().map(|seed| ObjectReference {
                api_version: Some("kubermatic.k8c.io/v1".to_owned()),
                kind: Some("Seed".to_owned()),
                name: Some(seed.clone()),
                namespace: object.namespace(),
                ..ObjectReference::default()
            }),
        };
        if let Err(error) = call("event", context.recorder.publish(&published, &reference)).await {
            tracing::warn!(upgrade = %object.name_any(), %error, "an event could not be written");
        }
    }
}

/// The KKPUpgrade as it is now; `None` when it is gone.
///
/// # Errors
/// When it cannot be read.
pub async fn fresh(context: &Context, object: &KKPUpgradeObject) -> Result<Option<KKPUpgradeObject>, CallError> {
    let api = Api::<KKPUpgradeObject>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    call(
        format!("KKPUpgrade {}", object.name_any()),
        api.get_opt(&object.name_any()),
    )
    .await
}
