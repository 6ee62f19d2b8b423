//! Every permission that the operator and its Jobs have, with the reason for it: the one list from which `deploy/` and
//! the documentation are generated. Pure data; talks to no cluster.
//!
//! A permission stands here together with the call that needs it, never before. What is read on seeds needs nothing
//! here: seeds are read with the kubeconfig that the Seed names.

mod backup;
mod operator;
mod reader;
mod restore;

pub use reader::{READER, READER_CREDENTIALS, READER_SECRETS, ReaderRule, credential_rules, reader_rules};
pub use restore::{RESTORE, RESTORE_ACCOUNT};

/// Namespace of KKP and of everything that is ours.
pub const NAMESPACE: &str = "kubermatic";
/// ServiceAccount of the operator.
pub const OPERATOR: &str = "kkp-upgrade-operator";
/// ServiceAccount of Jobs that run `kubermatic-installer`.
pub const INSTALLER: &str = "kkp-upgrade-installer";
/// ServiceAccount of Jobs that write and verify a backup.
pub const BACKUP: &str = "kkp-upgrade-backup";

/// Namespaces of KKP's charts beside [`NAMESPACE`]. Not every platform has all of them, so their bindings are a
/// kustomization of their own.
pub const CHART_NAMESPACES: [&str; 12] = kkp_upgrade_backup::CHART_NAMESPACES;

/// Namespaces of the charts that the master stack installs, of every supported release (KKP installer, stack
/// `kubermatic-master`): their Helm releases decide whether and how the installer may run.
pub const MASTER_STACK_NAMESPACES: [&str; 7] = [
    NAMESPACE,
    "cert-manager",
    "dex",
    "oauth",
    "nginx-ingress-controller",
    "envoy-gateway-controller",
    "telemetry-system",
];

/// What one ServiceAccount may do.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// Name of the ServiceAccount.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// An existing `ClusterRole` that it is bound to, and why.
    pub bound_to: Option<(&'static str, &'static str)>,
    /// What it may do, by place.
    pub grants: &'static [Grant],
}

/// Permissions in one place.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    /// Where.
    pub place: Place,
    /// What.
    pub permissions: &'static [Permission],
}

/// Where permissions hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the whole cluster.
    Cluster,
    /// In [`NAMESPACE`].
    Namespace,
    /// In each of [`CHART_NAMESPACES`] that exists.
    ChartNamespaces,
}

/// One rule of RBAC.
#[derive(Debug, Clone, Copy)]
pub struct Permission {
    /// API groups; `""` is the core group.
    pub groups: &'static [&'static str],
    /// Resources; paths where `groups` is empty.
    pub resources: &'static [&'static str],
    /// Names that it is restricted to; empty = any.
    pub names: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// What needs it.
    pub why: &'static str,
}

const READ: &[&str] = &["get", "list", "watch"];
const LIST: &[&str] = &["list"];

const fn permission(
    group: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    why: &'static str,
) -> Permission {
    Permission {
        groups: group,
        resources,
        names: &[],
        verbs,
        why,
    }
}

const OURS: &[&str] = &["upgrade.k8c.io"];
const KKP: &[&str] = &["kubermatic.k8c.io"];
const CORE: &[&str] = &[""];

/// Every account.
pub const ACCOUNTS: [Account; 3] = [
    Account {
        name: OPERATOR,
        purpose: "the operator itself",
        bound_to: None,
        grants: &[
            Grant {
                place: Place::Cluster,
                permissions: operator::CLUSTER,
            },
            Grant {
                place: Place::Namespace,
                permissions: operator::IN_NAMESPACE,
            },
            Grant {
                place: Place::ChartNamespaces,
                permissions: operator::CHARTS,
            },
        ],
    },
    Account {
        name: INSTALLER,
        purpose: "Jobs that run `kubermatic-installer`, after an init container that takes the run's fence",
        bound_to: Some((
            "cluster-admin",
            "the installer creates CRDs, ClusterRoles (among them one bound to cluster-admin), webhooks and namespaces",
        )),
        grants: &[],
    },
    Account {
        name: BACKUP,
        purpose: "Jobs that write and verify a backup, and that remove older ones from the store",
        bound_to: None,
        grants: &[
            Grant {
                place: Place::Cluster,
                permissions: backup::CLUSTER,
            },
            Grant {
                place: Place::Namespace,
                permissions: backup::CONTENT,
            },
            Grant {
                place: Place::ChartNamespaces,
                permissions: backup::CONTENT,
            },
        ],
    },
];

#[cfg(test)]
mod tests {
    use kkp_upgrade_backup::{CHART_GROUPS, KKP_GROUPS, Scope};

    use super::*;

    fn all() -> impl Iterator<Item = (&'static str, Place, &'static Permission)> {
        ACCOUNTS.iter().flat_map(|account| {
            account
                .grants
                .iter()
                .flat_map(|grant| grant.permissions.iter().map(|one| (account.name, grant.place, one)))
        })
    }

    #[test]
    fn only_the_backup_of_its_groups_has_a_wildcard_and_it_only_reads() {
        for (account, _, permission) in all() {
            assert!(
                !permission.verbs.contains(&"*") && !permission.groups.contains(&"*"),
                "{permission:?}"
            );
            if permission.resources.contains(&"*") {
                assert_eq!(account, BACKUP);
                assert_eq!(permission.verbs, ["get", "list"]);
                assert!(
                    permission.groups.iter().all(|group| Scope::kkp("n").owns_group(group)),
                    "{permission:?}"
                );
            }
        }
    }

    #[test]
    fn secrets_are_read_only_in_named_namespaces_and_rbac_by_the_backup_alone() {
        for (account, place, permission) in all() {
            if permission.resources.contains(&"secrets") {
                assert_ne!(place, Place::Cluster, "{account}");
                let makes = account == OPERATOR && place == Place::Namespace && permission.verbs == ["create"];
                let reads = permission.verbs.iter().all(|verb| ["get", "list"].contains(verb));
                assert!(makes || reads, "{account}: {permission:?}");
            }
            if permission.groups.contains(&"rbac.authorization.k8s.io") {
                assert_eq!((account, permission.verbs), (BACKUP, LIST));
            }
            for verb in ["escalate", "bind", "impersonate", "deletecollection"] {
                assert!(!permission.verbs.contains(&verb), "{permission:?}");
            }
        }
    }

    #[test]
    fn every_permission_says_what_needs_it_and_stands_once() {
        let mut seen = std::collections::BTreeSet::new();
        for (account, place, permission) in all() {
            assert!(permission.why.len() > 10, "{permission:?}");
            for resource in permission.resources {
                for verb in permission.verbs {
                    let (groups, names) = (permission.groups, permission.names);
                    let key = format!("{account} {place:?} {groups:?} {resource} {names:?} {verb}");
                    assert!(seen.insert(key.clone()), "{key} stands twice");
                }
            }
        }
    }

    #[test]
    fn a_backup_takes_in_no_group_that_its_account_cannot_read() {
        for group in KKP_GROUPS.iter().chain(&CHART_GROUPS) {
            assert!(backup::GROUPS.contains(group), "{group}");
        }
    }
}
