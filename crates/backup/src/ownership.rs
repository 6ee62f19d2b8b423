//! Which objects without a namespace, of kinds that everybody uses, are the platform's: `ClusterRole`s, their bindings and
//! webhook configurations.
//!
//! Talks to nothing. Must never go by a single name: what a later release of KKP adds has to be found as well.

use serde_json::Value;

use crate::scope::{KKP_GROUPS, Scope, is_one_of};

/// Whether KKP, its charts or its controllers made the object, or it is about them.
pub(crate) fn is_of_the_platform(scope: &Scope, object: &Value) -> bool {
    is_named_by_kkp(object)
        || is_managed_by_kkp(object)
        || is_owned_by_kkp(object)
        || is_in_a_release(scope, object)
        || is_bound_to(scope, object)
        || serves(scope, object)
        || asks_about(scope, object)
}

/// KKP's controllers begin their names with `kubermatic`, in RBAC also behind `system:`.
fn is_named_by_kkp(object: &Value) -> bool {
    let name = text(object, "/metadata/name");
    name.strip_prefix("system:").unwrap_or(name).starts_with("kubermatic")
}

fn is_managed_by_kkp(object: &Value) -> bool {
    text(object, "/metadata/labels/app.kubernetes.io~1managed-by").starts_with("kubermatic")
}

/// Roles of a Project belong to it.
fn is_owned_by_kkp(object: &Value) -> bool {
    list(object, "/metadata/ownerReferences").iter().any(|owner| {
        let group = text(owner, "/apiVersion").split_once('/').unwrap_or_default().0;
        is_one_of(group, KKP_GROUPS.into_iter())
    })
}

/// Helm notes the release on everything that it installs.
fn is_in_a_release(scope: &Scope, object: &Value) -> bool {
    let namespace = text(object, "/metadata/annotations/meta.helm.sh~1release-namespace");
    scope.namespaces.contains(namespace)
}

fn is_bound_to(scope: &Scope, object: &Value) -> bool {
    list(object, "/subjects")
        .iter()
        .any(|subject| scope.namespaces.contains(text(subject, "/namespace")))
}

fn serves(scope: &Scope, object: &Value) -> bool {
    list(object, "/webhooks").iter().any(|webhook| {
        scope
            .namespaces
            .contains(text(webhook, "/clientConfig/service/namespace"))
    })
}

fn asks_about(scope: &Scope, object: &Value) -> bool {
    let rules = list(object, "/webhooks")
        .iter()
        .flat_map(|webhook| list(webhook, "/rules"));
    rules
        .flat_map(|rule| list(rule, "/apiGroups"))
        .filter_map(Value::as_str)
        .any(|group| scope.owns_group(group))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_ours(object: &Value) -> bool {
        is_of_the_platform(&Scope::kkp("kubermatic"), object)
    }

    #[test]
    fn each_sign_is_enough() {
        for object in [
            json!({"metadata": {"name": "kubermatic-seeds"}}),
            json!({"metadata": {"name": "system:kubermatic:x"}}),
            json!({"metadata": {"name": "a", "labels": {"app.kubernetes.io/managed-by": "kubermatic-operator"}}}),
            json!({"metadata": {"name": "a", "ownerReferences": [{"apiVersion": "kubermatic.k8c.io/v1", "kind": "Project"}]}}),
            json!({"metadata": {"name": "a", "annotations": {"meta.helm.sh/release-namespace": "kubermatic"}}}),
            json!({"metadata": {"name": "a"}, "subjects": [{"kind": "ServiceAccount", "namespace": "kubermatic"}]}),
            json!({"metadata": {"name": "a"}, "webhooks": [{"clientConfig": {"service": {"namespace": "kubermatic"}}}]}),
            json!({"metadata": {"name": "a"}, "webhooks": [{"rules": [{"apiGroups": ["", "apps.kubermatic.k8c.io"]}]}]}),
        ] {
            assert!(is_ours(&object), "{object}");
        }
    }

    #[test]
    fn what_is_of_others_stays_out() {
        for object in [
            json!({"metadata": {"name": "cluster-admin"}}),
            json!({"metadata": {"name": "not-kubermatic"}}),
            json!({"metadata": {"name": "a", "labels": {"app.kubernetes.io/managed-by": "Helm"}}}),
            json!({"metadata": {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Node"}]}}),
            json!({"metadata": {"name": "a", "annotations": {"meta.helm.sh/release-namespace": "shop"}}}),
            json!({"metadata": {"name": "a"}, "subjects": [{"kind": "Group", "name": "kubermatic"}]}),
            json!({"metadata": {"name": "a"}, "webhooks": [{"rules": [{"apiGroups": ["*"]}]}]}),
        ] {
            assert!(!is_ours(&object), "{object}");
        }
    }
}
