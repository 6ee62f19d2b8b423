//! The program edge: `check` as a command of the operator's binary, run in a Job: is a backup that lies there what it was?
//!
//! Talks to the store alone, reading only. Must never say that the content was checked without having compared every object of it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::BackupError;
use crate::key::Opener;
use crate::outcome::leave;
use crate::path::check_folder_name;
use crate::snapshot::Written;
use crate::store::{AttemptFolder, StoreArguments};
use crate::verify::{on_a_thread, open_with, read_receipt, still_the_same};

/// Check one backup whole. No cluster is spoken to.
#[derive(Debug, Clone, Args)]
pub struct CheckArguments {
    /// Where it lies.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Name of the run that made it.
    #[arg(long)]
    pub name: String,
    /// Its folder in that of the run, for example `master` or `eu_2`.
    #[arg(long)]
    pub folder: String,
    /// Digest that the manifest must have, as in the status of the KKPUpgrade.
    #[arg(long, value_name = "DIGEST")]
    pub manifest_digest: Option<String>,
    /// File with the private key of a recipient: everything is decrypted and compared. Without it, the files are compared with
    /// what they were when the backup was verified.
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Where --identity is missing or is another backup's, do without it, and say so.
    #[arg(long, requires = "identity")]
    pub identity_optional: bool,
    /// Where the result goes as one line of JSON.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    pub result_file: PathBuf,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// Digest of the manifest file.
    pub manifest_digest: String,
    /// Digest of the archive file.
    pub archive_digest: String,
    /// Number of objects.
    pub objects: u64,
    /// Size of the archive, in bytes.
    pub bytes: u64,
    /// Whether every object was decrypted and compared.
    pub content_checked: bool,
    /// Whether it was compared with the API server when it was made.
    pub was_verified: bool,
    /// Why the content was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Does what the arguments say, and leaves the result, good or bad, in the result file.
///
/// # Errors
/// When the backup is not what it was, or the result cannot be written.
pub async fn check(arguments: CheckArguments) -> Result<CheckResult, BackupError> {
    let outcome = execute(&arguments).await;
    let left = leave(outcome.as_ref(), &arguments.result_file);
    let result = outcome?;
    left?;
    Ok(result)
}

async fn execute(arguments: &CheckArguments) -> Result<CheckResult, BackupError> {
    let folder = folder(&arguments.store, &arguments.name, &arguments.folder)?;
    let digest = arguments.manifest_digest.as_deref();
    let note = match key(arguments)? {
        Some(opener) => match open_with(&folder, digest, &opener).await {
            Ok((written, _)) => return opened(folder, written).await,
            Err(BackupError::WrongKey { .. }) if arguments.identity_optional => "the key at hand does not open it",
            Err(error) => return Err(error),
        },
        None => "no private key is at hand",
    };
    tracing::info!("the content is not checked: {note}");
    let (written, _) = still_the_same(&folder, digest).await?;
    Ok(result(written, false, true, Some(note)))
}

/// The folder of a backup that is named by hand or by a status; it never leads out of its store.
pub(crate) fn folder(store: &StoreArguments, name: &str, folder: &str) -> Result<AttemptFolder, BackupError> {
    check_folder_name("--name", name)?;
    check_folder_name("--folder", folder.split('_').next().unwrap_or_default())?;
    check_folder_name("--folder", &folder.replace('_', "-"))?;
    Ok(AttemptFolder::named(&store.open()?, name, folder))
}

/// The key, where one is asked for and there.
fn key(arguments: &CheckArguments) -> Result<Option<Opener>, BackupError> {
    let absent = |file: &Path| arguments.identity_optional && !file.exists();
    match &arguments.identity {
        Some(file) if !absent(file) => Opener::from_file(file).map(Some),
        _ => Ok(None),
    }
}

async fn opened(folder: AttemptFolder, written: Written) -> Result<CheckResult, BackupError> {
    let digest = written.manifest_digest.clone();
    let receipt = on_a_thread(move || read_receipt(&folder, &digest)).await?;
    Ok(result(written, true, receipt.is_some(), None))
}

fn result(written: Written, content_checked: bool, was_verified: bool, note: Option<&str>) -> CheckResult {
    CheckResult {
        manifest_digest: written.manifest_digest,
        archive_digest: written.manifest.archive.digest,
        objects: written.manifest.objects,
        bytes: written.manifest.archive.bytes,
        content_checked,
        was_verified,
        note: note.map(str::to_owned),
    }
}
