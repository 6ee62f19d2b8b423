//! Slim, lenient types of the KKP kinds that the operator reads (group `kubermatic.k8c.io/v1`).
//!
//! Pure: decoding only. Every field is optional, unknown fields are ignored, and no field can fail the object or the list
//! around it. The types are for reading: a write goes through a patch of single fields, never through them.

pub mod addon;
pub mod cluster;
pub mod condition;
pub mod configuration;
pub mod field;
pub mod object;
pub mod seed;
pub mod slice;

pub use addon::Addon;
pub use cluster::Cluster;
pub use condition::Condition;
pub use configuration::KubermaticConfiguration;
pub use field::{Field, List, SecretText, Table};
pub use object::SlimObject;
pub use seed::Seed;
pub use slice::{ReadPath, UnreadablePath};

/// Paths that are read but did not exist in every supported release: kind, path, first minor of KKP 2.
///
/// Below that minor the path reads as unset, and what needs it has to say so.
pub const READ_SINCE: &[(&str, &str, u64)] = &[
    ("KubermaticConfiguration", "spec.api.dockerTag", 26),
    ("KubermaticConfiguration", "spec.api.dockerTagSuffix", 26),
    ("Addon", "status.phase", 26),
    ("Addon", "status.conditions{}.kubermaticVersion", 26),
];

#[cfg(test)]
mod tests;
