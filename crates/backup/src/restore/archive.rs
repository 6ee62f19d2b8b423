//! Reads an archive that nobody has vouched for yet: a whole first pass before anything else is done, later passes compared
//! with it entry by entry; one object at a time in memory.
//!
//! Talks only to the store. Must never unpack, never hold more of an entry than an object can have, and never hand
//! on an object that is not the one of the first pass.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::BackupError;
use crate::archive::{Damage, SUMS_ENTRY, Tally, decrypted, finish_file, kind_of, read_padding};
use crate::canonical::digest;
use crate::discovery::Resource;
use crate::key::Opener;
use crate::ledger::{Difference, LONGEST_LINE, Ledger, LedgerWriter, broken};
use crate::manifest::Manifest;
use crate::path::{kind_path, object_path};
use crate::snapshot::Written;
use crate::store::{ArchiveStream, AttemptFolder, LocalArchive};
use crate::verify::on_a_thread;

/// Most bytes of one object: etcd takes 1.5 MiB by default and rarely more than 8, and JSON may escape each byte.
const LARGEST_OBJECT: u64 = 16 << 20;
/// Longest path of an entry: five names of at most 240 bytes each.
const LONGEST_PATH: u64 = 2048;
/// Objects that wait for the API server.
const AHEAD: usize = 4;

/// One object of a backup.
#[derive(Debug, Clone)]
pub(crate) struct StoredObject {
    /// Path in the archive.
    pub(crate) path: String,
    /// sha256 of its canonical JSON, in hexadecimal.
    pub(crate) digest: String,
    /// Its kind.
    pub(crate) resource: Resource,
    /// Its namespace.
    pub(crate) namespace: Option<String>,
    /// Its name.
    pub(crate) name: String,
    /// The object as it was read.
    pub(crate) body: Value,
}

impl StoredObject {
    /// For messages: `clusters.kubermatic.k8c.io abc` or `secrets kubermatic/dex`.
    pub(crate) fn label(&self) -> String {
        let kind = self.resource.label();
        match &self.namespace {
            Some(namespace) => format!("{kind} {namespace}/{}", self.name),
            None => format!("{kind} {}", self.name),
        }
    }
}

/// An archive that passed the first pass: decrypted to its end, every entry of the format, of its size and its digest.
#[derive(Clone)]
pub(crate) struct CheckedArchive {
    file: LocalArchive,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) manifest_digest: String,
    kinds: Arc<BTreeMap<String, Resource>>,
    opener: Opener,
    ledger: Arc<Ledger>,
}

impl CheckedArchive {
    /// The first pass over the backup in this folder, which has this manifest.
    ///
    /// # Errors
    /// Naming the first entry that is wrong; nothing was done then.
    pub(crate) async fn check(folder: AttemptFolder, written: Written, opener: Opener) -> Result<Self, BackupError> {
        on_a_thread(move || Self::first_pass(&folder, written, opener)).await
    }

    fn first_pass(folder: &AttemptFolder, written: Written, opener: Opener) -> Result<Self, BackupError> {
        let Written {
            manifest,
            manifest_digest,
        } = written;
        let kinds: BTreeMap<String, Resource> = manifest.kinds.iter().map(|kind| plain(&kind.resource())).collect();
        let file = LocalArchive::of(folder, manifest.archive.bytes)?;
        let mut entries = LedgerWriter::new().map_err(|error| broken(&error))?;
        let mut counts = BTreeMap::new();
        let listed = walk(&file, &manifest, &opener, |path, body| {
            let object = parse(&kinds, path, &body)?;
            entries
                .add(&object.digest, &object.path, "")
                .map_err(|error| broken(&error))?;
            *counts.entry(kind_of(path)).or_default() += 1;
            Ok(true)
        })?;
        let entries = entries.finish().map_err(|error| broken(&error))?;
        compare(&folder.archive(), &manifest, listed.as_ref(), &entries, &counts)?;
        Ok(Self {
            file,
            manifest: Arc::new(manifest),
            manifest_digest,
            kinds: Arc::new(kinds),
            opener,
            ledger: Arc::new(entries),
        })
    }

    /// The objects whose kind is wanted, in the order of the archive.
    pub(crate) fn objects(&self, wanted: impl Fn(&Resource) -> bool + Send + 'static) -> Objects {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let archive = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = archive.later_pass(&wanted, &sender) {
                // Whoever has gone away needs no reason either.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Objects(receiver)
    }

