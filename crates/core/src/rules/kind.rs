//! The closed list of what an item of the platform can be, and where each kind is found. Pure.

use serde::{Deserialize, Serialize};

/// What one item of the platform is. `each` of a rule is one of these words, in lower case.
///
/// KKP's namespaces are `kubermatic` and those of its charts. Where nothing else is said, a target is
/// `<master or seed>/<namespace>/<name>`, without the namespace where the kind has none.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
    strum::EnumIter,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum ItemKind {
    /// The platform as a whole: exactly one item, target `platform`.
    Platform,
    /// One Seed; target = name of the Seed.
    Seed,
    /// One user cluster; target = `<seed>/<cluster>`.
    Cluster,
    /// Newest revision of one Helm release in KKP's namespaces; target = `<master or seed>/<namespace>/<release>`.
    Release,
    /// One Deployment in KKP's namespaces; target = `<master or seed>/<namespace>/<name>`.
    Deployment,
    /// One `StatefulSet` in KKP's namespaces.
    StatefulSet,
    /// One `DaemonSet` in KKP's namespaces.
    DaemonSet,
    /// One Pod in KKP's namespaces.
    Pod,
    /// One user cluster as it is inside, read with KKP's own kubeconfig, and the Pods of its control plane; only where
    /// `spec.checks.insideUserClusters` asks for it; target = `<seed>/<cluster>`.
    UserCluster,
    /// The `StatefulSet` `etcd` of one user cluster, on its seed.
    Ring,
    /// The Deployment `apiserver` of one user cluster, on its seed.
    ApiServer,
    /// One answer of KKP's admission webhooks; target = `<master or seed>/<kind of the object that was tried>`.
    Webhook,
    /// One `ServiceAccount` of this operator; target = its name.
    Account,
    /// One Node of the master or of a seed.
    Node,
    /// One `PersistentVolume` of the master or of a seed.
    Volume,
    /// One `StorageClass` of the master or of a seed.
    StorageClass,
    /// One Namespace of the master or of a seed.
    Namespace,
    /// One Service in KKP's namespaces.
    Service,
    /// One `PodDisruptionBudget` in KKP's namespaces.
    DisruptionBudget,
    /// One `EndpointSlice` of Service `default/kubernetes`.
    EndpointSlice,
    /// One `CustomResourceDefinition`.
    Crd,
    /// One Ingress.
    Ingress,
    /// One Gateway (Gateway API).
    Gateway,
    /// One `HTTPRoute`.
    Route,
    /// One Certificate of cert-manager.
    Certificate,
    /// One `ClusterIssuer` or Issuer of cert-manager.
    Issuer,
    /// One Secret of type `kubernetes.io/tls` in `kubermatic`, `dex`, `oauth` or `iap`; of what it holds, only when its certificate ends is looked at.
    TlsSecret,
    /// One `EnvoyProxy`.
    EnvoyProxy,
    /// One `SecurityPolicy` of Envoy Gateway.
    SecurityPolicy,
    /// One `ClusterTemplate`.
    Template,
    /// One Preset.
    Preset,
    /// One `KubermaticSetting`.
    Setting,
    /// One `GroupProjectBinding`.
    GroupBinding,
    /// One `ApplicationDefinition`.
    ApplicationDefinition,
    /// One `ConstraintTemplate` of KKP.
    ConstraintTemplate,
    /// One `EtcdBackupConfig`.
    EtcdBackup,
    /// One `EtcdRestore`.
    EtcdRestore,
    /// One Addon of a user cluster.
    Addon,
    /// One `BackupStorageLocation` of Velero.
    BackupLocation,
    /// One Schedule of Velero.
    BackupSchedule,
    /// One Backup of Velero.
    VeleroBackup,
}

/// On which clusters items of a kind are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// On the master.
    Master,
    /// On each seed.
    Seeds,
    /// On the master and on each seed; one that is both is looked at twice.
    Both,
}

/// The place of items on the master.
pub const MASTER: &str = "master";

impl ItemKind {
    /// Where items of the kind are looked for.
    #[must_use]
    pub const fn places(self) -> Places {
        match self {
            Self::Cluster
            | Self::UserCluster
            | Self::Ring
            | Self::ApiServer
            | Self::EtcdBackup
            | Self::EtcdRestore
            | Self::Addon => Places::Seeds,
            Self::Platform
            | Self::Seed
            | Self::Gateway
            | Self::Certificate
            | Self::Issuer
            | Self::EnvoyProxy
            | Self::SecurityPolicy
            | Self::Template
            | Self::Preset
            | Self::Setting
            | Self::GroupBinding
            | Self::ApplicationDefinition
            | Self::ConstraintTemplate
            | Self::Account => Places::Master,
            Self::Release
            | Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::Pod
            | Self::Webhook
            | Self::Node
            | Self::Volume
            | Self::StorageClass
            | Self::Namespace
            | Self::Service
            | Self::DisruptionBudget
            | Self::EndpointSlice
            | Self::TlsSecret
            | Self::Crd
            | Self::Ingress
            | Self::Route
            | Self::BackupLocation
            | Self::BackupSchedule
            | Self::VeleroBackup => Places::Both,
        }
    }

    /// Whether items of the kind are made and deleted all the time, by users or by programs.
    #[must_use]
    pub const fn comes_and_goes(self) -> bool {
        matches!(
            self,
            Self::Cluster
                | Self::UserCluster
                | Self::Pod
                | Self::Ring
                | Self::ApiServer
                | Self::Volume
                | Self::Namespace
                | Self::DisruptionBudget
                | Self::EtcdBackup
                | Self::EtcdRestore
                | Self::Addon
                | Self::VeleroBackup
        )
    }

    /// Documents that paths of the kind may look into; the first one where a field names none.
    #[must_use]
    pub const fn documents(self) -> &'static [&'static str] {
        match self {
            Self::Platform => &["configuration", "values"],
            Self::Release => &["values", "metadata"],
            Self::Webhook | Self::UserCluster => &[],
            _ => &["object"],
        }
    }

    /// Whether items are objects with a name and a place.
    #[must_use]
    pub const fn is_object(self) -> bool {
        !matches!(self, Self::Platform | Self::Webhook | Self::UserCluster)
    }
}
