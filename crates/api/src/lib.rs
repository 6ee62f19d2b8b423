//! The `KKPUpgrade` custom resource, `upgrade.k8c.io/v1alpha1`: types, schema, admission rules, and the way from a
//! spec to the core's [`Request`](kkp_upgrade_core::request::Request).
//!
//! Talks to no cluster. Must never normalise what the user wrote: resolved values belong in status.

pub mod checks;
mod convert;
mod crd;
mod object;
pub mod spec;

#[cfg(test)]
mod authority;
#[cfg(test)]
mod conventions;
#[cfg(test)]
mod rules;

pub use crd::{CRD_NAME, LOCKED_FIELDS, crd};
pub use object::{KKPUpgradeObject, ParseError};
pub use spec::{
    AcceptedRisk, Backup, BackupPolicy, BackupStorage, ClaimStorage, Edition, HelmValuesRef, Installer, KKPUpgrade,
    KKPUpgradeSpec, Mode, S3Storage, UserClusterEtcd, Verification,
};

/// API group of everything that is ours: resource, labels, annotations, finalizer.
pub const GROUP: &str = "upgrade.k8c.io";
/// Version of the API that is served and stored.
pub const VERSION: &str = "v1alpha1";
/// The kind.
pub const KIND: &str = "KKPUpgrade";