    fn later_pass(&self, wanted: &dyn Fn(&Resource) -> bool, sender: &Sender) -> Result<(), BackupError> {
        let mut expected = self.ledger.entries().map_err(|error| broken(&error))?;
        walk(&self.file, &self.manifest, &self.opener, |path, body| {
            let line = expected.next().transpose().map_err(|error| broken(&error))?;
            let same = line.is_some_and(|line| line.path == path && line.digest == hexadecimal(&body));
            if !same {
                return Err(BackupError::ExtraEntry { path: shown(path) });
            }
            if self.kinds.get(&kind_of(path)).is_none_or(|resource| !wanted(resource)) {
                return Ok(true);
            }
            let object = parse(&self.kinds, path, &body)?;
            Ok(sender.blocking_send(Ok(object)).is_ok())
        })?;
        Ok(())
    }
}

type Sender = mpsc::Sender<Result<StoredObject, BackupError>>;

/// Objects as they are read.
pub(crate) struct Objects(mpsc::Receiver<Result<StoredObject, BackupError>>);

impl Objects {
    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// When the archive is not any more what it was in the first pass.
    pub(crate) async fn next(&mut self) -> Result<Option<StoredObject>, BackupError> {
        self.0.recv().await.transpose()
    }
}

/// A kind by its folder in the archive, in every namespace.
fn plain(resource: &Resource) -> (String, Resource) {
    let everywhere = Resource {
        within: None,
        ..resource.clone()
    };
    (kind_path(&everywhere), everywhere)
}

/// What the first pass found, against the archive's own list and the manifest.
fn compare(
    file: &Path,
    manifest: &Manifest,
    listed: Option<&Ledger>,
    entries: &Ledger,
    counts: &BTreeMap<String, u64>,
) -> Result<(), BackupError> {
    let missing = |path: &str| BackupError::MissingEntry { path: shown(path) };
    let listed = listed.ok_or_else(|| missing(SUMS_ENTRY))?;
    match listed.difference(entries).map_err(|error| broken(&error))? {
        None => {}
        Some(Difference::Changed(path)) => return Err(BackupError::DigestMismatch { path: shown(&path) }),
        Some(Difference::Missing(path)) => return Err(missing(&path)),
        Some(Difference::Extra(path)) => return Err(BackupError::ExtraEntry { path: shown(&path) }),
    }
    match manifest.miscounted(counts) {
        None => Ok(()),
        Some(reason) => Err(BackupError::ArchiveMismatch {
            path: file.to_owned(),
            reason,
        }),
    }
}

/// Reads every entry once and gives each object to `visit`, until that says no; then the list at the end, which is missing when
/// it was stopped. Names of more than 100 bytes come as an entry of their own before the one that they are for: read here,
/// because the tar library would read one of any length.
fn walk(
    file: &LocalArchive,
    manifest: &Manifest,
    opener: &Opener,
    mut visit: impl FnMut(&str, Vec<u8>) -> Result<bool, BackupError>,
) -> Result<Option<Ledger>, BackupError> {
    let ArchiveStream { reader, length, naming } = file.open()?;
    let mut tally = Tally::new(reader);
    let damaged = Damage {
        naming: &naming,
        short: length < manifest.archive.bytes,
    };
    let mut state = State::new(&naming.path, manifest);
    let decoder = zstd::Decoder::new(decrypted(opener, &naming, &mut tally)?);
    let mut tar = tar::Archive::new(decoder.map_err(|error| damaged.after("the start", &error))?);
    let entries = tar.entries().map_err(|error| damaged.after("the start", &error))?;
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(|error| damaged.after(&state.after, &error))?;
        let after = state.after.clone();
        let read = state.read(&mut entry, |error| damaged.after(&after, error))?;
        if let Some((path, body)) = read
            && !visit(&path, body)?
        {
            return Ok(None);
        }
    }
    read_padding(tar.into_inner()).map_err(|error| damaged.after(&state.after, &error))?;
    finish_file(&naming, &mut tally, &manifest.archive)?;
    Ok(state.listed)
}

