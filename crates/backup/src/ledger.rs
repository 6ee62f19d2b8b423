//! What was read, object by object: digest and path, in the order of the archive. Kept compressed, because a large platform
//! has hundreds of thousands of objects.
//!
//! Talks to nothing. Its text is confidential: a digest of a short Secret can be guessed, so it goes into the encrypted
//! archive and nowhere else.

use std::io::{self, BufRead, BufReader, Read, Write};

use sha2::{Digest, Sha256};

use crate::BackupError;
use crate::canonical::render_digest;

/// Fast: paths are alike and get small, digests do not.
const LEVEL: i32 = 1;
/// Longest line that is taken from an archive: a digest, two spaces and a path of five parts.
pub(crate) const LONGEST_LINE: u64 = 4096;

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// sha256 of the canonical JSON, in hexadecimal.
    pub(crate) digest: String,
    /// Path in the archive.
    pub(crate) path: String,
}

/// A ledger that is being written.
pub(crate) struct LedgerWriter {
    lines: zstd::Encoder<'static, Vec<u8>>,
    versions: zstd::Encoder<'static, Vec<u8>>,
    bytes: u64,
    objects: u64,
    state: Sha256,
}

impl LedgerWriter {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            lines: zstd::Encoder::new(Vec::new(), LEVEL)?,
            versions: zstd::Encoder::new(Vec::new(), LEVEL)?,
            bytes: 0,
            objects: 0,
            state: Sha256::new(),
        })
    }

    /// Adds one object; its resourceVersion is empty where only an archive is known.
    pub(crate) fn add(&mut self, digest: &str, path: &str, resource_version: &str) -> io::Result<()> {
        // As `sha256sum` writes it, so that `sha256sum --check` reads it.
        let line = format!("{digest}  {path}\n");
        self.lines.write_all(line.as_bytes())?;
        self.versions.write_all(format!("{resource_version}\n").as_bytes())?;
        self.state.update(line.as_bytes());
        self.bytes += line.len() as u64;
        self.objects += 1;
        Ok(())
    }

    pub(crate) fn finish(self) -> io::Result<Ledger> {
        Ok(Ledger {
            lines: self.lines.finish()?,
            versions: self.versions.finish()?,
            bytes: self.bytes,
            objects: self.objects,
            digest: render_digest(self.state),
        })
    }
}

/// What was read.
#[derive(Clone)]
pub struct Ledger {
    lines: Vec<u8>,
    versions: Vec<u8>,
    bytes: u64,
    objects: u64,
    digest: String,
}

/// Says how much it holds, and nothing of it.
impl std::fmt::Debug for Ledger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Ledger")
            .field("objects", &self.objects)
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// The content digest: the same objects give the same one, whenever and for whomever the archive is written.
    #[must_use]
    pub fn content_digest(&self) -> &str {
        &self.digest
    }

    /// Number of objects.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// Length of the text.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The text: one line as `sha256sum` writes it for each object.
    pub(crate) fn text(&self) -> io::Result<impl BufRead> {
        Ok(BufReader::new(zstd::Decoder::new(self.lines.as_slice())?))
    }

    pub(crate) fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<Line>>> {
        Ok(self.text()?.lines().map(|line| parse(&line?)))
    }

    /// resourceVersions in the same order.
    pub(crate) fn versions(&self) -> io::Result<impl Iterator<Item = io::Result<String>>> {
        Ok(BufReader::new(zstd::Decoder::new(self.versions.as_slice())?).lines())
    }

    /// Reads the text of an archive.
    pub(crate) fn parse(text: impl Read) -> io::Result<Self> {
        let mut text = BufReader::new(text);
        let mut ledger = LedgerWriter::new()?;
        let mut line = String::new();
        loop {
            line.clear();
            if (&mut text).take(LONGEST_LINE).read_line(&mut line)? == 0 {
                return ledger.finish();
            }
            let whole = line
                .strip_suffix('\n')
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a line is too long or cut off"))?;
            let Line { digest, path } = parse(whole)?;
            ledger.add(&digest, &path, "")?;
        }
    }

    /// Where another ledger differs first.
    pub(crate) fn difference(&self, other: &Self) -> io::Result<Option<Difference>> {
        if self.digest == other.digest {
            return Ok(None);
        }
        let (mut ours, mut theirs) = (self.entries()?, other.entries()?);
        loop {
            match (ours.next().transpose()?, theirs.next().transpose()?) {
                (None, None) => return Ok(None),
                (Some(line), None) => return Ok(Some(Difference::Missing(line.path))),
                (None, Some(line)) => return Ok(Some(Difference::Extra(line.path))),
                (Some(ours), Some(theirs)) if ours == theirs => {}
                (Some(ours), Some(theirs)) if ours.path == theirs.path => {
                    return Ok(Some(Difference::Changed(ours.path)));
                }
                (Some(line), Some(theirs)) => {
                    return Ok(Some(
                        if ours.any(|later| later.is_ok_and(|later| later.path == theirs.path)) {
                            Difference::Missing(line.path)
                        } else {
                            Difference::Extra(theirs.path)
                        },
                    ));
                }
            }
        }
    }
}

