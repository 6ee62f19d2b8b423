//! Backups that lie in a store, and how one of them is removed. What may go is decided elsewhere, and asked again right before.
//!
//! Talks to the store. Order of a removal: the mark `removing.json`, the manifest (without which nobody takes the folder for a
//! backup), the archive, the receipt; last, when the folder is nobody's neighbour any more, the claim and the mark. Killed
//! anywhere, the next one goes on from the mark. Must never touch a folder that has neither a verified backup of a known cluster
//! nor such a mark.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::BackupError;
use crate::digest;
use crate::store::{CLAIM_FILE, Listed, Store};
use crate::verify::{parse_manifest, read_receipt};
use crate::volume::{ARCHIVE_FILE, MANIFEST_FILE, RECEIPT_FILE, temporary};

/// Marks a folder whose backup is being removed.
pub const REMOVAL_FILE: &str = "removing.json";

/// What a backup and its removal write into a folder.
const WRITTEN: [&str; 4] = [MANIFEST_FILE, ARCHIVE_FILE, RECEIPT_FILE, REMOVAL_FILE];

/// A cluster of the platform: target, and UID of the namespace `kube-system`.
pub type KnownCluster = (String, String);

/// A verified backup in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBackup {
    /// Name of its run.
    pub run: String,
    /// Name of its folder in that one.
    pub folder: String,
    /// `master` or the name of a Seed.
    pub target: String,
    /// UID of its cluster.
    pub cluster_uid: String,
    /// Digest of its manifest.
    pub manifest_digest: String,
    /// The pinned revision.
    pub revision: u64,
    /// When its run started.
    pub started: Timestamp,
    /// Whether its removal was begun.
    pub condemned: bool,
}

/// What the mark says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    target: String,
    cluster_uid: String,
    manifest_digest: String,
}

/// How many backups of a target seem to lie in a store, by the names of their files.
///
/// # Errors
/// When the store cannot be listed.
pub fn count(store: &Store, target: &str) -> Result<u64, BackupError> {
    let all = store.list()?;
    let ours = all
        .iter()
        .filter(|listed| listed.target == target && listed.looks_verified());
    Ok(ours.count() as u64)
}

/// The verified backups of these clusters. What is damaged, of another format or never verified is not among them.
///
/// # Errors
/// When the store cannot be read.
pub fn verified(store: &Store, clusters: &[KnownCluster]) -> Result<Vec<VerifiedBackup>, BackupError> {
    let known = |listed: &&Listed| clusters.iter().any(|(target, _)| *target == listed.target);
    let all = store.list()?;
    let mut found = Vec::new();
    for listed in all.iter().filter(|listed| listed.looks_verified()).filter(known) {
        let backup = match read(store, listed) {
            Err(error) if error.is_bad_backup() || matches!(error, BackupError::UnsupportedFormat { .. }) => {
                tracing::warn!(
                    folder = listed.folder,
                    run = listed.run,
                    "it is no backup, and stays: {error}"
                );
                None
            }
            other => other?,
        };
        let is_known = |backup: &VerifiedBackup| {
            clusters
                .iter()
                .any(|(target, uid)| *target == backup.target && *uid == backup.cluster_uid)
        };
        found.extend(backup.filter(is_known));
    }
    Ok(found)
}

/// Reads what a folder says of itself; `None` where that proves nothing.
fn read(store: &Store, listed: &Listed) -> Result<Option<VerifiedBackup>, BackupError> {
    let folder = listed.open(store);
    let Some(text) = folder.read(MANIFEST_FILE)? else {
        return Ok(None);
    };
    let manifest = parse_manifest(&folder.manifest(), &text)?;
    let manifest_digest = digest(&text);
    let Some(receipt) = read_receipt(&folder, &manifest_digest)? else {
        return Ok(None);
    };
    let Ok(revision) = manifest.revision.parse() else {
        return Ok(None);
    };
    let same =
        manifest.name == listed.run && manifest.target == listed.target && receipt.bytes == manifest.archive.bytes;
    let archive = listed.files.get(ARCHIVE_FILE).copied();
    if !same || archive != Some(manifest.archive.bytes) {
        return Ok(None);
    }
    Ok(Some(VerifiedBackup {
        run: listed.run.clone(),
        folder: listed.folder.clone(),
        target: manifest.target,
        cluster_uid: manifest.cluster_uid,
        manifest_digest,
        revision,
        started: manifest.started_time,
        condemned: folder.read(REMOVAL_FILE)?.is_some(),
    }))
}

