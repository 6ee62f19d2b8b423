//! Evidence that the control plane of a user cluster runs a Kubernetes version.
//!
//! Pure. Source: KKP 2.31, `pkg/controller/seed-controller-manager/update-controller` (`status.versions` follows what runs, one
//! component after the other), `seedresourcesuptodatecondition`, `kubernetes/health.go`.

use super::cluster_health;
use crate::types::{Cluster, Field};

/// What the control plane still misses of a version; `None` = nothing, or nobody is going to bring it there (it is being
/// deleted, or wants another version by now). `any_health` leaves its health out: it was unhealthy before.
#[must_use]
pub fn control_plane_missing(cluster: &Cluster, version: &str, any_health: bool) -> Option<String> {
    let plain = |text: &str| text.trim_start_matches('v').to_owned();
    if cluster.metadata.deletion_timestamp.is_some() || plain(cluster.spec.version.text()) != plain(version) {
        return None;
    }
    if cluster.spec.pause == Field::Set(true) {
        return Some("it is paused".to_owned());
    }
    let versions = &cluster.status.versions;
    for (part, found) in [
        ("control plane", &versions.control_plane),
        ("API server", &versions.apiserver),
    ] {
        if plain(found.text()) != plain(version) {
            let found = if found.text().is_empty() {
                "no version"
            } else {
                found.text()
            };
            return Some(format!("its {part} is at {found}, wanted {version}"));
        }
    }
    match cluster.status.conditions.entry("SeedResourcesUpToDate") {
        Field::Set(condition) if condition.status.text() == "True" => {}
        _ => return Some("its control plane is rolling out (SeedResourcesUpToDate is not True)".to_owned()),
    }
    let health = cluster_health(cluster);
    if any_health || health.is_healthy() {
        return None;
    }
    let parts: Vec<&str> = health.unhealthy.iter().map(|part| part.name).collect();
    Some(format!("it is not healthy: {}", parts.join(", ")))
}
