//! Folders and files on the mounted volume: claimed once, published once, never written over.
//!
//! Talks only to the file system. The only thing it ever removes is a temporary file that this very object created.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::BackupError;

/// Name of the archive in its folder.
pub const ARCHIVE_FILE: &str = "objects.tar.zst.age";
/// Name of the manifest. A folder without it holds no backup.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Name of the receipt of a verification.
pub const RECEIPT_FILE: &str = "verified.json";
/// Makes the folder of a run, which its targets share.
pub(crate) fn prepare_folder(root: &Path, name: &str) -> Result<(), BackupError> {
    let run = root.join(name);
    match fs::create_dir(&run) {
        Ok(()) => sync_folder(root),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(BackupError::volume("create the folder", &run, error)),
    }
}

/// Makes a folder; `false` when somebody made it before.
pub(crate) fn take_folder(path: &Path) -> Result<bool, BackupError> {
    match fs::create_dir(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_folder).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(BackupError::volume("create the folder", path, error)),
    }
}

/// A small file; `None` when it is not there.
pub(crate) fn read_file(path: &Path) -> Result<Option<Vec<u8>>, BackupError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
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
pub(crate) fn open_file(archive: &Path) -> Result<(File, u64), BackupError> {
    let open = || {
        let file = File::open(archive)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    open().map_err(|error| BackupError::volume("open the archive", archive, error))
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
    pub(crate) fn create(target: PathBuf) -> Result<(Self, File), BackupError> {
        if target.exists() {
            let exists = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(BackupError::volume("create", &target, exists));
        }
        let mut temporary = target.clone().into_os_string();
        temporary.push(".partial");
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)
            .map_err(|error| BackupError::volume("create", &temporary, error))?;
        Ok((Self { temporary, target }, file))
    }

    /// An error while writing it.
    pub(crate) fn failed(&self, error: io::Error) -> BackupError {
        BackupError::volume("write", &self.target, error)
    }

    /// Forces it to the medium and gives it its name, without ever replacing a file.
    pub(crate) fn publish(self, file: &File) -> Result<(), BackupError> {
        file.sync_all().map_err(|error| self.failed(error))?;
        forget_cached_pages(file);
        match fs::hard_link(&self.temporary, &self.target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(self.failed(error)),
            // Some volumes have no hard links. The folder belongs to this attempt alone and the name was free.
            Err(_) => fs::rename(&self.temporary, &self.target).map_err(|error| self.failed(error))?,
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
    if let Err(error) = fs::remove_file(temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %temporary.display(), %error, "cannot remove an own temporary file");
    }
}

/// Makes names durable, not only contents.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    File::open(folder)
        .and_then(|handle| handle.sync_all())
        .map_err(|error| BackupError::volume("sync the folder", folder, error))
}

/// So that reading it back asks the medium and not this machine's memory. Only advice: not every file system follows.
fn forget_cached_pages(file: &File) {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    if let Err(error) = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED) {
        tracing::debug!(%error, "the file system keeps its cached pages");
    }
}

#[cfg(test)]
mod tests {
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
