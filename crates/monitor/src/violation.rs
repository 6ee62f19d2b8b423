//! A broken promise. Pure.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Id of the property, for example `S8`.
    pub property: &'static str,
    /// What it is about, for example `KKPUpgrade kubermatic/to-2-31`.
    pub object: String,
    /// What was seen and what should have been.
    pub message: String,
    /// When it was seen.
    pub time: Timestamp,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            property,
            object,
            message,
            time,
        } = self;
        write!(formatter, "{time} {property} {object}: {message}")
    }
}
