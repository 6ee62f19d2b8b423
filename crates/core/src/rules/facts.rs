//! Typed facts, one struct per item kind: what the shell fills and what rules may name. Pure.
//!
//! Struct and schema come from one table, so they cannot differ. The text of each field says where the value is found;
//! a field left out is [`Field::NotRead`] and makes every rule that names it undecided, never passed.

use super::schema::{FactValue, Field, FieldSpec, Item, ItemKind, camel_case};

/// Facts about one item, or about the request.
pub trait Facts {
    /// Fields in the order of the table.
    fn schema() -> Vec<FieldSpec>
    where
        Self: Sized;
    /// The facts as rules see them.
    fn item(&self) -> Item;
}

/// Facts about an item of one kind.
pub trait ItemFacts: Facts {
    /// The kind.
    const KIND: ItemKind;
}

macro_rules! facts {
    ($(#[doc = $title:literal])* $name:ident $(($kind:ident))? { $($(#[doc = $docs:literal])+ $field:ident: $value:ty,)+ }) => {
        $(#[doc = $title])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $docs])+ pub $field: Field<$value>,)+
        }
        impl Facts for $name {
            fn schema() -> Vec<FieldSpec> {
                vec![$(FieldSpec {
                    name: camel_case(stringify!($field)),
                    field_type: <$value as FactValue>::TYPE,
                    nullable: <$value as FactValue>::NULLABLE,
                    docs: concat!($($docs),+).trim_ascii(),
                }),+]
            }
            fn item(&self) -> Item {
                let Self { $($field),+ } = self;
                let mut item = Item::default();
                $(item.set(&camel_case(stringify!($field)), $field);)+
                item
            }
        }
        $(impl ItemFacts for $name {
            const KIND: ItemKind = ItemKind::$kind;
        })?
    };
}

facts! {
    /// Facts about the platform as a whole, read on the master.
    PlatformFacts(Platform) {
        /// Number of `KubermaticConfiguration` objects in all namespaces.
        configurations: i64,
        /// `KubermaticConfiguration` `.status.kubermaticVersion`, as written (with `v`). Set by the master-controller-manager to its own version.
        version: Option<String>,
        /// `KubermaticConfiguration` `.status.kubermaticEdition`: `CE` or `EE`.
        edition: Option<String>,
        /// Image tag of container `operator` in Deployment `kubermatic/kubermatic-operator`; null for an image without tag or no Deployment.
        operator_image_tag: Option<String>,
        /// Chart version of the newest revision of Helm release `kubermatic/kubermatic-operator` (`.chart.metadata.version`); null without a release.
        operator_chart_version: Option<String>,
        /// Label `app.kubernetes.io/managed-by` or tracking mark of Argo CD or Flux on Deployment `kubermatic/kubermatic-operator`; null without one.
        gitops_owner: Option<String>,
        /// `.major` of GET /version on the master, digits only.
        kubernetes_major: i64,
        /// `.minor` of GET /version on the master, digits only.
        kubernetes_minor: i64,
        /// Whether `StorageClass` `kubermatic-fast` exists on the master.
        storage_class_fast: bool,
        /// `kubermaticOperator.image.tag` in the Helm values that the installer will get.
        values_image_tag: Option<String>,
        /// `httpRoute.domain` in the Helm values that the installer will get.
        values_http_route_domain: Option<String>,
        /// `KubermaticConfiguration` `.spec.featureGates.HeadlessInstallation`; unset counts as false.
        headless: bool,
    }
}

facts! {
    /// Facts about one Seed, read on the master and on the seed.
    SeedFacts(Seed) {
        /// Seed `.status.phase`: Healthy, Unhealthy, Invalid, Paused, Terminating.
        phase: Option<String>,
        /// Seed `.status.versions.kubermatic`, as written. Says what the master runs, not what was rolled out on the seed.
        version: Option<String>,
        /// Image tag of Deployment `kubermatic/kubermatic-seed-controller-manager` on the seed; null when there is none.
        controller_version: Option<String>,
        /// Seed `.status.conditions.KubeconfigValid.status`.
        kubeconfig_valid: Option<String>,
        /// Seed `.status.conditions.ResourcesReconciled.status`.
        resources_reconciled: Option<String>,
        /// Whether our own read with the Seed's kubeconfig was answered.
        reachable: bool,
        /// The error of that read; null when it was answered.
        reach_error: Option<String>,
        /// Whether the Seed has annotation `kubermatic.k8c.io/skip-reconciling`.
        skip_reconciling: bool,
        /// Whether that annotation is our own mark (a hold).
        held: bool,
        /// Clusters on the seed whose condition `SeedResourcesUpToDate` is not True: all count, also paused and deleting ones.
        stuck_clusters: i64,
        /// `KubermaticConfiguration` `.spec.seedController.maximumParallelReconciles`, the value of the administrator (not our throttle).
        configured_limit: Option<i64>,
    }
}

facts! {
    /// Facts about one user cluster, read on its seed.
    ClusterFacts(Cluster) {
        /// Cluster `.spec.version`.
        version: String,
        /// Cluster `.metadata.deletionTimestamp` is set.
        deleting: bool,
        /// Cluster `.spec.pause`; unset counts as false.
        paused: bool,
        /// Cluster `.spec.pauseReason`.
        pause_reason: Option<String>,
        /// Cluster label `worker-name`.
        worker_name: Option<String>,
        /// Keys of Cluster `.status.extendedHealth` that KKP needs and that are not `HealthStatusUp`: etcd, controller, apiserver, scheduler,
        /// cloudProviderInfrastructure, userClusterControllerManager, machineController (may be empty).
        unhealthy_parts: Vec<String>,
        /// Cluster `.spec.containerRuntime`.
        container_runtime: Option<String>,
    }
}

facts! {
    /// Facts about the newest revision of one Helm release, from its Secret.
    ReleaseFacts(Release) {
        /// Label `status` of the Secret: deployed, failed, pending-install, pending-upgrade, pending-rollback, uninstalling, …
        status: String,
        /// Label `version` of the Secret: the revision.
        revision: i64,
    }
}

facts! {
    /// Facts about one Deployment of KKP. Counts that the API omits are 0; `replicas` unset is 1.
    DeploymentFacts(Deployment) {
        /// `.metadata.generation`.
        generation: i64,
        /// `.status.observedGeneration`.
        observed_generation: i64,
        /// `.spec.replicas`.
        replicas: i64,
        /// `.status.updatedReplicas`.
        updated_replicas: i64,
        /// `.status.availableReplicas`.
        available_replicas: i64,
    }
}

facts! {
    /// Facts about one Pod in a namespace of KKP.
    PodFacts(Pod) {
        /// `.status.phase`.
        phase: String,
        /// Every container is ready (`.status.containerStatuses[].ready`).
        ready: bool,
        /// First `.state.waiting.reason` of a container or init container.
        waiting_reason: Option<String>,
        /// `.metadata.deletionTimestamp` is set.
        deleting: bool,
        /// The Pod is of our own operator or of a Job that we made (label with the UID of a `KKPUpgrade`).
        ours: bool,
        /// Another Pod has taken its place: evicted or failed Pod of a `ReplicaSet` or Job whose work a newer Pod does or did.
        superseded: bool,
    }
}

facts! {
    /// Outcome of one update of a KKP object with `dryRun=All` and no change: it passes through KKP's admission webhooks.
    WebhookFacts(Webhook) {
        /// The update was answered and allowed.
        answered: bool,
        /// The error; null when it was allowed.
        error: Option<String>,
    }
}

facts! {
    /// What the `KKPUpgrade` asks for, as rules see it under the name `spec`.
    SpecFacts {
        /// `.spec.edition`.
        edition: Option<String>,
        /// `.spec.maximumParallelReconciles`.
        maximum_parallel_reconciles: Option<i64>,
        /// `.spec.backup.policy`, default `Required`.
        backup_policy: String,
        /// Whether the `KKPUpgrade` or the operator's configuration names a storage for backups.
        backup_storage: bool,
    }
}

/// Fields that a rule for items of `kind` may name.
#[must_use]
pub fn schema(kind: ItemKind) -> Vec<FieldSpec> {
    match kind {
        ItemKind::Platform => PlatformFacts::schema(),
        ItemKind::Seed => SeedFacts::schema(),
        ItemKind::Cluster => ClusterFacts::schema(),
        ItemKind::Release => ReleaseFacts::schema(),
        ItemKind::Deployment => DeploymentFacts::schema(),
        ItemKind::Pod => PodFacts::schema(),
        ItemKind::Webhook => WebhookFacts::schema(),
    }
}
