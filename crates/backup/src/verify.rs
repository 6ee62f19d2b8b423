//! Verifies a backup: (a) against the API server at the same revision, (b) by reading it back from the volume.
//!
//! Talks to the cluster, reading only, and to the volume. Must never say "verified" without both having been done.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::BackupError;
use crate::api::Source;
use crate::archive::check_archive;
use crate::canonical::digest;
use crate::discovery::Resource;
use crate::manifest::{FORMAT_VERSION, KindRecord, Manifest, ObjectRecord, seal};
use crate::scope::Scope;
use crate::snapshot::{Written, in_scope, publish_json};
use crate::volume::{ARCHIVE_FILE, AttemptFolder};

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
    if !folder.is_complete() {
        return Err(BackupError::NoBackup {
            path: folder.path().to_owned(),
        });
    }
    let text = fs::read(&path).map_err(|error| BackupError::volume("read", &path, error))?;
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
    if version.format_version > FORMAT_VERSION {
        return unsupported(version.format_version.to_string(), &FORMAT_VERSION.to_string());
    }
    let manifest: Manifest = serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
    let archive = &manifest.archive;
    if archive.file != ARCHIVE_FILE || archive.compression != "zstd" || archive.encryption != "none" {
        let found = format!(
            "{} ({}, encryption {})",
            archive.file, archive.compression, archive.encryption
        );
        return unsupported(found, "objects.tar.zst (zstd, encryption none)");
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

/// Verification (b): reads manifest and archive back from the volume and compares every byte.
///
/// # Errors
/// Naming the first entry that is wrong.
pub async fn read_back(folder: &AttemptFolder, expected_digest: Option<&str>) -> Result<Written, BackupError> {
    let (folder, expected) = (folder.clone(), expected_digest.map(str::to_owned));
    let task = tokio::task::spawn_blocking(move || {
        let written = read_manifest(&folder, expected.as_deref())?;
        check_archive(&folder.archive(), &written.manifest)?;
        Ok(written)
    });
    task.await.map_err(|error| BackupError::Worker(error.to_string()))?
}

/// Verification (a): lists everything again at the revision of the manifest and compares.
///
/// # Errors
/// [`BackupError::Expired`] when that revision is gone; [`BackupError::LiveMismatch`] naming the first difference.
pub async fn compare_at_revision(source: &Source, manifest: &Manifest) -> Result<(), BackupError> {
    for kind in &manifest.kinds {
        let mut expected = by_path(kind);
        let resource = kind.resource();
        let mut pages = source.pages(&resource, &kind.revision);
        while let Some(items) = pages.next().await? {
            for record in seal_page(&manifest.scope, &resource, pages.number(), items).await? {
                match expected.remove(record.path.as_str()) {
                    Some(known) if known.digest == record.digest => {}
                    Some(_) => return Err(mismatch(record.path, "another content")),
                    None => return Err(mismatch(record.path, "not in the backup")),
                }
            }
        }
        if let Some(path) = expected.into_keys().min() {
            return Err(mismatch(path.to_owned(), "in the backup only"));
        }
    }
    Ok(())
}

/// What is left of verification (a) when the revision stays gone: objects whose resourceVersion is the same now must
/// have the same content; the others are counted.
///
/// # Errors
/// When the API server cannot be read, or an unchanged object differs.
pub async fn compare_unchanged(source: &Source, manifest: &Manifest) -> Result<Drift, BackupError> {
    let mut drift = Drift::default();
    for kind in &manifest.kinds {
        let mut expected = by_path(kind);
        let resource = kind.resource();
        let now = source.newest_revision(&resource).await?.to_string();
        let mut pages = source.pages(&resource, &now);
        while let Some(items) = pages.next().await? {
            for record in seal_page(&manifest.scope, &resource, pages.number(), items).await? {
                match expected.remove(record.path.as_str()) {
                    Some(known) if known.digest == record.digest => drift.compared += 1,
                    Some(known) if known.resource_version != record.resource_version => drift.changed += 1,
                    Some(_) => return Err(mismatch(record.path, "another content at the same resourceVersion")),
                    None => drift.created += 1,
                }
            }
        }
        drift.deleted += expected.len() as u64;
    }
    Ok(drift)
}

/// Leaves `verified.json` beside the manifest, so that a later run knows that (a) was done while it could be done.
///
/// # Errors
/// When the volume refuses.
pub fn write_receipt(folder: &AttemptFolder, verified: &Verified) -> Result<(), BackupError> {
    if folder.receipt().exists() {
        return Ok(());
    }
    publish_json(folder.receipt(), verified).map(drop)
}

/// The receipt of an earlier verification of exactly this manifest.
#[must_use]
pub fn read_receipt(folder: &AttemptFolder, manifest_digest: &str) -> Option<Verified> {
    let text = fs::read(folder.receipt()).ok()?;
    let receipt: Verified = serde_json::from_slice(&text).ok()?;
    (receipt.manifest_digest == manifest_digest).then_some(receipt)
}

fn by_path(kind: &KindRecord) -> HashMap<&str, &ObjectRecord> {
    kind.objects
        .iter()
        .map(|object| (object.path.as_str(), object))
        .collect()
}

async fn seal_page(
    scope: &Scope,
    resource: &Resource,
    page: u32,
    items: Vec<serde_json::Value>,
) -> Result<Vec<ObjectRecord>, BackupError> {
    let items = in_scope(scope, resource, items);
    let resource = resource.clone();
    let task = tokio::task::spawn_blocking(move || {
        items
            .into_iter()
            .map(|item| seal(&resource, page, item).map(|sealed| sealed.record))
            .collect()
    });
    task.await.map_err(|error| BackupError::Worker(error.to_string()))?
}

fn mismatch(path: String, difference: &'static str) -> BackupError {
    BackupError::LiveMismatch { path, difference }
}
