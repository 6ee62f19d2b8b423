//! One pass over an archive that nobody has vouched for: entry by entry, each of bounded size, no more of them than the manifest
//! lists, and only files of the format. Shared by verification and restore, so that neither is the weaker one.
//!
//! Talks only to the stream that it is given. Must never unpack, never let the tar library read a name or an extension itself
//! (it would take one of any length), and never trust a size or a name in an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::BackupError;
use crate::archive::{SUMS_ENTRY, Tally, finish_file};
use crate::key::Opener;
use crate::ledger::{Difference, LONGEST_LINE, Ledger, LedgerWriter, broken};
use crate::manifest::Manifest;
use crate::path::kind_path;
use crate::store::{ArchiveStream, Naming};

/// Most bytes of one object: etcd takes 1.5 MiB by default and rarely more than 8, and JSON may escape each byte.
const LARGEST_OBJECT: u64 = 16 << 20;
/// Longest path of an entry: five names of at most 240 bytes each.
const LONGEST_PATH: u64 = 2048;

/// An archive that is read once.
pub(crate) struct ArchivePass<'a> {
    naming: Naming,
    tally: Tally<Box<dyn Read + Send>>,
    /// Shorter than it was when it was written.
    short: bool,
    manifest: &'a Manifest,
}

impl<'a> ArchivePass<'a> {
    /// Nothing is read yet.
    pub(crate) fn new(stream: ArchiveStream, manifest: &'a Manifest) -> Self {
        let ArchiveStream { reader, length, naming } = stream;
        Self {
            naming,
            tally: Tally::new(reader),
            short: length < manifest.archive.bytes,
            manifest,
        }
    }

    /// Reads every entry and gives each object to `visit`, whose error ends it; then the archive's own list, from its end.
    /// Whether the file is the one of the manifest is only known after [`Self::finish`].
    pub(crate) fn walk(
        &mut self,
        opener: &Opener,
        mut visit: impl FnMut(&str, &[u8]) -> Result<(), BackupError>,
    ) -> Result<Ledger, BackupError> {
        let mut state = State::new(&self.naming, self.short, self.manifest);
        let decoder = zstd::Decoder::new(decrypted(opener, &self.naming, &mut self.tally)?);
        let mut tar = tar::Archive::new(decoder.map_err(|error| state.damaged(&error))?);
        for entry in tar.entries().map_err(|error| state.damaged(&error))?.raw(true) {
            let mut entry = entry.map_err(|error| state.damaged(&error))?;
            if let Some((path, body)) = state.read(&mut entry)? {
                visit(&path, &body)?;
            }
        }
        read_padding(tar.into_inner()).map_err(|error| state.damaged(&error))?;
        state.listed.ok_or_else(|| BackupError::MissingEntry {
            path: SUMS_ENTRY.to_owned(),
        })
    }

    /// Reads on to the end of the file and compares the file itself: after what is in it, which names what is wrong.
    pub(crate) fn finish(mut self) -> Result<(), BackupError> {
        finish_file(&self.naming, &mut self.tally, &self.manifest.archive)
    }
}

/// The archive without its encryption; a store that fails is no damage.
fn decrypted<R: Read>(
    opener: &Opener,
    naming: &Naming,
    archive: R,
) -> Result<age::stream::StreamReader<BufReader<R>>, BackupError> {
    let plain = opener.open(&naming.path, BufReader::new(archive));
    plain.map_err(|error| naming.taken().unwrap_or(error))
}

/// What may follow the last entry is at most padding; a bomb behind it is not unpacked. The end of the stream has to be
/// seen: it is what says that nothing was cut off.
fn read_padding(mut decoder: zstd::Decoder<'static, BufReader<impl Read>>) -> io::Result<()> {
    let longest_padding = 1 << 20;
    if io::copy(&mut (&mut decoder).take(longest_padding), &mut io::sink())? == longest_padding {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "data after the last entry"));
    }
    io::copy(&mut decoder.finish(), &mut io::sink()).map(drop)
}

/// Where a pass is.
struct State<'a> {
    naming: &'a Naming,
    short: bool,
    /// Folders of the kinds that the manifest lists.
    kinds: BTreeSet<String>,
    most: u64,
    objects: u64,
    /// The last entry that was read whole.
    after: String,
    long_name: Option<String>,
    listed: Option<Ledger>,
}

impl<'a> State<'a> {
    fn new(naming: &'a Naming, short: bool, manifest: &Manifest) -> Self {
        let kinds = manifest.kinds.iter().map(|kind| kind_path(&kind.resource()));
        Self {
            naming,
            short,
            kinds: kinds.collect(),
            most: manifest.objects,
            objects: 0,
            after: "the start".to_owned(),
            long_name: None,
            listed: None,
        }
    }

