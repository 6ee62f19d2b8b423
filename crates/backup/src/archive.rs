//! The archive: tar in zstd in age, digested while it is written and while it is read back; an object at a time in memory.
//!
//! Talks only to the store. Must never write anything to it that is not encrypted, never unpack to it, and never trust
//! a size or a name in an archive.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};

use sha2::{Digest, Sha256};

use crate::BackupError;
use crate::canonical::render_digest;
use crate::key::{Opener, Recipients, RunKey, encrypt};
use crate::ledger::{Difference, Ledger, LedgerWriter, broken};
use crate::manifest::{ArchiveRecord, Manifest, SealedObject};
use crate::store::{ArchiveStream, AttemptFolder, Naming, NewArchive};
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
    let ArchiveStream { reader, length, naming } = folder.open_archive()?;
    let mut tally = Tally::new(reader);
    let damaged = Damage {
        naming: &naming,
        short: length < manifest.archive.bytes,
    };
    let found = read_entries(decrypted(opener, &naming, &mut tally), &damaged)?;
    let listed = expected.unwrap_or(&found.listed);
    match listed.difference(&found.entries).map_err(|error| broken(&error))? {
        None => {}
        Some(Difference::Changed(path)) => return Err(BackupError::DigestMismatch { path }),
        Some(Difference::Missing(path)) => return Err(BackupError::MissingEntry { path }),
        Some(Difference::Extra(path)) => return Err(BackupError::ExtraEntry { path }),
    }
    let mismatch = |reason: String| BackupError::ArchiveMismatch {
        path: naming.path.clone(),
        reason,
    };
    if found.listed.content_digest() != found.entries.content_digest() {
        return Err(mismatch(format!("its {SUMS_ENTRY} is not that of its entries")));
    }
    if let Some(wrong) = manifest.miscounted(&found.counts) {
        return Err(mismatch(wrong));
    }
    finish_file(&naming, &mut tally, &manifest.archive)?;
    Ok(found.listed)
}

/// The archive without its encryption; a store that fails is no damage.
pub(crate) fn decrypted<R: Read>(
    opener: &Opener,
    naming: &Naming,
    archive: R,
) -> Result<age::stream::StreamReader<BufReader<R>>, BackupError> {
    let plain = opener.open(&naming.path, BufReader::new(archive));
    plain.map_err(|error| naming.taken().unwrap_or(error))
}

/// What an archive holds.
struct Found {
    /// As digested.
    entries: Ledger,
    /// As its own list says.
    listed: Ledger,
    /// Number of objects by the first four parts of their paths.
    counts: BTreeMap<String, u64>,
}

fn read_entries<R: Read>(
    opened: Result<age::stream::StreamReader<R>, BackupError>,
    damaged: &Damage<'_>,
) -> Result<Found, BackupError> {
    let mut after = "the start".to_owned();
    let decoder = zstd::Decoder::new(opened?).map_err(|error| damaged.after(&after, &error))?;
    let mut tar = tar::Archive::new(decoder);
    let mut entries = LedgerWriter::new().map_err(|error| broken(&error))?;
    let mut counts = BTreeMap::new();
    let mut listed = None;
    for entry in tar.entries().map_err(|error| damaged.after(&after, &error))? {
        let mut entry = entry.map_err(|error| damaged.after(&after, &error))?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if listed.is_some() || entry.header().entry_type() != tar::EntryType::Regular {
            return Err(BackupError::ExtraEntry { path });
        }
        if path == SUMS_ENTRY {
            listed = Some(Ledger::parse(&mut entry).map_err(|error| damaged.after(&after, &error))?);
            continue;
        }
        let mut body = Tally::new(io::sink());
        io::copy(&mut entry, &mut body).map_err(|error| damaged.after(&after, &error))?;
        let digest = render_digest(body.state);
        let hexadecimal = digest.strip_prefix("sha256:").unwrap_or(&digest);
        entries.add(hexadecimal, &path, "").map_err(|error| broken(&error))?;
        *counts.entry(kind_of(&path)).or_default() += 1;
        after = path;
    }
    read_padding(tar.into_inner()).map_err(|error| damaged.after(&after, &error))?;
    Ok(Found {
        entries: entries.finish().map_err(|error| broken(&error))?,
        listed: listed.ok_or_else(|| BackupError::MissingEntry {
            path: SUMS_ENTRY.to_owned(),
        })?,
        counts,
    })
}

/// `objects/<group>/<version>/<plural>` of an entry.
pub(crate) fn kind_of(path: &str) -> String {
    path.split('/').take(4).collect::<Vec<_>>().join("/")
}

/// What may follow the last entry is at most padding; a bomb behind it is not unpacked. The end of the stream has to be
/// seen: it is what says that nothing was cut off.
pub(crate) fn read_padding(mut decoder: zstd::Decoder<'static, BufReader<impl Read>>) -> io::Result<()> {
    let longest_padding = 1 << 20;
    if io::copy(&mut (&mut decoder).take(longest_padding), &mut io::sink())? == longest_padding {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "data after the last entry"));
    }
    io::copy(&mut decoder.finish(), &mut io::sink()).map(drop)
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

/// What a decoder's error means for this archive.
pub(crate) struct Damage<'a> {
    pub(crate) naming: &'a Naming,
    /// Shorter than it was when it was written.
    pub(crate) short: bool,
}

impl Damage<'_> {
    pub(crate) fn after(&self, after: &str, error: &io::Error) -> BackupError {
        if let Some(reason) = self.naming.taken() {
            return reason;
        }
        let (path, after) = (self.naming.path.clone(), after.to_owned());
        if self.short || error.kind() == io::ErrorKind::UnexpectedEof {
            return BackupError::Truncated { path, after };
        }
        BackupError::Corrupt {
            path,
            after,
            reason: error.to_string(),
        }
    }
}
