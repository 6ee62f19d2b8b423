//! Conditions as KKP writes them: a map from type to condition, not a list.
//!
//! Pure. `lastTransitionTime` may be null until the first change, and the heartbeat only moves when something else does, so
//! neither is proof of anything; they are not even read.

use super::field::Field;
use super::slice::slice;

slice! {
    /// A condition of a Cluster, a Seed or an Addon.
    pub struct Condition {
        /// `True`, `False` or `Unknown`.
        "status" => pub status: Field<String>,
        /// Machine-readable reason.
        "reason" => pub reason: Field<String>,
        /// Text for people.
        "message" => pub message: Field<String>,
        /// Git tag of the controller that wrote it; Seeds have none.
        "kubermaticVersion" => pub kubermatic_version: Field<String>,
    }
}

slice! {
    /// A condition of a Seed: like that of a Cluster, without a version.
    pub struct SeedCondition {
        /// `True`, `False` or `Unknown`.
        "status" => pub status: Field<String>,
        /// Machine-readable reason.
        "reason" => pub reason: Field<String>,
        /// Text for people.
        "message" => pub message: Field<String>,
    }
}

slice! {
    /// A condition of an Addon: no reason, no message; the version since 2.26.
    pub struct AddonCondition {
        /// `True`, `False` or `Unknown`.
        "status" => pub status: Field<String>,
        /// Git tag of the controller that wrote it.
        "kubermaticVersion" => pub kubermatic_version: Field<String>,
    }
}
