//! What belongs into a backup: decided by API group, so that new kinds of KKP come in by themselves.
//!
//! Talks to nothing. Must never name single kinds of KKP.

use serde::{Deserialize, Serialize};

/// API groups of KKP and of this operator. A group is in scope when it equals one of these or ends with `.` and one
/// of these, so `apps.kubermatic.k8c.io` is in. Other groups under `k8c.io` belong to other programs.
pub const KKP_GROUPS: [&str; 4] = [
    "kubermatic.k8c.io",
    "operatingsystemmanager.k8c.io",
    "applicationcatalog.k8c.io",
    "upgrade.k8c.io",
];

/// What a backup takes in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// API groups: equal, or ending with `.` and one of these.
    pub groups: Vec<String>,
    /// Namespaces whose `ConfigMap`s are taken.
    pub config_map_namespaces: Vec<String>,
}

/// Something that was left out on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omission {
    /// What.
    pub what: String,
    /// Why.
    pub reason: String,
}

impl Scope {
    /// Everything of KKP, and the `ConfigMap`s of KKP's namespace.
    #[must_use]
    pub fn kkp(namespace: &str) -> Self {
        Self {
            groups: KKP_GROUPS.iter().map(|&group| group.to_owned()).collect(),
            config_map_namespaces: vec![namespace.to_owned()],
        }
    }

    /// Whether an API group is in scope.
    #[must_use]
    pub fn owns_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| {
            group
                .strip_suffix(own.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    /// What this version of the backup never contains.
    #[must_use]
    pub fn omissions() -> Vec<Omission> {
        [
            ("Secrets", "not part of this version of the backup"),
            (
                "Helm releases",
                "kept in Secrets: not part of this version of the backup",
            ),
            (
                "objects other than KKP's in the namespaces of user clusters and of KKP's charts",
                "not part of this version of the backup",
            ),
            (
                "metadata.managedFields of every object",
                "the API server writes it anew; no data",
            ),
            (
                "etcd of the user clusters",
                "not part of this version of the backup: use KKP's own etcd backups",
            ),
        ]
        .map(|(what, reason)| Omission {
            what: what.to_owned(),
            reason: reason.to_owned(),
        })
        .into()
    }
}

#[cfg(test)]
mod tests {
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
        ] {
            assert!(!scope.owns_group(group), "{group}");
        }
    }
}
