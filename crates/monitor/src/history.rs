//! A finished history: everything that happened, in order. Reads files; talks to no cluster.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::event::{Event, ObjectKey, What};
use crate::{audit, ledger};

/// Everything that happened, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// What happened.
    pub events: Vec<Event>,
    /// Lines that could not be read: an API server or installer that was killed in the middle of one.
    pub torn_lines: usize,
}

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file.
    #[error("{path} can't be read: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The answer of the system.
        source: std::io::Error,
    },
    /// A file that holds no events.
    #[error("{path} holds no event at all: {problem}", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with its first line.
        problem: String,
    },
}

impl History {
    /// Reads the audit logs of all clusters and, where there is one, the ledger.
    ///
    /// # Errors
    /// When a file cannot be read, or is something else.
    pub fn read<'a>(
        audit_logs: impl IntoIterator<Item = (&'a str, &'a Path)>,
        ledger: Option<&Path>,
    ) -> Result<Self, HistoryError> {
        let mut history = Self::default();
        for (cluster, path) in audit_logs {
            history.add(path, |line| {
                audit::parse_line(cluster, line).map_err(|error| error.to_string())
            })?;
        }
        if let Some(path) = ledger {
            history.add(path, |line| {
                ledger::parse_line(line).map(Some).map_err(|error| error.to_string())
            })?;
        }
        history.sort();
        Ok(history)
    }

    fn add(&mut self, path: &Path, parse: impl Fn(&str) -> Result<Option<Event>, String>) -> Result<(), HistoryError> {
        let failed = |source| HistoryError::File {
            path: path.to_owned(),
            source,
        };
        let (mut read, mut problem) = (0_usize, None);
        for line in BufReader::new(File::open(path).map_err(failed)?).split(b'\n') {
            let line = line.map_err(failed)?;
            let line = String::from_utf8_lossy(&line);
            match parse(line.trim()) {
                _ if line.trim().is_empty() => {}
                Ok(event) => {
                    read += 1;
                    self.events.extend(event);
                }
                Err(error) => {
                    self.torn_lines += 1;
                    problem.get_or_insert(error);
                }
            }
        }
        match problem {
            Some(problem) if read == 0 => Err(HistoryError::Foreign {
                path: path.to_owned(),
                problem,
            }),
            _ => Ok(()),
        }
    }

    /// Orders by time; two writes of one object by their resourceVersion: requests end in any order.
    pub fn sort(&mut self) {
        self.events.sort_by_key(|event| event.time);
        let mut places: BTreeMap<ObjectKey, Vec<(usize, u64)>> = BTreeMap::new();
        for (place, event) in self.events.iter().enumerate() {
            if let Some((key, version)) = version(event) {
                places.entry(key.clone()).or_default().push((place, version));
            }
        }
        for mut places in places.into_values() {
            if places.is_sorted_by_key(|(_, version)| *version) {
                continue;
            }
            let slots: Vec<usize> = places.iter().map(|(place, _)| *place).collect();
            places.sort_by_key(|(_, version)| *version);
            let mut ordered: Vec<Event> = places
                .iter()
                .filter_map(|(place, _)| self.events.get(*place).cloned())
                .collect();
            // Times stay in the order of the slots, so that the whole stays ordered.
            for (slot, event) in slots.into_iter().zip(&mut ordered) {
                if let Some(kept) = self.events.get_mut(slot) {
                    kept.what = event.what.clone();
                }
            }
        }
    }
}

fn version(event: &Event) -> Option<(&ObjectKey, u64)> {
    let What::Write(write) = &event.what else { return None };
    let version = write.after.as_ref()?.pointer("/metadata/resourceVersion")?;
    Some((&write.object, version.as_str()?.parse().ok()?))
}
