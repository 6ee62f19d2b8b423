//! Typed facts, one struct per item kind: what the shell fills and what rules may name. Pure.
//!
//! Struct and schema come from one table, so they cannot differ. The text of each field says where the value is found;
//! a field left out is [`Field::NotRead`] and makes every rule that names it undecided, never passed.

use std::sync::LazyLock;

use super::kind::ItemKind;
use super::schema::{FactValue, Field, FieldSpec, Item, camel_case};

/// Facts about one item, or about the request.
pub trait Facts {
    /// Fields in the order of the table.
    fn schema() -> Vec<FieldSpec>
    where
        Self: Sized;
    /// Those of the facts that are `wanted`, as rules see them.
    fn item_of(&self, wanted: &dyn Fn(&str) -> bool) -> Item;
    /// The facts as rules see them.
    fn item(&self) -> Item {
        self.item_of(&|_| true)
    }
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
                    docs: concat!($($docs),+).trim_ascii().to_owned(),
                }),+]
            }
            fn item_of(&self, wanted: &dyn Fn(&str) -> bool) -> Item {
                // Made once: items are made for every object of a platform.
                static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| vec![$(camel_case(stringify!($field))),+]);
                let Self { $($field),+ } = self;
                let mut item = Item::default();
                let mut names = NAMES.iter();
                $(if let Some(name) = names.next().filter(|name| wanted(name)) {
                    item.set(name, $field);
                })+
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
        /// `kubermaticOperator.image.repository` in the Helm values as they were given, before the installer gets the one in use.
        values_image_repository: Option<String>,
        /// The Helm values as they were given are null or have no keys.
        values_empty: bool,
        /// Repository of the image of container `operator` in Deployment `kubermatic/kubermatic-operator`; null without one.
        operator_image_repository: Option<String>,
        /// Length of `KubermaticConfiguration` `.spec.auth.serviceAccountKey` in bytes; 0 when unset.
        service_account_key_length: i64,
        /// Entries of `dex.config.staticClients` in the Helm values whose `id` is the client of the issuer.
        login_clients: i64,
        /// Of the first of these entries: `public` is true.
        login_client_public: bool,
        /// Of the first of these entries: `same` or `different` compared with `.spec.auth.issuerClientSecret`, `unreadable` where
        /// one of both is not set.
        login_client_secret: String,
        /// Of the first of these entries: its redirect URIs.
        login_redirect_uris: Vec<String>,
        /// Deployments with label `app.kubernetes.io/name: external-dns` that read Ingresses and no `HTTPRoutes`, as
        /// `namespace/name`.
        external_dns_ingress_only: Vec<String>,
        /// Whether `ValidatingAdmissionPolicy` `safe-upgrades.gateway.networking.k8s.io` exists on the master.
        gateway_crd_policy: bool,
        /// `httpRoute.domain` in the Helm values that the installer will get.
        values_http_route_domain: Option<String>,
        /// `KubermaticConfiguration` `.spec.featureGates.HeadlessInstallation`; unset counts as false.
        headless: bool,
        /// Why ConfigMap `kkp-upgrade-catalogue` in the operator's namespace is refused: the first problem, and how many more
        /// there are; null where it is in force or not there.
        catalogue_refused: Option<String>,
        /// The login issuer: `KubermaticConfiguration` `.spec.auth.tokenIssuer`, or `https://<domain>/dex`.
        login_issuer: String,
        /// Whether it has answered the operator's GET of `<issuer>/.well-known/openid-configuration`, with whatever status.
        issuer_answered: bool,
        /// Why it was not asked, or its answer not taken, where that lies in the issuer: no https, a certificate that neither the
        /// system nor KKP's CA bundle vouches for, a redirect, an answer without end; empty = nothing. Not read where it does not answer.
        issuer_objection: String,
        /// HTTP status of the answer; null without one.
        issuer_status: Option<i64>,
        /// `issuer` of the discovery document: the name that its tokens carry; null without one.
        issuer_named: Option<String>,
        /// `scopes_supported` of the document; null where it leaves them out.
        issuer_scopes: Option<Vec<String>>,
        /// `grant_types_supported` of the document; null where it leaves them out.
        issuer_grant_types: Option<Vec<String>>,
        /// `code_challenge_methods_supported` of the document; null where it leaves them out.
        issuer_challenge_methods: Option<Vec<String>>,
        /// IP addresses that `.spec.ingress.domain` leads to, as the operator's resolver says; DNS outside may say otherwise.
        domain_addresses: Vec<String>,
        /// Addresses of the Gateway of KKP, or of the one that the configuration names: `.status.addresses`, names looked up.
        gateway_addresses: Vec<String>,
        /// Addresses of load balancers in namespace `nginx-ingress-controller`: `.status.loadBalancer.ingress`, names looked up.
        nginx_balancer_addresses: Vec<String>,
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
        /// Whether its cluster is not the master's.
        separate: bool,
        /// Whether the Seed has annotation `kubermatic.k8c.io/skip-reconciling`.
        skip_reconciling: bool,
        /// Whether that annotation is our own mark (a hold).
        held: bool,
        /// `KubermaticConfiguration` `.spec.seedController.maximumParallelReconciles`, the value of the administrator (not our throttle).
        configured_limit: Option<i64>,
        /// When the client certificate in its kubeconfig ends (RFC 3339); null where it logs in by a token.
        client_certificate_ends: Option<String>,
        /// How many more average control planes fit on the seed, by the requests of its Pods and what its schedulable nodes have; null
        /// where no control plane asks for anything. Read where `spec.checks.seedCapacity` asks for it, like the next three.
        control_plane_room: Option<i64>,
        /// Namespaces `cluster-…` with Pods in them.
        control_planes: i64,
        /// Percent of the CPU of its schedulable nodes that Pods ask for.
        cpu_requested_percent: i64,
        /// Percent of the memory of its schedulable nodes that Pods ask for.
        memory_requested_percent: i64,
    }
}

