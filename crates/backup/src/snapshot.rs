//! Takes a snapshot: reads everything in scope at one revision and writes archive and manifest.
//!
//! Talks to the cluster, reading only, and to the volume. Must never mix two moments, nor hold more than three pages: one that is
//! being asked for, one that waits, and one that is written, each by itself so that nobody waits for the other.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::BackupError;
use crate::api::Source;
use crate::archive::ArchiveWriter;
use crate::canonical::digest;
use crate::discovery::{ClusterIdentity, CrdOffer, Inventory, Resource, discover};
use crate::key::{Recipients, RunKey};
use crate::ledger::Ledger;
use crate::manifest::{ArchiveRecord, FORMAT_VERSION, KindRecord, Manifest, seal};
use crate::namespaces::Boundary;
use crate::page::RawPage;
use crate::scope::{Omission, Reach, Scope};
use crate::store::AttemptFolder;
use crate::volume::MANIFEST_FILE;

/// Looks at the newest revision of a kind at the same time.
const LOOKS_AT_ONCE: usize = 8;

/// What to take, and what to write into the manifest about it.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// Name of the run.
    pub name: String,
    /// The master or the seed.
    pub target: String,
    /// Version of KKP, as the caller knows it.
    pub platform_version: String,
    /// KKP's namespace.
    pub namespace: String,
    /// How much the credentials are meant to read.
    pub reach: Reach,
    /// Who can open the archive.
    pub recipients: Recipients,
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

/// A snapshot of this very program, with what only it knows and can prove it with.
#[derive(Debug)]
pub struct Snapshot {
    /// Manifest and digest.
    pub written: Written,
    /// Every object that was read.
    pub ledger: Ledger,
    pub(crate) run_key: RunKey,
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
) -> Result<Snapshot, BackupError> {
    let Inventory {
        resources,
        boundary,
        omitted,
    } = discover(source, &request.namespace, request.reach).await?;
    let (revision, pins) = pin(source, &resources).await?;
    let run_key = Arc::new(RunKey::generate());
    let (sender, receiver) = mpsc::channel(1);
    let (archive, recipients, key) = (folder.clone(), request.recipients.clone(), run_key.clone());
    let writer = tokio::task::spawn_blocking(move || {
        let archive = ArchiveWriter::create(&archive, &recipients, &key)?;
        Writing::new(archive, boundary, resources, omitted).write_all(receiver)
    });
    let read = read_all(source, pins, &sender).await;
    // Only a whole reading may be published: the writer looks for this last message.
    if read.is_ok() {
        let _ = sender.send(Message::Done).await;
    }
    drop(sender);
    let written = writer.await.map_err(|error| BackupError::Worker(error.to_string()))?;
    // When the writer failed first, the reader only noticed that nobody listens any more.
    let stopped = || BackupError::Worker("the writer of the archive stopped".to_owned());
    let whole = match (read, written) {
        (Err(Interrupted::Api(error)), _) | (_, Err(error)) => return Err(error),
        (Err(Interrupted::WriterGone), Ok(_)) => return Err(stopped()),
        (Ok(()), Ok(done)) => done.ok_or_else(stopped)?,
    };
    let (manifest, ledger) = assemble(request, revision, whole);
    Ok(Snapshot {
        written: publish_manifest(folder, manifest).await?,
        ledger,
        run_key: Arc::into_inner(run_key).ok_or_else(stopped)?,
    })
}

