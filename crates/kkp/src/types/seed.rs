//! The Seed kind. The one on the master is authoritative; each seed holds a copy.
//!
//! Pure.

use kube::core::NamespaceResourceScope;

use super::condition::SeedCondition;
use super::field::{Field, Table};
use super::object::object;
use super::slice::slice;

/// Annotation that makes KKP leave a Seed alone, whatever its value.
pub const SKIP_RECONCILING: &str = "kubermatic.k8c.io/skip-reconciling";

slice! {
    /// What of a Seed's spec is read.
    pub struct SeedSpec {
        /// Where the kubeconfig of the seed lies.
        "kubeconfig" => pub kubeconfig: KubeconfigReference,
        /// Datacenters by name.
        "datacenters" => pub datacenters: Table<Datacenter>,
        /// Node port proxy.
        "nodeportProxy" => pub nodeport_proxy: NodeportProxy,
        /// etcd backups of user clusters.
        "etcdBackupRestore" => pub etcd_backup_restore: EtcdBackupRestore,
        /// How API servers of user clusters are exposed.
        "exposeStrategy" => pub expose_strategy: Field<String>,
    }
}

slice! {
    /// A reference to the Secret on the master with the seed's kubeconfig.
    pub struct KubeconfigReference {
        /// Name of the Secret.
        "name" => pub name: Field<String>,
        /// Namespace of the Secret; unset means that of the Seed.
        "namespace" => pub namespace: Field<String>,
        /// Key in the Secret; unset means `kubeconfig`.
        "fieldPath" => pub field_path: Field<String>,
    }
}

slice! {
    /// A datacenter of a Seed.
    pub struct Datacenter {
        /// Country of the datacenter.
        "country" => pub country: Field<String>,
        /// Place of the datacenter.
        "location" => pub location: Field<String>,
    }
}

slice! {
    /// The node port proxy of a Seed.
    pub struct NodeportProxy {
        /// Whether it is not installed at all.
        "disable" => pub disable: Field<bool>,
    }
}

slice! {
    /// Settings of the etcd backups.
    pub struct EtcdBackupRestore {
        /// Destinations by name.
        "destinations" => pub destinations: Table<BackupDestination>,
        /// The destination that is used when none is named.
        "defaultDestination" => pub default_destination: Field<String>,
    }
}

slice! {
    /// A bucket for etcd backups.
    pub struct BackupDestination {
        /// Address of the object store.
        "endpoint" => pub endpoint: Field<String>,
        /// Name of the bucket.
        "bucketName" => pub bucket_name: Field<String>,
    }
}

slice! {
    /// What of a Seed's status is read.
    pub struct SeedStatus {
        /// `Healthy`, `Unhealthy`, `Invalid`, `Terminating`, `Paused` or empty.
        "phase" => pub phase: Field<String>,
        /// Number of user clusters.
        "clusters" => pub clusters: Field<i64>,
        /// Versions; that of KKP is the master's, no proof for the seed.
        "versions" => pub versions: SeedVersions,
        /// Conditions by type.
        "conditions" => pub conditions: Table<SeedCondition>,
    }
}

slice! {
    /// Versions in a Seed's status.
    pub struct SeedVersions {
        /// Git tag of the *master's* controller manager.
        "kubermatic" => pub kubermatic: Field<String>,
        /// Version of the seed's API server.
        "cluster" => pub cluster: Field<String>,
    }
}

object!(
    /// A Seed: a Kubernetes cluster that hosts control planes of user clusters.
    Seed, "seeds", NamespaceResourceScope, SeedSpec, SeedStatus
);
