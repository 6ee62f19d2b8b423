//! What lies in a store: the folders of attempts, by their names. Talks to the volume or the bucket.
//!
//! Whatever is not called like the folder of an attempt is somebody else's and is not seen here.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use futures::TryStreamExt as _;
use object_store::ObjectStore as _;
use object_store::path::Path as Key;

use super::bucket::{Attempted, Bucket};
use super::{AttemptFolder, BucketFault, Store};
use crate::BackupError;
use crate::disk::{self, Entry};
use crate::path::check_folder_name;
use crate::volume::{ARCHIVE_FILE, MANIFEST_FILE, RECEIPT_FILE};

/// A prefix with more objects than this is not for backups alone.
const MOST_OBJECTS: usize = 200_000;

/// The folder of an attempt, as a list of the store shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Name of the run.
    pub(crate) run: String,
    /// Name of the folder in it.
    pub(crate) folder: String,
    /// `master` or the name of a Seed.
    pub(crate) target: String,
    /// Number of the attempt, from 1.
    pub(crate) number: u32,
    /// Names of its files, and their lengths.
    pub(crate) files: BTreeMap<String, u64>,
}

impl Listed {
    fn new(run: &str, folder: &str) -> Option<Self> {
        let (target, number) = match folder.split_once('_') {
            Some((target, number)) => (target, number.parse().ok().filter(|number| *number > 1)?),
            None => (folder, 1),
        };
        let named = check_folder_name("run", run).is_ok() && check_folder_name("target", target).is_ok();
        named.then(|| Self {
            run: run.to_owned(),
            folder: folder.to_owned(),
            target: target.to_owned(),
            number,
            files: BTreeMap::new(),
        })
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        self.files.contains_key(file)
    }

    /// Whether all files of a verified backup are there.
    pub(crate) fn looks_verified(&self) -> bool {
        [MANIFEST_FILE, RECEIPT_FILE, ARCHIVE_FILE]
            .iter()
            .all(|file| self.has(file))
    }

    pub(crate) fn open(&self, store: &Store) -> AttemptFolder {
        AttemptFolder::named(store, &self.run, &self.folder)
    }
}

impl Store {
    /// The folders of all attempts of all runs, with what is in them.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub(crate) fn list(&self) -> Result<Vec<Listed>, BackupError> {
        match self {
            Self::Volume(root) => on_volume(root),
            Self::Bucket(bucket) => bucket.wait(in_bucket(bucket)),
        }
    }
}

fn on_volume(root: &Path) -> Result<Vec<Listed>, BackupError> {
    let mut found = Vec::new();
    for run in folders(root)? {
        if check_folder_name("run", &run).is_err() {
            continue;
        }
        let path = root.join(&run);
        for folder in ours(folders(&path))? {
            let Some(mut listed) = Listed::new(&run, &folder) else {
                continue;
            };
            let files = entries(&path.join(&folder))?.into_iter();
            listed.files.extend(files.map(|file| (file.name, file.length)));
            found.push(listed);
        }
    }
    Ok(found)
}

/// A folder that this user may not look into, or that has just gone, is none of ours.
fn ours(folders: Result<Vec<String>, BackupError>) -> Result<Vec<String>, BackupError> {
    match folders {
        Err(BackupError::Volume { source, .. })
            if matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) =>
        {
            Ok(Vec::new())
        }
        other => other,
    }
}

/// Names of the folders in a folder.
fn folders(folder: &Path) -> Result<Vec<String>, BackupError> {
    let found = entries(folder)?.into_iter().filter(|entry| entry.is_folder);
    Ok(found.map(|entry| entry.name).collect())
}

fn entries(folder: &Path) -> Result<Vec<Entry>, BackupError> {
    disk::list(folder).map_err(|error| BackupError::volume("list", folder, error))
}

async fn in_bucket(bucket: &Bucket) -> Result<Vec<Listed>, BackupError> {
    let names = bucket
        .repeated_within(bucket.limits.part, "list", "", || names(bucket))
        .await?;
    let mut found: BTreeMap<(String, String), Listed> = BTreeMap::new();
    for (name, length) in names {
        let parts: Vec<&str> = name.split('/').collect();
        let [run, folder, file] = parts.as_slice() else {
            continue;
        };
        let key = ((*run).to_owned(), (*folder).to_owned());
        if !found.contains_key(&key) {
            let Some(listed) = Listed::new(run, folder) else {
                continue;
            };
            found.insert(key.clone(), listed);
        }
        if let Some(listed) = found.get_mut(&key) {
            listed.files.insert((*file).to_owned(), length);
        }
    }
    Ok(found.into_values().collect())
}

/// Names below the prefix, and lengths.
async fn names(bucket: &Bucket) -> Result<Vec<(String, u64)>, Attempted> {
    let prefix = Key::parse(&bucket.prefix).ok().filter(|_| !bucket.prefix.is_empty());
    let mut list = bucket.s3.list(prefix.as_ref());
    let mut found = Vec::new();
    while let Some(object) = list.try_next().await? {
        let name = object.location.as_ref();
        let below = if bucket.prefix.is_empty() {
            Some(name)
        } else {
            name.strip_prefix(bucket.prefix.as_str())
                .and_then(|rest| rest.strip_prefix('/'))
        };
        found.extend(below.map(|name| (name.to_owned(), object.size)));
        if found.len() > MOST_OBJECTS {
            return Err(Attempted::from(BackupError::Bucket {
                action: "list",
                path: bucket.path(""),
                fault: BucketFault::Settings,
                message: format!("it holds more than {MOST_OBJECTS} objects; give the backups a prefix of their own"),
            }));
        }
    }
    Ok(found)
}