facts! {
    /// Facts about one user cluster, read on its seed.
    ClusterFacts(Cluster) {
        /// Cluster `.spec.version`.
        version: String,
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
    /// Facts about one user cluster as it is inside. Lists hold the first ten, sorted.
    UserClusterFacts(UserCluster) {
        /// Whether its API server answered with KKP's kubeconfig (Secret `admin-kubeconfig` in its namespace on the seed).
        answered: bool,
        /// Nodes whose condition `Ready` is not True. Not read where the cluster does not answer.
        nodes_not_ready: Vec<String>,
        /// Pods in `kube-system` that wait because of an error, or are Pending for ten minutes, with the reason.
        failing_system_pods: Vec<String>,
        /// Admission webhooks with `failurePolicy: Fail` whose Service has no ready endpoint.
        dead_webhooks: Vec<String>,
        /// `APIService`s whose condition `Available` is not True.
        unavailable_apis: Vec<String>,
        /// Whether webhook `validation.gatekeeper.sh` has `failurePolicy: Fail`; false where there is none.
        gatekeeper_fails_closed: bool,
        /// Pods in the namespace of the cluster on its seed that wait because of an error, or are Pending for ten minutes, with the
        /// reason.
        failing_control_plane_pods: Vec<String>,
    }
}

facts! {
    /// Facts about the newest revision of one Helm release, from its Secret.
    ReleaseFacts(Release) {
        /// Label `status` of the Secret: deployed, failed, pending-install, pending-upgrade, pending-rollback, uninstalling, …
        status: String,
        /// Label `version` of the Secret: the revision.
        revision: i64,
        /// Keys, at most two deep, that the release was installed with and that the values which the installer will get lack or
        /// have otherwise: of releases that the master stack upgrades with these values, on the master; the first ten, sorted.
        values_drift: Vec<String>,
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
        /// The Deployment is of our own operator, by label `app.kubernetes.io/name`.
        ours: bool,
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
        /// The Pod is of our own operator or of a Job that we made (label with the UID of a `KKPUpgrade`).
        ours: bool,
        /// Another Pod has taken its place: evicted or failed Pod of a `ReplicaSet` or Job whose work a newer Pod does or did.
        superseded: bool,
    }
}

facts! {
    /// What the Cluster of an etcd ring says about it.
    RingFacts(Ring) {
        /// Whether KKP reconciles the Cluster: it exists, is not being deleted, not paused and has no foreign `worker-name`.
        cluster_active: bool,
    }
}

facts! {
    /// What the certificate in a TLS Secret says.
    TlsSecretFacts(TlsSecret) {
        /// When the first certificate in `.data["tls.crt"]` ends (RFC 3339); null where there is none that can be read.
        certificate_ends: Option<String>,
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
    /// What the API server says that one of our accounts may not do, of all that it needs in every run.
    AccountFacts(Account) {
        /// Verb and resource of each right that is missing; empty = it may do its work.
        forbidden: Vec<String>,
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
        /// `.spec.backup.userClusterEtcd` is `Auto`, and `.spec.backup.policy` `Required`: KKP is asked for etcd backups.
        etcd_backups: bool,
        /// `.spec.checks.seedCapacity` is `Requests`.
        seed_capacity: bool,
        /// Whether backups are encrypted with a key whose private half lies in the cluster: nobody named recipients in `.spec.backup.encryption`.
        backup_key_in_cluster: bool,
    }
}

impl SpecFacts {
    /// A usual request, all of it read.
    #[doc(hidden)]
    #[must_use]
    pub fn usual() -> Self {
        Self {
            edition: None.into(),
            maximum_parallel_reconciles: Some(3).into(),
            backup_policy: "Required".to_owned().into(),
            backup_storage: true.into(),
            etcd_backups: true.into(),
            seed_capacity: false.into(),
            backup_key_in_cluster: false.into(),
        }
    }
}

facts! {
    /// What every object has by itself, and where it was found.
    ObjectFacts {
        /// `master`, or the name of the seed on whose cluster it was read.
        place: String,
        /// Whether that is the master.
        on_master: bool,
        /// `.metadata.namespace`; null where the kind has none.
        namespace: Option<String>,
        /// `.metadata.name`; for a Helm release the name of the release.
        name: String,
        /// `.metadata.deletionTimestamp` is set.
        deleting: bool,
        /// Whole days since `.metadata.creationTimestamp`.
        age_days: i64,
    }
}

/// Fields of `kind` that code computes, beside those that `catalogue/facts.yaml` adds.
#[must_use]
pub(super) fn computed(kind: ItemKind) -> Vec<FieldSpec> {
    let own = match kind {
        ItemKind::Platform => PlatformFacts::schema(),
        ItemKind::Seed => SeedFacts::schema(),
        ItemKind::Cluster => ClusterFacts::schema(),
        ItemKind::UserCluster => UserClusterFacts::schema(),
        ItemKind::Release => ReleaseFacts::schema(),
        ItemKind::Deployment => DeploymentFacts::schema(),
        ItemKind::Pod => PodFacts::schema(),
        ItemKind::Ring => RingFacts::schema(),
        ItemKind::TlsSecret => TlsSecretFacts::schema(),
        ItemKind::Webhook => WebhookFacts::schema(),
        ItemKind::Account => AccountFacts::schema(),
        _ => Vec::new(),
    };
    let by_itself = if kind.is_object() {
        ObjectFacts::schema()
    } else {
        Vec::new()
    };
    by_itself.into_iter().chain(own).collect()
}
