//! Where backups lie: a mounted volume, or a bucket that speaks S3. What a run needs of either, and no more: claim the folder of an
//! attempt, write each file once, read it back; and, for retention alone, list the folders and remove a file.
//!
//! Talks to the volume or the bucket. Must never write over anything, and never believe a store: what counts is what is read back.
//!
//! Everything here blocks, because the archive is written and read by a thread of its own. For a bucket it must be called on
//! such a thread (`tokio::task::spawn_blocking`), never within an `async` function.

mod attempt;
mod bucket;
mod connection;
mod credentials;
mod download;
mod fault;
mod listing;
mod local;
mod removal;
mod settings;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use attempt::AttemptFolder;
pub(crate) use attempt::{ArchiveStream, CLAIM_FILE, Naming, NewArchive};
pub use bucket::Bucket;
pub use fault::BucketFault;
pub(crate) use listing::Listed;
pub(crate) use local::LocalArchive;
pub use settings::{BucketArguments, BucketLimits, StoreArguments};

/// Where backups lie.
#[derive(Debug, Clone)]
pub enum Store {
    /// A folder of a mounted volume.
    Volume(PathBuf),
    /// A bucket that speaks S3.
    Bucket(Arc<Bucket>),
}

impl Store {
    /// Where a file or folder is, for people: a path, or `s3://<bucket>/<prefix>/…`.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        match self {
            Self::Volume(root) => root.join(relative),
            Self::Bucket(bucket) => bucket.path(relative),
        }
    }
}

impl From<&Path> for Store {
    fn from(folder: &Path) -> Self {
        Self::Volume(folder.to_owned())
    }
}

impl From<&PathBuf> for Store {
    fn from(folder: &PathBuf) -> Self {
        Self::Volume(folder.clone())
    }
}

impl From<&Store> for Store {
    fn from(store: &Store) -> Self {
        store.clone()
    }
}
