//! What the operator reads of KKP: slim resource types, evidence, Helm release decoding.
//!
//! Everything here is a pure function over objects that somebody else has read: this crate never talks to a cluster, never
//! writes, has no clock, and never puts the text of a Secret or of a Helm value into an error.

pub mod evidence;
pub mod helm;
pub mod image;
pub mod types;
pub mod version;