/// How two ledgers differ, with the path of the first object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Another content.
    Changed(String),
    /// In the first one only.
    Missing(String),
    /// In the other one only, or there twice.
    Extra(String),
}

fn parse(line: &str) -> io::Result<Line> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "a line is no digest with a path");
    let (digest, path) = line.split_once("  ").ok_or_else(invalid)?;
    if digest.len() != 64 || path.is_empty() {
        return Err(invalid());
    }
    Ok(Line {
        digest: digest.to_owned(),
        path: path.to_owned(),
    })
}

/// What is in memory cannot be damaged from outside.
pub(crate) fn broken(error: &io::Error) -> BackupError {
    BackupError::Worker(format!("the list of objects in memory: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(paths: &[(&str, char)]) -> Ledger {
        let mut writer = LedgerWriter::new().unwrap();
        for (path, digit) in paths {
            writer.add(&digit.to_string().repeat(64), path, "7").unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn differences_are_named() {
        let whole = ledger(&[("a", '1'), ("b", '2'), ("c", '3')]);
        let against = |paths: &[(&str, char)]| whole.difference(&ledger(paths)).unwrap();
        let named = |kind: fn(String) -> Difference, path: &str| Some(kind(path.to_owned()));
        assert_eq!(against(&[("a", '1'), ("b", '2'), ("c", '3')]), None);
        assert_eq!(
            against(&[("a", '1'), ("b", '9'), ("c", '3')]),
            named(Difference::Changed, "b")
        );
        assert_eq!(against(&[("a", '1'), ("c", '3')]), named(Difference::Missing, "b"));
        assert_eq!(against(&[("a", '1'), ("b", '2')]), named(Difference::Missing, "c"));
        assert_eq!(
            against(&[("a", '1'), ("x", '2'), ("b", '2'), ("c", '3')]),
            named(Difference::Extra, "x")
        );
        assert_eq!(
            against(&[("a", '1'), ("b", '2'), ("c", '3'), ("c", '3')]),
            named(Difference::Extra, "c")
        );
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let written = ledger(&[("objects/a.json", '1'), ("objects/b.json", 'f')]);
        let mut text = String::new();
        written.text().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text.len() as u64, written.bytes());
        assert_eq!(crate::digest(text.as_bytes()), written.content_digest());
        let read = Ledger::parse(text.as_bytes()).unwrap();
        assert_eq!((read.content_digest(), read.objects()), (written.content_digest(), 2));
        for bad in [
            "x",
            "11  a\n",
            &text[..text.len() - 1],
            &format!("{}  {}\n", "1".repeat(64), "a".repeat(5000)),
        ] {
            assert!(Ledger::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_never_shows_what_it_holds() {
        assert_eq!(
            format!("{:?}", ledger(&[("secret-path", '1')])),
            "Ledger { objects: 1, .. }"
        );
    }
}
