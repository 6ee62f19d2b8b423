//! The folder of one attempt, on whatever store it is: claimed once, each of its files written once, never written
//! over. Talks to the volume or the bucket.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Store;
use super::bucket::Creation;
use super::download::{BucketReader, Trouble};
use super::fault::BucketFault;
use super::upload::Upload;
use crate::BackupError;
use crate::disk::DiskFile;
use crate::key::RunKey;
use crate::path::check_folder_name;
use crate::volume::{self, ARCHIVE_FILE, MANIFEST_FILE, RECEIPT_FILE, UnpublishedFile};

/// A run that needs more attempts than this has another problem.
const MOST_ATTEMPTS: u32 = 1000;
/// In a bucket: the object that makes a folder somebody's.
pub(crate) const CLAIM_FILE: &str = "claim";
/// Longest manifest or receipt that is read, in bytes: a manifest has a line for each kind and namespace.
const LONGEST_DOCUMENT: u64 = 64 << 20;

/// The folder of one attempt: `<destination>/<name>/<target>`, later ones `<target>_2`, `<target>_3`, … (`_` cannot be
/// in a target's name).
#[derive(Debug, Clone)]
pub struct AttemptFolder {
    pub(super) store: Store,
    path: PathBuf,
    relative: String,
}

impl PartialEq for AttemptFolder {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl AttemptFolder {
    fn numbered(store: &Store, name: &str, target: &str, number: u32) -> Self {
        let folder = if number == 1 {
            target.to_owned()
        } else {
            format!("{target}_{number}")
        };
        Self::named(store, name, &folder)
    }

    /// One that a list of the store or a location names.
    pub(crate) fn named(store: &Store, name: &str, folder: &str) -> Self {
        let relative = format!("{name}/{folder}");
        Self {
            path: store.path(&relative),
            store: store.clone(),
            relative,
        }
    }

    /// Claims the first free folder of this run and target. Two programs never get the same one.
    ///
    /// # Errors
    /// When a name cannot be a folder, or the store refuses.
    pub fn claim(store: impl Into<Store>, name: &str, target: &str) -> Result<Self, BackupError> {
        let store = store.into();
        check_folder_name("--name", name)?;
        check_folder_name("--target", target)?;
        if let Store::Volume(root) = &store {
            volume::prepare_folder(root, name)?;
        }
        for number in 1..=MOST_ATTEMPTS {
            let folder = Self::numbered(&store, name, target, number);
            if folder.take()? {
                return Ok(folder);
            }
        }
        let full = io::Error::new(io::ErrorKind::AlreadyExists, "too many attempts");
        let path = store.path(&format!("{name}/{target}"));
        Err(BackupError::volume("create one more folder for", &path, full))
    }

    /// Takes this very folder, if nobody has it.
    fn take(&self) -> Result<bool, BackupError> {
        let bucket = match &self.store {
            Store::Volume(_) => return volume::take_folder(&self.path),
            Store::Bucket(bucket) => bucket,
        };
        // A public key that nobody else has: it tells our claim from another's after a lost answer.
        let ours = Bytes::from(format!("{}\n", RunKey::generate().name()));
        let claim = self.inside(CLAIM_FILE);
        if bucket.wait(bucket.create("claim", &claim, &ours))? == Creation::Foreign {
            return Ok(false);
        }
        if bucket.wait(bucket.honours_conditions(&claim, &ours))? {
            // A storage that looks first and writes later lets two programs in: the last one stays.
            return Ok(self.read(CLAIM_FILE)?.is_some_and(|there| there == ours));
        }
        Err(BackupError::Bucket {
            action: "rely on",
            path: bucket.path(&claim),
            fault: BucketFault::Unconditional,
            message: "the storage wrote it again although it was there".to_owned(),
        })
    }

    /// The folders of earlier attempts of this run and target, oldest first.
    ///
    /// # Errors
    /// When a name cannot be a folder, or the store cannot be read.
    pub fn existing(store: impl Into<Store>, name: &str, target: &str) -> Result<Vec<Self>, BackupError> {
        let store = store.into();
        check_folder_name("--name", name)?;
        check_folder_name("--target", target)?;
        let mut found = Vec::new();
        for number in 1..=MOST_ATTEMPTS {
            let folder = Self::numbered(&store, name, target, number);
            if !folder.is_claimed()? {
                break;
            }
            found.push(folder);
        }
        Ok(found)
    }

    fn is_claimed(&self) -> Result<bool, BackupError> {
        match &self.store {
            Store::Volume(_) => volume::is_folder(&self.path),
            Store::Bucket(_) => Ok(self.read(CLAIM_FILE)?.is_some()),
        }
    }

    /// Whether it can be read as often as one likes.
    pub(super) fn is_on_a_volume(&self) -> bool {
        matches!(self.store, Store::Volume(_))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is on the store.
    #[must_use]
    pub fn relative(&self) -> &str {
        &self.relative
    }

    /// Where it is, for people: on the volume that they named, or as `s3://…`.
    #[must_use]
    pub fn location(&self) -> String {
        match &self.store {
            Store::Volume(_) => self.relative.clone(),
            Store::Bucket(_) => self.path.display().to_string(),
        }
    }

    /// The archive.
    #[must_use]
    pub fn archive(&self) -> PathBuf {
        self.path.join(ARCHIVE_FILE)
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.path.join(MANIFEST_FILE)
    }

    /// The receipt of a verification.
    #[must_use]
    pub fn receipt(&self) -> PathBuf {
        self.path.join(RECEIPT_FILE)
    }

    /// Whether somebody finished writing here: without a manifest it is the left-over of a crash.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_complete(&self) -> Result<bool, BackupError> {
        match &self.store {
            Store::Volume(_) => volume::is_file(&self.manifest()),
            Store::Bucket(_) => Ok(self.read(MANIFEST_FILE)?.is_some()),
        }
    }

