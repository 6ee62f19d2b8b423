//! Writing to the cluster: one object per call, each with a deadline, never faster than the bound, never a deletion.
//!
//! Talks to the cluster. Must never let a word of a Secret into a message: the API server quotes values in its refusals.

use std::time::Duration;

use http::Method;
use kube::Client;
use kube::core::Status;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::archive::StoredObject;
use super::error::RestoreError;
use crate::discovery::Resource;

/// Who writes, in `managedFields`.
const FIELD_MANAGER: &str = "kkp-upgrade-restore";
/// Longest text of an API server that is passed on, in characters.
const LONGEST_TEXT: usize = 300;

/// How the cluster is written to.
#[derive(Debug, Clone, Copy)]
pub struct WriteLimits {
    /// Most writes and dry runs per second.
    pub rate: u32,
    /// For each single call.
    pub deadline: Duration,
    /// Pause before a write is tried again, and between two looks at a CRD.
    pub pause: Duration,
    /// How long a CRD may take to be established.
    pub established: Duration,
}

impl Default for WriteLimits {
    fn default() -> Self {
        Self {
            rate: 20,
            deadline: Duration::from_secs(30),
            pause: Duration::from_secs(1),
            established: Duration::from_mins(1),
        }
    }
}

/// A cluster that is written to.
pub(crate) struct Target {
    client: Client,
    pub(crate) limits: WriteLimits,
    pace: Mutex<Interval>,
}

/// Why the API server did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallFailure {
    /// 404.
    Missing(String),
    /// 409: another version, or there already.
    Conflict,
    /// 401 or 403 of the API server's own authorization.
    Forbidden(String),
    /// A webhook does not answer.
    Webhook(String),
    /// The object is not accepted.
    Refused(String),
    /// No answer, or one that says to come again.
    Unavailable(String),
}

impl CallFailure {
    /// As the end of the restore.
    pub(crate) fn fatal(self, object: String) -> RestoreError {
        match self {
            Self::Webhook(message) => RestoreError::Admission { object, message },
            Self::Forbidden(message) => RestoreError::Forbidden { object, message },
            Self::Conflict => RestoreError::Unavailable {
                object,
                message: "it is written again and again by others".to_owned(),
            },
            Self::Missing(message) | Self::Refused(message) | Self::Unavailable(message) => {
                RestoreError::Unavailable { object, message }
            }
        }
    }
}

/// What is asked of the API server for one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Create it.
    Create,
    /// Write it, at the version in its metadata.
    Update,
    /// Write its status, at the version in its metadata.
    Status,
}

impl Target {
    pub(crate) fn new(client: Client, limits: WriteLimits) -> Self {
        let mut pace = interval(Duration::from_secs(1) / limits.rate.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            client,
            limits,
            pace: Mutex::new(pace),
        }
    }

    /// The object as it lives; `None` where there is none.
    pub(crate) async fn live(&self, object: &StoredObject) -> Result<Option<Value>, RestoreError> {
        let path = object_address(&object.resource, object.namespace.as_deref(), &object.name);
        self.read(&path, &object.label()).await
    }

    /// Any document; `None` where there is none.
    pub(crate) async fn read(&self, path: &str, label: &str) -> Result<Option<Value>, RestoreError> {
        let mut tries = 0;
        loop {
            match self.call(Method::GET, path, None, true).await {
                Ok(value) => return Ok(Some(value)),
                Err(CallFailure::Missing(_)) => return Ok(None),
                Err(CallFailure::Unavailable(_)) if tries < 2 => tries += 1,
                Err(failure) => return Err(failure.fatal(label.to_owned())),
            }
            tokio::time::sleep(self.limits.pause).await;
        }
    }

    /// Writes the object, or only asks whether that would be accepted.
    pub(crate) async fn write(
        &self,
        object: &StoredObject,
        ask: Ask,
        body: &Value,
        dry_run: bool,
    ) -> Result<Value, CallFailure> {
        self.pace.lock().await.tick().await;
        let (resource, namespace) = (&object.resource, object.namespace.as_deref());
        let own = object_address(resource, namespace, &object.name);
        let (method, path) = match ask {
            Ask::Create => (Method::POST, collection_address(resource, namespace)),
            Ask::Update => (Method::PUT, own),
            Ask::Status => (Method::PUT, format!("{own}/status")),
        };
        // Strict: a field that is no longer known would be dropped without a word.
        let dry = if dry_run { "&dryRun=All" } else { "" };
        let address = format!("{path}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict{dry}");
        self.call(method, &address, Some(body), may_be_quoted(resource)).await
    }

    async fn call(
        &self,
        method: Method,
        address: &str,
        body: Option<&Value>,
        quote: bool,
    ) -> Result<Value, CallFailure> {
        let unusable = |error: String| CallFailure::Unavailable(error);
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(address)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(bytes)
            .map_err(|error| unusable(error.to_string()))?;
        let answer = tokio::time::timeout(self.limits.deadline, self.client.request_text(request))
            .await
            .map_err(|_| unusable(format!("no answer within {} s", self.limits.deadline.as_secs())))?
            .map_err(|error| failure(&error, quote))?;
        serde_json::from_str(&answer).map_err(|_| unusable("the answer is no JSON".to_owned()))
    }
}

