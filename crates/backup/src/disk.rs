//! The file system below a mounted volume, one call at a time: all that volumes do goes through here, so that tests can make each
//! of them fail as a broken medium does, or lie.
//!
//! Talks only to the file system. Decides nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A call, as tests see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// Makes a folder.
    CreateFolder,
    /// Creates a file.
    Create,
    /// Opens a file.
    Open,
    /// Reads of a file.
    Read,
    /// Writes into a file.
    Write,
    /// Forces the content of a file, or the names in a folder, to the medium.
    Sync,
    /// Gives a file one more name.
    Link,
    /// Gives a file another name.
    Rename,
    /// Removes a file or an empty folder.
    Remove,
    /// Asks whether something is there.
    Look,
    /// Lists a folder.
    List,
}

#[cfg(test)]
use crate::tests::broken_disk::{asked, told};

/// A call that answers something.
#[cfg(not(test))]
fn asked<T>(_: Call, _: &Path, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    work()
}

/// A call that changes something; the second value is the answer of a medium that lost it.
#[cfg(not(test))]
fn told<T>(_: Call, _: &Path, _: T, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    work()
}

/// An open file.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: File,
    path: PathBuf,
}

impl DiskFile {
    /// Creates one that is not there yet, to write to.
    pub(crate) fn create_new(path: &Path) -> io::Result<Self> {
        let create = || OpenOptions::new().write(true).create_new(true).open(path);
        Ok(Self {
            file: asked(Call::Create, path, create)?,
            path: path.to_owned(),
        })
    }

    /// Opens one to read; gives its length too.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, u64)> {
        let open = || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = asked(Call::Open, path, open)?;
        let path = path.to_owned();
        Ok((Self { file, path }, length))
    }

    /// Forces it to the medium.
    pub(crate) fn sync(&self) -> io::Result<()> {
        told(Call::Sync, &self.path, (), || self.file.sync_all())
    }

    /// So that reading it back asks the medium and not this machine's memory. Only advice: not every file system follows.
    pub(crate) fn forget_cached_pages(&self) {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        if let Err(error) = posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED) {
            tracing::debug!(%error, "the file system keeps its cached pages");
        }
    }
}

impl Read for DiskFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let file = &mut self.file;
        asked(Call::Read, &self.path, || file.read(buffer))
    }
}

impl Write for DiskFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let file = &mut self.file;
        told(Call::Write, &self.path, buffer.len(), || file.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Makes a folder that is not there yet.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    told(Call::CreateFolder, path, (), || fs::create_dir(path))
}

/// Gives a file one more name, which must be free.
pub(crate) fn link(from: &Path, to: &Path) -> io::Result<()> {
    told(Call::Link, to, (), || fs::hard_link(from, to))
}

/// Gives a file another name.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    told(Call::Rename, to, (), || fs::rename(from, to))
}

/// Removes a file.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    told(Call::Remove, path, (), || fs::remove_file(path))
}

/// Removes an empty folder.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    told(Call::Remove, path, (), || fs::remove_dir(path))
}

/// Makes names durable, not only contents.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    told(Call::Sync, folder, (), || File::open(folder)?.sync_all())
}

/// What is at a place; `None` when nothing is.
pub(crate) fn look(path: &Path) -> io::Result<Option<fs::FileType>> {
    asked(Call::Look, path, || match fs::metadata(path) {
        Ok(found) => Ok(Some(found.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    })
}

/// One name in a folder.
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Links are not followed.
    pub(crate) is_folder: bool,
    /// In bytes.
    pub(crate) length: u64,
}

/// What is in a folder, by name; a name that is no text is none of ours.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<Entry>> {
    asked(Call::List, folder, || {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // It has just gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            found.extend(entry.file_name().into_string().ok().map(|name| Entry {
                name,
                is_folder: metadata.is_dir(),
                length: metadata.len(),
            }));
        }
        found.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(found)
    })
}
