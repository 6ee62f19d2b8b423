//! The Cluster kind: a user cluster. Lives on the seeds only, cluster-scoped.
//!
//! Pure.

use kube::core::ClusterResourceScope;

use super::condition::Condition;
use super::field::{Field, Table};
use super::object::object;
use super::slice::slice;

/// Label that hands a Cluster to one particular set of controllers.
pub const WORKER_NAME: &str = "worker-name";

slice! {
    /// What of a Cluster's spec is read.
    pub struct ClusterSpec {
        /// Name for people.
        "humanReadableName" => pub human_readable_name: Field<String>,
        /// Kubernetes version without `v`.
        "version" => pub version: Field<String>,
        /// Whether KKP leaves it alone.
        "pause" => pub pause: Field<bool>,
        /// Why it is paused.
        "pauseReason" => pub pause_reason: Field<String>,
        /// Provider.
        "cloud" => pub cloud: Cloud,
        /// Network plugin.
        "cniPlugin" => pub cni_plugin: CniPlugin,
        /// Network settings.
        "clusterNetwork" => pub cluster_network: ClusterNetwork,
        /// How its API server is exposed.
        "exposeStrategy" => pub expose_strategy: Field<String>,
        /// Features by name.
        "features" => pub features: Table<bool>,
        /// `containerd` or `docker`.
        "containerRuntime" => pub container_runtime: Field<String>,
        /// Whether the operating system manager is used.
        "enableOperatingSystemManager" => pub enable_operating_system_manager: Field<bool>,
    }
}

slice! {
    /// Provider of a Cluster.
    pub struct Cloud {
        /// Name of the datacenter.
        "dc" => pub datacenter: Field<String>,
        /// Name of the provider.
        "providerName" => pub provider_name: Field<String>,
    }
}

slice! {
    /// Network plugin of a Cluster.
    pub struct CniPlugin {
        /// `canal`, `cilium` or `none`.
        "type" => pub kind: Field<String>,
        /// Version exactly as stored.
        "version" => pub version: Field<String>,
    }
}

slice! {
    /// Network settings of a Cluster.
    pub struct ClusterNetwork {
        /// Whether konnectivity is used instead of the older VPN.
        "konnectivityEnabled" => pub konnectivity_enabled: Field<bool>,
        /// `ipvs`, `iptables`, `ebpf` or `nftables`.
        "proxyMode" => pub proxy_mode: Field<String>,
        /// IP family.
        "ipFamily" => pub ip_family: Field<String>,
    }
}

slice! {
    /// What of a Cluster's status is read.
    pub struct ClusterStatus {
        /// Namespace of its control plane on the seed.
        "namespaceName" => pub namespace_name: Field<String>,
        /// `Creating`, `Updating`, `Running` or `Terminating`; no logic may depend on it.
        "phase" => pub phase: Field<String>,
        /// Versions of its components.
        "versions" => pub versions: ComponentVersions,
        /// Health by component, e.g. `etcd` → `HealthStatusUp`.
        "extendedHealth" => pub extended_health: ExtendedHealth,
        /// Conditions by type.
        "conditions" => pub conditions: Table<Condition>,
        /// Machine-readable error.
        "errorReason" => pub error_reason: Field<String>,
        /// Error for people.
        "errorMessage" => pub error_message: Field<String>,
        /// Its address.
        "address" => pub address: Address,
    }
}

slice! {
    /// Versions of a Cluster's components.
    pub struct ComponentVersions {
        /// Control plane as a whole.
        "controlPlane" => pub control_plane: Field<String>,
        /// API server.
        "apiserver" => pub apiserver: Field<String>,
        /// Controller manager.
        "controllerManager" => pub controller_manager: Field<String>,
        /// Scheduler.
        "scheduler" => pub scheduler: Field<String>,
        /// The oldest kubelet.
        "oldestNodeVersion" => pub oldest_node_version: Field<String>,
    }
}

slice! {
    /// The parts of a Cluster's health that KKP's own rule looks at.
    pub struct ExtendedHealth {
        /// etcd.
        "etcd" => pub etcd: Field<String>,
        /// Controller manager.
        "controller" => pub controller: Field<String>,
        /// API server.
        "apiserver" => pub apiserver: Field<String>,
        /// Scheduler.
        "scheduler" => pub scheduler: Field<String>,
        /// Network, security groups and so on at the provider.
        "cloudProviderInfrastructure" => pub cloud_provider_infrastructure: Field<String>,
        /// User cluster controller manager.
        "userClusterControllerManager" => pub user_cluster_controller_manager: Field<String>,
        /// Machine controller; empty for clusters without machines since 2.26.
        "machineController" => pub machine_controller: Field<String>,
    }
}

slice! {
    /// Address of a Cluster.
    pub struct Address {
        /// External address of its API server.
        "url" => pub url: Field<String>,
    }
}

object!(
    /// A user cluster.
    Cluster, "clusters", ClusterResourceScope, ClusterSpec, ClusterStatus
);
