//! Reads an archive that nobody has vouched for yet: a whole first pass before anything else is done, later passes compared
//! with it entry by entry; one object at a time in memory.
//!
//! Talks only to the store. Must never unpack, never hold more of an entry than an object can have, and never hand
//! on an object that is not the one of the first pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::BackupError;
use crate::archive_walk::{ArchivePass, Inventory, kind_of, shown};
use crate::canonical::hexadecimal;
use crate::discovery::Resource;
use crate::key::Opener;
use crate::ledger::{Ledger, broken};
use crate::manifest::Manifest;
use crate::path::{kind_path, object_path};
use crate::snapshot::Written;
use crate::store::{AttemptFolder, LocalArchive};
use crate::verify::on_a_thread;

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
        let mut pass = ArchivePass::new(file.open()?, &manifest);
        let mut inventory = Inventory::new()?;
        let listed = pass.walk(&opener, |path, body| {
            let object = parse(&kinds, path, body)?;
            inventory.add(&object.path, &object.digest)
        })?;
        let entries = inventory.compare(&listed, None, &folder.archive(), &manifest)?;
        pass.finish()?;
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
        let mut pass = ArchivePass::new(self.file.open()?, &self.manifest);
        pass.walk(&self.opener, |path, body| {
            let line = expected.next().transpose().map_err(|error| broken(&error))?;
            let same = line.is_some_and(|line| line.path == path && line.digest == hexadecimal(body));
            if !same {
                return Err(BackupError::ExtraEntry { path: shown(path) });
            }
            if self.kinds.get(&kind_of(path)).is_none_or(|resource| !wanted(resource)) {
                return Ok(());
            }
            let object = parse(&self.kinds, path, body)?;
            let sent = sender.blocking_send(Ok(object));
            // Ends the pass; whoever it would be told to has gone.
            sent.map_err(|_| BackupError::Worker("nobody waits for the objects of the archive".to_owned()))
        })?;
        pass.finish()
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
