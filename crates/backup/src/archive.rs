//! The archive: tar in zstd in age, digested while it is written and while it is read back; an object at a time in memory.
//!
//! Talks only to the store. Must never write anything to it that is not encrypted, never unpack to it, and never trust
//! a size or a name in an archive.

use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

use crate::BackupError;
use crate::archive_walk::{ArchivePass, Inventory};
use crate::canonical::{hexadecimal, render_digest};
use crate::key::{Opener, Recipients, RunKey, encrypt};
use crate::ledger::{Ledger, LedgerWriter, broken};
use crate::manifest::{ArchiveRecord, Manifest, SealedObject};
use crate::store::{AttemptFolder, Naming, NewArchive};
use crate::volume::ARCHIVE_FILE;

/// Last entry of every archive: the digests of all others, as `sha256sum` writes and reads them.
pub const SUMS_ENTRY: &str = "SHA256SUMS";
/// zstd's fastest: archives are a tenth larger than by its default, and a backup takes a quarter less processor time.
const LEVEL: i32 = 1;

/// Counts and digests what passes through.
pub(crate) struct Tally<Inner> {
    inner: Inner,
    bytes: u64,
    state: Sha256,
}

impl<Inner> Tally<Inner> {
    pub(crate) fn new(inner: Inner) -> Self {
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

type Encrypted = age::stream::StreamWriter<Tally<NewArchive>>;

/// An archive that is being written.
pub(crate) struct ArchiveWriter {
    naming: Naming,
    tar: tar::Builder<zstd::Encoder<'static, Encrypted>>,
    ledger: LedgerWriter,
    recipients: Vec<String>,
}

impl ArchiveWriter {
    /// Starts one in this folder.
    pub(crate) fn create(
        folder: &AttemptFolder,
        recipients: &Recipients,
        run_key: &RunKey,
    ) -> Result<Self, BackupError> {
        let (archive, naming) = folder.create_archive()?;
        let start = |archive| {
            let encrypted = encrypt(Tally::new(archive), recipients, run_key)?;
            let mut encoder = zstd::Encoder::new(encrypted, LEVEL)?;
            encoder.include_checksum(true)?;
            Ok((tar::Builder::new(encoder), LedgerWriter::new()?))
        };
        match start(archive) {
            Ok((tar, ledger)) => Ok(Self {
                naming,
                tar,
                ledger,
                recipients: recipients.names(),
            }),
            Err(error) => Err(naming.failed("write", error)),
        }
    }

    /// Adds an object.
    pub(crate) fn append(&mut self, object: &SealedObject) -> Result<(), BackupError> {
        self.ledger
            .add(&object.digest, &object.path, &object.resource_version)
            .map_err(|error| broken(&error))?;
        self.tar
            .append_data(
                &mut header(object.body.len() as u64),
                &object.path,
                object.body.as_slice(),
            )
            .map_err(|error| self.naming.failed("write", error))
    }

    /// Ends it, forces it to the medium and gives it its name.
    pub(crate) fn publish(self) -> Result<(ArchiveRecord, Ledger), BackupError> {
        let Self {
            naming,
            mut tar,
            ledger,
            recipients,
        } = self;
        let ledger = ledger.finish().map_err(|error| broken(&error))?;
        let sums = ledger.text().map_err(|error| broken(&error))?;
        let end = || {
            tar.append_data(&mut header(ledger.bytes()), SUMS_ENTRY, sums)?;
            tar.into_inner()?.finish()?.finish()
        };
        let tally = match end() {
            Ok(tally) => tally,
            Err(error) => return Err(naming.failed("write", error)),
        };
        tally.inner.publish()?;
        let record = ArchiveRecord {
            file: ARCHIVE_FILE.to_owned(),
            compression: "zstd".to_owned(),
            encryption: "age".to_owned(),
            recipients,
            bytes: tally.bytes,
            digest: render_digest(tally.state),
        };
        Ok((record, ledger))
    }
}

/// Nothing in it depends on the machine or the moment.
fn header(bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header
}

/// Compares the file with the manifest, without opening it: what was verified once and has not changed is as good.
pub(crate) fn check_bytes(folder: &AttemptFolder, manifest: &Manifest) -> Result<(), BackupError> {
    let stream = folder.open_archive()?;
    finish_file(&stream.naming, &mut Tally::new(stream.reader), &manifest.archive)
}

/// Decrypts the whole archive and compares every entry with what was read from the API server, or, where only the archive is
/// known, with its own list; and kinds, counts and the file itself with the manifest. Gives that list.
pub(crate) fn check_archive(
    folder: &AttemptFolder,
    manifest: &Manifest,
    opener: &Opener,
    expected: Option<&Ledger>,
) -> Result<Ledger, BackupError> {
    let mut pass = ArchivePass::new(folder.open_archive()?, manifest);
    let mut inventory = Inventory::new()?;
    let walked = pass.walk(opener, |path, body| inventory.add(path, &hexadecimal(body)));
    let listed = match (walked, expected) {
        (Ok(listed), _) => listed,
        (Err(error), Some(expected)) => return Err(inventory.name_extra(error, expected)),
        (Err(error), None) => return Err(error),
    };
    let found = inventory.compare(&listed, expected, &folder.archive(), manifest)?;
    pass.finish()?;
    Ok(found)
}

/// Reads on to the end of the file and compares the file itself.
pub(crate) fn finish_file(
    naming: &Naming,
    tally: &mut Tally<impl Read>,
    expected: &ArchiveRecord,
) -> Result<(), BackupError> {
    io::copy(tally, &mut io::sink()).map_err(|error| naming.failed("read", error))?;
    let mismatch = |reason| {
        Err(BackupError::ArchiveMismatch {
            path: naming.path.clone(),
            reason,
        })
    };
    if tally.bytes != expected.bytes {
        return mismatch(format!("{} bytes instead of {}", tally.bytes, expected.bytes));
    }
    let found = render_digest(tally.state.clone());
    if found != expected.digest {
        return mismatch(format!("{found} instead of {}", expected.digest));
    }
    Ok(())
}
