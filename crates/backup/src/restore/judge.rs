//! What happens to one object: created, updated, left as it is, left to others, or refused with a reason. Pure.

use serde_json::Value;

use super::archive::StoredObject;
use super::object::{deleted_since, essence, list, same_owner, text};

/// Annotation of KKP's CRDs with the version of KKP that installed them.
const CRD_VERSION: &str = "/metadata/annotations/app.kubernetes.io~1version";

/// Why an object is not touched, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// What is the case.
    pub(crate) reason: String,
    /// The way out.
    pub(crate) next: String,
}

impl Reason {
    pub(crate) fn new(reason: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            next: next.into(),
        }
    }
}

/// Who keeps this object from being restored at all, whatever lives: somebody who makes such objects and would fight, or for whom
/// the object is an order and no state.
pub(crate) fn foreign(object: &StoredObject, live: Option<&Value>) -> Option<Reason> {
    made_anew(object).or_else(|| live.and_then(|live| belongs_to_another(object, live)))
}

fn made_anew(object: &StoredObject) -> Option<Reason> {
    let body = &object.body;
    let (group, kind) = (object.resource.group.as_str(), object.resource.kind.as_str());
    let owned_by_an_upgrade = list(body, "/metadata/ownerReferences")
        .iter()
        .any(|owner| owner["kind"] == "KKPUpgrade");
    let reason = match (group, kind) {
        ("upgrade.k8c.io", "KKPUpgrade") => Reason::new(
            "a KKPUpgrade is an order: created again it would upgrade again",
            "apply its manifest yourself when you want the upgrade",
        ),
        ("kubermatic.k8c.io", "EtcdRestore") => Reason::new(
            "an EtcdRestore is an order: created again it would put back the etcd of a user cluster",
            "apply its manifest yourself when you want that",
        ),
        ("", "Secret") if text(body, "/type") == "kubernetes.io/service-account-token" => Reason::new(
            "it is the token of a ServiceAccount, which the cluster signs itself",
            "nothing has to be done; make a new token where one is missing",
        ),
        ("", "ConfigMap") if object.name == "kube-root-ca.crt" => {
            Reason::new("the cluster writes it in every namespace", "nothing has to be done")
        }
        ("acme.cert-manager.io", _) | ("cert-manager.io", "CertificateRequest") => Reason::new(
            "cert-manager makes it of a Certificate, once for each issue",
            "nothing has to be done: it comes again with the Certificate",
        ),
        _ if owned_by_an_upgrade => Reason::new(
            "it belongs to a run of a KKPUpgrade, which is not restored",
            "nothing has to be done",
        ),
        _ => return None,
    };
    Some(reason)
}

fn belongs_to_another(object: &StoredObject, live: &Value) -> Option<Reason> {
    if text(&object.body, "/type") == "helm.sh/release.v1" {
        return Some(Reason::new(
            "Helm keeps its history there, and has written it since",
            "use `helm rollback` where an older release is wanted",
        ));
    }
    let controller = list(live, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner["controller"] == true)?;
    let ours = list(&object.body, "/metadata/ownerReferences");
    if ours.iter().any(|owner| same_owner(owner, controller)) {
        return None;
    }
    let (kind, name) = (text(controller, "/kind"), text(controller, "/name"));
    Some(Reason::new(
        format!("it is controlled by {kind} {name} now, which it was not in the backup"),
        format!("change {kind} {name}, or release the object from it, and plan again"),
    ))
}

/// Why an object cannot be restored: it was, or is, being deleted, or is a CRD that would go back.
pub(crate) fn refusal(object: &StoredObject, live: Option<&Value>, crds_backward: bool) -> Option<Reason> {
    if let Some(since) = live.and_then(deleted_since) {
        let finalizers: Vec<&str> = live
            .map(|live| list(live, "/metadata/finalizers"))
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let pending = if finalizers.is_empty() {
            "its end is near".to_owned()
        } else {
            format!("the finalizers {} are still to do their work", finalizers.join(", "))
        };
        return Some(Reason::new(
            format!("it is being deleted since {since}: {pending}"),
            "wait until it is gone, then plan again; never remove a finalizer by hand: real machines may hang on it",
        ));
    }
    if deleted_since(&object.body).is_some() {
        return Some(Reason::new(
            "it was already being deleted when the backup was made",
            "nothing has to be done, unless you want it back: take an older backup then",
        ));
    }
    match live {
        Some(live) if object.resource.is_crds() => backward(object, live, crds_backward),
        _ => None,
    }
}

