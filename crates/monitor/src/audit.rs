//! One line of an API server's audit log to what happened. Pure.
//!
//! The log must hold bodies of writes (level `RequestResponse`): a write without one only tells that the object is not
//! known any more.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::event::{Actor, Event, Identity, ObjectKey, Verb, What, Write};
use crate::names;

/// A line that is no event of an audit log.
#[derive(Debug, thiserror::Error)]
#[error("not an event of an audit log (audit.k8s.io/v1, one JSON object per line): {0}")]
pub struct AuditError(#[from] serde_json::Error);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage_timestamp: Timestamp,
    verb: String,
    #[serde(default, rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    #[serde(default)]
    request_object: Value,
    #[serde(default)]
    response_object: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    extra: Value,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    namespace: String,
    name: String,
    api_group: String,
    subresource: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

/// What a line tells: `None` for reads and for writes that were refused.
///
/// # Errors
/// When the line is no event of an audit log.
pub fn parse_line(cluster: &str, line: &str) -> Result<Option<Event>, AuditError> {
    let line: Line = serde_json::from_str(line)?;
    let time = line.stage_timestamp;
    Ok(tells(cluster, line).map(|what| Event { time, what }))
}

fn tells(cluster: &str, line: Line) -> Option<What> {
    let verb = match line.verb.as_str() {
        "create" => Verb::Create,
        "update" | "patch" => Verb::Update,
        "delete" | "deletecollection" => Verb::Delete,
        _ => return None,
    };
    let code = line.response_status.as_ref().map_or(0, |status| status.code);
    let reference = line.object_ref.as_ref()?;
    let name = if reference.name.is_empty() {
        text(&line.response_object, "/metadata/name").unwrap_or_default()
    } else {
        &reference.name
    };
    let object = ObjectKey {
        cluster: cluster.to_owned(),
        group: reference.api_group.clone(),
        resource: reference.resource.clone(),
        namespace: reference.namespace.clone(),
        name: name.to_owned(),
    };
    if (400..500).contains(&code) {
        return None;
    }
    if !(200..300).contains(&code) {
        // An error of the server, or none at all: the write may have been made.
        return Some(What::Lost(object));
    }
    if parameter(&line.request_uri, "dryRun").is_some() {
        // A dry run that asks for nothing answers with the object as it is.
        let nothing = line.request_object.as_object().is_some_and(serde_json::Map::is_empty);
        return nothing.then(|| What::Seen(object, Arc::new(line.response_object)));
    }
    let plain = matches!(reference.subresource.as_deref(), None | Some("status" | "finalize"));
    let bodiless = !line.response_object.is_object() && verb != Verb::Delete;
    if !plain || bodiless {
        return Some(What::Lost(object));
    }
    Some(What::Write(Box::new(write(line, verb, object))))
}

fn write(line: Line, verb: Verb, object: ObjectKey) -> Write {
    let answer = line.response_object;
    let is_object = answer.is_object() && text(&answer, "/kind") != Some("Status");
    let ending = answer.pointer("/metadata/deletionTimestamp").is_some();
    let gone = match verb {
        Verb::Delete => !is_object || !ending || is_last(&answer),
        Verb::Create | Verb::Update => ending && is_last(&answer),
    };
    let precondition = |path: &str| text(&line.request_object, path).map(str::to_owned);
    Write {
        actor: actor(&line.user, &line.user_agent, &line.request_uri),
        verb,
        object,
        subresource: line.object_ref.and_then(|reference| reference.subresource),
        uid_precondition: precondition("/preconditions/uid"),
        version_precondition: precondition("/metadata/resourceVersion")
            .or_else(|| precondition("/preconditions/resourceVersion")),
        before: None,
        after: is_object.then(|| Arc::new(answer)),
        gone,
    }
}

/// Whether nothing holds an object any more whose deletion was asked for.
fn is_last(object: &Value) -> bool {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    let grace = object
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_i64);
    finalizers.is_none_or(Vec::is_empty) && grace.unwrap_or(0) == 0
}

fn actor(user: &User, agent: &str, uri: &str) -> Actor {
    let account = user
        .username
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .map(|(_, account)| account);
    let identity = match account {
        Some(names::OPERATOR) => Identity::Operator,
        Some(names::INSTALLER) => Identity::Installer,
        Some(names::BACKUP) => Identity::Backup,
        Some(names::RESTORE) => Identity::Restore,
        // On a seed everybody who uses the Seed's kubeconfig is the same user.
        _ if parameter(uri, "fieldManager") == Some(names::FIELD_MANAGER) => Identity::Operator,
        _ if parameter(uri, "fieldManager") == Some(names::RESTORE) => Identity::Restore,
        None if user.username.starts_with("system:") || agent.starts_with("kube-controller-manager/") => {
            Identity::Kubernetes
        }
        _ => Identity::Other,
    };
    let extra = |key: &str| {
        let values = user.extra.get(format!("authentication.kubernetes.io/{key}"))?;
        values.get(0)?.as_str().map(str::to_owned)
    };
    // Where controllers have no accounts of their own, they still say which one of them it is.
    let collector = identity == Identity::Kubernetes && agent.ends_with("/generic-garbage-collector");
    Actor {
        identity,
        name: if collector {
            names::GARBAGE_COLLECTOR.to_owned()
        } else {
            user.username.clone()
        },
        pod_uid: extra("pod-uid"),
        pod: extra("pod-name"),
    }
}

fn parameter<'a>(uri: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = uri.split_once('?')?;
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then_some(value)
    })
}

fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(path).and_then(Value::as_str)
}
