//! Verifies a backup: (a) against the API server at the same revision, (b) by reading it back from the store.
//!
//! Talks to the cluster, reading only, and to the store. Must never say "verified" without both having been done.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::BackupError;
use crate::api::Source;
use crate::archive::{check_archive, check_bytes};
use crate::canonical::digest;
use crate::discovery::Resource;
use crate::key::Opener;
use crate::ledger::{Difference, Ledger, LedgerWriter, broken};
use crate::manifest::{FORMAT_VERSION, Manifest, SealedObject, seal};
use crate::page::RawPage;
use crate::scope::Scope;
use crate::snapshot::{Snapshot, Written, fingerprint, in_scope, publish_json};
use crate::store::AttemptFolder;
use crate::volume::{ARCHIVE_FILE, MANIFEST_FILE, RECEIPT_FILE};

/// How the backup was compared with the API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LiveComparison {
    /// Every object, at the very same revision: equal.
    SameRevision,
    /// The revision was gone every time. Objects with an unchanged resourceVersion are equal; the others can no
    /// longer be compared.
    Unchanged(Drift),
}

/// What changed since the revision of the backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// Compared and equal.
    pub compared: u64,
    /// Written since.
    pub changed: u64,
    /// New since.
    pub created: u64,
    /// Gone since.
    pub deleted: u64,
}

/// Proof that a backup was verified; also the content of `verified.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Digest of the manifest file.
    pub manifest_digest: String,
    /// Number of objects.
    pub objects: u64,
    /// Size of the archive.
    pub bytes: u64,
    /// When.
    pub verified_time: Timestamp,
    /// How it was compared with the API server.
    pub comparison: LiveComparison,
}

/// Reads the manifest of a folder and refuses what cannot be trusted.
///
/// # Errors
/// When it is missing, not the expected one, newer than this program, or contradicts itself.
pub fn read_manifest(folder: &AttemptFolder, expected_digest: Option<&str>) -> Result<Written, BackupError> {
    let path = folder.manifest();
    let text = folder.read(MANIFEST_FILE)?.ok_or_else(|| BackupError::NoBackup {
        path: folder.path().to_owned(),
    })?;
    let manifest_digest = digest(&text);
    if let Some(expected) = expected_digest.filter(|&expected| expected != manifest_digest) {
        return Err(BackupError::ManifestInvalid {
            path,
            reason: format!("its digest is {manifest_digest} instead of {expected}"),
        });
    }
    Ok(Written {
        manifest: parse_manifest(&path, &text)?,
        manifest_digest,
    })
}

