//! The Addon kind: one piece of software that KKP applies into a user cluster.
//!
//! Pure. Addons live in the namespace of their Cluster on the seed.

use kube::core::NamespaceResourceScope;

use super::condition::AddonCondition;
use super::field::{Field, Table};
use super::object::object;
use super::slice::slice;

slice! {
    /// What of an Addon's spec is read.
    pub struct AddonSpec {
        /// Name of the addon, e.g. `canal`.
        "name" => pub name: Field<String>,
        /// The Cluster it belongs to.
        "cluster" => pub cluster: AddonCluster,
    }
}

slice! {
    /// Reference of an Addon to its Cluster.
    pub struct AddonCluster {
        /// Name of the Cluster.
        "name" => pub name: Field<String>,
    }
}

slice! {
    /// What of an Addon's status is read.
    pub struct AddonStatus {
        /// `New`, `Healthy` or `Unhealthy` (since 2.26).
        "phase" => pub phase: Field<String>,
        /// Conditions by type.
        "conditions" => pub conditions: Table<AddonCondition>,
    }
}

object!(
    /// An Addon of a user cluster.
    Addon, "addons", NamespaceResourceScope, AddonSpec, AddonStatus
);
