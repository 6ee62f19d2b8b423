//! Evidence that a user cluster has been reconciled by a version.
//!
//! Pure. Sources: KKP 2.31, `pkg/controller/util` (who writes which condition and when), `pkg/resources/usercluster`
//! (Deployment `usercluster-controller`), `pkg/controller/seed-controller-manager/addon` (each Addon writes the shared
//! condition of the Cluster, so the last one wins and the Addons themselves must be asked).

use k8s_openapi::api::apps::v1::Deployment;

use super::deployment::Expectation;
use super::{Evidence, Findings, Observed, target_minor};
use crate::types::cluster::WORKER_NAME;
use crate::types::{Addon, Cluster, Field};
use crate::version;

/// Conditions that every reconciled Cluster has True at the version of its controllers. Others run on request only or belong
/// to features that may be off.
pub const REQUIRED_CONDITIONS: [&str; 5] = [
    "ClusterControllerReconciledSuccessfully",
    "CloudControllerReconciledSuccessfully",
    "UpdateControllerReconciledSuccessfully",
    "MonitoringControllerReconciledSuccessfully",
    "SeedResourcesUpToDate",
];

/// Condition that only Clusters with Addons are sure to get.
pub const ADDON_CONDITION: &str = "AddonControllerReconciledSuccessfully";

/// Condition of an Addon.
const ADDON_RECONCILED: &str = "AddonReconciledSuccessfully";

/// First KKP release whose Addons say which version reconciled them.
const ADDONS_WITH_VERSION: (u64, u64) = (2, 26);

/// Why KKP's controllers leave a Cluster alone, so that nobody may wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetApart {
    /// It is being deleted.
    Deleting,
    /// `spec.pause` is set.
    Paused,
    /// Its `worker-name` label belongs to other controllers.
    OtherWorkerName(String),
}

/// What was read of one user cluster.
#[derive(Clone, Debug)]
pub struct UserClusterObservation<'a> {
    /// The Cluster.
    pub cluster: &'a Cluster,
    /// The worker name of the seed's controllers; empty by default.
    pub worker_name: &'a str,
    /// Deployment `usercluster-controller` of the Cluster's namespace.
    pub controller: Observed<&'a Deployment>,
    /// All Addons of the Cluster's namespace.
    pub addons: Observed<Vec<&'a Addon>>,
}

/// A verdict on one user cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterVerdict {
    /// KKP leaves it alone.
    SetApart(SetApart),
    /// KKP reconciles it, and this is how far it is.
    Judged(Evidence),
}

/// Whether and why KKP's controllers leave this Cluster alone.
#[must_use]
pub fn set_apart(cluster: &Cluster, worker_name: &str) -> Option<SetApart> {
    if cluster.metadata.deletion_timestamp.is_some() {
        return Some(SetApart::Deleting);
    }
    if cluster.spec.pause == Field::Set(true) {
        return Some(SetApart::Paused);
    }
    let label = cluster
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(WORKER_NAME))
        .map_or("", String::as_str);
    (label != worker_name).then(|| SetApart::OtherWorkerName(label.to_owned()))
}

/// Whether the target has reconciled a user cluster.
#[must_use]
pub fn user_cluster(target: &str, observation: &UserClusterObservation<'_>) -> ClusterVerdict {
    if let Some(reason) = set_apart(observation.cluster, observation.worker_name) {
        return ClusterVerdict::SetApart(reason);
    }
    let minor = match target_minor(target) {
        Ok(minor) => minor,
        Err(unknown) => return ClusterVerdict::Judged(unknown),
    };
    let mut findings = Findings::default();
    judge_cluster(&mut findings, target, observation.cluster);
    judge_controller(&mut findings, target, &observation.controller);
    judge_addons(&mut findings, target, minor, observation);
    ClusterVerdict::Judged(findings.conclude())
}

/// What the Cluster itself says, without what only Clusters with Addons have: one piece of [`user_cluster`].
#[must_use]
pub fn cluster_piece(target: &str, cluster: &Cluster) -> Evidence {
    piece(target, |findings, _| {
        judge_cluster(findings, target, cluster);
    })
}