    fn inside(&self, file: &str) -> String {
        format!("{}/{file}", self.relative)
    }

    /// A small file; `None` when it is not there.
    pub(crate) fn read(&self, file: &str) -> Result<Option<Vec<u8>>, BackupError> {
        match &self.store {
            Store::Volume(_) => volume::read_file(&self.path.join(file), LONGEST_DOCUMENT),
            Store::Bucket(bucket) => {
                let found = bucket.wait(bucket.read_small(&self.inside(file), LONGEST_DOCUMENT))?;
                Ok(found.map(Vec::from))
            }
        }
    }

    /// Writes a small file that is not there yet.
    pub(crate) fn write(&self, file: &str, content: Vec<u8>) -> Result<(), BackupError> {
        let bucket = match &self.store {
            Store::Volume(_) => return volume::write_file(self.path.join(file), &content),
            Store::Bucket(bucket) => bucket,
        };
        let relative = self.inside(file);
        match bucket.wait(bucket.create("write", &relative, &content.into()))? {
            Creation::Ours => Ok(()),
            Creation::Foreign => Err(BackupError::Bucket {
                action: "write",
                path: bucket.path(&relative),
                fault: BucketFault::Exists,
                message: "it is there already, with another content".to_owned(),
            }),
        }
    }

    /// Starts the archive.
    pub(crate) fn create_archive(&self) -> Result<(NewArchive, Naming), BackupError> {
        let naming = Naming {
            path: self.archive(),
            trouble: Trouble::default(),
        };
        let archive = match &self.store {
            Store::Volume(_) => {
                let (unpublished, file) = UnpublishedFile::create(naming.path.clone())?;
                NewArchive::File(unpublished, file)
            }
            Store::Bucket(bucket) => {
                let relative = self.inside(ARCHIVE_FILE);
                NewArchive::Upload(Box::new(Upload::begin(bucket, relative, naming.trouble.clone())?))
            }
        };
        Ok((archive, naming))
    }

    /// Opens the archive as a stream.
    pub(crate) fn open_archive(&self) -> Result<ArchiveStream, BackupError> {
        let bucket = match &self.store {
            Store::Volume(_) => {
                let (file, length) = volume::open_file(&self.archive())?;
                return Ok(ArchiveStream::new(file, length, self.archive()));
            }
            Store::Bucket(bucket) => bucket,
        };
        let found = bucket.wait(bucket.download(&self.inside(ARCHIVE_FILE)));
        let download = found.map_err(|error| opening(error, &self.archive()))?;
        let (length, trouble) = (download.length, Trouble::default());
        let reader = BucketReader {
            bucket: bucket.clone(),
            download,
            piece: Bytes::new(),
            trouble: trouble.clone(),
        };
        Ok(ArchiveStream {
            reader: Box::new(reader),
            length,
            naming: Naming {
                path: self.archive(),
                trouble,
            },
        })
    }
}

/// An archive that is not there makes a bad backup, not a bad store.
fn opening(error: BackupError, archive: &Path) -> BackupError {
    if super::bucket::has_fault(&error, BucketFault::Missing) {
        return BackupError::ArchiveMissing {
            path: archive.to_owned(),
        };
    }
    error
}

/// An archive that is being written.
pub(crate) enum NewArchive {
    /// On a volume.
    File(UnpublishedFile, DiskFile),
    /// To a bucket.
    Upload(Box<Upload>),
}

impl NewArchive {
    /// Makes it durable and gives it its name.
    pub(crate) fn publish(self) -> Result<(), BackupError> {
        match self {
            Self::File(unpublished, file) => unpublished.publish(&file),
            Self::Upload(upload) => upload.complete(),
        }
    }
}

impl Write for NewArchive {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(_, file) => file.write(buffer),
            Self::Upload(upload) => upload.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(_, file) => file.flush(),
            Self::Upload(upload) => upload.flush(),
        }
    }
}

/// What an archive is called, and what went wrong below the programs that write or read it.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    pub(crate) path: PathBuf,
    trouble: Trouble,
}

impl Naming {
    /// The store's own reason where it has one, or what the operating system said.
    pub(crate) fn failed(&self, action: &'static str, error: io::Error) -> BackupError {
        self.taken()
            .unwrap_or_else(|| BackupError::volume(action, &self.path, error))
    }

    /// The store's own reason.
    pub(crate) fn taken(&self) -> Option<BackupError> {
        self.trouble.take()
    }
}

/// An archive that is read.
pub(crate) struct ArchiveStream {
    pub(crate) reader: Box<dyn Read + Send>,
    /// Its length as the store says.
    pub(crate) length: u64,
    pub(crate) naming: Naming,
}

impl ArchiveStream {
    /// An archive that is a file of this length, and called `path` in messages.
    pub(super) fn new(file: impl Read + Send + 'static, length: u64, path: PathBuf) -> Self {
        Self {
            reader: Box::new(file),
            length,
            naming: Naming {
                path,
                trouble: Trouble::default(),
            },
        }
    }
}