/// Kinds that can hold no credential, so that the API server's own words about them are told. Of all others, also of those that come
/// with later releases, only the fields are.
fn may_be_quoted(resource: &Resource) -> bool {
    match resource.group.as_str() {
        "" => ["Namespace", "ServiceAccount"].contains(&resource.kind.as_str()),
        group => [
            "admissionregistration.k8s.io",
            "apiextensions.k8s.io",
            "rbac.authorization.k8s.io",
        ]
        .contains(&group),
    }
}

fn failure(error: &kube::Error, quote: bool) -> CallFailure {
    let kube::Error::Api(status) = error else {
        return CallFailure::Unavailable(shortened(&error.to_string()));
    };
    // Of an API server that cannot reach a webhook, whatever its code.
    if status.message.contains("failed calling webhook") || status.message.contains("failed to call webhook") {
        return CallFailure::Webhook(webhook(&status.message));
    }
    match status.code {
        404 => CallFailure::Missing(shortened(&status.message)),
        409 => CallFailure::Conflict,
        401 => CallFailure::Forbidden(shortened(&status.message)),
        403 if status.message.contains("forbidden: User ") => CallFailure::Forbidden(shortened(&status.message)),
        408 | 429 | 500.. => CallFailure::Unavailable(words(status, quote)),
        _ => CallFailure::Refused(words(status, quote)),
    }
}

/// The webhook's name, without what it may have said about the object.
fn webhook(message: &str) -> String {
    let name = message.split('"').nth(1).unwrap_or("unknown");
    format!("webhook {}", shortened(name))
}

/// Fields and reasons, where the server names them; its own words only where they can hold no value.
fn words(status: &Status, quote: bool) -> String {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice());
    let fields: Vec<String> = causes
        .unwrap_or_default()
        .iter()
        .filter(|cause| !cause.field.is_empty())
        .map(|cause| format!("{}: {}", cause.field, cause.reason))
        .collect();
    if !fields.is_empty() {
        return shortened(&fields.join(", "));
    }
    let reason = if status.reason.is_empty() {
        format!("code {}", status.code)
    } else {
        status.reason.clone()
    };
    if quote {
        return shortened(&format!("{reason}: {}", status.message));
    }
    // Strict decoding names fields alone, never values.
    match status.message.split_once("strict decoding error: ") {
        Some((_, fields)) => shortened(&format!("{reason}: {fields}")),
        None => reason,
    }
}

fn shortened(text: &str) -> String {
    text.chars()
        .take(LONGEST_TEXT)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

pub(crate) fn collection_address(resource: &Resource, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => resource.of_namespace(namespace).collection_path(),
        None => resource.collection_path(),
    }
}

pub(crate) fn object_address(resource: &Resource, namespace: Option<&str>, name: &str) -> String {
    format!("{}/{name}", collection_address(resource, namespace))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(message: &str, causes: &Value, quote: bool) -> CallFailure {
        let status = json!({"code": 422, "reason": "Invalid", "message": message, "details": {"causes": causes}});
        let status: Status = serde_json::from_value(status).unwrap();
        failure(&kube::Error::Api(status.boxed()), quote)
    }

    #[test]
    fn no_value_of_a_secret_gets_into_a_message() {
        let causes =
            json!([{"reason": "FieldValueInvalid", "field": "data[x]", "message": "Invalid value: \"hunter2\""}]);
        for quote in [true, false] {
            let CallFailure::Refused(text) = refused("Invalid value: \"hunter2\"", &causes, quote) else {
                panic!()
            };
            assert_eq!(text, "data[x]: FieldValueInvalid");
        }
        let CallFailure::Refused(text) = refused("denied: hunter2", &json!([]), false) else {
            panic!()
        };
        assert_eq!(text, "Invalid");
        let secrets = Resource::new("", "v1", "secrets", "Secret", true);
        assert!(!may_be_quoted(&secrets) && may_be_quoted(&Resource::namespaces()));
        let of_a_later_release = Resource::new("kubermatic.k8c.io", "v1", "vaults", "Vault", false);
        assert!(!may_be_quoted(&of_a_later_release));
    }

    #[test]
    fn a_webhook_that_is_down_is_told_from_one_that_refuses() {
        let down = refused(
            "Internal error occurred: failed calling webhook \"seeds.k8c.io\": no endpoints",
            &json!([]),
            true,
        );
        assert_eq!(down, CallFailure::Webhook("webhook seeds.k8c.io".to_owned()));
        let denied = refused(
            "admission webhook \"seeds.k8c.io\" denied the request: no",
            &json!([]),
            true,
        );
        assert!(matches!(denied, CallFailure::Refused(text) if text.contains("denied")));
    }
}
