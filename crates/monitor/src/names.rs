//! Names that are part of the operator's interface: what stands on objects for everybody to see. Written down a second
//! time on purpose: a monitor that took them from the operator would follow each of its mistakes.

/// API group of the `KKPUpgrade`.
pub(crate) const GROUP: &str = "upgrade.k8c.io";
/// Group of KKP's own resources.
pub(crate) const KKP_GROUP: &str = "kubermatic.k8c.io";
/// Field manager of every write of the operator.
pub(crate) const FIELD_MANAGER: &str = "kkp-upgrade-operator";
/// ServiceAccount of the operator.
pub(crate) const OPERATOR: &str = "kkp-upgrade-operator";
/// ServiceAccount of Jobs that run KKP's installer.
pub(crate) const INSTALLER: &str = "kkp-upgrade-installer";
/// ServiceAccount of Jobs that write a backup.
pub(crate) const BACKUP: &str = "kkp-upgrade-backup";
/// ServiceAccount of Jobs that restore, and their field manager.
pub(crate) const RESTORE: &str = "kkp-upgrade-restore";
/// Who deletes objects whose owners are gone, where controllers have accounts of their own.
pub(crate) const GARBAGE_COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
/// Label on everything that the operator creates: UID of the `KKPUpgrade`.
pub(crate) const UPGRADE_LABEL: &str = "upgrade.k8c.io/upgrade-uid";
/// Label on each order for an etcd backup: the run that it was made for.
pub(crate) const RUN_LABEL: &str = "upgrade.k8c.io/run";
/// Label on a Job: its step.
pub(crate) const STEP_LABEL: &str = "upgrade.k8c.io/step";
/// Label on a Job: its target.
pub(crate) const TARGET_LABEL: &str = "upgrade.k8c.io/target";
/// The operator's note about the limit.
pub(crate) const THROTTLE: &str = "upgrade.k8c.io/throttle";
/// The operator's notes about fixes, on the fixed objects.
pub(crate) const FIX: &str = "upgrade.k8c.io/fix";
/// Who took a fence: `pod` or `operator`.
pub(crate) const FENCE_OWNER: &str = "upgrade.k8c.io/fence-owner";
/// The operator's finalizer.
pub(crate) const FINALIZER: &str = "upgrade.k8c.io/put-back";
/// Lease of the upgrade that has the platform.
pub(crate) const ACTIVE_LEASE: &str = "kkp-upgrade-active";
/// Lease of the leading operator.
pub(crate) const LEADER_LEASE: &str = "kkp-upgrade-operator-leader";
/// Secret with the key of backups for which nobody named recipients.
pub(crate) const BACKUP_KEY: &str = "kkp-upgrade-backup-key";
/// The limit on parallel reconciles in a `KubermaticConfiguration`.
pub(crate) const LIMIT: &str = "/spec/seedController/maximumParallelReconciles";
/// CRD whose annotation tells the version of KKP's CRDs (KKP source, `pkg/install/util`).
pub(crate) const CLUSTER_CRD: &str = "clusters.kubermatic.k8c.io";
/// That annotation.
pub(crate) const CRD_VERSION: &str = "app.kubernetes.io/version";
/// Largest `KKPUpgrade`, in bytes.
pub(crate) const LARGEST: usize = 64 * 1024;
/// Namespaces that hold releases of the installer's stack `kubermatic-master` (KKP source, `pkg/install/stack/kubermatic-master`).
pub(crate) const RELEASE_NAMESPACES: [&str; 7] = [
    "kubermatic",
    "cert-manager",
    "dex",
    "oauth",
    "nginx-ingress-controller",
    "envoy-gateway-controller",
    "telemetry-system",
];