/// What the Cluster says about its Addons, which counts where it has some: one piece of [`user_cluster`].
#[must_use]
pub fn addon_condition_piece(target: &str, cluster: &Cluster) -> Evidence {
    piece(target, |findings, _| {
        judge_condition(findings, target, cluster, ADDON_CONDITION);
    })
}

/// What the Deployment `usercluster-controller` says: one piece of [`user_cluster`].
#[must_use]
pub fn controller_piece(target: &str, controller: &Observed<&Deployment>) -> Evidence {
    piece(target, |findings, _| {
        judge_controller(findings, target, controller);
    })
}

/// What one Addon says: one piece of [`user_cluster`].
#[must_use]
pub fn addon_piece(target: &str, addon: &Addon) -> Evidence {
    piece(target, |findings, minor| {
        judge_addon(findings, target, minor, addon);
    })
}

fn piece(target: &str, judge: impl FnOnce(&mut Findings, (u64, u64))) -> Evidence {
    match target_minor(target) {
        Ok(minor) => {
            let mut findings = Findings::default();
            judge(&mut findings, minor);
            findings.conclude()
        }
        Err(unknown) => unknown,
    }
}

fn judge_cluster(findings: &mut Findings, target: &str, cluster: &Cluster) {
    if cluster.spec.pause.is_unreadable() {
        findings.unknown("spec.pause is no boolean");
    }
    for kind in REQUIRED_CONDITIONS {
        judge_condition(findings, target, cluster, kind);
    }
}

fn judge_controller(findings: &mut Findings, target: &str, controller: &Observed<&Deployment>) {
    match controller {
        Observed::Found(deployment) => {
            findings.deployment(
                Some(deployment),
                &Expectation::controller("usercluster-controller", target),
            );
        }
        Observed::Absent => findings.missing("Deployment usercluster-controller: not found"),
        Observed::Unreadable(why) => findings.unknown(format!("Deployment usercluster-controller: {why}")),
    }
}

fn judge_condition(findings: &mut Findings, target: &str, cluster: &Cluster, kind: &str) {
    match cluster.status.conditions.entry(kind) {
        Field::Set(condition) => {
            judge_stamp(findings, target, kind, &condition.status, &condition.kubermatic_version);
        }
        Field::Unset => findings.missing(format!("no condition {kind}")),
        Field::Unreadable { .. } => findings.unknown(format!("condition {kind} is no object")),
    }
}

fn judge_stamp(findings: &mut Findings, target: &str, what: &str, status: &Field<String>, version: &Field<String>) {
    if status.is_unreadable() || version.is_unreadable() {
        findings.unknown(format!("{what}: status or version is no text"));
    } else if !version::same(version.text(), target) {
        let reported = if version.text().is_empty() {
            "no version"
        } else {
            version.text()
        };
        findings.missing(format!("{what}: at {reported}, wanted {target}"));
    } else if status.text() != "True" {
        findings.missing(format!("{what}: not True"));
    }
}

fn judge_addons(findings: &mut Findings, target: &str, minor: (u64, u64), observation: &UserClusterObservation<'_>) {
    let addons = match &observation.addons {
        Observed::Found(addons) => addons,
        Observed::Absent => return findings.unknown("Addons: their kind is not served"),
        Observed::Unreadable(why) => return findings.unknown(format!("Addons: {why}")),
    };
    if addons.is_empty() {
        return;
    }
    judge_condition(findings, target, observation.cluster, ADDON_CONDITION);
    for addon in addons {
        judge_addon(findings, target, minor, addon);
    }
}

fn judge_addon(findings: &mut Findings, target: &str, minor: (u64, u64), addon: &Addon) {
    if minor < ADDONS_WITH_VERSION {
        return;
    }
    let name = addon.metadata.name.as_deref().unwrap_or_default();
    match addon.status.conditions.entry(ADDON_RECONCILED) {
        Field::Set(condition) => {
            let what = format!("Addon {name}");
            judge_stamp(
                findings,
                target,
                &what,
                &condition.status,
                &condition.kubermatic_version,
            );
        }
        Field::Unset => findings.missing(format!("Addon {name}: no condition {ADDON_RECONCILED}")),
        Field::Unreadable { .. } => findings.unknown(format!("Addon {name}: condition is no object")),
    }
}