/// Where a pass is.
struct State<'a> {
    file: &'a Path,
    most: u64,
    objects: u64,
    after: String,
    long_name: Option<String>,
    listed: Option<Ledger>,
}

impl<'a> State<'a> {
    fn new(file: &'a Path, manifest: &Manifest) -> Self {
        Self {
            file,
            most: manifest.objects,
            objects: 0,
            after: "the start".to_owned(),
            long_name: None,
            listed: None,
        }
    }

    /// One entry: an object, or something about the archive itself.
    fn read<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        damaged: impl Fn(&io::Error) -> BackupError,
    ) -> Result<Option<(String, Vec<u8>)>, BackupError> {
        let kind = entry.header().entry_type();
        let size = entry.header().entry_size().map_err(|error| damaged(&error))?;
        let own = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if kind == tar::EntryType::GNULongName && self.long_name.is_none() {
            let name = self.bounded(entry, &own, size, LONGEST_PATH, &damaged)?;
            let text = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
            self.long_name = Some(text);
            return Ok(None);
        }
        let path = self.long_name.take().unwrap_or(own);
        if self.listed.is_some() || kind != tar::EntryType::Regular {
            return Err(BackupError::ExtraEntry { path: shown(&path) });
        }
        if path == SUMS_ENTRY {
            self.small_enough(&path, size, self.most.saturating_mul(LONGEST_LINE))?;
            self.listed = Some(Ledger::parse(entry).map_err(|error| damaged(&error))?);
            return Ok(None);
        }
        self.objects += 1;
        if self.objects > self.most {
            return Err(BackupError::ExtraEntry { path: shown(&path) });
        }
        let body = self.bounded(entry, &path, size, LARGEST_OBJECT, &damaged)?;
        self.after = shown(&path);
        Ok(Some((path, body)))
    }

    fn bounded(
        &self,
        input: &mut impl Read,
        path: &str,
        size: u64,
        most: u64,
        damaged: impl Fn(&io::Error) -> BackupError,
    ) -> Result<Vec<u8>, BackupError> {
        self.small_enough(path, size, most)?;
        let mut bytes = Vec::new();
        input
            .take(most)
            .read_to_end(&mut bytes)
            .map_err(|error| damaged(&error))?;
        if bytes.len() as u64 != size {
            return Err(damaged(&io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    fn small_enough(&self, path: &str, size: u64, most: u64) -> Result<(), BackupError> {
        if size <= most {
            return Ok(());
        }
        Err(BackupError::ArchiveMismatch {
            path: self.file.to_owned(),
            reason: format!(
                "{} has {size} bytes, more than the {most} that it can have",
                shown(path)
            ),
        })
    }
}

/// The object of an entry, which has to be the one that its path says, of a kind that the manifest lists.
fn parse(kinds: &BTreeMap<String, Resource>, path: &str, body: &[u8]) -> Result<StoredObject, BackupError> {
    let foreign = || BackupError::ExtraEntry { path: shown(path) };
    let resource = kinds.get(&kind_of(path)).ok_or_else(foreign)?;
    // What stands there is told by nobody: it may be a Secret.
    let value: Value = serde_json::from_slice(body).map_err(|_| foreign())?;
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let name = text("/metadata/name")
        .filter(|name| is_name(name))
        .ok_or_else(foreign)?;
    let namespace = text("/metadata/namespace");
    let named = namespace.as_deref().is_none_or(is_name) && namespace.is_some() == resource.namespaced;
    let own = text("/apiVersion") == Some(resource.api_version()) && text("/kind").as_ref() == Some(&resource.kind);
    if !named || !own || object_path(resource, namespace.as_deref(), &name) != path {
        return Err(foreign());
    }
    Ok(StoredObject {
        path: path.to_owned(),
        digest: hexadecimal(body),
        resource: resource.clone(),
        namespace,
        name,
        body: value,
    })
}

/// What Kubernetes takes as one part of a path; a name of anything else would lead to another address of the API.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"/%?#\\\"<>".contains(&byte);
    !name.is_empty() && name.len() <= 253 && !matches!(name, "." | "..") && name.bytes().all(plain)
}

fn hexadecimal(body: &[u8]) -> String {
    digest(body).replace("sha256:", "")
}

/// A path of anybody's making, for a message.
fn shown(path: &str) -> String {
    path.chars().take(300).flat_map(char::escape_default).collect()
}
