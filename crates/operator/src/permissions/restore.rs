//! What a restore may do. It is not among the accounts that `deploy/` installs: it is applied for a restore and removed after it.
//! Pure data.

use super::backup::GROUPS;
use super::{Account, CORE, Grant, Permission, Place, permission};

/// ServiceAccount of Jobs that restore a backup.
pub const RESTORE: &str = "kkp-upgrade-restore";

const WRITE: &[&str] = &["get", "create", "update"];

/// The account of restores. It reads, creates and replaces everything that a backup can hold, wherever that is, because namespaces and
/// roles may be what has to come back; it can delete nothing.
pub const RESTORE_ACCOUNT: Account = Account {
    name: RESTORE,
    purpose: "Jobs that restore a backup; applied only for that, from `deploy/restore`",
    bound_to: None,
    grants: &[Grant {
        place: Place::Cluster,
        permissions: PERMISSIONS,
    }],
};

const PERMISSIONS: &[Permission] = &[
    permission(
        GROUPS,
        &["*"],
        WRITE,
        "everything that KKP and its charts keep comes back, with its status where that is data",
    ),
    permission(
        &["apiextensions.k8s.io"],
        &["customresourcedefinitions"],
        WRITE,
        "the definitions of what comes back",
    ),
    permission(
        CORE,
        &["namespaces", "secrets", "configmaps"],
        WRITE,
        "Namespaces and what is in them, also those of user clusters that are gone: they cannot be named here",
    ),
    permission(&["networking.k8s.io"], &["ingresses"], WRITE, "Ingresses come back"),
    permission(
        &["rbac.authorization.k8s.io"],
        &["clusterroles", "clusterrolebindings", "roles", "rolebindings"],
        WRITE,
        "RBAC of KKP comes back",
    ),
    permission(
        &["rbac.authorization.k8s.io"],
        &["clusterroles", "roles"],
        &["escalate", "bind"],
        "KKP's own roles grant more than this account has, up to cluster-admin: treat this account like that",
    ),
    permission(
        &["admissionregistration.k8s.io"],
        &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        WRITE,
        "webhook configurations of KKP come back",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::ACCOUNTS;
    use super::*;

    #[test]
    fn a_restore_deletes_nothing_and_is_no_part_of_what_is_always_installed() {
        for permission in PERMISSIONS {
            assert!(
                !permission.groups.contains(&"*") && permission.why.len() > 10,
                "{permission:?}"
            );
            for verb in permission.verbs {
                assert!(
                    ["get", "create", "update", "escalate", "bind"].contains(verb),
                    "{permission:?}"
                );
            }
        }
        assert!(ACCOUNTS.iter().all(|account| account.name != RESTORE));
    }
}
