//! The outcome of a Job's program: one line of JSON in the file that the kubelet takes for the Pod's termination message.

use std::fmt::Display;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::BackupError;

/// The kubelet keeps no more of a termination message, in bytes.
const LONGEST: usize = 4096;

/// Leaves the outcome, good or bad, in the file: the result, or `{"error": …}`.
///
/// # Errors
/// When the file cannot be written.
pub fn leave(outcome: Result<impl Serialize, impl Display>, file: &Path) -> Result<(), BackupError> {
    let text = match outcome {
        Ok(result) => serde_json::to_string(&result),
        Err(error) => serde_json::to_string(&serde_json::json!({"error": shortened(&error.to_string())})),
    };
    text.map_err(io::Error::from)
        .and_then(|text| std::fs::write(file, format!("{text}\n")))
        .map_err(|error| BackupError::volume("write the result to", file, error))
}

/// So that the JSON fits even when every character has to be escaped; control characters would take more.
#[must_use]
pub fn shortened(message: &str) -> String {
    let mut text: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.truncate(text.floor_char_boundary(LONGEST / 2 - 64));
    text
}