/// Whether a backup is there as it was seen, asked of the store now: manifest, receipt, and the archive's length.
///
/// # Errors
/// When the store cannot be read.
pub fn is_still_there(store: &Store, backup: &VerifiedBackup) -> Result<bool, BackupError> {
    let folder = backup.open(store);
    let length = match folder.open_archive() {
        Ok(archive) => archive.length,
        Err(error) if error.is_bad_backup() => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut listed = backup.listed();
    listed.files.insert(ARCHIVE_FILE.to_owned(), length);
    match read(store, &listed) {
        Err(error) if error.is_bad_backup() || matches!(error, BackupError::UnsupportedFormat { .. }) => Ok(false),
        found => Ok(found?.as_ref() == Some(backup)),
    }
}

/// Removes a backup. Killed anywhere, it never looks whole without being whole.
///
/// # Errors
/// When the store refuses; what is left is finished by [`finish`].
pub fn remove(store: &Store, backup: &VerifiedBackup) -> Result<(), BackupError> {
    let folder = backup.open(store);
    if folder.read(REMOVAL_FILE)?.is_none() {
        let mark = Mark {
            target: backup.target.clone(),
            cluster_uid: backup.cluster_uid.clone(),
            manifest_digest: backup.manifest_digest.clone(),
        };
        let text = serde_json::to_vec(&mark).map_err(|error| {
            BackupError::volume("write", &folder.path().join(REMOVAL_FILE), std::io::Error::from(error))
        })?;
        // Of a removal that was killed while it wrote the mark.
        folder.remove_unpublished(REMOVAL_FILE)?;
        folder.write(REMOVAL_FILE, text)?;
    }
    [MANIFEST_FILE, ARCHIVE_FILE, RECEIPT_FILE]
        .iter()
        .try_for_each(|file| folder.remove(file))
}

/// Finishes removals of backups of these clusters whose manifest is gone already: what is left of the backup, then the
/// folder itself, unless there is a later attempt beside it, which is found by the numbers before its own. Gives how many were
/// finished.
///
/// # Errors
/// When the store cannot be read, or refuses.
pub fn finish(store: &Store, clusters: &[KnownCluster]) -> Result<u64, BackupError> {
    let mut all = store.list()?;
    // The latest attempt first: it may be what keeps the earlier ones.
    all.sort_by(|one, other| (&one.run, &one.target, other.number).cmp(&(&other.run, &other.target, one.number)));
    let mut staying: Option<(String, String)> = None;
    let mut finished = 0;
    for listed in all {
        let neighbours = (listed.run.clone(), listed.target.clone());
        if !is_half_removed(store, &listed, clusters)? {
            staying = Some(neighbours);
            continue;
        }
        let folder = listed.open(store);
        finished += u64::from(listed.has(ARCHIVE_FILE));
        [ARCHIVE_FILE, RECEIPT_FILE]
            .iter()
            .try_for_each(|file| folder.remove(file))?;
        WRITTEN.iter().try_for_each(|file| folder.remove_unpublished(file))?;
        let foreign = listed.files.keys().any(|file| !is_known(file));
        if foreign || staying.as_ref() == Some(&neighbours) {
            staying = Some(neighbours);
            continue;
        }
        // Last the mark: without it nobody would know that the rest may go.
        folder.remove(CLAIM_FILE)?;
        folder.remove(REMOVAL_FILE)?;
        folder.remove_empty()?;
    }
    Ok(finished)
}

/// Whether a file is ours, or what a killed program left of one.
fn is_known(file: &str) -> bool {
    file == CLAIM_FILE || WRITTEN.iter().any(|&known| file == known || file == temporary(known))
}

fn is_half_removed(store: &Store, listed: &Listed, clusters: &[KnownCluster]) -> Result<bool, BackupError> {
    if !listed.has(REMOVAL_FILE) || listed.has(MANIFEST_FILE) {
        return Ok(false);
    }
    let folder = listed.open(store);
    let Some(text) = folder.read(REMOVAL_FILE)? else {
        return Ok(false);
    };
    let ours = |mark: Mark| {
        mark.target == listed.target
            && clusters
                .iter()
                .any(|(target, uid)| *target == mark.target && *uid == mark.cluster_uid)
    };
    // A list may be older than the manifest.
    Ok(serde_json::from_slice(&text).is_ok_and(ours) && folder.read(MANIFEST_FILE)?.is_none())
}

impl VerifiedBackup {
    fn open(&self, store: &Store) -> crate::AttemptFolder {
        self.listed().open(store)
    }

    fn listed(&self) -> Listed {
        Listed {
            run: self.run.clone(),
            folder: self.folder.clone(),
            target: self.target.clone(),
            number: 1,
            files: std::collections::BTreeMap::new(),
        }
    }
}
