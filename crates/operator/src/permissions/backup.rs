//! What Jobs that make and remove backups may do. Pure data.

use super::{CORE, LIST, NAMESPACE, Permission, permission};

/// The groups that a backup takes in.
pub(super) const GROUPS: &[&str] = &[
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

pub(super) const CLUSTER: &[Permission] = &[
    permission(
        GROUPS,
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

pub(super) const CONTENT: &[Permission] = &[permission(
    CORE,
    &["configmaps", "secrets"],
    LIST,
    "ConfigMaps and Secrets are part of the backup; nothing of them is written that is not encrypted",
)];
