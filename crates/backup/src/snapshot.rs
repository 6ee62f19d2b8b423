//! Takes a snapshot: reads everything in scope at one revision and writes archive and manifest.
//!
//! Talks to the cluster, reading only, and to the volume. Must never mix two moments, nor hold more than two pages.

use std::collections::HashSet;
use std::io::{BufWriter, Write as _};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::BackupError;
use crate::api::Source;
use crate::archive::ArchiveWriter;
use crate::canonical::digest;
use crate::discovery::{ClusterIdentity, CrdOffer, Resource, discover};
use crate::manifest::{ArchiveRecord, FORMAT_VERSION, KindRecord, Manifest, seal};
use crate::scope::{Omission, Scope};
use crate::volume::{AttemptFolder, UnpublishedFile};

/// What to take, and what to write into the manifest about it.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// Name of the run.
    pub name: String,
    /// The master or the seed.
    pub target: String,
    /// Version of KKP, as the caller knows it.
    pub platform_version: String,
    /// What to take.
    pub scope: Scope,
    /// Which cluster this is.
    pub cluster: ClusterIdentity,
    /// When the run started.
    pub started: Timestamp,
}

/// A snapshot that is on the volume and not verified yet.
#[derive(Debug, Clone)]
pub struct Written {
    /// What it holds.
    pub manifest: Manifest,
    /// Digest of the manifest file.
    pub manifest_digest: String,
}

/// A kind and the revision at which it is read.
struct Pinned {
    resource: Resource,
    revision: String,
}

/// Takes a snapshot into a folder that was claimed for it.
///
/// # Errors
/// [`BackupError::Expired`] asks for a fresh snapshot in a fresh folder; all others need a human or the caller.
pub async fn write_snapshot(
    source: &Source,
    request: &SnapshotRequest,
    folder: &AttemptFolder,
) -> Result<Written, BackupError> {
    let (resources, mut omitted) = discover(source, &request.scope).await?;
    let (revision, pins) = pin(source, &resources).await?;
    let archive = folder.archive();
    let (sender, receiver) = mpsc::channel(1);
    let writer = tokio::task::spawn_blocking(move || write_archive(&archive, receiver));
    let read = read_all(source, &request.scope, pins, &sender).await;
    // Only a whole reading may be published: the writer looks for this last message.
    if read.is_ok() {
        let _ = sender.send(Message::Done).await;
    }
    drop(sender);
    let written = writer.await.map_err(|error| BackupError::Worker(error.to_string()))?;
    // When the writer failed first, the reader only noticed that nobody listens any more.
    let stopped = || BackupError::Worker("the writer of the archive stopped".to_owned());
    let (archive, kinds) = match (read, written) {
        (Err(Interrupted::Api(error)), _) | (_, Err(error)) => return Err(error),
        (Err(Interrupted::WriterGone), Ok(_)) => return Err(stopped()),
        (Ok(more), Ok(done)) => {
            omitted.extend(more);
            done.ok_or_else(stopped)?
        }
    };
    let manifest = assemble(request, revision, archive, kinds, omitted);
    publish_manifest(folder, manifest).await
}

/// Finds the one revision, and an own one for kinds that another etcd keeps.
async fn pin(source: &Source, resources: &[Resource]) -> Result<(String, Vec<Pinned>), BackupError> {
    let mut before = Vec::new();
    for resource in resources {
        before.push(source.newest_revision(resource).await?);
    }
    // Every cluster has CRDs, and they live in the same store as the objects of their kinds.
    let pin = source.newest_revision(&Resource::crds()).await?;
    let mut pins = Vec::new();
    for (resource, before) in resources.iter().zip(before) {
        let after = source.newest_revision(resource).await?;
        let revision = revision_for(before, pin, after);
        if revision != pin {
            tracing::warn!(
                resource = resource.label(),
                revision,
                pin,
                "kept in another etcd: read at its own revision"
            );
        }
        pins.push(Pinned {
            resource: resource.clone(),
            revision: revision.to_string(),
        });
    }
    Ok((pin.to_string(), pins))
}

/// Revisions of one store only grow: a pin taken between two looks at a kind lies between what they saw, unless the
/// kind lives in another store.
fn revision_for(before: u64, pin: u64, after: u64) -> u64 {
    if (before..=after).contains(&pin) { pin } else { after }
}

enum Message {
    Kind(Pinned),
    Page(u32, Vec<Value>),
    Done,
}

enum Interrupted {
    Api(BackupError),
    WriterGone,
}

