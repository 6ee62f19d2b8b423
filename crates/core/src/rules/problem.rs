//! What is wrong with a catalogue, and where. Pure.

use std::fmt;

use super::finding::{cut, escape};

/// Longest reason, in bytes: it may repeat a piece of the text that it refuses.
const REASON_BYTES: usize = 512;
/// Most problems that are kept; who has more than these looks again after mending them.
const MOST: usize = 100;

/// One thing that is wrong with a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File, or key of the ConfigMap.
    pub file: String,
    /// Line in it, where the parser knows it: of the problem, or of the beginning of the record.
    pub line: Option<u64>,
    /// Id of the rule, when one is concerned.
    pub rule: Option<String>,
    /// What is wrong, at most 512 bytes.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(formatter, " line {line}")?;
        }
        if let Some(rule) = &self.rule {
            write!(formatter, ": rule `{rule}`")?;
        }
        write!(formatter, ": {}", self.reason)
    }
}

/// A catalogue that is not used: what is wrong with it, at most the first hundred problems.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rule catalogue is refused: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct CatalogueError(pub Vec<Problem>);

impl CatalogueError {
    /// The first problem, and how many more there are.
    #[must_use]
    pub fn summary(&self) -> String {
        let first = self.0.first().map(ToString::to_string).unwrap_or_default();
        match self.0.len() {
            0 | 1 => first,
            all => format!("{} (and {} more)", cut(&first, REASON_BYTES), all - 1),
        }
    }
}

/// One record of a file, with the place where it stands.
#[derive(Debug)]
pub(super) struct Located<T> {
    /// File, or key of the ConfigMap.
    pub(super) file: String,
    /// Where the record begins.
    pub(super) line: Option<u64>,
    pub(super) record: T,
}

/// Problems as they are found.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, file: &str, line: Option<u64>, rule: Option<String>, reason: &str) {
        if self.0.len() < MOST {
            self.0.push(Problem {
                file: cut(&escape(file), REASON_BYTES),
                line,
                rule: rule.map(|id| cut(&escape(&id), REASON_BYTES)),
                reason: cut(&escape(reason), REASON_BYTES),
            });
        }
    }

    /// A problem of a whole file.
    pub(super) fn of_file(&mut self, file: &str, reason: &str) {
        self.add(file, None, None, reason);
    }

    /// A problem of a record that is no rule.
    pub(super) fn of<T>(&mut self, place: &Located<T>, reason: &str) {
        self.add(&place.file, place.line, None, reason);
    }

    /// Goes on where nothing is wrong.
    pub(super) fn none(self) -> Result<(), CatalogueError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(CatalogueError(self.0))
        }
    }
}
