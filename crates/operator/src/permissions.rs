//! Every permission that the operator and its Jobs have, with the reason for it: the one list from which `deploy/` and
//! the documentation are generated. Pure data; talks to no cluster.
//!
//! A permission stands here together with the call that needs it, never before. What is read on seeds needs nothing
//! here: seeds are read with the kubeconfig that the Seed names.

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
                permissions: OPERATOR_CLUSTER,
            },
            Grant {
                place: Place::Namespace,
                permissions: OPERATOR_NAMESPACE,
            },
            Grant {
                place: Place::ChartNamespaces,
                permissions: OPERATOR_CHARTS,
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
                permissions: BACKUP_CLUSTER,
            },
            Grant {
                place: Place::Namespace,
                permissions: BACKUP_CONTENT,
            },
            Grant {
                place: Place::ChartNamespaces,
                permissions: BACKUP_CONTENT,
            },
        ],
    },
];

const OPERATOR_CLUSTER: &[Permission] = &[
    permission(
        OURS,
        &["kkpupgrades"],
        READ,
        "the watch; one in a wrong namespace is told so",
    ),
    permission(
        OURS,
        &["kkpupgrades/status"],
        &["update"],
        "every state is written with PUT under a resourceVersion",
    ),
    permission(
        &["events.k8s.io"],
        &["events"],
        &["create", "patch"],
        "events on the KKPUpgrade; repeats are counted up",
    ),
    permission(
        KKP,
        &["clusters", "addons"],
        READ,
        "state of user clusters where the master is a seed",
    ),
    permission(
        &["apiextensions.k8s.io"],
        &["customresourcedefinitions"],
        &["get", "list"],
        "evidence: the version annotation of KKP's CRDs; at start: our own CRD is there; rules about CRDs of others",
    ),
    permission(
        &["storage.k8s.io"],
        &["storageclasses"],
        &["get", "list"],
        "rules: `kubermatic-fast` exists, or the installer stops",
    ),
    permission(
        KKP,
        &[
            "clustertemplates",
            "constrainttemplates",
            "groupprojectbindings",
            "kubermaticsettings",
            "presets",
        ],
        LIST,
        "rules about KKP's settings",
    ),
    permission(
        KKP,
        &["clustertemplates"],
        &["patch"],
        "fixes that spec.fixes asks for, with our note of what was there in the same PATCH",
    ),
    permission(
        &["apps.kubermatic.k8c.io"],
        &["applicationdefinitions"],
        LIST,
        "rules about KKP's settings",
    ),
    permission(
        &["apps"],
        &["deployments", "statefulsets", "daemonsets"],
        LIST,
        "rules: what KKP and its charts run is rolled out, in the namespaces of the charts",
    ),
    permission(
        CORE,
        &["pods", "services", "nodes", "persistentvolumes"],
        LIST,
        "rules about health, safety and availability of what KKP and its charts run",
    ),
    permission(
        &["policy"],
        &["poddisruptionbudgets"],
        LIST,
        "rules about the availability of what KKP and its charts run",
    ),
    permission(
        &["discovery.k8s.io"],
        &["endpointslices"],
        LIST,
        "rule: the API server of the master has peers",
    ),
    Permission {
        groups: &["admissionregistration.k8s.io"],
        resources: &["validatingadmissionpolicies"],
        names: &["safe-upgrades.gateway.networking.k8s.io"],
        verbs: &["get"],
        why: "rule: a policy that refuses the CRDs of Gateway API which KKP brings",
    },
    permission(
        &["networking.k8s.io"],
        &["ingresses"],
        LIST,
        "rules about the way from Ingress to Gateway API",
    ),
    permission(
        &["gateway.networking.k8s.io"],
        &["gateways", "httproutes"],
        LIST,
        "rules about the way from Ingress to Gateway API",
    ),
    permission(
        &["gateway.envoyproxy.io"],
        &["envoyproxies", "securitypolicies"],
        LIST,
        "rules about objects of Envoy Gateway that are not KKP's",
    ),
    permission(
        &["cert-manager.io"],
        &["certificates", "clusterissuers", "issuers"],
        LIST,
        "rules about certificates and how they are issued",
    ),
    permission(
        &["velero.io"],
        &["backupstoragelocations", "schedules", "backups"],
        LIST,
        "rules about backups by Velero, where it is installed",
    ),
    permission(
        CORE,
        &["namespaces"],
        &["get", "list"],
        "the UID of kube-system tells whether a Seed is this very cluster; which of KKP's namespaces exist; rules about namespaces",
    ),
    permission(
        &["authorization.k8s.io"],
        &[
            "selfsubjectrulesreviews",
            "selfsubjectaccessreviews",
            "subjectaccessreviews",
        ],
        &["create"],
        "rule: our accounts may do what a run needs. Only questions; the first two everybody may ask unless somebody has taken that away",
    ),
    Permission {
        groups: &[],
        resources: &["/version"],
        names: &[],
        verbs: &["get"],
        why: "rule: the Kubernetes version of the master",
    },
];

