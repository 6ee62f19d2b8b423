//! Judges from the audit log of the API server whether an operator that was no longer the leader changed anything. Reads
//! one file; talks to no cluster.
//!
//! Who leads is what the accepted writes of the leader's lease say. A write is *stale* when another operator has the lease
//! and has made a write of its own since: from then on the decision of the old one rests on what is no longer so.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

const ACCOUNT: &str = "system:serviceaccount:kubermatic:kkp-upgrade-operator";
const ELECTION: &str = "kkp-upgrade-operator-leader";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    verb: String,
    #[serde(default, rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    user: Value,
    #[serde(default)]
    object_ref: Value,
    #[serde(default)]
    response_status: Value,
    #[serde(default)]
    response_object: Value,
}

/// A write of an operator, or of anybody to an object.
#[derive(Debug, Clone)]
struct Write {
    received: Timestamp,
    answered: Timestamp,
    /// UID of the operator's Pod; `None` = somebody else's write.
    pod: Option<String>,
    verb: String,
    object: String,
    code: i64,
    /// resourceVersion that came out of it.
    version: Option<String>,
    /// Holder that came out of it, of the leader's lease.
    holder: Option<String>,
}

/// A time in which one Pod had the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reign {
    /// UID of the Pod.
    pub pod: String,
    /// When its claim was accepted.
    pub since: Timestamp,
    /// When its first write was accepted, the lease and events aside.
    pub acting: Option<Timestamp>,
}

/// What the log tells.
#[derive(Debug, Default)]
pub struct Judgement {
    /// Who led, one after the other; the same Pod twice in a row is one.
    pub reigns: Vec<Reign>,
    /// Stale writes that were accepted and changed something: there must be none.
    pub stale: Vec<String>,
    /// Jobs that were created by stale writes: a creation has no version to lose by. Such a Job must run nothing.
    pub late_jobs: Vec<String>,
    /// Stale writes that the API server refused or that changed nothing.
    pub refused: Vec<String>,
    /// Accepted writes of all operators by verb and object, the lease, events and status aside.
    pub effects: BTreeMap<String, usize>,
}

/// Reads the log.
///
/// # Errors
/// When the file cannot be read, or operators write without the identity of their Pod.
pub fn judge(audit_log: &Path) -> anyhow::Result<Judgement> {
    let text = std::fs::read(audit_log).with_context(|| format!("read {}", audit_log.display()))?;
    let text = String::from_utf8_lossy(&text);
    // A server that is killed leaves half a line.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut writes: Vec<Write> = lines.filter_map(write).collect();
    writes.sort_by_key(|write| write.answered);
    Ok(fold(&writes))
}

fn write(line: Line) -> Option<Write> {
    let writes = matches!(&*line.verb, "create" | "update" | "patch" | "delete");
    // Reviews of rights are questions, too: nothing is stored.
    let asks_only = line.request_uri.contains("dryRun=") || line.request_uri.contains("/authorization.k8s.io/");
    if !writes || asks_only {
        return None;
    }
    let of = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let resource = of(&line.object_ref, "/resource")?;
    let name = of(&line.object_ref, "/name").or_else(|| of(&line.response_object, "/metadata/name"));
    let ours = of(&line.user, "/username").as_deref() == Some(ACCOUNT);
    let pod = of(&line.user, "/extra/authentication.kubernetes.io~1pod-uid/0").filter(|_| ours);
    let subresource = of(&line.object_ref, "/subresource").map_or_else(String::new, |name| format!("/{name}"));
    Some(Write {
        received: line.request_received_timestamp,
        answered: line.stage_timestamp,
        pod,
        verb: line.verb,
        object: format!("{resource}/{}{subresource}", name.unwrap_or_default()),
        code: line
            .response_status
            .pointer("/code")
            .and_then(Value::as_i64)
            .unwrap_or(0),
        version: of(&line.response_object, "/metadata/resourceVersion"),
        holder: of(&line.response_object, "/spec/holderIdentity"),
    })
}

impl Write {
    const fn accepted(&self) -> bool {
        self.code >= 200 && self.code < 300
    }

    fn of_election(&self) -> bool {
        self.object == format!("leases/{ELECTION}")
    }
}