/// CRDs go forward only: objects may be stored in a version or with fields that an older CRD does not know.
fn backward(object: &StoredObject, live: &Value, asked: bool) -> Option<Reason> {
    // Most CRDs of other programs say no version; one that is as it was goes nowhere.
    let of = |crd: &Value| essence(&object.resource, crd, true);
    if of(&object.body) == of(live) {
        return None;
    }
    let served: Vec<&str> = list(&object.body, "/spec/versions")
        .iter()
        .map(|version| text(version, "/name"))
        .collect();
    let lost = list(live, "/status/storedVersions")
        .iter()
        .filter_map(Value::as_str)
        .find(|stored| !served.contains(stored));
    if let Some(lost) = lost {
        return Some(Reason::new(
            format!("objects are stored as version {lost}, which the CRD of the backup does not have"),
            "keep the CRD that lives; the objects of the backup are converted by it",
        ));
    }
    let (ours, theirs) = (text(&object.body, CRD_VERSION), text(live, CRD_VERSION));
    let forward = match (version(ours), version(theirs)) {
        (Some(ours), Some(theirs)) => ours >= theirs,
        _ => false,
    };
    if forward || asked {
        return None;
    }
    let said = |version: &str| {
        if version.is_empty() {
            "no version".to_owned()
        } else {
            version.to_owned()
        }
    };
    Some(Reason::new(
        format!(
            "the CRD that lives says {} and that of the backup {}: CRDs only go forward",
            said(theirs),
            said(ours)
        ),
        "nothing has to be done, unless you go back to that release on purpose: plan with --crds-backward then",
    ))
}

/// `v2.30.6` as numbers.
fn version(text: &str) -> Option<Vec<u64>> {
    let plain = text.trim_start_matches('v').split(['-', '+']).next()?;
    plain.split('.').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::discovery::Resource;

    fn stored(resource: Resource, body: Value) -> StoredObject {
        StoredObject {
            path: String::new(),
            digest: String::new(),
            resource,
            namespace: None,
            name: "a".to_owned(),
            body,
        }
    }

    fn crd(annotation: &str, versions: &[&str]) -> Value {
        let versions: Vec<Value> = versions.iter().map(|name| json!({"name": name})).collect();
        json!({"metadata": {"name": "a", "annotations": {"app.kubernetes.io/version": annotation}},
            "spec": {"versions": versions}, "status": {"storedVersions": ["v1"]}})
    }

    #[test]
    fn crds_only_go_forward_unless_asked() {
        for (ours, theirs, refused) in [
            ("v2.30.6", "v2.31.0", true),
            ("v2.9.0", "v2.10.0", true),
            ("v2.31.0", "v2.30.6", false),
            ("v2.31.0", "v2.31.0", false),
            ("", "v2.31.0", true),
            ("", "", false),
        ] {
            let object = stored(Resource::crds(), crd(ours, &["v1"]));
            let live = crd(theirs, &["v1"]);
            assert_eq!(
                refusal(&object, Some(&live), false).is_some(),
                refused,
                "{ours} {theirs}"
            );
            assert_eq!(refusal(&object, Some(&live), true), None);
        }
        let unknown = refusal(
            &stored(Resource::crds(), crd("", &["v1", "v2"])),
            Some(&crd("", &["v1"])),
            false,
        );
        assert!(unknown.is_some_and(|reason| reason.reason.contains("no version")));
        let without = stored(Resource::crds(), crd("v2.31.0", &["v2"]));
        let reason = refusal(&without, Some(&crd("v2.31.0", &["v1"])), true).unwrap();
        assert!(reason.reason.contains("stored as version v1"), "{reason:?}");
    }

    #[test]
    fn what_is_being_deleted_is_refused_with_its_finalizers() {
        let clusters = Resource::new("kubermatic.k8c.io", "v1", "clusters", "Cluster", false);
        let object = stored(clusters.clone(), json!({"metadata": {"name": "a"}}));
        let live = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["nodes"]}});
        let reason = refusal(&object, Some(&live), false).unwrap();
        assert!(
            reason.reason.contains("nodes") && reason.next.contains("never remove"),
            "{reason:?}"
        );
        let going = stored(clusters, live);
        assert!(refusal(&going, None, false).is_some());
    }

    #[test]
    fn orders_and_what_others_make_are_left_alone() {
        let left = |group: &str, kind: &str, body: Value, live: Option<Value>| {
            let resource = Resource::new(group, "v1", "x", kind, true);
            foreign(&stored(resource, body), live.as_ref()).is_some()
        };
        assert!(left("upgrade.k8c.io", "KKPUpgrade", json!({}), None));
        assert!(left("kubermatic.k8c.io", "EtcdRestore", json!({}), None));
        assert!(left(
            "",
            "Secret",
            json!({"type": "kubernetes.io/service-account-token"}),
            None
        ));
        let helm = json!({"type": "helm.sh/release.v1"});
        assert!(left("", "Secret", helm.clone(), Some(json!({}))));
        assert!(!left("", "Secret", helm, None));
        let owned = |name: &str| {
            json!({"metadata": {"ownerReferences": [
                {"apiVersion": "x/v1", "kind": "Other", "name": name, "controller": true}]}})
        };
        assert!(left("", "Secret", json!({}), Some(owned("a"))));
        assert!(!left("", "Secret", owned("a"), Some(owned("a"))));
        assert!(!left("kubermatic.k8c.io", "Cluster", json!({}), Some(json!({}))));
    }
}