async fn read_all(
    source: &Source,
    scope: &Scope,
    pins: Vec<Pinned>,
    sender: &mpsc::Sender<Message>,
) -> Result<Vec<Omission>, Interrupted> {
    let resources: Vec<Resource> = pins.iter().map(|pinned| pinned.resource.clone()).collect();
    let mut omitted = Vec::new();
    for Pinned { resource, revision } in pins {
        let mut pages = source.pages(&resource, &revision);
        let kind = Pinned {
            resource: resource.clone(),
            revision: revision.clone(),
        };
        sender
            .send(Message::Kind(kind))
            .await
            .map_err(|_| Interrupted::WriterGone)?;
        while let Some(items) = pages.next().await.map_err(Interrupted::Api)? {
            let items = in_scope(scope, &resource, items);
            if resource.is_crds() {
                for crd in items.iter().map(CrdOffer::of) {
                    omitted.extend(crd.check(&resources).map_err(Interrupted::Api)?);
                }
            }
            sender
                .send(Message::Page(pages.number(), items))
                .await
                .map_err(|_| Interrupted::WriterGone)?;
        }
    }
    Ok(omitted)
}

/// Of the CRDs only those of the scope's groups.
pub(crate) fn in_scope(scope: &Scope, resource: &Resource, mut items: Vec<Value>) -> Vec<Value> {
    if resource.is_crds() {
        items.retain(|crd| scope.owns_group(CrdOffer::of(crd).group()));
    }
    items
}

type WholeArchive = Option<(ArchiveRecord, Vec<KindRecord>)>;

/// Runs on a thread of its own: digesting and compressing would hold up the reading. `None` when the reading ended
/// early; the partial file is gone then.
fn write_archive(
    archive: &std::path::Path,
    mut receiver: mpsc::Receiver<Message>,
) -> Result<WholeArchive, BackupError> {
    let mut writer = ArchiveWriter::create(archive)?;
    let mut kinds = Vec::new();
    let mut current: Option<Pinned> = None;
    let mut records = Vec::new();
    let mut seen = HashSet::new();
    while let Some(message) = receiver.blocking_recv() {
        match message {
            Message::Page(page, items) => {
                let Some(pinned) = &current else { continue };
                for item in items {
                    let sealed = seal(&pinned.resource, page, item)?;
                    if !seen.insert(sealed.record.path.clone()) {
                        return Err(BackupError::Duplicate {
                            path: sealed.record.path,
                        });
                    }
                    writer.append(&sealed.record.path, &sealed.body)?;
                    records.push(sealed.record);
                }
            }
            Message::Kind(_) | Message::Done => {
                if let Some(pinned) = current.take() {
                    let records = std::mem::take(&mut records);
                    kinds.push(KindRecord::new(&pinned.resource, &pinned.revision, records));
                    seen.clear();
                }
                match message {
                    Message::Kind(pinned) => current = Some(pinned),
                    _ => return Ok(Some((writer.publish()?, kinds))),
                }
            }
        }
    }
    Ok(None)
}

fn assemble(
    request: &SnapshotRequest,
    revision: String,
    archive: ArchiveRecord,
    kinds: Vec<KindRecord>,
    omitted: Vec<Omission>,
) -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        name: request.name.clone(),
        target: request.target.clone(),
        cluster_uid: request.cluster.uid.clone(),
        server_version: request.cluster.server_version.clone(),
        platform_version: request.platform_version.clone(),
        started_time: request.started,
        revision,
        scope: request.scope.clone(),
        archive,
        objects: kinds.iter().map(|kind| kind.count).sum(),
        kinds,
        omitted,
    }
}

async fn publish_manifest(folder: &AttemptFolder, manifest: Manifest) -> Result<Written, BackupError> {
    let path = folder.manifest();
    let task = tokio::task::spawn_blocking(move || {
        let manifest_digest = publish_json(path, &manifest)?;
        Ok(Written {
            manifest,
            manifest_digest,
        })
    });
    task.await.map_err(|error| BackupError::Worker(error.to_string()))?
}

/// Writes a small document, create-only, and gives its digest.
pub(crate) fn publish_json(path: std::path::PathBuf, document: &impl serde::Serialize) -> Result<String, BackupError> {
    let (unpublished, file) = UnpublishedFile::create(path)?;
    let mut text = match serde_json::to_vec_pretty(document) {
        Ok(text) => text,
        Err(error) => return Err(unpublished.failed(error.into())),
    };
    text.push(b'\n');
    let mut buffered = BufWriter::new(&file);
    if let Err(error) = buffered.write_all(&text).and_then(|()| buffered.flush()) {
        return Err(unpublished.failed(error));
    }
    drop(buffered);
    unpublished.publish(&file)?;
    Ok(digest(&text))
}

#[cfg(test)]
mod tests {
    use super::revision_for;

    #[test]
    fn a_kind_of_the_same_store_is_read_at_the_pin() {
        assert_eq!(revision_for(10, 10, 10), 10);
        assert_eq!(revision_for(10, 12, 15), 12);
    }

    #[test]
    fn a_kind_of_another_store_gets_its_own_pin() {
        assert_eq!(revision_for(10, 500, 11), 11);
        assert_eq!(revision_for(9000, 500, 9001), 9001);
    }
}
