//! Folders and files on the mounted volume: claimed once, published once, never written over, never deleted.
//!
//! Talks only to the file system. The only thing it ever removes is a temporary file that this very object created.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::BackupError;
use crate::path::check_folder_name;

/// Name of the archive in its folder.
pub const ARCHIVE_FILE: &str = "objects.tar.zst";
/// Name of the manifest. A folder without it holds no backup.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Name of the receipt of a verification.
pub const RECEIPT_FILE: &str = "verified.json";
/// A run that needs more attempts than this has another problem.
const MOST_ATTEMPTS: u32 = 1000;

/// The folder of one attempt: `<destination>/<name>/<target>`, later ones `<target>_2`, `<target>_3`, … (`_` cannot be
/// in a target's name).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFolder {
    path: PathBuf,
    relative: String,
}

impl AttemptFolder {
    fn numbered(destination: &Path, name: &str, target: &str, number: u32) -> Self {
        let folder = if number == 1 {
            target.to_owned()
        } else {
            format!("{target}_{number}")
        };
        let relative = format!("{name}/{folder}");
        Self {
            path: destination.join(&relative),
            relative,
        }
    }

    /// Claims the first free folder of this run and target. Two programs never get the same one.
    ///
    /// # Errors
    /// When a name cannot be a folder, or the volume refuses.
    pub fn claim(destination: &Path, name: &str, target: &str) -> Result<Self, BackupError> {
        check_folder_name("--name", name)?;
        check_folder_name("--target", target)?;
        let run = destination.join(name);
        match fs::create_dir(&run) {
            Ok(()) => sync_folder(destination)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(BackupError::volume("create the folder", &run, error)),
        }
        for number in 1..=MOST_ATTEMPTS {
            let folder = Self::numbered(destination, name, target, number);
            match fs::create_dir(&folder.path) {
                Ok(()) => {
                    sync_folder(&run)?;
                    return Ok(folder);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(BackupError::volume("create the folder", &folder.path, error)),
            }
        }
        let full = io::Error::new(io::ErrorKind::AlreadyExists, "too many attempts");
        Err(BackupError::volume(
            "create one more folder for",
            &run.join(target),
            full,
        ))
    }

    /// The folders of earlier attempts of this run and target, oldest first.
    ///
    /// # Errors
    /// When a name cannot be a folder.
    pub fn existing(destination: &Path, name: &str, target: &str) -> Result<Vec<Self>, BackupError> {
        check_folder_name("--name", name)?;
        check_folder_name("--target", target)?;
        Ok((1..=MOST_ATTEMPTS)
            .map(|number| Self::numbered(destination, name, target, number))
            .take_while(|folder| folder.path.is_dir())
            .collect())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is on the volume.
    #[must_use]
    pub fn relative(&self) -> &str {
        &self.relative
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
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.manifest().is_file()
    }
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
fn sync_folder(folder: &Path) -> Result<(), BackupError> {
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
    use std::io::Write as _;

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
