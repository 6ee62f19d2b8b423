//! Helm releases as they lie in Secrets, and the values that KKP's installer is given.
//!
//! Pure: bytes and metadata in, typed facts out. Values hold secrets, so neither an error nor a debug print ever has a value's
//! text in it.

pub mod payload;
pub mod release;
pub mod values;

pub use payload::{MAX_INFLATED, PayloadError, PayloadProblem, ReleasePayload, decode};
pub use release::{Release, ReleaseIndex, ReleaseStatus, UnreadableRelease, newest_releases};
pub use values::{OperatorImage, ValuesError, for_installer, operator_image, parse_yaml};

#[cfg(test)]
mod tests;
