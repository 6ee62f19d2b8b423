//! The folder that all programs of one lab share: the plan, the record of every call, and what a test lets go. It lies on the
//! host and is mounted into the containers, so it outlives every process. Never talks to a cluster.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};

use super::call::Call;
use super::plan::{Plan, Strike};
use super::tally::{Line, Tally};

/// Where the containers see the folder.
pub const MOUNT: &str = "/var/lib/kkp-upgrade-faults";
const PLAN: &str = "plan.yaml";

/// The folder, as a test sees it.
#[derive(Debug)]
pub struct FaultFolder(tempfile::TempDir);

impl FaultFolder {
    /// Makes an empty folder: nothing is recorded and nothing struck.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("kkp-faults-").tempdir()?;
        // The programs run as another user in their containers.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777))?;
        Ok(Self(folder))
    }

    /// The folder on the host.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// From now on calls are recorded under the plan's record name and struck as it says. All counting starts anew where the
    /// record is a new one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set(&self, plan: &Plan) -> anyhow::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.path())?;
        file.write_all(plan.to_yaml()?.as_bytes())?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.persist(self.path().join(PLAN))?;
        Ok(())
    }

    /// From now on nothing is recorded and nothing struck.
    ///
    /// # Errors
    /// When the plan cannot be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(self.path().join(PLAN)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The lines of a record, in the order of writing; empty when there is none.
    ///
    /// # Errors
    /// When a line is not one.
    pub fn lines(&self, record: &str) -> anyhow::Result<Vec<Line>> {
        let path = self.path().join(calls(record));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        // A line without an end is being written.
        let complete = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
        complete
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display())))
            .collect()
    }

    /// How many calls each fault of the plan has struck.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn struck(&self, plan: &Plan) -> anyhow::Result<Vec<usize>> {
        let lines = self.lines(&plan.record)?;
        let count = |index: usize| {
            let fits = |line: &&Line| matches!(line, Line::Call { fault: Some(fault), .. } if *fault == index);
            lines.iter().filter(fits).count()
        };
        Ok((0..plan.faults.len()).map(count).collect())
    }

    /// Numbers of the calls that are or were held.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn held(&self, record: &str) -> anyhow::Result<Vec<usize>> {
        let number = |line: Line| match line {
            Line::Held { number } => Some(number),
            _ => None,
        };
        Ok(self.lines(record)?.into_iter().filter_map(number).collect())
    }

    /// Lets a held call go.
    ///
    /// # Errors
    /// When it cannot be said.
    pub fn let_go(&self, record: &str, number: usize) -> anyhow::Result<()> {
        Ok(std::fs::write(self.path().join(gone(record, number)), "")?)
    }
}

fn calls(record: &str) -> String {
    format!("calls-{record}.jsonl")
}

fn gone(record: &str, number: usize) -> String {
    format!("let-go-{record}-{number}")
}

/// The folder, as a program in a container sees it.
#[derive(Debug)]
pub(super) struct Record {
    folder: PathBuf,
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    stamp: (u64, i64, i64),
    plan: Plan,
    offset: u64,
    tally: Tally,
}

/// A call that was written down and may now be made.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) number: usize,
    pub(super) strike: Option<Strike>,
    record: String,
}

impl Record {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            state: Mutex::default(),
        }
    }

    /// Writes a call down and finds what strikes it; `None` while there is no plan.
    pub(super) fn begin(&self, call: Call, place: Option<String>) -> anyhow::Result<Option<Begun>> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = self.current(&mut guard)? else {
            return Ok(None);
        };
        let mut file = self.open(&state.plan.record)?;
        file.seek(SeekFrom::Start(state.offset))?;
        let mut new = String::new();
        file.read_to_string(&mut new)?;
        for line in new.lines() {
            state.tally.add(&serde_json::from_str(line)?, &state.plan);
        }
        state.offset += u64::try_from(new.len())?;
        let (line, strike) = state.tally.next(call, place, &state.plan);
        append(&mut file, &line)?;
        let Line::Call { number, .. } = line else {
            return Ok(None);
        };
        Ok(Some(Begun {
            number,
            strike,
            record: state.plan.record.clone(),
        }))
    }

    /// Writes an answer down; 0 for none.
    pub(super) fn answered(&self, begun: &Begun, code: u16) -> anyhow::Result<()> {
        let number = begun.number;
        let mut file = self.open(&begun.record)?;
        append(&mut file, &Line::Answer { number, code })
    }

    /// Writes down that a call is held.
    pub(super) fn hold(&self, begun: &Begun) -> anyhow::Result<()> {
        let number = begun.number;
        let mut file = self.open(&begun.record)?;
        append(&mut file, &Line::Held { number })
    }

    /// Whether a held call may go.
    pub(super) fn may_go(&self, begun: &Begun) -> bool {
        self.folder.join(gone(&begun.record, begun.number)).exists()
    }

    fn current<'a>(&self, state: &'a mut Option<State>) -> anyhow::Result<Option<&'a mut State>> {
        let path = self.folder.join(PLAN);
        let Ok(metadata) = std::fs::metadata(&path) else {
            *state = None;
            return Ok(None);
        };
        let stamp = (metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
        if state.as_ref().is_none_or(|state| state.stamp != stamp) {
            let plan = Plan::from_yaml(&std::fs::read_to_string(&path)?)?;
            *state = Some(State {
                stamp,
                plan,
                offset: 0,
                tally: Tally::default(),
            });
        }
        Ok(state.as_mut())
    }

    /// The record, locked against other processes and clients until it is dropped.
    fn open(&self, record: &str) -> anyhow::Result<Flock<File>> {
        let path = self.folder.join(calls(record));
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
    }
}

fn append(file: &mut File, line: &Line) -> anyhow::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    Ok(file.write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::call::Verb;

    fn call() -> Call {
        Call {
            peer: "master".to_owned(),
            verb: Verb::Get,
            resource: "jobs".to_owned(),
            name: "j".to_owned(),
            subresource: String::new(),
            during: String::new(),
        }
    }

    #[test]
    fn two_processes_count_together_and_a_new_record_counts_anew() {
        let folder = FaultFolder::create().unwrap();
        let one = Record::new(folder.path().to_owned());
        let two = Record::new(folder.path().to_owned());
        assert!(one.begin(call(), None).unwrap().is_none());
        let text = "{record: a, faults: [{at: {verb: get, occurrence: 3}, strike: {kind: hold}}]}";
        let mut plan = Plan::from_yaml(text).unwrap();
        folder.set(&plan).unwrap();
        for (record, number, struck) in [(&one, 1, false), (&two, 2, false), (&one, 3, true), (&two, 4, false)] {
            let begun = record.begin(call(), None).unwrap().unwrap();
            record.answered(&begun, 200).unwrap();
            assert_eq!((begun.number, begun.strike.is_some()), (number, struck));
        }
        assert_eq!(folder.struck(&plan).unwrap(), [1]);
        assert_eq!(folder.lines("a").unwrap().len(), 8);
        plan.record = "b".to_owned();
        folder.set(&plan).unwrap();
        assert_eq!(two.begin(call(), None).unwrap().unwrap().number, 1);
        folder.clear().unwrap();
        assert!(one.begin(call(), None).unwrap().is_none());
    }
}