/// Reads the text of a manifest and refuses what cannot be trusted; `path` is for the error.
///
/// # Errors
/// When it is no manifest, newer than this program, or contradicts itself.
pub fn parse_manifest(path: &Path, text: &[u8]) -> Result<Manifest, BackupError> {
    let invalid = |reason: String| BackupError::ManifestInvalid {
        path: path.to_owned(),
        reason,
    };
    let version: FormatOnly = serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
    let unsupported = |found: String, supported: &str| {
        Err(BackupError::UnsupportedFormat {
            path: path.to_owned(),
            found,
            supported: supported.to_owned(),
        })
    };
    if version.format_version != FORMAT_VERSION {
        return unsupported(version.format_version.to_string(), &FORMAT_VERSION.to_string());
    }
    let manifest: Manifest = serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
    let archive = &manifest.archive;
    if archive.file != ARCHIVE_FILE || archive.compression != "zstd" || archive.encryption != "age" {
        let found = format!(
            "{} ({}, encryption {})",
            archive.file, archive.compression, archive.encryption
        );
        return unsupported(found, "objects.tar.zst.age (zstd, encryption age)");
    }
    match manifest.contradiction() {
        Some(reason) => Err(invalid(reason)),
        None => Ok(manifest),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FormatOnly {
    format_version: u32,
}

/// Verification (b): reads manifest and archive back from the store, decrypts it with the run key, and compares every
/// byte.
///
/// # Errors
/// Naming the first entry that is wrong.
pub async fn read_back(folder: &AttemptFolder, snapshot: &Snapshot) -> Result<Written, BackupError> {
    let (opener, ledger) = (snapshot.run_key.opener(), snapshot.ledger.clone());
    let (folder, expected) = (folder.clone(), snapshot.written.manifest_digest.clone());
    on_a_thread(move || {
        let written = read_manifest(&folder, Some(&expected))?;
        match check_archive(&folder, &written.manifest, &opener, Some(&ledger)) {
            // It was written for this very key.
            Err(BackupError::WrongKey { path }) => Err(BackupError::Corrupt {
                path,
                after: "the start".to_owned(),
                reason: "the key that it was written for does not open it".to_owned(),
            }),
            checked => checked.map(|_| written),
        }
    })
    .await
}

/// Opens a backup of an earlier program with a recipient's private key, and compares every entry with the archive's own
/// list. Gives that list.
///
/// # Errors
/// Naming the first entry that is wrong; [`BackupError::WrongKey`] when the key is another one's.
pub async fn open_with(
    folder: &AttemptFolder,
    expected_digest: Option<&str>,
    opener: &Opener,
) -> Result<(Written, Ledger), BackupError> {
    let (folder, expected, opener) = (folder.clone(), expected_digest.map(str::to_owned), opener.clone());
    on_a_thread(move || {
        let written = read_manifest(&folder, expected.as_deref())?;
        let ledger = check_archive(&folder, &written.manifest, &opener, None)?;
        Ok((written, ledger))
    })
    .await
}

/// Compares a backup that was verified by an earlier program with what it was then, byte for byte. Needs no key.
///
/// # Errors
/// When it was never verified, or is not what it was.
pub async fn still_the_same(
    folder: &AttemptFolder,
    expected_digest: Option<&str>,
) -> Result<(Written, Verified), BackupError> {
    let (folder, expected) = (folder.clone(), expected_digest.map(str::to_owned));
    on_a_thread(move || {
        let written = read_manifest(&folder, expected.as_deref())?;
        let receipt = read_receipt(&folder, &written.manifest_digest)?.ok_or_else(|| BackupError::Unproven {
            path: folder.path().to_owned(),
        })?;
        check_bytes(&folder, &written.manifest)?;
        Ok((written, receipt))
    })
    .await
}

pub(crate) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let task = tokio::task::spawn_blocking(work);
    task.await.map_err(|error| BackupError::Worker(error.to_string()))?
}

/// Verification (a): lists everything again at the revision of the manifest and compares.
///
/// # Errors
/// [`BackupError::Expired`] when that revision is gone; [`BackupError::LiveMismatch`] naming the first difference.
pub async fn compare_at_revision(source: &Source, manifest: &Manifest, ledger: &Ledger) -> Result<(), BackupError> {
    let (sender, receiver) = mpsc::channel(1);
    let scope = manifest.scope.clone();
    let digesting = tokio::task::spawn_blocking(move || digest_all(&scope, receiver));
    let listed = list_again(source, manifest, sender).await;
    let live = digesting
        .await
        .map_err(|error| BackupError::Worker(error.to_string()))?;
    // A list that was cut short must not be compared.
    listed?;
    match ledger.difference(&live?).map_err(|error| broken(&error))? {
        None => Ok(()),
        Some(Difference::Changed(path)) => Err(mismatch(path, "another content")),
        Some(Difference::Missing(path)) => Err(mismatch(path, "in the backup only")),
        Some(Difference::Extra(path)) => Err(mismatch(path, "not in the backup")),
    }
}

/// Lists everything at the revision of the manifest; the sender is dropped at the end.
async fn list_again(
    source: &Source,
    manifest: &Manifest,
    sender: mpsc::Sender<(Resource, RawPage)>,
) -> Result<(), BackupError> {
    for kind in &manifest.kinds {
        let resource = kind.resource();
        let mut pages = source.pages(&resource, &kind.revision);
        while let Some(page) = pages.next().await? {
            if sender.send((resource.clone(), page)).await.is_err() {
                // The digesting ended, and says why.
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Runs on a thread of its own, while the next page is on its way.
fn digest_all(scope: &Scope, mut receiver: mpsc::Receiver<(Resource, RawPage)>) -> Result<Ledger, BackupError> {
    let mut live = LedgerWriter::new().map_err(|error| broken(&error))?;
    while let Some((resource, page)) = receiver.blocking_recv() {
        for item in in_scope(scope, &resource, page.items()?) {
            let object = seal(&resource, page.number, item)?;
            live.add(&object.digest, &object.path, "")
                .map_err(|error| broken(&error))?;
        }
    }
    live.finish().map_err(|error| broken(&error))
}

/// What is left of verification (a) when the revision stays gone: objects whose resourceVersion is the same now must
/// have the same content; the others are counted.
///
/// # Errors
/// When the API server cannot be read, or an unchanged object differs.
pub async fn compare_unchanged(source: &Source, manifest: &Manifest, ledger: &Ledger) -> Result<Drift, BackupError> {
    let mut expected = known(ledger).map_err(|error| broken(&error))?;
    let mut drift = Drift::default();
    let scope = Arc::new(manifest.scope.clone());
    for kind in &manifest.kinds {
        let resource = kind.resource();
        let now = source.newest_revision(&resource).await?.to_string();
        let mut pages = source.pages(&resource, &now);
        while let Some(page) = pages.next().await? {
            for object in seal_page(&scope, &resource, page).await? {
                match expected.remove(&fingerprint(&object.path)) {
                    Some((digest, _)) if digest == fingerprint(&object.digest) => drift.compared += 1,
                    Some((_, version)) if version != object.resource_version => drift.changed += 1,
                    Some(_) => return Err(mismatch(object.path, "another content at the same resourceVersion")),
                    None => drift.created += 1,
                }
            }
        }
    }
    drift.deleted = expected.len() as u64;
    Ok(drift)
}

/// Digest and resourceVersion of an object.
type Version = ([u8; 16], String);

/// The same by path, each as short as it can be.
fn known(ledger: &Ledger) -> std::io::Result<HashMap<[u8; 16], Version>> {
    let versions = ledger.versions()?;
    let both = ledger.entries()?.zip(versions);
    both.map(|(line, version)| {
        let line = line?;
        Ok((fingerprint(&line.path), (fingerprint(&line.digest), version?)))
    })
    .collect()
}

/// Leaves `verified.json` beside the manifest, so that a later run knows that (a) was done while it could be done.
///
/// # Errors
/// When the store refuses.
pub fn write_receipt(folder: &AttemptFolder, verified: &Verified) -> Result<(), BackupError> {
    if folder.read(RECEIPT_FILE)?.is_some() {
        return Ok(());
    }
    publish_json(folder, RECEIPT_FILE, verified).map(drop)
}

/// The receipt of an earlier verification of exactly this manifest; one that is missing or damaged is none.
///
/// # Errors
/// When the store cannot be read.
pub fn read_receipt(folder: &AttemptFolder, manifest_digest: &str) -> Result<Option<Verified>, BackupError> {
    let Some(text) = folder.read(RECEIPT_FILE)? else {
        return Ok(None);
    };
    let receipt: Option<Verified> = serde_json::from_slice(&text).ok();
    Ok(receipt.filter(|receipt| receipt.manifest_digest == manifest_digest))
}

async fn seal_page(scope: &Arc<Scope>, resource: &Resource, page: RawPage) -> Result<Vec<SealedObject>, BackupError> {
    let (scope, resource) = (scope.clone(), resource.clone());
    on_a_thread(move || {
        let items = in_scope(&scope, &resource, page.items()?);
        let seal = |item| {
            let sealed = seal(&resource, page.number, item)?;
            // Only digests are compared: the text need not stay.
            Ok(SealedObject {
                body: Vec::new(),
                ..sealed
            })
        };
        items.into_iter().map(seal).collect()
    })
    .await
}

fn mismatch(path: String, difference: &'static str) -> BackupError {
    BackupError::LiveMismatch { path, difference }
}
