//! What the campaign knows so far, in a folder: it can be stopped at any moment and goes on where it was. A new build of the
//! program begins anew.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::lane::Times;
use crate::fault::Plan;

/// One finished run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finished {
    /// Its plan.
    pub plan: Plan,
    /// Whether the fault struck.
    pub struck: bool,
    /// What was wrong.
    pub wrong: Vec<String>,
    /// What was wrong when the same plan was run once more; absent when nothing was wrong before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Vec<String>>,
    /// Where the time went.
    pub times: Times,
}

/// The folder.
#[derive(Debug)]
pub struct State(PathBuf);

impl State {
    /// The state of this build of the program, below cargo's target folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(program: &Path) -> anyhow::Result<Self> {
        let metadata = std::fs::metadata(program)?;
        let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
        let root = target.map_or_else(std::env::temp_dir, Path::to_owned);
        let build = format!("{:x}-{:x}", metadata.mtime(), metadata.len());
        let folder = root.join("kkp-campaign").join(build);
        std::fs::create_dir_all(folder.join("violations"))?;
        Ok(Self(folder))
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What has been run, by record name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn finished(&self) -> anyhow::Result<BTreeMap<String, Finished>> {
        let text = match std::fs::read_to_string(self.0.join("runs.jsonl")) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error.into()),
        };
        // A line that was cut off by a stop is a run that did not take place.
        let runs = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Finished>(line).ok());
        Ok(runs.map(|run| (run.plan.record.clone(), run)).collect())
    }

    /// Keeps a finished run; a violation becomes a plan file that can be replayed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, run: &Finished) -> anyhow::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.0.join("runs.jsonl"))?;
        let mut line = serde_json::to_string(run)?;
        line.push('\n');
        file.write_all(line.as_bytes())?;
        if !run.wrong.is_empty() {
            let name = self.0.join("violations").join(&run.plan.record);
            std::fs::write(name.with_extension("yaml"), run.plan.to_yaml()?)?;
            std::fs::write(name.with_extension("txt"), run.wrong.join("\n"))?;
        }
        Ok(())
    }
}