fn fold(writes: &[Write]) -> Judgement {
    let mut judgement = Judgement::default();
    let mut versions: BTreeMap<&str, &str> = BTreeMap::new();
    for write in writes {
        let object = write.object.strip_suffix("/status").unwrap_or(&write.object);
        let unchanged = write
            .version
            .as_deref()
            .is_some_and(|version| versions.get(object) == Some(&version));
        if write.accepted()
            && let Some(version) = &write.version
        {
            versions.insert(object, version);
        }
        if write.of_election() {
            reign(&mut judgement.reigns, write);
        } else if let Some(pod) = &write.pod
            && !write.object.starts_with("events/")
        {
            weigh(&mut judgement, write, pod, unchanged);
        }
    }
    judgement
}

fn reign(reigns: &mut Vec<Reign>, write: &Write) {
    let holder = write.holder.as_deref().unwrap_or_default();
    let new = reigns.last().is_none_or(|last| last.pod != holder);
    if write.accepted() && write.pod.as_deref() == Some(holder) && new {
        reigns.push(Reign {
            pod: holder.to_owned(),
            since: write.answered,
            acting: None,
        });
    }
}

fn weigh(judgement: &mut Judgement, write: &Write, pod: &str, unchanged: bool) {
    let is_leader = judgement.reigns.last().is_some_and(|last| last.pod == pod);
    let accepted = write.accepted();
    let stale = !is_leader
        && judgement
            .reigns
            .last()
            .and_then(|last| last.acting)
            .is_some_and(|acting| acting <= write.received);
    if stale {
        let text = format!("{} {} {}: {}", write.received, write.verb, write.object, write.code);
        if accepted && write.verb == "create" && write.object.starts_with("jobs/") {
            judgement.late_jobs.push(write.object.clone());
        } else if accepted && !unchanged {
            judgement.stale.push(text);
        } else {
            judgement.refused.push(text);
        }
    }
    if accepted && !unchanged {
        if !write.object.ends_with("/status") {
            let effect = format!("{} {}", write.verb, write.object);
            *judgement.effects.entry(effect).or_default() += 1;
        }
        if is_leader && let Some(last) = judgement.reigns.last_mut() {
            last.acting.get_or_insert(write.answered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: i64, pod: &str, verb: &str, object: (&str, &str), code: i64, after: &Value) -> Write {
        let time = Timestamp::from_second(second).unwrap();
        let line = serde_json::json!({
            "requestReceivedTimestamp": time, "stageTimestamp": time, "verb": verb,
            "user": {"username": ACCOUNT, "extra": {"authentication.kubernetes.io/pod-uid": [pod]}},
            "objectRef": {"resource": object.0, "name": object.1},
            "responseStatus": {"code": code}, "responseObject": *after,
        });
        write(serde_json::from_value(line).unwrap()).unwrap()
    }

    fn version(version: i64) -> Value {
        serde_json::json!({"metadata": {"resourceVersion": version.to_string()}})
    }

    fn lease(second: i64, pod: &str) -> Write {
        let after = serde_json::json!({"spec": {"holderIdentity": pod}});
        line(second, pod, "update", ("leases", ELECTION), 200, &after)
    }

    #[test]
    fn a_write_after_the_successors_first_one_is_stale_unless_it_is_refused_or_changes_nothing() {
        let config = ("kubermaticconfigurations", "kkp");
        let history = [
            lease(1, "a"),
            line(2, "a", "update", config, 200, &version(10)),
            lease(3, "b"),
            // Nobody has decided anything since: as good as before.
            line(4, "a", "update", config, 200, &version(11)),
            line(5, "b", "update", config, 200, &version(12)),
            line(6, "a", "update", config, 409, &Value::Null),
            line(7, "a", "update", config, 200, &version(12)),
            line(8, "a", "update", config, 200, &version(13)),
            line(9, "b", "update", config, 200, &version(14)),
        ];
        let judgement = fold(&history);
        assert_eq!(judgement.reigns.len(), 2);
        assert_eq!(judgement.reigns[1].acting, Some(Timestamp::from_second(5).unwrap()));
        assert_eq!(judgement.refused.len(), 2, "{:?}", judgement.refused);
        assert_eq!(judgement.stale.len(), 1, "{:?}", judgement.stale);
        assert!(judgement.stale[0].contains("00:00:08"), "{:?}", judgement.stale);
        assert_eq!(judgement.effects.get("update kubermaticconfigurations/kkp"), Some(&5));
    }
}
