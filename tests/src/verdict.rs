//! The end of every test with an operator: what the API servers and the installers recorded is judged by the monitor, and
//! the lab is stopped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use kkp_upgrade_monitor::{Expectations, History, Violation, judge};

use crate::bed::Bed;
use crate::observer::Observer;

/// Longest silence of a run that works: the stand-ins take seconds where KKP takes minutes.
const SILENCE: Duration = Duration::from_mins(2);

impl Bed {
    /// What every history of this bed is judged by.
    #[must_use]
    pub fn expectations(&self) -> Expectations {
        Expectations {
            silence: jiff::SignedDuration::try_from(SILENCE).unwrap_or_default(),
            ..Expectations::default()
        }
    }

    /// What was recorded until now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn history(&self) -> anyhow::Result<History> {
        let logs = self.audit_logs();
        let logs = logs.iter().map(|(cluster, path)| (cluster.as_str(), path.as_path()));
        let ledger = self.ledger_file();
        History::read(logs, ledger.exists().then_some(ledger.as_path())).context("the history of the platform")
    }

    /// Judges what was recorded until now; how much that was, and what is wrong.
    ///
    /// # Errors
    /// When it cannot be read, or holds nothing.
    pub fn judged(&self, expectations: &Expectations) -> anyhow::Result<(usize, Vec<Violation>)> {
        let history = self.history()?;
        if history.events.is_empty() {
            bail!("nothing was recorded: the monitor has nothing to judge");
        }
        Ok((history.events.len(), judge(&history, expectations)))
    }

    /// Ends a test: nothing that the operator promises was broken, then the lab is stopped.
    ///
    /// # Errors
    /// With everything that was broken.
    pub fn finish(self, observer: &Observer) -> anyhow::Result<()> {
        let expectations = self.expectations();
        self.finish_as(observer, &expectations)
    }

    /// Like [`Bed::finish`], for a story in which something is broken on purpose.
    ///
    /// # Errors
    /// With everything that was broken and is not excused.
    pub fn finish_as(self, observer: &Observer, expectations: &Expectations) -> anyhow::Result<()> {
        self.stop_clean(observer.seen.violations(), expectations)
    }

    /// Like [`Bed::finish`], for a test that nobody observes.
    ///
    /// # Errors
    /// With everything that was broken.
    pub fn finish_unobserved(self) -> anyhow::Result<()> {
        let expectations = self.expectations();
        self.finish_unobserved_as(&expectations)
    }

    /// Like [`Bed::finish_unobserved`], for a story in which something is broken on purpose.
    ///
    /// # Errors
    /// With everything that was broken and is not excused.
    pub fn finish_unobserved_as(self, expectations: &Expectations) -> anyhow::Result<()> {
        self.stop_clean(Vec::new(), expectations)
    }

    fn stop_clean(self, mut wrong: Vec<String>, expectations: &Expectations) -> anyhow::Result<()> {
        let (_, violations) = self.judged(expectations)?;
        wrong.extend(violations.iter().map(ToString::to_string));
        if wrong.is_empty() {
            self.running.lab.stop()?;
            return Ok(());
        }
        let kept = self.keep_history().unwrap_or_default();
        let text = wrong.join("\n");
        bail!(
            "{} broken promises; the history is in {}:\n{text}",
            wrong.len(),
            kept.display()
        )
    }

    fn audit_logs(&self) -> Vec<(String, PathBuf)> {
        let clusters = self.running.lab.clusters().iter();
        clusters
            .map(|cluster| (cluster.name.clone(), cluster.folder.join("audit.log")))
            .collect()
    }

    fn ledger_file(&self) -> PathBuf {
        self.running.platform.folder().state().join("ledger.jsonl")
    }

    /// Copies the history to where the monitor's program can be asked again after the lab is gone.
    fn keep_history(&self) -> anyhow::Result<PathBuf> {
        let name = std::thread::current().name().unwrap_or("run").replace("::", "-");
        let folder = target_folder()
            .join("kkp-histories")
            .join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        for (cluster, path) in self.audit_logs() {
            std::fs::copy(path, folder.join(format!("{cluster}.log")))?;
        }
        if self.ledger_file().exists() {
            std::fs::copy(self.ledger_file(), folder.join("ledger.jsonl"))?;
        }
        Ok(folder)
    }
}

/// Beside the test program, so that `cargo clean` takes it away too.
fn target_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.map_or_else(std::env::temp_dir, Path::to_owned)
}
