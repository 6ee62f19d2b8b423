//! The archive: tar in zstd, digested while it is written and while it is read back; an object at a time in memory.
//!
//! Talks only to the file system. Must never unpack to disk, and never trust a size or a name in an archive.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::BackupError;
use crate::canonical::render_digest;
use crate::manifest::{ArchiveRecord, Manifest, ObjectRecord};
use crate::volume::{ARCHIVE_FILE, UnpublishedFile};

/// zstd's default: about 1:10 on Kubernetes objects at the speed of a disk.
const LEVEL: i32 = 3;

/// Counts and digests what passes through.
struct Tally<Inner> {
    inner: Inner,
    bytes: u64,
    state: Sha256,
}

impl<Inner> Tally<Inner> {
    fn new(inner: Inner) -> Self {
        Self {
            inner,
            bytes: 0,
            state: Sha256::new(),
        }
    }

    fn count(&mut self, passed: &[u8]) {
        self.bytes += passed.len() as u64;
        self.state.update(passed);
    }
}

impl<Inner: Write> Write for Tally<Inner> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.count(buffer.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<Inner: Read> Read for Tally<Inner> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// An archive that is being written.
pub(crate) struct ArchiveWriter {
    unpublished: UnpublishedFile,
    tar: tar::Builder<zstd::Encoder<'static, Tally<File>>>,
}

impl ArchiveWriter {
    /// Starts one in this folder.
    pub(crate) fn create(archive: &Path) -> Result<Self, BackupError> {
        let (unpublished, file) = UnpublishedFile::create(archive.to_owned())?;
        let start = |file| {
            let mut encoder = zstd::Encoder::new(Tally::new(file), LEVEL)?;
            encoder.include_checksum(true)?;
            Ok(tar::Builder::new(encoder))
        };
        match start(file) {
            Ok(tar) => Ok(Self { unpublished, tar }),
            Err(error) => Err(unpublished.failed(error)),
        }
    }

    /// Adds one entry; nothing in its header depends on the machine or the moment.
    pub(crate) fn append(&mut self, path: &str, body: &[u8]) -> Result<(), BackupError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        self.tar
            .append_data(&mut header, path, body)
            .map_err(|error| self.unpublished.failed(error))
    }

    /// Ends it, forces it to the medium and gives it its name.
    pub(crate) fn publish(self) -> Result<ArchiveRecord, BackupError> {
        let Self { unpublished, tar } = self;
        let tally = match tar.into_inner().and_then(zstd::Encoder::finish) {
            Ok(tally) => tally,
            Err(error) => return Err(unpublished.failed(error)),
        };
        unpublished.publish(&tally.inner)?;
        Ok(ArchiveRecord {
            file: ARCHIVE_FILE.to_owned(),
            compression: "zstd".to_owned(),
            encryption: "none".to_owned(),
            bytes: tally.bytes,
            digest: render_digest(tally.state),
        })
    }
}

/// Reads the whole archive and compares every entry with the manifest.
pub(crate) fn check_archive(archive: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let file = File::open(archive).map_err(|error| BackupError::volume("open the archive", archive, error))?;
    let decoder = zstd::Decoder::new(Tally::new(file)).map_err(|error| damaged(archive, "the start", &error))?;
    let mut tar = tar::Archive::new(decoder);
    let objects = manifest.kinds.iter().flat_map(|kind| &kind.objects);
    let mut missing: HashMap<&[u8], &ObjectRecord> = objects.map(|object| (object.path.as_bytes(), object)).collect();
    if missing.len() as u64 != manifest.objects {
        let reason = "it lists an object twice".to_owned();
        return Err(BackupError::ManifestInvalid {
            path: archive.with_file_name("manifest.json"),
            reason,
        });
    }
    let mut after = "the start".to_owned();
    for entry in tar.entries().map_err(|error| damaged(archive, &after, &error))? {
        let mut entry = entry.map_err(|error| damaged(archive, &after, &error))?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let expected = missing
            .remove(path.as_bytes())
            .ok_or_else(|| BackupError::ExtraEntry { path: path.clone() })?;
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(BackupError::DigestMismatch {
                path,
                reason: "it is no regular file".to_owned(),
            });
        }
        check_entry(&mut entry, expected)
            .map_err(|error| error.unwrap_or_else(|error| damaged(archive, &after, &error)))?;
        after = path;
    }
    if let Some(first) = missing.values().map(|object| &object.path).min() {
        return Err(BackupError::MissingEntry {
            path: first.clone(),
            missing: missing.len(),
        });
    }
    check_file(archive, tar, &after, &manifest.archive)
}

/// Either the finding, or the error of the decoder below.
type EntryFault = Result<BackupError, io::Error>;

fn check_entry(entry: &mut impl Read, expected: &ObjectRecord) -> Result<(), EntryFault> {
    // One byte more than promised is enough to know, however large an entry claims to be.
    let mut tally = Tally::new(io::sink());
    io::copy(&mut entry.take(expected.bytes.saturating_add(1)), &mut tally).map_err(Err)?;
    let mismatch = |reason| {
        Err(Ok(BackupError::DigestMismatch {
            path: expected.path.clone(),
            reason,
        }))
    };
    if tally.bytes != expected.bytes {
        let more = if tally.bytes > expected.bytes { "more than " } else { "" };
        return mismatch(format!(
            "{more}{} bytes instead of {}",
            tally.bytes.min(expected.bytes),
            expected.bytes
        ));
    }
    let found = render_digest(tally.state);
    if found != expected.digest {
        return mismatch(format!("{found} instead of {}", expected.digest));
    }
    Ok(())
}

/// Reads on to the end of the file and compares the file itself.
fn check_file(
    archive: &Path,
    tar: tar::Archive<zstd::Decoder<'static, BufReader<Tally<File>>>>,
    after: &str,
    expected: &ArchiveRecord,
) -> Result<(), BackupError> {
    let mut decoder = tar.into_inner();
    // What may follow the last entry is at most padding; a bomb behind it is not unpacked.
    let longest_padding = 1 << 20;
    let padding = io::copy(&mut (&mut decoder).take(longest_padding), &mut io::sink())
        .map_err(|error| damaged(archive, after, &error))?;
    let mismatch = |reason| {
        Err(BackupError::ArchiveMismatch {
            path: archive.to_owned(),
            reason,
        })
    };
    if padding == longest_padding {
        return mismatch("data after the last entry".to_owned());
    }
    let mut reader = decoder.finish();
    io::copy(&mut reader, &mut io::sink()).map_err(|error| damaged(archive, after, &error))?;
    let tally = reader.into_inner();
    if tally.bytes != expected.bytes {
        return mismatch(format!("{} bytes instead of {}", tally.bytes, expected.bytes));
    }
    let found = render_digest(tally.state);
    if found != expected.digest {
        return mismatch(format!("{found} instead of {}", expected.digest));
    }
    Ok(())
}

fn damaged(archive: &Path, after: &str, error: &io::Error) -> BackupError {
    let (path, after) = (archive.to_owned(), after.to_owned());
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Truncated { path, after },
        _ => BackupError::Corrupt {
            path,
            after,
            reason: error.to_string(),
        },
    }
}
