//! KKP's conditions: a map keyed by type, whose heartbeat moves only when something else in the condition changes, so that
//! an unchanged condition keeps its old timestamp and says nothing about a new version (KKP 2.31.0, measured; source
//! pkg/apis/kubermatic/v1, `SetSeedCondition` and `SetClusterCondition`). Pure.

use serde_json::{Map, Value, json};

/// What a controller wants to say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Statement<'text> {
    /// `True` or `False`.
    pub(crate) status: bool,
    /// Machine readable reason; empty: none.
    pub(crate) reason: &'text str,
    /// For people; empty: none.
    pub(crate) message: &'text str,
    /// Only in conditions of user clusters and Addons.
    pub(crate) kubermatic_version: Option<&'text str>,
}

/// The condition to write, or nothing if it says that already.
pub(crate) fn update(old: Option<&Value>, new: Statement<'_>, now: &str) -> Option<Value> {
    let status = if new.status { "True" } else { "False" };
    let is_same =
        |key: &str, value: &str| old.and_then(|old| old.get(key)).and_then(Value::as_str).unwrap_or("") == value;
    let has_same_status = is_same("status", status);
    if has_same_status
        && is_same("reason", new.reason)
        && is_same("message", new.message)
        && is_same("kubermaticVersion", new.kubermatic_version.unwrap_or(""))
    {
        return None;
    }
    let old_transition = old
        .and_then(|old| old.get("lastTransitionTime"))
        .cloned()
        .unwrap_or(Value::Null);
    let transition = if old.is_some() && !has_same_status {
        json!(now)
    } else {
        old_transition
    };
    // Explicit nulls, because this is sent as a merge patch: it must remove what the condition no longer has.
    let optional = |value: &str| if value.is_empty() { Value::Null } else { json!(value) };
    let mut condition = Map::new();
    condition.insert("status".to_owned(), json!(status));
    condition.insert("reason".to_owned(), optional(new.reason));
    condition.insert("message".to_owned(), optional(new.message));
    condition.insert("lastHeartbeatTime".to_owned(), json!(now));
    condition.insert("lastTransitionTime".to_owned(), transition);
    if let Some(version) = new.kubermatic_version {
        condition.insert("kubermaticVersion".to_owned(), json!(version));
    }
    Some(Value::Object(condition))
}

/// The present time as Kubernetes writes it.
pub(crate) fn now() -> String {
    k8s_openapi::jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(status: bool, version: &'static str) -> Statement<'static> {
        Statement {
            status,
            reason: "R",
            message: "",
            kubermatic_version: Some(version),
        }
    }

    fn text<'value>(condition: &'value Value, key: &str) -> Option<&'value str> {
        condition.get(key).and_then(Value::as_str)
    }

    #[test]
    fn an_unchanged_condition_keeps_its_heartbeat() {
        let old = update(None, statement(true, "v1"), "t1").unwrap();
        assert_eq!(update(Some(&old), statement(true, "v1"), "t2"), None);
    }

    #[test]
    fn the_first_condition_has_no_transition_time() {
        let first = update(None, statement(true, "v1"), "t1").unwrap();
        assert_eq!(text(&first, "lastTransitionTime"), None);
        assert_eq!(text(&first, "lastHeartbeatTime"), Some("t1"));
    }

    #[test]
    fn a_new_version_moves_the_heartbeat_and_not_the_transition() {
        let old = update(None, statement(true, "v1"), "t1").unwrap();
        let new = update(Some(&old), statement(true, "v2"), "t2").unwrap();
        assert_eq!(
            (text(&new, "lastHeartbeatTime"), text(&new, "lastTransitionTime")),
            (Some("t2"), None)
        );
    }

    #[test]
    fn a_new_status_moves_both_times() {
        let old = update(None, statement(true, "v1"), "t1").unwrap();
        let new = update(Some(&old), statement(false, "v1"), "t2").unwrap();
        assert_eq!(
            (text(&new, "lastHeartbeatTime"), text(&new, "lastTransitionTime")),
            (Some("t2"), Some("t2"))
        );
        assert_eq!(text(&new, "status"), Some("False"));
    }

    #[test]
    fn a_reason_that_is_gone_is_removed_by_the_patch() {
        let old = update(None, statement(true, "v1"), "t1").unwrap();
        let new = update(
            Some(&old),
            Statement {
                reason: "",
                ..statement(true, "v1")
            },
            "t2",
        )
        .unwrap();
        assert_eq!(new.get("reason"), Some(&Value::Null));
    }
}
