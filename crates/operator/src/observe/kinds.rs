//! Where the API server keeps the items of each kind that rules look at. Pure data.

use kkp_upgrade_core::rules::ItemKind;
use kube::core::ApiResource;

use crate::permissions::NAMESPACE;

/// Which objects of a resource are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of them.
    All,
    /// Those in KKP's namespaces, namespace by namespace.
    KkpNamespaces,
    /// Secrets of this type in those of these namespaces that exist: rights to Secrets are granted in each by itself.
    SecretsOfType(&'static str, &'static [&'static str]),
    /// Those of this name, in all namespaces.
    Named(&'static str),
    /// Those in one namespace with one label.
    Labelled(&'static str, &'static str),
}

/// A resource that items of a kind come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resource {
    /// API group; `""` is the core group.
    pub(crate) group: &'static str,
    /// Version.
    pub(crate) version: &'static str,
    /// Kind.
    pub(crate) kind: &'static str,
    /// Name in paths.
    pub(crate) plural: &'static str,
    /// Which objects.
    pub(crate) scope: Scope,
}

impl Resource {
    /// The same for `kube`.
    pub(crate) fn api_resource(&self) -> ApiResource {
        let api_version = if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        };
        ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version,
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }
}

const fn resource(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    scope: Scope,
) -> Resource {
    Resource {
        group,
        version,
        kind,
        plural,
        scope,
    }
}

const KKP: &str = "kubermatic.k8c.io";
const GATEWAY: &str = "gateway.networking.k8s.io";
const ENVOY: &str = "gateway.envoyproxy.io";
const CERT_MANAGER: &str = "cert-manager.io";
const VELERO: &str = "velero.io";
/// Type of Secrets with a certificate and its key.
pub(super) const TLS_SECRET: &str = "kubernetes.io/tls";
/// Namespaces of what users see of KKP: dashboard and API, logins, monitoring behind a login.
const ENTRANCE: [&str; 4] = [NAMESPACE, "dex", "oauth", "iap"];

/// Resources of a kind. None for those that are not read from lists of objects: the platform itself, Seeds, Helm
/// releases, answers of webhooks, the insides of user clusters and our own accounts.
pub(crate) fn resources(kind: ItemKind) -> Vec<Resource> {
    use Scope::{All, KkpNamespaces, Labelled, Named, SecretsOfType};
    let one = |group, version, kind, plural, scope| vec![resource(group, version, kind, plural, scope)];
    match kind {
        ItemKind::Platform
        | ItemKind::Seed
        | ItemKind::Release
        | ItemKind::Webhook
        | ItemKind::UserCluster
        | ItemKind::Account => Vec::new(),
        ItemKind::Cluster => one(KKP, "v1", "Cluster", "clusters", All),
        ItemKind::Addon => one(KKP, "v1", "Addon", "addons", All),
        ItemKind::EtcdBackup => one(KKP, "v1", "EtcdBackupConfig", "etcdbackupconfigs", All),
        ItemKind::EtcdRestore => one(KKP, "v1", "EtcdRestore", "etcdrestores", All),
        ItemKind::Template => one(KKP, "v1", "ClusterTemplate", "clustertemplates", All),
        ItemKind::Preset => one(KKP, "v1", "Preset", "presets", All),
        ItemKind::Setting => one(KKP, "v1", "KubermaticSetting", "kubermaticsettings", All),
        ItemKind::GroupBinding => one(KKP, "v1", "GroupProjectBinding", "groupprojectbindings", All),
        ItemKind::ConstraintTemplate => one(KKP, "v1", "ConstraintTemplate", "constrainttemplates", All),
        ItemKind::ApplicationDefinition => one(
            "apps.kubermatic.k8c.io",
            "v1",
            "ApplicationDefinition",
            "applicationdefinitions",
            All,
        ),
        ItemKind::Deployment => one("apps", "v1", "Deployment", "deployments", KkpNamespaces),
        ItemKind::StatefulSet => one("apps", "v1", "StatefulSet", "statefulsets", KkpNamespaces),
        ItemKind::DaemonSet => one("apps", "v1", "DaemonSet", "daemonsets", KkpNamespaces),
        ItemKind::Ring => one("apps", "v1", "StatefulSet", "statefulsets", Named("etcd")),
        ItemKind::ApiServer => one("apps", "v1", "Deployment", "deployments", Named("apiserver")),
        ItemKind::Pod => one("", "v1", "Pod", "pods", KkpNamespaces),
        ItemKind::Service => one("", "v1", "Service", "services", KkpNamespaces),
        ItemKind::Node => one("", "v1", "Node", "nodes", All),
        ItemKind::Volume => one("", "v1", "PersistentVolume", "persistentvolumes", All),
        ItemKind::Namespace => one("", "v1", "Namespace", "namespaces", All),
        ItemKind::StorageClass => one("storage.k8s.io", "v1", "StorageClass", "storageclasses", All),
        ItemKind::DisruptionBudget => one(
            "policy",
            "v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            KkpNamespaces,
        ),
        ItemKind::EndpointSlice => one(
            "discovery.k8s.io",
            "v1",
            "EndpointSlice",
            "endpointslices",
            Labelled("default", "kubernetes.io/service-name=kubernetes"),
        ),
        ItemKind::Crd => one(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            All,
        ),
        ItemKind::Ingress => one("networking.k8s.io", "v1", "Ingress", "ingresses", All),
        ItemKind::Gateway => one(GATEWAY, "v1", "Gateway", "gateways", All),
        ItemKind::Route => one(GATEWAY, "v1", "HTTPRoute", "httproutes", All),
        ItemKind::EnvoyProxy => one(ENVOY, "v1alpha1", "EnvoyProxy", "envoyproxies", All),
        ItemKind::SecurityPolicy => one(ENVOY, "v1alpha1", "SecurityPolicy", "securitypolicies", All),
        ItemKind::Certificate => one(CERT_MANAGER, "v1", "Certificate", "certificates", All),
        ItemKind::TlsSecret => one("", "v1", "Secret", "secrets", SecretsOfType(TLS_SECRET, &ENTRANCE)),
        ItemKind::Issuer => vec![
            resource(CERT_MANAGER, "v1", "ClusterIssuer", "clusterissuers", All),
            resource(CERT_MANAGER, "v1", "Issuer", "issuers", All),
        ],
        ItemKind::BackupLocation => one(VELERO, "v1", "BackupStorageLocation", "backupstoragelocations", All),
        ItemKind::BackupSchedule => one(VELERO, "v1", "Schedule", "schedules", All),
        ItemKind::VeleroBackup => one(VELERO, "v1", "Backup", "backups", All),
    }
}