/// Finds the one revision, and an own one for kinds that another etcd keeps.
async fn pin(source: &Source, resources: &[Resource]) -> Result<(String, Vec<Pinned>), BackupError> {
    let before = newest_revisions(source, resources).await?;
    // Every cluster has CRDs, and they live in the same store as the objects of their kinds.
    let pin = source.newest_revision(&Resource::crds()).await?;
    let after = newest_revisions(source, resources).await?;
    let mut pins = Vec::new();
    for ((resource, before), after) in resources.iter().zip(before).zip(after) {
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

/// In the order of the resources; several at a time, because each is an answer of one object that is waited for.
async fn newest_revisions(source: &Source, resources: &[Resource]) -> Result<Vec<u64>, BackupError> {
    let looks: Vec<_> = resources
        .iter()
        .map(|resource| source.newest_revision(resource))
        .collect();
    stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await
}

/// Revisions of one store only grow: a pin taken between two looks at a kind lies between what they saw, unless the
/// kind lives in another store.
fn revision_for(before: u64, pin: u64, after: u64) -> u64 {
    if (before..=after).contains(&pin) { pin } else { after }
}

enum Message {
    Kind(Pinned),
    Page(RawPage),
    Done,
}

enum Interrupted {
    Api(BackupError),
    WriterGone,
}

async fn read_all(source: &Source, pins: Vec<Pinned>, sender: &mpsc::Sender<Message>) -> Result<(), Interrupted> {
    let gone = |_| Interrupted::WriterGone;
    for Pinned { resource, revision } in pins {
        let mut pages = source.pages(&resource, &revision);
        let kind = Pinned {
            resource: resource.clone(),
            revision: revision.clone(),
        };
        sender.send(Message::Kind(kind)).await.map_err(gone)?;
        while let Some(page) = pages.next().await.map_err(Interrupted::Api)? {
            sender.send(Message::Page(page)).await.map_err(gone)?;
        }
    }
    Ok(())
}

/// Of a page only what is in scope.
pub(crate) fn in_scope(scope: &Scope, resource: &Resource, mut items: Vec<Value>) -> Vec<Value> {
    items.retain(|item| scope.takes(resource, item));
    items
}

/// An archive that is on the volume.
struct WholeArchive {
    archive: ArchiveRecord,
    ledger: Ledger,
    scope: Scope,
    kinds: Vec<KindRecord>,
    omitted: Vec<Omission>,
}

/// Takes pages apart, chooses, digests and compresses. Runs on a thread of its own: it would hold up the reading.
struct Writing {
    archive: ArchiveWriter,
    boundary: Boundary,
    resources: Vec<Resource>,
    omitted: Vec<Omission>,
    kinds: Vec<KindRecord>,
    current: Option<Pinned>,
    seen: HashSet<[u8; 16]>,
}

impl Writing {
    fn new(archive: ArchiveWriter, boundary: Boundary, resources: Vec<Resource>, omitted: Vec<Omission>) -> Self {
        Self {
            archive,
            boundary,
            resources,
            omitted,
            kinds: Vec::new(),
            current: None,
            seen: HashSet::new(),
        }
    }

    /// `None` when the reading ended early; the partial file is gone then.
    fn write_all(mut self, mut receiver: mpsc::Receiver<Message>) -> Result<Option<WholeArchive>, BackupError> {
        while let Some(message) = receiver.blocking_recv() {
            match message {
                Message::Kind(next) => {
                    self.end_kind();
                    self.current = Some(next);
                }
                Message::Page(page) => self.page(&page)?,
                Message::Done => {
                    self.end_kind();
                    return self.publish().map(Some);
                }
            }
        }
        Ok(None)
    }

    fn page(&mut self, page: &RawPage) -> Result<(), BackupError> {
        let Some(Pinned { resource, .. }) = &self.current else {
            return Ok(());
        };
        let items = page.items()?;
        self.boundary.learn(resource, &items)?;
        let items = in_scope(self.boundary.scope(), resource, items);
        if resource.is_crds() {
            for crd in items.iter().map(CrdOffer::of) {
                self.omitted.extend(crd.check(&self.resources)?);
            }
        }
        for item in items {
            let sealed = seal(resource, page.number, item)?;
            if !self.seen.insert(fingerprint(&sealed.path)) {
                return Err(BackupError::Duplicate { path: sealed.path });
            }
            self.archive.append(&sealed)?;
        }
        Ok(())
    }

    fn publish(self) -> Result<WholeArchive, BackupError> {
        let (archive, ledger) = self.archive.publish()?;
        let (scope, outside) = self.boundary.settle();
        Ok(WholeArchive {
            archive,
            ledger,
            scope,
            kinds: self.kinds,
            omitted: [self.omitted, outside].concat(),
        })
    }

    fn end_kind(&mut self) {
        if let Some(Pinned { resource, revision }) = self.current.take() {
            let count = self.seen.len() as u64;
            self.kinds.push(KindRecord::new(&resource, &revision, count));
            self.seen.clear();
        }
    }
}

/// Stands for a path where hundreds of thousands of them would fill the memory.
pub(crate) fn fingerprint(path: &str) -> [u8; 16] {
    let mut start = [0; 16];
    let digest = Sha256::digest(path.as_bytes());
    start.iter_mut().zip(digest).for_each(|(byte, found)| *byte = found);
    start
}

fn assemble(request: &SnapshotRequest, revision: String, whole: WholeArchive) -> (Manifest, Ledger) {
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        name: request.name.clone(),
        target: request.target.clone(),
        cluster_uid: request.cluster.uid.clone(),
        server_version: request.cluster.server_version.clone(),
        platform_version: request.platform_version.clone(),
        started_time: request.started,
        revision,
        scope: whole.scope,
        archive: whole.archive,
        objects: whole.kinds.iter().map(|kind| kind.count).sum(),
        kinds: whole.kinds,
        omitted: whole.omitted,
    };
    (manifest, whole.ledger)
}

async fn publish_manifest(folder: &AttemptFolder, manifest: Manifest) -> Result<Written, BackupError> {
    let folder = folder.clone();
    let task = tokio::task::spawn_blocking(move || {
        let manifest_digest = publish_json(&folder, MANIFEST_FILE, &manifest)?;
        Ok(Written {
            manifest,
            manifest_digest,
        })
    });
    task.await.map_err(|error| BackupError::Worker(error.to_string()))?
}

/// Writes a small document, create-only, and gives its digest.
pub(crate) fn publish_json(
    folder: &AttemptFolder,
    file: &str,
    document: &impl serde::Serialize,
) -> Result<String, BackupError> {
    let mut text = serde_json::to_vec_pretty(document)
        .map_err(|error| BackupError::volume("write", &folder.path().join(file), error.into()))?;
    text.push(b'\n');
    let written = digest(&text);
    folder.write(file, text)?;
    Ok(written)
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
