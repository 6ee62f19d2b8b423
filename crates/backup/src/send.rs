//! The program edge: `send` as a command of the operator's binary, run in a Job: a piece of a stored file, as lines of a log.
//!
//! Talks to the store alone, reading only. What it sends is what lies there: encrypted, the manifest and the receipt aside, in which
//! there is nothing confidential.

use std::io::{self, Read as _};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::BackupError;
use crate::canonical::digest;
use crate::check::folder;
use crate::outcome::leave;
use crate::store::{AttemptFolder, StoreArguments};
use crate::verify::on_a_thread;
use crate::volume::{ARCHIVE_FILE, MANIFEST_FILE, RECEIPT_FILE};

/// What each line begins with.
pub const PIECE_LINE: &str = "data: ";
/// Most that one Job sends, in bytes: as base64, with what the kubelet writes beside it, it is less than the 10 MiB after which the
/// log of a container is rotated by default.
pub const MOST_SENT: u64 = 5 << 20;
/// Bytes in a line: as base64 less than the 16 KiB after which a container runtime breaks lines.
const IN_A_LINE: usize = 9_000;

/// Send a piece of a stored file.
#[derive(Debug, Clone, Args)]
pub struct SendArguments {
    /// Where the backup lies.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Name of the run that made it.
    #[arg(long)]
    pub name: String,
    /// Its folder in that of the run, for example `master` or `eu_2`.
    #[arg(long)]
    pub folder: String,
    /// Which of its files.
    #[arg(long, value_enum)]
    pub file: StoredFile,
    /// Where the piece begins, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub offset: u64,
    /// Where the result goes as one line of JSON.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    pub result_file: PathBuf,
}

/// A file of a backup; displayed as the command line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum StoredFile {
    /// The encrypted archive.
    Archive,
    /// The manifest.
    Manifest,
    /// The receipt of the verification.
    Receipt,
}

impl StoredFile {
    /// Its name in the folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Archive => ARCHIVE_FILE,
            Self::Manifest => MANIFEST_FILE,
            Self::Receipt => RECEIPT_FILE,
        }
    }
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SendResult {
    /// Length of the whole file.
    pub length: u64,
    /// Length of the piece.
    pub sent: u64,
    /// Digest of the piece.
    pub digest: String,
}

/// The lines of the piece, and the result, which is left in the result file.
///
/// # Errors
/// When the store cannot be read, or the result cannot be written.
pub async fn send(arguments: SendArguments) -> Result<(Vec<String>, SendResult), BackupError> {
    let outcome = execute(&arguments).await;
    let left = leave(outcome.as_ref().map(|(_, result)| result), &arguments.result_file);
    let sent = outcome?;
    left?;
    Ok(sent)
}

async fn execute(arguments: &SendArguments) -> Result<(Vec<String>, SendResult), BackupError> {
    let folder = folder(&arguments.store, &arguments.name, &arguments.folder)?;
    let (file, offset) = (arguments.file, arguments.offset);
    let (piece, length) = on_a_thread(move || piece(&folder, file, offset)).await?;
    let lines = piece
        .chunks(IN_A_LINE)
        .map(|bytes| format!("{PIECE_LINE}{}", STANDARD.encode(bytes)));
    let result = SendResult {
        length,
        sent: piece.len() as u64,
        digest: digest(&piece),
    };
    Ok((lines.collect(), result))
}

fn piece(folder: &AttemptFolder, file: StoredFile, offset: u64) -> Result<(Vec<u8>, u64), BackupError> {
    let mut piece = Vec::new();
    if file == StoredFile::Archive {
        let mut archive = folder.open_archive()?;
        let read = io::copy(&mut archive.reader.by_ref().take(offset), &mut io::sink())
            .and_then(|_| archive.reader.by_ref().take(MOST_SENT).read_to_end(&mut piece));
        read.map_err(|error| archive.naming.failed("read", error))?;
        return Ok((piece, archive.length));
    }
    let whole = folder.read(file.name())?.ok_or_else(|| {
        let path = folder.path().join(file.name());
        BackupError::volume("read", &path, io::Error::from(io::ErrorKind::NotFound))
    })?;
    let length = whole.len() as u64;
    let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
    let most = usize::try_from(MOST_SENT).unwrap_or(usize::MAX);
    piece.extend(whole.into_iter().skip(skipped).take(most));
    Ok((piece, length))
}
