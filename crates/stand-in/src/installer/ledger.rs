//! The ledger: `ledger.jsonl` in the state folder, one line per thing that a run did, outside the API and synced to disk.
//!
//! A killed run leaves a ledger without an `end`; that is how a test sees that it was killed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::installer::field::field;
use anyhow::Context;
use serde_json::{Map, Value, json};

/// File name in the state folder.
pub const LEDGER_FILE: &str = "ledger.jsonl";

/// Appends the records of one run.
#[derive(Clone)]
pub struct Ledger {
    path: PathBuf,
    run: String,
}

impl Ledger {
    /// A ledger for a new run; makes the folder if it is missing.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("state folder {} can't be made", folder.display()))?;
        let run = std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_or_else(
            |_| format!("{}-{}", std::process::id(), jiff::Timestamp::now().as_nanosecond()),
            |uuid| uuid.trim().to_owned(),
        );
        Ok(Self {
            path: folder.join(LEDGER_FILE),
            run,
        })
    }

    /// Appends one record: `event` and the fields of `details`.
    ///
    /// # Errors
    /// When the record is not safely on disk.
    pub fn record(&self, event: &str, details: Value) -> anyhow::Result<()> {
        let mut line = match details {
            Value::Object(fields) => fields,
            Value::Null => Map::new(),
            other => Map::from_iter([("detail".to_owned(), other)]),
        };
        line.insert("runId".to_owned(), json!(self.run));
        line.insert("event".to_owned(), json!(event));
        line.insert("time".to_owned(), json!(jiff::Timestamp::now().to_string()));
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        self.append(&text)
            .with_context(|| format!("ledger {} can't be written", self.path.display()))
    }

    /// A single write of the whole line in append mode: lines of runs at the same time do not mix.
    fn append(&self, text: &str) -> std::io::Result<()> {
        let mut file: File = OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// How often a fault with this name has struck, in all runs.
    #[must_use]
    pub fn count_of_fault(&self, name: &str) -> usize {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| field(line, "/event") == "fault" && field(line, "/fault") == name)
            .count()
    }
}