    /// One entry: an object, or something about the archive itself. Names of more than 100 bytes come as an entry of their own
    /// before the one that they are for.
    fn read<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<Option<(String, Vec<u8>)>, BackupError> {
        let kind = entry.header().entry_type();
        let size = entry.header().entry_size().map_err(|error| self.damaged(&error))?;
        let own = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if kind == tar::EntryType::GNULongName && self.long_name.is_none() {
            let name = self.bounded(entry, &own, size, LONGEST_PATH)?;
            let text = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
            self.long_name = Some(text);
            return Ok(None);
        }
        let path = self.long_name.take().unwrap_or(own);
        if kind != tar::EntryType::Regular {
            let reason = format!("{} is no file, but of the type {kind:?}", shown(&path));
            return Err(self.mismatch(reason));
        }
        if path == SUMS_ENTRY && self.listed.is_none() {
            self.small_enough(&path, size, self.most.saturating_mul(LONGEST_LINE))?;
            self.listed = Some(Ledger::parse(entry).map_err(|error| self.damaged(&error))?);
            return Ok(None);
        }
        self.objects += 1;
        if self.listed.is_some() || self.objects > self.most || !self.is_of_the_format(&path) {
            return Err(BackupError::ExtraEntry { path: shown(&path) });
        }
        let body = self.bounded(entry, &path, size, LARGEST_OBJECT)?;
        self.after = shown(&path);
        Ok(Some((path, body)))
    }

    /// Whether it is a path that a backup can have, of a kind that the manifest lists: never one that leads out of its folder.
    fn is_of_the_format(&self, path: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._%~".contains(&byte);
        let is_component = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
        path.split('/').count() == 6
            && path.strip_suffix(".json").is_some()
            && path.split('/').all(is_component)
            && self.kinds.contains(&kind_of(path))
    }

    fn bounded(&self, input: &mut impl Read, path: &str, size: u64, most: u64) -> Result<Vec<u8>, BackupError> {
        self.small_enough(path, size, most)?;
        let mut bytes = Vec::new();
        input
            .take(most)
            .read_to_end(&mut bytes)
            .map_err(|error| self.damaged(&error))?;
        if bytes.len() as u64 != size {
            return Err(self.damaged(&io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    fn small_enough(&self, path: &str, size: u64, most: u64) -> Result<(), BackupError> {
        if size <= most {
            return Ok(());
        }
        let path = shown(path);
        Err(self.mismatch(format!(
            "{path} has {size} bytes, more than the {most} that it can have"
        )))
    }

    fn mismatch(&self, reason: String) -> BackupError {
        let path = self.naming.path.clone();
        BackupError::ArchiveMismatch { path, reason }
    }

    /// What a decoder's error means for this archive.
    fn damaged(&self, error: &io::Error) -> BackupError {
        if let Some(reason) = self.naming.taken() {
            return reason;
        }
        let (path, after) = (self.naming.path.clone(), self.after.clone());
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

/// What a pass found.
pub(crate) struct Inventory {
    entries: LedgerWriter,
    /// Number of objects by the first four parts of their paths.
    counts: BTreeMap<String, u64>,
}

impl Inventory {
    pub(crate) fn new() -> Result<Self, BackupError> {
        Ok(Self {
            entries: LedgerWriter::new().map_err(|error| broken(&error))?,
            counts: BTreeMap::new(),
        })
    }

    /// Adds an object with the digest of what was read.
    pub(crate) fn add(&mut self, path: &str, digest: &str) -> Result<(), BackupError> {
        *self.counts.entry(kind_of(path)).or_default() += 1;
        self.entries.add(digest, path, "").map_err(|error| broken(&error))
    }

    /// Compares it with what was read from the API server, or, where only the archive is known, with the archive's own list; and
    /// that list and the manifest with it. Gives what was found.
    pub(crate) fn compare(
        self,
        listed: &Ledger,
        expected: Option<&Ledger>,
        file: &Path,
        manifest: &Manifest,
    ) -> Result<Ledger, BackupError> {
        let entries = self.entries.finish().map_err(|error| broken(&error))?;
        let difference = expected.unwrap_or(listed).difference(&entries);
        match difference.map_err(|error| broken(&error))? {
            None => {}
            Some(Difference::Changed(path)) => return Err(BackupError::DigestMismatch { path: shown(&path) }),
            Some(Difference::Missing(path)) => return Err(BackupError::MissingEntry { path: shown(&path) }),
            Some(Difference::Extra(path)) => return Err(BackupError::ExtraEntry { path: shown(&path) }),
        }
        let wrong = if listed.content_digest() == entries.content_digest() {
            manifest.miscounted(&self.counts)
        } else {
            Some(format!("its {SUMS_ENTRY} is not that of its entries"))
        };
        let path = file.to_owned();
        wrong.map_or(Ok(entries), |reason| Err(BackupError::ArchiveMismatch { path, reason }))
    }

    /// A pass that met one entry too many knows only the last one: what was read from the API server names the first that is too
    /// much.
    pub(crate) fn name_extra(self, error: BackupError, expected: &Ledger) -> BackupError {
        if !matches!(error, BackupError::ExtraEntry { .. }) {
            return error;
        }
        let entries = self.entries.finish();
        match entries.and_then(|entries| expected.difference(&entries)) {
            Ok(Some(Difference::Extra(path))) => BackupError::ExtraEntry { path: shown(&path) },
            _ => error,
        }
    }
}

/// `objects/<group>/<version>/<plural>` of an entry.
pub(crate) fn kind_of(path: &str) -> String {
    path.split('/').take(4).collect::<Vec<_>>().join("/")
}

/// A path of anybody's making, for a message.
pub(crate) fn shown(path: &str) -> String {
    path.chars().take(300).flat_map(char::escape_default).collect()
}
