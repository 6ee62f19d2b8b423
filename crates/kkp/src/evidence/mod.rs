//! Evidence: facts that cannot be true unless a version has really been rolled out.
//!
//! Pure functions over observed objects; no clock, so no soak time: whoever calls has to see the same answer for long
//! enough. Never takes a version *field* as proof: KKP's master-controller-manager writes those about itself, for the
//! master and for every seed, before anything behind them has changed.
//!
//! A fact that was read and is not there gives [`Evidence::NotYet`]; a fact that could not be read gives
//! [`Evidence::Unknown`]; neither ever counts as proof.

pub mod control_plane;
pub mod deployment;
pub mod health;
pub mod master;
pub mod seed;
pub mod throttle;
pub mod user_cluster;

pub use control_plane::control_plane_missing;
pub use deployment::rolled_out;
pub use health::{ClusterHealth, UnhealthyPart, cluster_health};
pub use master::{MasterObservation, master};
pub use seed::{SeedObservation, is_reconciled_by, seed};
pub use throttle::{seed_throttle, seed_worker_name};
pub use user_cluster::{
    ClusterVerdict, SetApart, UserClusterObservation, addon_condition_piece, addon_piece, cluster_piece,
    controller_piece, set_apart, user_cluster,
};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ObjectMeta;

use crate::version;
use deployment::Expectation;

/// Name of the CRD whose annotation tells the version of KKP's CRDs.
pub const CLUSTER_CRD: &str = "clusters.kubermatic.k8c.io";

/// Annotation that KKP's installer and operator stamp on each KKP CRD.
pub const CRD_VERSION: &str = "app.kubernetes.io/version";

/// What a look at the facts came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Every piece is there.
    Proven,
    /// At least one piece was read and is not there.
    NotYet {
        /// One short reason per piece, also for those that could not be read.
        missing: Vec<String>,
    },
    /// Nothing speaks against it, but not everything could be read.
    Unknown {
        /// What could not be read.
        why: String,
    },
}

impl Evidence {
    /// Whether every piece is there.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        matches!(self, Self::Proven)
    }
}

/// The outcome of reading one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed<T> {
    /// It was read.
    Found(T),
    /// The API said that it does not exist.
    Absent,
    /// It could not be read, for this reason.
    Unreadable(String),
}

/// Collects what is missing and what is unknown.
#[derive(Default)]
struct Findings {
    missing: Vec<String>,
    unknown: Vec<String>,
}

impl Findings {
    fn missing(&mut self, reason: impl Into<String>) {
        self.missing.push(reason.into());
    }

    fn unknown(&mut self, reason: impl Into<String>) {
        self.unknown.push(reason.into());
    }

    fn crd(&mut self, target: &str, crd: &Observed<&ObjectMeta>) {
        match crd {
            Observed::Found(metadata) => {
                let stamped = metadata
                    .annotations
                    .as_ref()
                    .and_then(|annotations| annotations.get(CRD_VERSION));
                match stamped {
                    Some(stamped) if version::same(stamped, target) => {}
                    Some(stamped) => self.missing(format!("CRD {CLUSTER_CRD}: at {stamped}, wanted {target}")),
                    None => self.missing(format!("CRD {CLUSTER_CRD}: no annotation {CRD_VERSION}")),
                }
            }
            Observed::Absent => self.missing(format!("CRD {CLUSTER_CRD}: not found")),
            Observed::Unreadable(why) => self.unknown(format!("CRD {CLUSTER_CRD}: {why}")),
        }
    }

    fn deployments(&mut self, observed: &Observed<&[Deployment]>, expectations: &[Expectation]) {
        match observed {
            Observed::Found(deployments) => {
                for expectation in expectations {
                    let found = deployments
                        .iter()
                        .find(|deployment| deployment.metadata.name.as_deref() == Some(expectation.name));
                    self.deployment(found, expectation);
                }
            }
            Observed::Absent => self.missing("Deployments: not found"),
            Observed::Unreadable(why) => self.unknown(format!("Deployments: {why}")),
        }
    }

    fn deployment(&mut self, found: Option<&Deployment>, expectation: &Expectation) {
        let verdict = found.map_or_else(
            || Err("not found".to_owned()),
            |deployment| expectation.judge(deployment),
        );
        if let Err(reason) = verdict {
            self.missing(format!("Deployment {}: {reason}", expectation.name));
        }
    }

    fn conclude(mut self) -> Evidence {
        if self.missing.is_empty() && self.unknown.is_empty() {
            return Evidence::Proven;
        }
        if self.missing.is_empty() {
            return Evidence::Unknown {
                why: self.unknown.join("; "),
            };
        }
        self.missing.extend(
            self.unknown
                .into_iter()
                .map(|reason| format!("could not be read: {reason}")),
        );
        Evidence::NotYet { missing: self.missing }
    }
}

/// The minor of a target, or why it is none.
fn target_minor(target: &str) -> Result<(u64, u64), Evidence> {
    version::major_minor(target).ok_or_else(|| Evidence::Unknown {
        why: format!("target {target:?} is no version such as v2.31.0"),
    })
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod control_plane_tests;
#[cfg(test)]
mod proof_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod seed_tests;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod tests;
