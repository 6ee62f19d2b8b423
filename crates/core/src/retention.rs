//! Which backups may be removed: the newest verified ones of each cluster stay, and so does everything that an upgrade may still
//! need. Pure.
//!
//! A backup is newer than another one when both its cluster's revision and the clock of its Job say so: after an etcd was put
//! back, or with a clock that is wrong, more is kept, never less.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use jiff::Timestamp;

use crate::phase::Phase;
use crate::status::Status;

/// How much of a KKPUpgrade's UID stands in the names of its folders, in characters.
const UID_LETTERS: usize = 8;

/// Name of the folder for the backups of one attempt of a run.
#[must_use]
pub fn folder_name(from: &str, to: &str, uid: &str, run: i64, attempt: i32) -> String {
    format!("{from}-to-{to}-{}-run{run}-{attempt}", short(uid))
}

fn short(uid: &str) -> String {
    uid.chars().take(UID_LETTERS).collect()
}

/// What stands before `-run<number>-<number>` in a name that [`folder_name`] made; `None` for every other name.
fn origin(folder: &str) -> Option<&str> {
    let (origin, numbers) = folder.rsplit_once("-run")?;
    let (run, attempt) = numbers.split_once('-')?;
    let counts = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (origin.contains("-to-") && counts(run) && counts(attempt)).then_some(origin)
}

/// A verified backup, as its store tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBackup {
    /// Name of the folder of its run.
    pub folder: String,
    /// Its own folder in that one.
    pub attempt: String,
    /// `master` or the name of a Seed.
    pub target: String,
    /// UID of the namespace `kube-system` of the cluster that it is of.
    pub cluster_uid: String,
    /// Digest of its manifest.
    pub digest: String,
    /// The revision of that cluster that it was read at.
    pub revision: u64,
    /// When its run began, by the clock of the Job.
    pub started: Timestamp,
    /// Whether somebody has begun to remove it.
    pub condemned: bool,
}

impl StoredBackup {
    /// Whether it is of the same cluster and certainly newer.
    #[must_use]
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.target == other.target
            && self.cluster_uid == other.cluster_uid
            && self.revision > other.revision
            && self.started > other.started
    }

    /// Whether the operator made it; what others put there is nobody's to remove.
    fn is_ours(&self) -> bool {
        origin(&self.folder).is_some()
    }
}

/// A KKPUpgrade that exists, as far as backups are concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimant {
    /// UID.
    pub uid: String,
    /// Whether its run ended well: nothing of it is retried or put back any more.
    pub settled: bool,
    /// Digests of the backups that its status names.
    pub digests: BTreeSet<String>,
}

impl Claimant {
    /// What a status says; `None` = it has none, or one that this program cannot read.
    #[must_use]
    pub fn new(uid: &str, status: Option<&Status>) -> Self {
        let done = |status: &Status| {
            let phase: Option<Phase> = status.phase.as_deref().and_then(|phase| phase.parse().ok());
            phase == Some(Phase::Done) && !status.is_locked() && !status.owes() && status.ending.is_none()
        };
        let targets = status.map(|status| status.targets.as_slice()).unwrap_or_default();
        let digests = targets
            .iter()
            .filter_map(|target| Some(target.backup.as_ref()?.digest.clone()));
        Self {
            uid: uid.to_owned(),
            settled: status.is_some_and(done),
            digests: digests.collect(),
        }
    }

    /// Whether it may still need this backup: whatever did not end well keeps all backups that were ever made for it.
    fn needs(&self, backup: &StoredBackup) -> bool {
        let made_for_it =
            || origin(&backup.folder).is_some_and(|origin| origin.ends_with(&format!("-{}", short(&self.uid))));
        !self.settled && (self.digests.contains(&backup.digest) || made_for_it())
    }
}

/// Whether an upgrade may still need the backup.
#[must_use]
pub fn is_needed(backup: &StoredBackup, claimants: &[Claimant]) -> bool {
    claimants.iter().any(|claimant| claimant.needs(backup))
}

/// A backup that may go, and those for whose sake it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal<'a> {
    /// What may go.
    pub backup: &'a StoredBackup,
    /// As many newer ones as are to be kept; none of them is ever in a removal itself.
    pub newer: Vec<&'a StoredBackup>,
}

/// The backups that may go, oldest first. `backups` are all verified ones that lie in the store.
#[must_use]
pub fn removals<'a>(backups: &'a [StoredBackup], claimants: &[Claimant], keep: NonZeroU32) -> Vec<Removal<'a>> {
    let keep = usize::try_from(keep.get()).unwrap_or(usize::MAX);
    // Newest first: the first ones that are newer than another have themselves fewer that are newer.
    let mut counted: Vec<&StoredBackup> = backups.iter().filter(|backup| backup.is_ours()).collect();
    counted.sort_by_key(|backup| std::cmp::Reverse((backup.revision, backup.started)));
    let mut removals: Vec<Removal<'a>> = counted
        .iter()
        .filter(|backup| !is_needed(backup, claimants))
        .filter_map(|backup| {
            let newer = counted
                .iter()
                .filter(|other| !other.condemned && other.is_newer_than(backup));
            let newer: Vec<&StoredBackup> = newer.copied().take(keep).collect();
            (newer.len() == keep).then_some(Removal { backup, newer })
        })
        .collect();
    removals.reverse();
    removals
}

#[cfg(test)]
mod tests;
