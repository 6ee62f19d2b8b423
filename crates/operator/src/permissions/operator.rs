//! What the operator itself may do. Pure data.

use super::{CORE, KKP, LIST, OURS, Permission, READ, permission};

pub(super) const CLUSTER: &[Permission] = &[
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

pub(super) const IN_NAMESPACE: &[Permission] = &[
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
        "kubeconfigs of seeds, Helm values, ends of TLS certificates, and Helm releases: their names contain revisions, so they cannot be named here",
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

pub(super) const CHARTS: &[Permission] = &[permission(
    CORE,
    &["secrets"],
    &["get", "list"],
    "Helm releases of KKP's charts: one that is failed or pending would be uninstalled by the installer; ends of TLS certificates of its logins",
)];
