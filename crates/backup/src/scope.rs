//! What belongs into a backup: decided by API group and by namespace, so that new kinds of KKP and new user clusters come
//! in by themselves.
//!
//! Talks to nothing. Must never name single kinds of KKP.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::discovery::Resource;
use crate::ownership::is_of_the_platform;

/// API groups of KKP and of this operator. A group is in scope when it equals one of these or ends with `.` and one
/// of these, so `apps.kubermatic.k8c.io` is in. Other groups under `k8c.io` belong to other programs.
pub const KKP_GROUPS: [&str; 4] = [
    "kubermatic.k8c.io",
    "operatingsystemmanager.k8c.io",
    "applicationcatalog.k8c.io",
    "upgrade.k8c.io",
];

/// API groups of the programs that KKP's charts install, matched in the same way. An upgrade exchanges their CRDs for the
/// whole cluster, so all their objects are taken, wherever they are.
pub const CHART_GROUPS: [&str; 4] = [
    "cert-manager.io",
    "dex.coreos.com",
    "gateway.networking.k8s.io",
    "gateway.envoyproxy.io",
];

/// Namespaces of KKP's charts beside KKP's own (KKP source, `pkg/install/stack`); a platform has some of them.
pub const CHART_NAMESPACES: [&str; 12] = [
    "cert-manager",
    "dex",
    "envoy-gateway-controller",
    "iap",
    "logging",
    "minio",
    "mla",
    "monitoring",
    "nginx-ingress-controller",
    "oauth",
    "telemetry-system",
    "velero",
];

/// Secret with the key that the operator made because nobody named recipients. It opens the very archives that it would
/// be in.
pub const KEY_SECRET: &str = "kkp-upgrade-backup-key";

/// How much of the cluster the credentials of a run are meant to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The Job's own ServiceAccount on the master: Secrets and `ConfigMap`s only in namespaces where it has a Role.
    Named,
    /// The kubeconfig of a seed, which KKP itself uses for everything: one list over all namespaces instead of one for each
    /// of thousands, and what is of no concern is dropped as it comes.
    Everywhere,
}

/// What a backup takes in, found in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// API groups: equal, or ending with `.` and one of these.
    pub groups: Vec<String>,
    /// KKP's namespace.
    pub platform_namespace: String,
    /// Namespaces whose Secrets, `ConfigMap`s, Ingresses and RBAC are taken: KKP's, those of its charts, and those of user
    /// clusters.
    pub namespaces: BTreeSet<String>,
    /// Single Secrets elsewhere, as `<namespace>/<name>`.
    pub secrets: BTreeSet<String>,
}

/// Something that was left out on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omission {
    /// What.
    pub what: String,
    /// Why.
    pub reason: String,
}

impl Omission {
    pub(crate) fn new(what: impl Into<String>, reason: &str) -> Self {
        Self {
            what: what.into(),
            reason: reason.to_owned(),
        }
    }
}

impl Scope {
    /// Everything of KKP and of its charts, with KKP's namespace as the only one so far.
    #[must_use]
    pub fn kkp(namespace: &str) -> Self {
        let groups = KKP_GROUPS.iter().chain(&CHART_GROUPS);
        Self {
            groups: groups.map(|&group| group.to_owned()).collect(),
            platform_namespace: namespace.to_owned(),
            namespaces: BTreeSet::from([namespace.to_owned()]),
            secrets: BTreeSet::new(),
        }
    }

    /// Whether an API group is in scope.
    #[must_use]
    pub fn owns_group(&self, group: &str) -> bool {
        is_one_of(group, self.groups.iter().map(String::as_str))
    }

    /// Whether an object that was listed is in scope.
    pub(crate) fn takes(&self, resource: &Resource, object: &Value) -> bool {
        if self.owns_group(&resource.group) {
            return true;
        }
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        match (resource.group.as_str(), resource.plural.as_str()) {
            _ if resource.is_crds() => self.owns_group(text("/spec/group")),
            ("", "namespaces") => self.namespaces.contains(name),
            ("", "secrets") if namespace == self.platform_namespace && name == KEY_SECRET => false,
            ("", "secrets") if self.secrets.contains(&format!("{namespace}/{name}")) => true,
            _ if resource.namespaced => self.namespaces.contains(namespace),
            _ => is_of_the_platform(self, object),
        }
    }

    /// What a backup never contains.
    #[must_use]
    pub fn omissions() -> Vec<Omission> {
        [
            (
                "etcd of the user clusters",
                "KKP's own etcd backups hold it; none is made by this backup",
            ),
            (
                "what runs: Deployments, StatefulSets, DaemonSets, Pods, Jobs, Services, volume claims and volumes",
                "KKP and Helm make it anew from what is here; data on volumes needs a backup of its own",
            ),
            (
                "ServiceAccounts, Leases, Events, metrics",
                "made anew by who uses them; no data",
            ),
            (
                "metadata.managedFields of every object",
                "the API server writes it anew; no data",
            ),
        ]
        .map(|(what, reason)| Omission::new(what, reason))
        .into()
    }
}

/// Whether a group equals one of these, or ends with `.` and one of these.
pub(crate) fn is_one_of<'a>(group: &str, mut groups: impl Iterator<Item = &'a str>) -> bool {
    groups.any(|own| {
        group
            .strip_suffix(own)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_are_matched_by_whole_labels() {
        let scope = Scope::kkp("kubermatic");
        for group in [
            "kubermatic.k8c.io",
            "apps.kubermatic.k8c.io",
            "new.apps.kubermatic.k8c.io",
            "operatingsystemmanager.k8c.io",
            "applicationcatalog.k8c.io",
            "upgrade.k8c.io",
            "acme.cert-manager.io",
            "dex.coreos.com",
        ] {
            assert!(scope.owns_group(group), "{group}");
        }
        for group in [
            "",
            "apps",
            "k8c.io",
            "k8s.io",
            "notkubermatic.k8c.io",
            "kubermatic.k8c.io.example.com",
            "migration.k8c.io",
            "networking.k8s.io",
            "coreos.com",
        ] {
            assert!(!scope.owns_group(group), "{group}");
        }
    }

    #[test]
    fn secrets_come_by_namespace_single_ones_by_name_and_the_key_never() {
        let mut scope = Scope::kkp("kubermatic");
        scope.namespaces.insert("cluster-abc".to_owned());
        scope.secrets.insert("kube-system/s3".to_owned());
        let secrets = Resource::new("", "v1", "secrets", "Secret", true);
        let takes = |namespace: &str, name: &str| {
            scope.takes(&secrets, &json!({"metadata": {"namespace": namespace, "name": name}}))
        };
        for (namespace, name) in [
            ("kubermatic", "credential-x"),
            ("cluster-abc", "ca"),
            ("kube-system", "s3"),
            // Only KKP's own namespace holds the key.
            ("cluster-abc", KEY_SECRET),
        ] {
            assert!(takes(namespace, name), "{namespace}/{name}");
        }
        for (namespace, name) in [("kube-system", "other"), ("default", "s3"), ("kubermatic", KEY_SECRET)] {
            assert!(!takes(namespace, name), "{namespace}/{name}");
        }
    }
}