const OPERATOR_NAMESPACE: &[Permission] = &[
    permission(OURS, &["kkpupgrades"], &["patch"], "the finalizer"),
    permission(
        OURS,
        &["kkpupgrades/finalizers"],
        &["update"],
        "the plan's ConfigMap is owned by the KKPUpgrade and blocks its deletion",
    ),
    permission(
        KKP,
        &["kubermaticconfigurations"],
        &["get", "list", "watch", "patch", "update"],
        "the limit, and fixes that spec.fixes asks for, each with our note of its original in one PATCH; a dry-run update shows whether KKP's webhooks answer",
    ),
    permission(
        KKP,
        &["seeds"],
        &["get", "list", "watch", "patch"],
        "state of seeds; fixes that spec.fixes asks for; a dry-run patch shows whether KKP's webhooks answer",
    ),
    permission(
        &["apps"],
        &["deployments", "statefulsets"],
        READ,
        "evidence: image and roll-out of KKP's components",
    ),
    permission(
        CORE,
        &["pods"],
        READ,
        "rule: no failing Pods of KKP; outcome of our Jobs; our own image",
    ),
    permission(
        CORE,
        &["pods"],
        &["delete"],
        "aborting: the Pod of an installer that cannot start, against the version that was seen",
    ),
    permission(CORE, &["pods/log"], &["get"], "the last error lines of a failed Job"),
    permission(
        &["batch"],
        &["jobs"],
        &["get", "list", "watch", "create", "delete"],
        "installer and backup run as Jobs. Whoever creates Jobs here may use any ServiceAccount of this namespace, the installer's included: treat this account like that one",
    ),
    permission(
        CORE,
        &["configmaps"],
        &["get", "list", "watch", "create", "update", "delete"],
        "plan, fences of Jobs, note of what stays changed; KKP's own are read for the plan, `kkp-upgrade-catalogue` for rules and releases",
    ),
    permission(
        CORE,
        &["secrets"],
        &["get", "list"],
        "kubeconfigs of seeds, Helm values, Helm releases: their names contain revisions, so they cannot be named here",
    ),
    permission(
        CORE,
        &["secrets"],
        &["create"],
        "kkp-upgrade-backup-key, once, where a KKPUpgrade names no recipients for its backups: a creation cannot be restricted by name",
    ),
    permission(
        CORE,
        &["persistentvolumeclaims"],
        &["get"],
        "rule: the claim for backups exists and is bound",
    ),
    Permission {
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        names: &["kkp-upgrade-active", "kkp-upgrade-operator-leader"],
        verbs: &["get", "update"],
        why: "one upgrade at a time; one active operator",
    },
    permission(
        &["coordination.k8s.io"],
        &["leases"],
        &["create"],
        "the same two, the first time: a creation cannot be restricted by name",
    ),
];

const OPERATOR_CHARTS: &[Permission] = &[permission(
    CORE,
    &["secrets"],
    &["get", "list"],
    "Helm releases of KKP's charts: one that is failed or pending would be uninstalled by the installer",
)];

/// The groups that a backup takes in.
const BACKUP_GROUPS: &[&str] = &[
    "kubermatic.k8c.io",
    "apps.kubermatic.k8c.io",
    "operatingsystemmanager.k8c.io",
    "applicationcatalog.k8c.io",
    "upgrade.k8c.io",
    "cert-manager.io",
    "acme.cert-manager.io",
    "dex.coreos.com",
    "gateway.networking.k8s.io",
    "gateway.envoyproxy.io",
];

const BACKUP_CLUSTER: &[Permission] = &[
    permission(
        BACKUP_GROUPS,
        &["*"],
        &["get", "list"],
        "everything that KKP and its charts keep; resources are found by discovery, so that one which a release adds is not left out in silence",
    ),
    permission(
        &["apiextensions.k8s.io"],
        &["customresourcedefinitions"],
        &["get", "list"],
        "the definitions of what is backed up",
    ),
    Permission {
        groups: CORE,
        resources: &["namespaces"],
        names: &["kube-system", NAMESPACE],
        verbs: &["get"],
        why: "the UID of kube-system names the cluster in the manifest; KKP's namespace must exist",
    },
    permission(
        CORE,
        &["namespaces"],
        LIST,
        "which of KKP's namespaces exist; they are part of the backup, and the others are named as left out",
    ),
    permission(
        &["networking.k8s.io"],
        &["ingresses"],
        LIST,
        "Ingresses of KKP's namespaces are part of the backup",
    ),
    permission(
        &["rbac.authorization.k8s.io"],
        &["clusterroles", "clusterrolebindings", "roles", "rolebindings"],
        LIST,
        "RBAC of KKP is part of the backup",
    ),
    permission(
        &["admissionregistration.k8s.io"],
        &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        LIST,
        "webhook configurations of KKP are part of the backup",
    ),
];

const BACKUP_CONTENT: &[Permission] = &[permission(
    CORE,
    &["configmaps", "secrets"],
    LIST,
    "ConfigMaps and Secrets are part of the backup; nothing of them is written that is not encrypted",
)];

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
            assert!(BACKUP_GROUPS.contains(group), "{group}");
        }
    }
}
