//! Folders and files on the mounted volume: claimed once, published once, never written over.
//!
//! Talks only to the file system. The only thing it ever removes is a temporary file that this very object created.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::BackupError;
use crate::disk::{self, DiskFile};

/// Name of the archive in its folder.
pub const ARCHIVE_FILE: &str = "objects.tar.zst.age";
/// Name of the manifest. A folder without it holds no backup.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Name of the receipt of a verification.
pub const RECEIPT_FILE: &str = "verified.json";

/// Makes the folder of a run, which its targets share.
pub(crate) fn prepare_folder(root: &Path, name: &str) -> Result<(), BackupError> {
    let run = root.join(name);
    match disk::create_folder(&run) {
        Ok(()) => sync_folder(root),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(BackupError::volume("create the folder", &run, error)),
    }
}

/// Makes a folder; `false` when somebody made it before.
pub(crate) fn take_folder(path: &Path) -> Result<bool, BackupError> {
    match disk::create_folder(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_folder).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(BackupError::volume("create the folder", path, error)),
    }
}

/// A small file, of which no more than `most` bytes get into memory, whatever the volume says of its length; `None` when it is
/// not there.
pub(crate) fn read_file(path: &Path, most: u64) -> Result<Option<Vec<u8>>, BackupError> {
    let mut content = Vec::new();
    let read = DiskFile::open(path).and_then(|(file, _)| file.take(most.saturating_add(1)).read_to_end(&mut content));
    match read {
        Ok(length) if length as u64 > most => {
            let path = path.to_owned();
            Err(BackupError::DocumentTooLong { path, most })
        }
        Ok(_) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BackupError::volume("read", path, error)),
    }
}

/// Writes a small file, create-only.
pub(crate) fn write_file(path: PathBuf, content: &[u8]) -> Result<(), BackupError> {
    let (unpublished, mut file) = UnpublishedFile::create(path)?;
    if let Err(error) = file.write_all(content) {
        return Err(unpublished.failed(error));
    }
    unpublished.publish(&file)
}

/// The archive, to be read, and its length.
pub(crate) fn open_file(archive: &Path) -> Result<(DiskFile, u64), BackupError> {
    DiskFile::open(archive).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BackupError::ArchiveMissing {
            path: archive.to_owned(),
        },
        _ => BackupError::volume("open the archive", archive, error),
    })
}

/// Whether a folder is there.
pub(crate) fn is_folder(path: &Path) -> Result<bool, BackupError> {
    let found = disk::look(path).map_err(|error| BackupError::volume("look at", path, error))?;
    Ok(found.is_some_and(|found| found.is_dir()))
}

/// Whether a file is there.
pub(crate) fn is_file(path: &Path) -> Result<bool, BackupError> {
    let found = disk::look(path).map_err(|error| BackupError::volume("look at", path, error))?;
    Ok(found.is_some_and(|found| found.is_file()))
}

/// What a file is called while it is written.
pub(crate) fn temporary(file: &str) -> String {
    format!("{file}.partial")
}

/// A file that gets its name only when it is whole and on the medium. Dropped before that, it is removed again, so that
/// a failed attempt does not fill the volume.
#[derive(Debug)]
pub(crate) struct UnpublishedFile {
    temporary: PathBuf,
    target: PathBuf,
}

impl UnpublishedFile {
    /// Creates the temporary file; fails when it or the file itself is there.
    pub(crate) fn create(target: PathBuf) -> Result<(Self, DiskFile), BackupError> {
        if is_file(&target)? {
            let exists = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(BackupError::volume("create", &target, exists));
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let temporary = target.with_file_name(temporary(&name));
        let file =
            DiskFile::create_new(&temporary).map_err(|error| BackupError::volume("create", &temporary, error))?;
        Ok((Self { temporary, target }, file))
    }

    /// An error while writing it.
    pub(crate) fn failed(&self, error: io::Error) -> BackupError {
        BackupError::volume("write", &self.target, error)
    }

    /// Forces it to the medium and gives it its name, without ever replacing a file.
    pub(crate) fn publish(self, file: &DiskFile) -> Result<(), BackupError> {
        file.sync().map_err(|error| self.failed(error))?;
        file.forget_cached_pages();
        match disk::link(&self.temporary, &self.target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(self.failed(error)),
            // Some volumes have no hard links. The folder belongs to this attempt alone and the name was free.
            Err(_) => disk::rename(&self.temporary, &self.target).map_err(|error| self.failed(error))?,
        }
        if let Some(folder) = self.target.parent() {
            remove_own(&self.temporary);
            sync_folder(folder)?;
        }
        Ok(())
    }
}

impl Drop for UnpublishedFile {
    fn drop(&mut self) {
        remove_own(&self.temporary);
    }
}

fn remove_own(temporary: &Path) {
    if let Err(error) = disk::remove_file(temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %temporary.display(), %error, "cannot remove an own temporary file");
    }
}

/// Makes names durable, not only contents.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    disk::sync_folder(folder).map_err(|error| BackupError::volume("sync the folder", folder, error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::AttemptFolder;

    #[test]
    fn every_attempt_gets_its_own_folder() {
        let volume = tempfile::tempdir().unwrap();
        let first = AttemptFolder::claim(volume.path(), "run", "eu").unwrap();
        let second = AttemptFolder::claim(volume.path(), "run", "eu").unwrap();
        assert_eq!((first.relative(), second.relative()), ("run/eu", "run/eu_2"));
        assert_eq!(
            AttemptFolder::existing(volume.path(), "run", "eu").unwrap(),
            [first, second]
        );
        assert!(AttemptFolder::claim(volume.path(), "../run", "eu").is_err());
        assert!(AttemptFolder::claim(volume.path(), "run", "..").is_err());
    }

    #[test]
    fn a_missing_mount_is_not_made_up() {
        let volume = tempfile::tempdir().unwrap();
        let error = AttemptFolder::claim(&volume.path().join("absent"), "run", "eu").unwrap_err();
        assert!(error.to_string().contains("is mounted there"), "{error}");
    }

    #[test]
    fn a_file_is_published_once_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        let (unpublished, mut file) = UnpublishedFile::create(target.clone()).unwrap();
        file.write_all(b"one").unwrap();
        assert!(!target.exists());
        fs::write(&target, b"somebody else").unwrap();
        assert!(unpublished.publish(&file).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"somebody else");
        assert!(UnpublishedFile::create(target).is_err());
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "own temporary file is left over"
        );
    }
}
