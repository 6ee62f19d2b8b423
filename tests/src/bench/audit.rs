//! What the operator asked of the master's API server, out of the audit log. Reads one file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::Value;

const OPERATOR: &str = "system:serviceaccount:kubermatic:kkp-upgrade-operator";

/// A request of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it came.
    pub time: Timestamp,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// Plural name.
    pub resource: String,
    /// Name of the object.
    pub name: String,
    /// Whether it asked for a dry run or about rights, which stores nothing.
    pub dry_run: bool,
}

impl Request {
    /// Whether it may have stored something.
    #[must_use]
    pub fn writes(&self) -> bool {
        !self.dry_run
            && matches!(
                self.verb.as_str(),
                "create" | "update" | "patch" | "delete" | "deletecollection"
            )
    }

    /// Writes of leases are how the leader says that it lives.
    #[must_use]
    pub fn is_leader_lease(&self) -> bool {
        self.resource == "leases" && self.name != "kkp-upgrade-active"
    }
}

/// Every request of the operator so far. A watch counts once, when it begins; questions to the authorizer (access reviews)
/// are requests too.
///
/// # Errors
/// When there is no audit log.
pub fn requests(cluster_folder: &Path) -> anyhow::Result<Vec<Request>> {
    let text = std::fs::read_to_string(cluster_folder.join("audit.log")).context("audit log of the master")?;
    Ok(text
        .lines()
        .filter(|line| line.contains(OPERATOR))
        .filter_map(request)
        .collect())
}

fn request(line: &str) -> Option<Request> {
    let event: Value = serde_json::from_str(line).ok()?;
    let text = |pointer: &str| {
        event
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (verb, stage) = (text("/verb"), text("/stage"));
    let once = if verb == "watch" {
        "ResponseStarted"
    } else {
        "ResponseComplete"
    };
    (text("/user/username") == OPERATOR && stage == once).then(|| Request {
        time: text("/requestReceivedTimestamp").parse().unwrap_or_default(),
        verb,
        resource: text("/objectRef/resource"),
        name: text("/objectRef/name"),
        dry_run: ["dryRun=", "/authorization.k8s.io/"]
            .iter()
            .any(|part| text("/requestURI").contains(part)),
    })
}

/// How often each `verb resource` occurs, most frequent first.
#[must_use]
pub fn tally<'a>(calls: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (verb, resource) in calls {
        *counts.entry(format!("{verb} {resource}")).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(verb: &str, stage: &str, uri: &str, user: &str) -> String {
        serde_json::json!({
            "verb": verb, "stage": stage, "requestURI": uri, "user": {"username": user},
            "requestReceivedTimestamp": "2026-11-21T03:00:00.123456Z", "objectRef": {"resource": "seeds", "name": "eu"},
        })
        .to_string()
    }

    #[test]
    fn a_request_counts_once_and_only_the_operators() {
        assert!(request(&line("patch", "ResponseComplete", "/x", OPERATOR)).is_some_and(|request| request.writes()));
        assert!(request(&line("watch", "ResponseComplete", "/x", OPERATOR)).is_none());
        assert!(request(&line("get", "ResponseComplete", "/x", "somebody")).is_none());
        let dry = request(&line("patch", "ResponseComplete", "/x?dryRun=All", OPERATOR));
        assert!(dry.is_some_and(|request| !request.writes()));
    }
}
