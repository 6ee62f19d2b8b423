//! Health of user clusters as KKP itself judges it, and Clusters that hold up a seed.
//!
//! Pure. Sources: KKP 2.31, `pkg/apis/kubermatic/v1` (`ExtendedClusterHealth.AllHealthy`), `pkg/controller/util`
//! (`ConcurrencyLimitReached`).

use crate::types::{Cluster, Field};
use crate::version;

use super::user_cluster::REQUIRED_CONDITIONS;

/// Since this release a Cluster without machines has no machine controller and is healthy.
const MACHINE_CONTROLLER_OPTIONAL: (u64, u64) = (2, 26);

/// A part of a Cluster that is not up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnhealthyPart {
    /// Name of the part as in `status.extendedHealth`.
    pub name: &'static str,
    /// What KKP says of it; empty when it says nothing.
    pub status: String,
}

/// Health of a Cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterHealth {
    /// The parts that are not up.
    pub unhealthy: Vec<UnhealthyPart>,
}

impl ClusterHealth {
    /// Whether KKP would call the Cluster healthy.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        self.unhealthy.is_empty()
    }
}

/// KKP's own rule: the control plane, the provider's infrastructure and the controllers are up.
#[must_use]
pub fn cluster_health(cluster: &Cluster) -> ClusterHealth {
    let health = &cluster.status.extended_health;
    let mut unhealthy = Vec::new();
    for (name, state) in [
        ("etcd", &health.etcd),
        ("controller", &health.controller),
        ("apiserver", &health.apiserver),
        ("scheduler", &health.scheduler),
        ("cloudProviderInfrastructure", &health.cloud_provider_infrastructure),
        ("userClusterControllerManager", &health.user_cluster_controller_manager),
        ("machineController", &health.machine_controller),
    ] {
        let unused = name == "machineController" && is_empty(state) && may_lack_machine_controller(cluster);
        if state.text() != "HealthStatusUp" && !unused {
            unhealthy.push(UnhealthyPart {
                name,
                status: state.text().to_owned(),
            });
        }
    }
    ClusterHealth { unhealthy }
}

fn is_empty(state: &Field<String>) -> bool {
    !state.is_unreadable() && state.text().is_empty()
}

/// Strict only where the Cluster's controllers are known to be too old to leave it out.
fn may_lack_machine_controller(cluster: &Cluster) -> bool {
    let [cluster_controller, ..] = REQUIRED_CONDITIONS;
    let condition = cluster.status.conditions.entry(cluster_controller);
    let written_by = condition
        .get()
        .and_then(|condition| version::major_minor(condition.kubermatic_version.text()));
    written_by.is_none_or(|minor| minor >= MACHINE_CONTROLLER_OPTIONAL)
}
